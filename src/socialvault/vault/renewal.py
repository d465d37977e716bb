"""Renewal: read again, send, judge and save, so that a token that arrived is stored before anybody sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.crypto.records import TokenRecord, open_access
from socialvault.exceptions import (
    GenerationConflictError,
    OutcomeUnknownError,
    ProviderError,
    ReauthorizationRequiredError,
    SocialVaultError,
    TransportError,
)
from socialvault.model.status import Status
from socialvault.vault.core import Core, not_found
from socialvault.vault.schedule import can_renew
from socialvault.vault.verdict import mark_dead, reauthorization_required

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.model.rows import ConnectionRow
    from socialvault.model.token import AccessToken, TokenSet
    from socialvault.providers.base import Provider
    from socialvault.vault.grants import Grants
    from socialvault.vault.sub_accounts import SubAccounts


class Renewal:
    """Renews one connection's token."""

    def __init__(self, core: Core, grants: Grants, sub_accounts: SubAccounts) -> None:
        self._core = core
        self._grants = grants
        self._sub_accounts = sub_accounts

    async def settle(self, connection_id: str, owner: str, tenant: str, stale_generation: int | None) -> AccessToken:
        """Read again, and renew if that is still needed.

        Args:
            stale_generation: a token of this generation won't do even if it looks valid.
        """
        row = await self._core.row(connection_id, tenant, owner)
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
        await self._core.keyring.for_sealing(tenant, owner)  # before the refresh token is spent
        renewed = await self._core.guarded(lambda: self._send_judge_save(row, record, provider, stale_generation))
        return await self._access(renewed)

    async def _renew_child(self, row: ConnectionRow) -> ConnectionRow:
        try:
            return await self._sub_accounts.renew(row)
        except ReauthorizationRequiredError as verdict:
            await mark_dead(self._core, row, verdict.reason)
            raise

    async def _access(self, row: ConnectionRow) -> AccessToken:
        sealer = await self._core.keyring.for_opening(row.envelope, row.account.tenant, row.owner)
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
        current = await self._core.store.get(row.id, row.account.tenant, row.owner)
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
        current = await self._core.store.get(row.id, row.account.tenant, row.owner)
        if current is not None and current.status is Status.ACTIVE:
            return current
        if current is None or not current.status.live:
            server = await self._core.conversations.run(provider.resolve())
            await self._core.conversations.run(provider.revoke(server, fresh))
            raise not_found(row.id)
        raise GenerationConflictError(f"{row.account.provider}: the connection changed meanwhile; try again")
