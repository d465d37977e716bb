"""What is held about an owner: read, never changed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from socialvault.exceptions import EncryptionError
from socialvault.model.export import ExportedConnection, ExportedKey, ExportedRevocation, OwnerExport
from socialvault.vault.description import describe
from socialvault.vault.settings import check_owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from socialvault.crypto.records import TokenRecord
    from socialvault.model.rows import ConnectionRow, RevocationRow
    from socialvault.vault.core import Core

_PAGE = 500


class Exports:
    """Exports owners."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def export(self, owner: str, tenant: str) -> OwnerExport:
        """Export an owner; see ``AsyncVault.export_owner``."""
        check_owner(owner, tenant)
        await self._core.ready()
        rows = await self._rows(owner, tenant)
        pending = [entry for row in rows for entry in await self._core.store.list_revocations(row.id)]
        return OwnerExport(
            owner=owner,
            tenant=tenant,
            at=self._core.now(),
            connections=tuple([await self._connection(row) for row in rows]),
            revocations=tuple(map(_revocation, pending)),
            keys=await self._keys(owner, tenant, [*(row.key_id for row in rows), *(one.key_id for one in pending)]),
            waiting=await self._waiting(owner, tenant),
        )

    async def _rows(self, owner: str, tenant: str) -> Sequence[ConnectionRow]:
        found: list[ConnectionRow] = []
        while True:
            page = await self._core.store.find(
                tenant=tenant, owner=owner, provider=None, status=None,
                after_id=found[-1].id if found else "", limit=_PAGE,
            )  # fmt: skip
            found += page
            if len(page) < _PAGE:
                return sorted(found, key=lambda row: (row.created_at_seconds, row.id))

    async def _connection(self, row: ConnectionRow) -> ExportedConnection:
        record: TokenRecord | None = None
        readable = True
        try:
            record = await self._core.open(row) if row.envelope else None
        except EncryptionError as problem:
            if problem.action == "retry":
                raise
            readable = False
        provider = self._core.providers.by_slug.get(row.account.provider)
        return ExportedConnection(
            connection=describe(row, record, provider, self._core.now()),
            email=record.identity.email if record else "",
            requested_scopes=record.requested if record else (),
            details=dict(record.token.extra) if record else {},
            holds_token=bool(row.envelope or row.candidate),
            readable=readable,
        )

    async def _keys(self, owner: str, tenant: str, named: Iterable[str]) -> tuple[ExportedKey, ...]:
        """Return the keys that records name, and the one that the next record comes under."""
        scope = self._core.keyring.scope_of(tenant, owner)
        rows = [await self._core.store.primary_key("data", *scope)]
        rows += [await self._core.store.key("data", key_id) for key_id in dict.fromkeys(named) if key_id]
        found = {
            row.key_id: ExportedKey(row.key_id, row.state, not row.owner, _moment(row.created_at_seconds))
            for row in rows
            if row is not None
        }
        return tuple(found.values())

    async def _waiting(self, owner: str, tenant: str) -> int:
        if self._core.escrow is None:
            return 0
        records = await self._core.escrow.records()
        return sum((record.row.account.tenant, record.row.owner) == (tenant, owner) for record in records)


def _revocation(entry: RevocationRow) -> ExportedRevocation:
    return ExportedRevocation(
        connection_id=entry.connection_id,
        provider=entry.provider,
        subject=entry.subject,
        reach=entry.reach,
        attempts=entry.attempt,
        created_at=_moment(entry.created_at_seconds),
    )


def _moment(at_seconds: float) -> datetime:
    return datetime.fromtimestamp(at_seconds, UTC)
