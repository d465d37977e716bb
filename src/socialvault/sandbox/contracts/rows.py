"""Rows to store, with every field set to something of its own."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from socialvault.model.keys import VaultRow, WrappedKey
from socialvault.model.rows import (
    AccountKey,
    ConnectionRow,
    FailureWrite,
    IntentWrite,
    RevocationRow,
    StatusWrite,
    TokenWrite,
)
from socialvault.model.state import StateRow
from socialvault.model.status import Status

TENANT = "acme"
OWNER = "user-42"
ACCOUNT = AccountKey(TENANT, "linkedin", "client-1", "https://issuer.example", "subject-1", "", "")

#: The provider and the client id of `ACCOUNT`.
APPLICATION = (ACCOUNT.provider, ACCOUNT.client_id)

LIVE = [Status.ACTIVE, Status.REAUTHORIZATION_REQUIRED]
DEAD = [Status.REVOCATION_PENDING, Status.REVOKED]

#: Whoever is not the owner within the tenant; the last is what an application passes that forgot to look.
STRANGERS = [(TENANT, "user-43"), ("globex", OWNER), ("", OWNER), (TENANT, ""), (OWNER, TENANT), (TENANT, None)]


def connection(connection_id: str = "con-1", **account: str) -> ConnectionRow:
    """Return an active connection of `OWNER`; keywords change its account, whose tenant is the row's."""
    return ConnectionRow(
        id=connection_id,
        account=ACCOUNT._replace(**account),
        owner=OWNER,
        kind="",
        status=Status.ACTIVE,
        reason="",
        generation=1,
        envelope=b"sealed \x00 token of " + connection_id.encode(),
        key_id="ab" * 32,
        created_at_seconds=1_800_000_000.125,
        updated_at_seconds=1_800_000_001.5,
        due_at_seconds=1_800_003_600.0,
        dies_at_seconds=1_805_000_000.0,
        warn_at_seconds=1_803_790_400.5,
    )


def in_trouble(row: ConnectionRow) -> ConnectionRow:
    """Return `row` with everything set that a renewal in trouble leaves behind."""
    return replace(
        row,
        status=Status.REAUTHORIZATION_REQUIRED,
        reason="refresh_interrupted",
        failing_since_seconds=1_800_000_500.0,
        failing_with="ProviderUnavailableError",
        failures=4,
        refusals=1,
        candidate=b"sealed candidate",
        intent_digest=b"\x01" * 32,
        intent_sent_at_seconds=1_800_000_400.25,
        intent_deadline_seconds=1_800_000_415.25,
        intent_attempt=3,
    )


def token_write(row: ConnectionRow, **changes: Any) -> TokenWrite:
    """Return a write that fits `row`."""
    write = TokenWrite(
        connection_id=row.id,
        expected_generation=row.generation,
        envelope=b"sealed again",
        key_id="cd" * 32,
        updated_at_seconds=1_800_000_900.75,
        due_at_seconds=1_800_007_200.0,
        dies_at_seconds=None,
        warn_at_seconds=1_804_000_000.25,
    )
    return replace(write, **changes)


def status_write(row: ConnectionRow, status: Status, **changes: Any) -> StatusWrite:
    """Return a change to `status` that fits `row`."""
    write = StatusWrite(
        connection_id=row.id,
        expected_generation=row.generation,
        expected=(row.status,),
        status=status,
        reason="because",
        updated_at_seconds=1_800_000_800.0,
    )
    return replace(write, **changes)


def intent(row: ConnectionRow, **changes: Any) -> IntentWrite:
    """Return an intent that fits `row`."""
    write = IntentWrite(
        connection_id=row.id,
        expected_generation=row.generation,
        expected_attempt=row.intent_attempt,
        digest=b"\x02 \x00" * 10,
        lifetime_seconds=600.0,
    )
    return replace(write, **changes)


def failure(row: ConnectionRow, **changes: Any) -> FailureWrite:
    """Return what an attempt on `row` leaves that was answered and spent nothing."""
    write = FailureWrite(
        connection_id=row.id,
        expected_generation=row.generation,
        expected_attempt=row.intent_attempt,
        uncertain=False,
        open=False,
        failing_with="RateLimitedError",
        refusals=2,
        retry_at_seconds=1_800_000_930.25,
        at_seconds=1_800_000_900.5,
    )
    return replace(write, **changes)


def revocation(row: ConnectionRow, name: str = "", **changes: Any) -> RevocationRow:
    """Return a revocation of the whole grant of `row`; `name` tells several of them apart."""
    account = row.account
    pending = RevocationRow(
        id=f"rev-{row.id}{name}",
        connection_id=row.id,
        tenant=account.tenant,
        owner=row.owner,
        provider=account.provider,
        client_id=account.client_id,
        issuer=account.issuer,
        subject=account.subject,
        reach="grant",
        generation=row.generation,
        envelope=b"",
        key_id="",
        attempt=0,
        next_attempt_at_seconds=1_800_000_800.0,
        created_at_seconds=1_800_000_800.0,
    )
    return replace(pending, **changes)


def flow(state: str = "state-1") -> StateRow:
    """Return a pending flow of `OWNER`."""
    return StateRow(
        state_hash=hashlib.sha256(state.encode()).digest(),
        tenant=TENANT,
        owner=OWNER,
        provider="linkedin",
        binding=hashlib.sha256(b"cookie of " + state.encode()).digest(),
        sealed=b"sealed \x00 verifier of " + state.encode(),
        return_to="/settings?tab=1",
    )


def vault(name: bytes = b"v") -> VaultRow:
    """Return a vault's identity."""
    return VaultRow(vault_id=name * 16, canary=b"sealed canary \x00 " + name, created_at_seconds=1_800_000_000.5)


def wrapped_key(name: str = "k", **changes: Any) -> WrappedKey:
    """Return a primary key, that of `OWNER` unless `changes` say otherwise."""
    key = WrappedKey(
        key_id=hashlib.sha256(name.encode()).hexdigest(),
        tenant=TENANT,
        owner=OWNER,
        wrapped=b"wrapped \x00 " + name.encode(),
        wrapped_by="ef" * 32,
        state="primary",
        created_at_seconds=1_800_000_000.5,
    )
    return key._replace(**changes)


def vault_key(name: str = "v", **changes: Any) -> WrappedKey:
    """Return a primary vault key, that of the whole vault unless `changes` say otherwise."""
    return wrapped_key(name, **{"tenant": "", "owner": "", **changes})


def kek(name: str = "kek", **changes: Any) -> WrappedKey:
    """Return a primary KEK, as far as a store knows one."""
    return wrapped_key(name, **{"tenant": "", "owner": "", "wrapped": b"", "wrapped_by": "", **changes})


def sealed_by(key_id: str, content: bytes = b"content \x00") -> bytes:
    """Return bytes that name the key `key_id` where an envelope does."""
    return b"SV\x01\x01" + bytes.fromhex(key_id) + b"n" * 12 + content + b"t" * 16
