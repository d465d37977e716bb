"""Revocations on their way: queued with the tombstone, tried until the provider has answered, ended by an outcome."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from socialvault.exceptions import (
    ConfigurationError,
    EncryptionError,
    KeyNotFoundError,
    ProviderError,
    ReauthorizationRequiredError,
    TransportError,
)
from socialvault.model.rows import AccountKey, ConnectionRow, RevocationRow
from socialvault.model.status import Status
from socialvault.vault.schedule import jitter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.crypto.records import TokenRecord
    from socialvault.model.connection import RevocationOutcome
    from socialvault.model.token import TokenSet
    from socialvault.providers.base import Provider
    from socialvault.vault.core import Core, Sealers

#: Finds out whether a connection's grant still lives, and records it if it does not.
Verify = Callable[["ConnectionRow"], Awaitable[None]]

_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=6)
_GIVES_UP_AFTER = timedelta(days=7)


class Outbox:
    """Revokes at providers, at least once each, from any process.

    Args:
        verify: find out whether a connection's grant still lives.
    """

    def __init__(self, core: Core, verify: Verify) -> None:
        self._core = core
        self._verify = verify

    def entry(self, row: ConnectionRow, reach: str, envelope: bytes = b"", key_id: str = "") -> RevocationRow:
        """Build the revocation of a connection's own tokens, or of a late one's sealed `envelope`."""
        now = self._core.clock.now_seconds()
        account = row.account
        return RevocationRow(
            id=secrets.token_hex(16),
            connection_id=row.id,
            tenant=account.tenant,
            owner=row.owner,
            provider=account.provider,
            client_id=account.client_id,
            issuer=account.issuer,
            subject=account.subject,
            reach=reach,
            generation=row.generation,
            envelope=envelope,
            key_id=key_id,
            attempt=0,
            next_attempt_at_seconds=now,
            created_at_seconds=now,
        )

    async def revoke_late(self, row: ConnectionRow, record: TokenRecord, provider: Provider, sealers: Sealers) -> None:
        """Queue the revocation of a token that came after its connection was disconnected, and try it at once."""
        try:
            entry = await self._queue_late(row, record, provider, sealers)
        except KeyNotFoundError:
            entry = await self._queue_late(row, record, provider, await self._core.fresh_sealers(row))
        await self.settle(entry, (record.token,))

    async def _queue_late(
        self, row: ConnectionRow, record: TokenRecord, provider: Provider, sealers: Sealers
    ) -> RevocationRow:
        envelope = sealers.seal_kept(record, row, row.generation)
        entry = self.entry(row, provider.revocation_reach, envelope, sealers.kept.key_id.hex())
        await self._core.store.queue_revocation(entry)
        return entry

    async def settle_connection(self, connection_id: str) -> RevocationOutcome | None:
        """Try every pending revocation of a connection; return the last outcome, None when nothing was pending."""
        outcome: RevocationOutcome | None = None
        for entry in await self._core.store.list_revocations(connection_id):
            settled = await self.settle(entry)
            outcome = "pending" if "pending" in (settled, outcome) else settled
        return outcome

    async def settle(self, entry: RevocationRow, tokens: Sequence[TokenSet] | None = None) -> RevocationOutcome:
        """Try one revocation, unless another process is at it.

        Args:
            tokens: what to revoke where that is at hand; else it is opened.
        """
        store, now = self._core.store, self._core.clock.now_seconds()
        pause = _pause_after(entry).total_seconds() + self._core.settings.exchange_deadline.total_seconds()
        if not await store.claim_revocation(entry.id, entry.attempt, now + pause):
            return "pending"
        outcome = await self._ask_provider(entry, tokens)
        if outcome == "pending" and now - entry.created_at_seconds >= _GIVES_UP_AFTER.total_seconds():
            outcome = "gave_up"
        if outcome != "pending":
            await self.finish(entry, outcome)
        return outcome

    async def finish(self, entry: RevocationRow, outcome: RevocationOutcome) -> None:
        """Record how a revocation ended; one event when that was the connection's last one."""
        if await self._core.store.finish_revocation(entry.id, outcome, self._core.clock.now_seconds()):
            await self._core.emit("revoked", _row_of(entry), outcome)

    async def _ask_provider(self, entry: RevocationRow, tokens: Sequence[TokenSet] | None) -> RevocationOutcome:
        row = await self._core.store.get(entry.connection_id, entry.tenant, entry.owner) or _row_of(entry)
        try:
            provider = self._core.provider_of(row)
        except ConfigurationError:
            return "pending"  # a vault that has this provider can finish it
        if entry.reach == "grant" and await self._core.store.count_grant_siblings(row):
            return "kept_for_sibling"
        try:
            outcome = await self._revoke(provider, tokens or await self._tokens(entry, row))
        except ReauthorizationRequiredError:
            return "already_gone"
        except (ProviderError, TransportError, EncryptionError):
            return "pending"
        if entry.reach == "grant":
            await self._verify_siblings(row)
        return outcome

    async def _verify_siblings(self, row: ConnectionRow) -> None:
        """Who connected the same account while we were revoking may have lost the new grant, too."""
        account = row.account
        for other in await self._core.store.list_for_account(
            account.provider, account.client_id, account.issuer, account.subject
        ):
            if other.status is Status.ACTIVE and other.id != row.id:
                await self._verify(other)

    async def _tokens(self, entry: RevocationRow, row: ConnectionRow) -> Sequence[TokenSet]:
        """Open what is to be revoked: the entry's own token, or the stored one and its candidate."""
        if entry.envelope:
            return [(await self._core.open_kept(entry.envelope, row, entry.generation)).token]
        tokens = [(await self._core.open(row)).token] if row.envelope else []
        if row.candidate:
            tokens.append((await self._core.open_kept(row.candidate, row, row.generation)).token)
        return tokens

    async def _revoke(self, provider: Provider, tokens: Sequence[TokenSet]) -> RevocationOutcome:
        outcome: RevocationOutcome = "already_gone"
        server = await self._core.conversations.run(provider.resolve())
        for number, token in enumerate(tokens):
            answer = await self._core.conversations.run(provider.revoke(server, token))
            outcome = answer if not number or answer == "revoked" else outcome
        return outcome


def _pause_after(entry: RevocationRow) -> timedelta:
    pause = min(_FIRST_PAUSE * (1 << min(entry.attempt, 12)), _LONGEST_PAUSE)
    return pause * (0.75 + jitter(f"{entry.id}/{entry.attempt}") / 2)


def _row_of(entry: RevocationRow) -> ConnectionRow:
    """Return what an entry knows about its connection, which may be gone."""
    account = AccountKey(entry.tenant, entry.provider, entry.client_id, entry.issuer, entry.subject, "", "")
    return ConnectionRow(
        id=entry.connection_id, account=account, owner=entry.owner, kind="", status=Status.REVOCATION_PENDING,
        reason="", generation=entry.generation, envelope=b"", key_id="", created_at_seconds=entry.created_at_seconds,
        updated_at_seconds=entry.created_at_seconds,
    )  # fmt: skip
