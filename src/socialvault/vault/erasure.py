"""Erasing an owner: unusable, then revoked, then gone, in an order that leaves no token behind that nobody knows of."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from socialvault.model.connection import NOT_REACHED, Erasure, NotReached, Receipt
from socialvault.model.status import Status
from socialvault.vault.settings import check_owner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.model.rows import ConnectionRow
    from socialvault.vault.core import Core
    from socialvault.vault.custody import Custody
    from socialvault.vault.outbox import Outbox
    from socialvault.vault.revocation import Revocation

_AT_ONCE = 10
_PAGE = 500


class Erasures:
    """Erases owners."""

    def __init__(self, core: Core, revocation: Revocation, custody: Custody, outbox: Outbox) -> None:
        self._core = core
        self._revocation = revocation
        self._custody = custody
        self._outbox = outbox

    async def erase(self, owner: str, tenant: str) -> Erasure:
        """Erase an owner; see ``AsyncVault.erase_owner``."""
        check_owner(owner, tenant)
        await self._core.ready()
        return await self._core.guarded(partial(self._erase, owner, tenant))

    async def _erase(self, owner: str, tenant: str) -> Erasure:
        for row in await self._core.store.list_for_owner(tenant, owner):
            if not row.account.parent_id:
                await self._revocation.tombstone(row)
        await self._custody.discard(tenant, owner)
        tombstones = await self._pending(owner, tenant)
        receipts = await self._core.runtime.each([partial(self._settled, row) for row in tombstones], _AT_ONCE)
        await self._forget_anchors(owner, tenant)
        erased = await self._core.store.erase_owner(tenant, owner)
        self._core.keyring.forget(tenant, owner)
        await self._core.events.about_owner("owner_erased", tenant, owner)
        return Erasure(
            owner=owner,
            tenant=tenant,
            at=self._core.now(),
            erased=erased,
            receipts=tuple(receipts),
            not_reached=self._not_reached(owner, tenant),
        )

    def _not_reached(self, owner: str, tenant: str) -> tuple[NotReached, ...]:
        of_this_owner = self._core.keyring.scope_of(tenant, owner) == (tenant, owner)
        return NOT_REACHED if of_this_owner else (*NOT_REACHED, "tenant_key")

    async def _forget_anchors(self, owner: str, tenant: str) -> None:
        if self._core.anchor is not None:
            for row in await self._rows(owner, tenant, None):
                await self._core.anchor.reset(row.id)

    async def _pending(self, owner: str, tenant: str) -> Sequence[ConnectionRow]:
        return await self._rows(owner, tenant, Status.REVOCATION_PENDING)

    async def _rows(self, owner: str, tenant: str, status: Status | None) -> Sequence[ConnectionRow]:
        found: list[ConnectionRow] = []
        while True:
            page = await self._core.store.find(
                tenant=tenant, owner=owner, provider=None, status=None if status is None else status.value,
                after_id=found[-1].id if found else "", limit=_PAGE,
            )  # fmt: skip
            found += page
            if len(page) < _PAGE:
                return found

    async def _settled(self, row: ConnectionRow) -> Receipt:
        """Try once more to revoke; what can't be reached now never will be."""
        await self._outbox.settle_connection(row.id)
        for entry in await self._core.store.list_revocations(row.id):
            await self._outbox.finish(entry, "gave_up")
        return await self._revocation.receipt(row.id, row.owner, row.account.tenant)
