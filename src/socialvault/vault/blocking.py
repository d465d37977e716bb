"""Blocking ports seen through the asynchronous protocols: each coroutine calls, and ends at its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from socialvault.model.keys import (
        KeyContext,
        KeyLevel,
        KeyState,
        RecordKind,
        Resealed,
        Rewrapped,
        SealedRecord,
        VaultRow,
        WrappedKey,
    )
    from socialvault.model.rows import (
        ConnectionRow,
        DueRow,
        EscrowRecord,
        FailureWrite,
        IntentWrite,
        RevocationRow,
        StatusWrite,
        TokenRow,
        TokenWrite,
    )
    from socialvault.model.state import StateRow
    from socialvault.model.status import Status
    from socialvault.ports.anchor import Anchor
    from socialvault.ports.escrow import Escrow
    from socialvault.ports.key_service import KeyService
    from socialvault.ports.store import Store
    from socialvault.ports.transport import Transport
    from socialvault.protocol.messages import HttpRequest, HttpResponse


class BlockingTransport:
    """A `Transport` as an `AsyncTransport`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: HttpRequest) -> HttpResponse:
        return self._transport.send(request)

    async def aclose(self) -> None:
        self._transport.close()


class BlockingKeyService:
    """A `KeyService` as an `AsyncKeyService`."""

    def __init__(self, service: KeyService) -> None:
        self._service = service

    @property
    def primary_id(self) -> str:
        return self._service.primary_id

    @property
    def key_ids(self) -> Collection[str]:
        return self._service.key_ids

    async def wrap(self, key: bytes, context: KeyContext) -> bytes:
        return self._service.wrap(key, context)

    async def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        return self._service.unwrap(wrapped, context)


class BlockingStore:
    """A `Store` as an `AsyncStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # connections

    async def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        return self._store.read_token(connection_id, tenant, owner)

    async def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None:
        return self._store.get(connection_id, tenant, owner)

    async def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        return self._store.list_for_owner(tenant, owner)

    async def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        return self._store.list_children(parent_id, tenant, owner)

    async def insert(self, row: ConnectionRow) -> ConnectionRow | None:
        return self._store.insert(row)

    async def write_token(self, write: TokenWrite) -> Status | None:
        return self._store.write_token(write)

    async def write_status(self, write: StatusWrite) -> bool:
        return self._store.write_status(write)

    async def count_grant_siblings(self, row: ConnectionRow) -> int:
        return self._store.count_grant_siblings(row)

    async def list_for_account(
        self, provider: str, client_id: str, issuer: str, subject: str
    ) -> Sequence[ConnectionRow]:
        return self._store.list_for_account(provider, client_id, issuer, subject)

    async def delete(self, connection_id: str) -> int:
        return self._store.delete(connection_id)

    async def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool:
        return self._store.acquire_lease(connection_id, holder, ttl_seconds)

    async def release_lease(self, connection_id: str, holder: str) -> bool:
        return self._store.release_lease(connection_id, holder)

    async def open_intent(self, intent: IntentWrite) -> bool:
        return self._store.open_intent(intent)

    async def write_failure(self, write: FailureWrite) -> bool:
        return self._store.write_failure(write)

    async def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool:
        return self._store.put_candidate(connection_id, expected_generation, candidate)

    async def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[DueRow]:
        return self._store.find_due(provider, client_id, now_seconds, limit)

    async def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        return self._store.find_warnings(now_seconds, limit)

    async def write_warning(self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None) -> bool:
        return self._store.write_warning(connection_id, warned_at_seconds, warn_at_seconds)

    async def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None:
        return self._store.tombstone(write, revocation)

    async def queue_revocation(self, revocation: RevocationRow) -> None:
        self._store.queue_revocation(revocation)

    async def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]:
        return self._store.find_revocations(now_seconds, limit)

    async def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]:
        return self._store.list_revocations(connection_id)

    async def claim_revocation(self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float) -> bool:
        return self._store.claim_revocation(revocation_id, expected_attempt, next_attempt_at_seconds)

    async def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool:
        return self._store.finish_revocation(revocation_id, outcome, now_seconds)

    async def erase_owner(self, tenant: str, owner: str) -> int:
        return self._store.erase_owner(tenant, owner)

    async def find(
        self, *, tenant: str | None, owner: str | None, provider: str | None, status: str | None,
        after_id: str, limit: int,
    ) -> Sequence[ConnectionRow]:  # fmt: skip
        return self._store.find(
            tenant=tenant, owner=owner, provider=provider, status=status, after_id=after_id, limit=limit
        )

    async def count_by_status(self) -> Mapping[str, int]:
        return self._store.count_by_status()

    async def aclose(self) -> None:
        self._store.close()

    # pending flows

    async def put_state(self, row: StateRow, ttl_seconds: float) -> None:
        self._store.put_state(row, ttl_seconds)

    async def get_state(self, state_hash: bytes) -> StateRow | None:
        return self._store.get_state(state_hash)

    async def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None:
        return self._store.claim_state(state_hash, tenant=tenant, owner=owner, provider=provider, binding=binding)

    async def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None:
        self._store.finish_state(state_hash, connection_id=connection_id, error=error, missing_scopes=missing_scopes)

    async def purge_states(self, limit: int) -> int:
        return self._store.purge_states(limit)

    # keys

    async def load_vault(self) -> VaultRow | None:
        return self._store.load_vault()

    async def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        return self._store.create_vault(row, vault_key)

    async def count_seals(self, key_id: str, seals: int) -> int:
        return self._store.count_seals(key_id, seals)

    async def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None:
        return self._store.key(level, key_id)

    async def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
        return self._store.primary_key(level, tenant, owner)

    async def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Sequence[WrappedKey]:
        return self._store.keys(level, tenant=tenant, state=state, after_id=after_id, limit=limit)

    async def count_keys(self, level: KeyLevel) -> Mapping[str, int]:
        return self._store.count_keys(level)

    async def count_uses(self, level: KeyLevel, key_id: str) -> int:
        return self._store.count_uses(level, key_id)

    async def add_key(self, level: KeyLevel, key: WrappedKey) -> bool:
        return self._store.add_key(level, key)

    async def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool:
        return self._store.replace_key(level, key, old_key_id)

    async def promote_key(self, level: KeyLevel, key_id: str) -> bool:
        return self._store.promote_key(level, key_id)

    async def retire_key(self, level: KeyLevel, key_id: str) -> bool:
        return self._store.retire_key(level, key_id)

    async def reinstate_key(self, level: KeyLevel, key_id: str) -> bool:
        return self._store.reinstate_key(level, key_id)

    async def wrapped_under(self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int) -> Sequence[WrappedKey]:
        return self._store.wrapped_under(level, wrapping_id, after_id, limit)

    async def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> int:
        return self._store.rewrap(level, keys)

    async def reseal_canary(self, expected: bytes, canary: bytes) -> bool:
        return self._store.reseal_canary(expected, canary)

    async def sealed_under(self, kind: RecordKind, key_id: str, after_id: str, limit: int) -> Sequence[SealedRecord]:
        return self._store.sealed_under(kind, key_id, after_id, limit)

    async def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> int:
        return self._store.reseal(kind, records)


class BlockingEscrow:
    """An `Escrow` as an `AsyncEscrow`."""

    def __init__(self, escrow: Escrow) -> None:
        self._escrow = escrow

    async def open(self) -> None:
        self._escrow.open()

    async def keep(self, record: EscrowRecord) -> str:
        return self._escrow.keep(record)

    async def records(self) -> Sequence[EscrowRecord]:
        return self._escrow.records()

    async def set_aside(self, name: str) -> None:
        self._escrow.set_aside(name)

    async def forget(self, name: str) -> None:
        self._escrow.forget(name)


class BlockingAnchor:
    """An `Anchor` as an `AsyncAnchor`."""

    def __init__(self, anchor: Anchor) -> None:
        self._anchor = anchor

    async def highest(self, connection_id: str) -> int:
        return self._anchor.highest(connection_id)

    async def raise_to(self, connection_id: str, generation: int) -> None:
        self._anchor.raise_to(connection_id, generation)

    async def reset(self, connection_id: str) -> None:
        self._anchor.reset(connection_id)

    async def aclose(self) -> None:
        self._anchor.close()
