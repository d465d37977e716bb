"""Valid tokens: read the stored one, renew it once for all callers when it is due."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from socialvault.crypto.records import MICROSECONDS, TokenRecord, open_access
from socialvault.exceptions import (
    GenerationConflictError,
    MissingScopesError,
    OutcomeUnknownError,
    ProviderError,
    ReauthorizationRequiredError,
    SocialVaultError,
    TransportError,
)
from socialvault.model.connection import ConnectionRow, Status
from socialvault.model.token import AccessToken, TokenSet
from socialvault.providers.base import Provider
from socialvault.vault.core import Core, not_found
from socialvault.vault.grants import Grants
from socialvault.vault.schedule import can_renew
from socialvault.vault.settings import check_owner
from socialvault.vault.sub_accounts import SubAccounts
from socialvault.vault.verdict import mark_dead, reauthorization_required

_ACTIVE = Status.ACTIVE.value


class Tokens:
    """Hands out valid access tokens."""

    def __init__(self, core: Core, grants: Grants, sub_accounts: SubAccounts) -> None:
        self._core = core
        self._grants = grants
        self._sub_accounts = sub_accounts
        self._store = core.store
        self._keyring = core.keyring
        self._clock = core.clock

    async def token(self, connection_id: str, owner: str, tenant: str) -> AccessToken:
        """Return a valid token; see ``AsyncVault.token``. The fresh case is one read and one open."""
        if not self._keyring.opened:
            await self._core.ready()
        row = await self._store.read_token(connection_id, tenant, owner)
        if row is None or not owner:
            raise not_found(connection_id)
        if row.status == _ACTIVE and row.envelope:
            now = self._clock.now_seconds()
            envelope = row.envelope
            sealer = self._keyring.cached(envelope, tenant, owner, now)
            if sealer is None:
                sealer = await self._keyring.for_opening(envelope, tenant, owner)
            token, due_us = open_access(sealer, envelope, row.provider, row.issuer, connection_id, row.generation)
            if now * MICROSECONDS < due_us:
                return token
        elif row.status == _ACTIVE and row.parent_id:
            return await self.token(row.parent_id, owner, tenant)
        return await self._shared(connection_id, owner, tenant, None)

    async def refresh(self, connection_id: str, owner: str, tenant: str) -> AccessToken:
        """Renew now, due or not; see ``AsyncVault.refresh``."""
        row = await self._live_row(connection_id, owner, tenant)
        if row.account.parent_id and not row.envelope:
            return await self.refresh(row.account.parent_id, owner, tenant)
        return await self._shared(connection_id, owner, tenant, row.generation)

    async def replace_rejected(self, rejected: AccessToken, owner: str, tenant: str) -> AccessToken:
        """Return another token than the one an API rejected: a newer stored one, or a renewed one."""
        return await self._shared(rejected.connection_id, owner, tenant, rejected.generation)

    async def require_scopes(self, connection_id: str, scopes: Iterable[str], owner: str, tenant: str) -> None:
        """Check granted scopes; see ``AsyncVault.require_scopes``."""
        row = await self._live_row(connection_id, owner, tenant)
        if row.account.parent_id and not row.envelope:
            row = await self._live_row(row.account.parent_id, owner, tenant)
        record = await self._core.open(row)
        granted = record.token.scopes or frozenset()
        required = frozenset(scopes)
        if not required <= granted:
            missing = required - granted
            raise MissingScopesError(
                f"the connection lacks {', '.join(sorted(missing))}", missing=missing, required=required | granted
            )

    async def _live_row(self, connection_id: str, owner: str, tenant: str) -> ConnectionRow:
        check_owner(owner, tenant)
        await self._core.ready()
        return await self._core.row(connection_id, tenant, owner)

    async def _shared(self, connection_id: str, owner: str, tenant: str, stale_generation: int | None) -> AccessToken:
        """Settle it once for all callers of this process that ask meanwhile."""
        check_owner(owner, tenant)
        while True:
            token = await self._core.runtime.single_flight(
                ("token", tenant, owner, connection_id),
                lambda: self._settle(connection_id, owner, tenant, stale_generation),
            )
            if token.generation != stale_generation:  # else: this joined a flight that had no reason to renew
                return token

    async def _settle(self, connection_id: str, owner: str, tenant: str, stale_generation: int | None) -> AccessToken:
        """Read again, and renew if that is still needed.

        Args:
            stale_generation: a token of this generation won't do even if it looks valid.
        """
        row = await self._live_row(connection_id, owner, tenant)
        if row.status is Status.REAUTHORIZATION_REQUIRED:
            raise reauthorization_required(row.account.provider, row.reason)
        record = await self._core.open(row)
        now = self._core.now()
        due = record.due_at is not None and now >= record.due_at
        if not due and row.generation != stale_generation:
            return await self._access(row)
        provider = self._core.provider_of(row)
        if row.account.parent_id:
            return await self._access(await self._renew_child(row))
        if not can_renew(record.token, provider.renewal, now):
            return await self._last_of_it(row, record, now, stale_generation)
        await self._keyring.for_sealing(tenant, owner)  # before the refresh token is spent
        deadline = self._core.settings.exchange_deadline.total_seconds()
        renewed = await self._core.runtime.guarded(
            lambda: self._send_judge_save(row, record, provider, stale_generation),
            deadline_seconds=deadline,
            heartbeat=None,
            every_seconds=deadline,
        )
        return await self._access(renewed)

    async def _renew_child(self, row: ConnectionRow) -> ConnectionRow:
        try:
            return await self._sub_accounts.renew(row)
        except ReauthorizationRequiredError as verdict:
            await mark_dead(self._core, row, verdict.reason)
            raise

    async def _access(self, row: ConnectionRow) -> AccessToken:
        sealer = await self._keyring.for_opening(row.envelope, row.account.tenant, row.owner)
        token, _ = open_access(sealer, row.envelope, row.account.provider, row.account.issuer, row.id, row.generation)
        return token

    async def _last_of_it(
        self, row: ConnectionRow, record: TokenRecord, now: datetime, stale_generation: int | None
    ) -> AccessToken:
        """Serve a token that can't be renewed while it is valid; say so when it is not."""
        expires_at = record.token.expires_at
        if row.generation != stale_generation and (expires_at is None or now < expires_at):
            return await self._access(row)
        expired = expires_at is not None and now >= expires_at
        if expired:
            await mark_dead(self._core, row, "expired")
        raise ReauthorizationRequiredError(
            f"{row.account.provider}: the token {'expired' if expired else 'was rejected'} and can't be renewed",
            provider=row.account.provider,
            reason="expired" if expired else "rejected",
        )

    async def _send_judge_save(
        self, row: ConnectionRow, record: TokenRecord, provider: Provider, stale_generation: int | None
    ) -> ConnectionRow:
        """Renew at the provider and store what came; returns the row that holds the newest token."""
        try:
            server = await self._core.conversations.run(provider.resolve())
            fresh = await self._core.conversations.run(provider.renew(server, record.token, row.account.subject))
        except ReauthorizationRequiredError as verdict:
            return await self._after_refusal(row, verdict)
        except (ProviderError, TransportError) as problem:
            return self._while_valid(row, record, problem, stale_generation)
        written = await self._grants.overwrite(row, provider, fresh, None, None)
        if written is not None:
            await self._core.emit("refreshed", written)
            return written
        return await self._after_conflict(row, provider, fresh)

    async def _after_refusal(self, row: ConnectionRow, verdict: ReauthorizationRequiredError) -> ConnectionRow:
        """The grant is dead, unless somebody renewed it while we asked."""
        current = await self._store.get(row.id, row.account.tenant, row.owner)
        if current is None or not current.status.live:
            raise not_found(row.id)  # disconnected meanwhile, which is why the provider refused
        if current.status is Status.ACTIVE and current.generation > row.generation:
            return current
        await mark_dead(self._core, row, verdict.reason)
        raise verdict

    def _while_valid(
        self, row: ConnectionRow, record: TokenRecord, problem: SocialVaultError, stale_generation: int | None
    ) -> ConnectionRow:
        """A provider that is down for now does not matter while the stored token is valid."""
        expires_at = record.token.expires_at
        usable = expires_at is None or self._core.now() < expires_at
        if usable and row.generation != stale_generation:
            return row
        if isinstance(problem, TransportError) and problem.request_sent:
            raise OutcomeUnknownError(
                f"{row.account.provider}: the renewal was sent and not answered; try again later"
            ) from problem
        raise problem

    async def _after_conflict(self, row: ConnectionRow, provider: Provider, fresh: TokenSet) -> ConnectionRow:
        """Somebody wrote the row while we asked: their token counts, and a disconnect counts for both."""
        current = await self._store.get(row.id, row.account.tenant, row.owner)
        if current is not None and current.status is Status.ACTIVE:
            return current
        if current is None or not current.status.live:
            server = await self._core.conversations.run(provider.resolve())
            await self._core.conversations.run(provider.revoke(server, fresh))
            raise not_found(row.id)
        raise GenerationConflictError(f"{row.account.provider}: the connection changed meanwhile; try again")
