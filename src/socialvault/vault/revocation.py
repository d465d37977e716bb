"""Disconnecting: unusable here first, then revoked at the provider, with a receipt that says what was reached."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError, GenerationConflictError, ProviderError, TransportError
from socialvault.model.connection import Receipt, RevocationOutcome
from socialvault.model.rows import ConnectionRow, StatusWrite
from socialvault.model.status import Status
from socialvault.vault.core import Core, not_found
from socialvault.vault.settings import check_owner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.vault.sub_accounts import SubAccounts

_TOMBSTONE_ATTEMPTS = 20


class Revocation:
    """Disconnects connections."""

    def __init__(self, core: Core, sub_accounts: SubAccounts) -> None:
        self._core = core
        self._sub_accounts = sub_accounts

    async def disconnect(self, connection_id: str, owner: str, tenant: str) -> Receipt:
        """Disconnect; see ``AsyncVault.disconnect``."""
        check_owner(owner, tenant)
        await self._core.ready()
        return await self._core.guarded(lambda: self._disconnect(connection_id, owner, tenant))

    async def _disconnect(self, connection_id: str, owner: str, tenant: str) -> Receipt:
        row = await self._core.store.get(connection_id, tenant, owner)
        if row is None:
            raise not_found(connection_id)
        if row.status is Status.REVOKED:
            return self._receipt(row, "already_gone")
        if row.account.parent_id:
            await self._sub_accounts.remove(row, "disconnected")
            return self._receipt(row, "unsupported" if row.envelope else "kept_for_sibling")
        row = await self._tombstone(row)
        children = await self._core.store.list_children(row.id, tenant, owner)
        for child in children:
            await self._sub_accounts.remove(child, "parent_disconnected")
        outcome = await self._revoke(row)
        return self._receipt(row, outcome, children)

    async def _tombstone(self, row: ConnectionRow) -> ConnectionRow:
        """From here on nobody is served this token, whatever becomes of the rest."""
        for _ in range(_TOMBSTONE_ATTEMPTS):
            if row.status is Status.REVOCATION_PENDING:
                return row
            write = self._status(row, (Status.ACTIVE, Status.REAUTHORIZATION_REQUIRED), Status.REVOCATION_PENDING)
            if await self._core.store.write_status(write):
                await self._core.emit("disconnected", row)
                return replace(row, status=Status.REVOCATION_PENDING)
            current = await self._core.store.get(row.id, row.account.tenant, row.owner)
            if current is None:
                raise not_found(row.id)
            row = current
        raise GenerationConflictError("the connection is being written by others; try again")

    def _status(
        self, row: ConnectionRow, expected: tuple[Status, ...], status: Status, *, wipe: bool = False
    ) -> StatusWrite:
        return StatusWrite(
            connection_id=row.id,
            expected_generation=row.generation,
            expected=expected,
            status=status,
            reason="disconnected",
            updated_at_seconds=self._core.clock.now_seconds(),
            wipe=wipe,
        )

    async def _revoke(self, row: ConnectionRow) -> RevocationOutcome:
        outcome = await self._ask_provider(row)
        if outcome != "pending":
            write = self._status(row, (Status.REVOCATION_PENDING,), Status.REVOKED, wipe=True)
            if await self._core.store.write_status(write) and outcome == "revoked":
                await self._core.emit("revoked", row)
        return outcome

    async def _ask_provider(self, row: ConnectionRow) -> RevocationOutcome:
        try:
            provider = self._core.provider_of(row)
        except ConfigurationError:
            return "pending"  # a vault that has this provider can finish it
        if provider.revocation_reach == "grant" and await self._core.store.count_grant_siblings(row):
            return "kept_for_sibling"
        record = await self._core.open(row)
        try:
            server = await self._core.conversations.run(provider.resolve())
            return await self._core.conversations.run(provider.revoke(server, record.token))
        except (ProviderError, TransportError):
            return "pending"

    def _receipt(
        self, row: ConnectionRow, outcome: RevocationOutcome, children: Sequence[ConnectionRow] = ()
    ) -> Receipt:
        """A child's own token ends with the grant; where only tokens are revoked, nothing reaches it."""
        provider = self._core.providers.by_slug.get(row.account.provider)
        reached = outcome == "revoked" and provider is not None and provider.revocation_reach == "grant"
        return Receipt(
            connection_id=row.id,
            provider=row.account.provider,
            outcome=outcome,
            at=self._core.now(),
            children=tuple(self._receipt(child, "revoked" if reached else "unsupported") for child in children),
        )
