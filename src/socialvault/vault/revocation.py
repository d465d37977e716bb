"""Disconnecting: unusable here first, then revoked at the provider, with a receipt that says what was reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from socialvault.exceptions import GenerationConflictError
from socialvault.model.connection import Receipt, RevocationOutcome
from socialvault.model.rows import ConnectionRow, StatusWrite
from socialvault.model.status import Status
from socialvault.vault.core import Core, moment, not_found
from socialvault.vault.settings import check_owner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.vault.outbox import Outbox
    from socialvault.vault.sub_accounts import SubAccounts

_TOMBSTONE_ATTEMPTS = 20
_OUTCOMES = get_args(RevocationOutcome)


class Revocation:
    """Disconnects connections."""

    def __init__(self, core: Core, outbox: Outbox, sub_accounts: SubAccounts) -> None:
        self._core = core
        self._outbox = outbox
        self._sub_accounts = sub_accounts

    async def disconnect(self, connection_id: str, owner: str, tenant: str) -> Receipt:
        """Disconnect; see ``AsyncVault.disconnect``."""
        check_owner(owner, tenant)
        await self._core.ready()
        return await self._core.guarded(lambda: self._disconnect(connection_id, owner, tenant))

    async def receipt(self, connection_id: str, owner: str, tenant: str) -> Receipt:
        """Return where a disconnect stands; see ``AsyncVault.receipt``."""
        check_owner(owner, tenant)
        await self._core.ready()
        row = await self._core.store.get(connection_id, tenant, owner)
        if row is None or row.status.live:
            raise not_found(connection_id)
        return self._receipt(row, _recorded(row))

    async def _disconnect(self, connection_id: str, owner: str, tenant: str) -> Receipt:
        row = await self._core.store.get(connection_id, tenant, owner)
        if row is None:
            raise not_found(connection_id)
        if row.status is Status.REVOKED:
            return self._receipt(row, _recorded(row))
        if row.account.parent_id:
            await self._sub_accounts.remove(row, "disconnected")
            return self._receipt(row, "unsupported" if row.envelope else "kept_for_sibling")
        children = await self.tombstone(row)
        outcome = await self._outbox.settle_connection(row.id)
        if outcome is None:  # another process has just settled it
            return await self.receipt(connection_id, owner, tenant)
        return self._receipt(row, outcome, children)

    async def tombstone(self, row: ConnectionRow) -> Sequence[ConnectionRow]:
        """Make a connection and its children unusable, with the revocation queued in the same step.

        From here on nobody is served their tokens, whatever becomes of the rest.

        Returns:
            The children that this call removed.
        """
        provider = self._core.providers.by_slug.get(row.account.provider)
        reach = provider.revocation_reach if provider else "grant"  # unknown: then it had better spare its siblings
        for _ in range(_TOMBSTONE_ATTEMPTS):
            if not row.status.live:
                return ()
            write = StatusWrite(
                connection_id=row.id,
                expected_generation=row.generation,
                expected=(Status.ACTIVE, Status.REAUTHORIZATION_REQUIRED),
                status=Status.REVOCATION_PENDING,
                reason="disconnected",
                updated_at_seconds=self._core.clock.now_seconds(),
            )
            children = await self._core.store.tombstone(write, self._outbox.entry(row, reach))
            if children is not None:
                for child in children:
                    await self._core.emit("disconnected", child, "parent_disconnected")
                await self._core.emit("disconnected", row)
                return children
            current = await self._core.store.get(row.id, row.account.tenant, row.owner)
            if current is None:
                raise not_found(row.id)
            row = current
        raise GenerationConflictError("the connection is being written by others; try again")

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
            at=self._core.now() if row.status.live else moment(row.updated_at_seconds) or self._core.now(),
            children=tuple(self._receipt(child, "revoked" if reached else "unsupported") for child in children),
        )


def _recorded(row: ConnectionRow) -> RevocationOutcome:
    """Return the outcome that a tombstone tells of; one without any had nothing to revoke."""
    if row.status is Status.REVOCATION_PENDING:
        return "pending"
    return next((outcome for outcome in _OUTCOMES if outcome == row.reason), "already_gone")
