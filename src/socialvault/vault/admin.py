"""What operators need across owners; none of it returns a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.vault.description import describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socialvault.model.connection import Connection, Receipt
    from socialvault.vault.core import Core
    from socialvault.vault.revocation import Revocation
    from socialvault.vault.tokens import Tokens


class Operations:
    """Finds, counts, refreshes and revokes across owners and tenants."""

    def __init__(self, core: Core, tokens: Tokens, revocation: Revocation) -> None:
        self._core = core
        self._tokens = tokens
        self._revocation = revocation

    async def find(
        self, *, tenant: str | None, owner: str | None, provider: str | None, status: str | None,
        after_id: str, limit: int,
    ) -> Sequence[Connection]:  # fmt: skip
        """Find connections by their metadata; nothing is opened."""
        await self._core.ready()
        rows = await self._core.store.find(
            tenant=tenant, owner=owner, provider=provider, status=status, after_id=after_id, limit=limit
        )
        now = self._core.now()
        return tuple(describe(row, None, self._core.providers.by_slug.get(row.account.provider), now) for row in rows)

    async def counts(self) -> Mapping[str, int]:
        """Count connections per status."""
        await self._core.ready()
        return await self._core.store.count_by_status()

    async def refresh(self, connection_id: str, owner: str, tenant: str) -> None:
        """Renew one connection now."""
        await self._tokens.refresh(connection_id, owner, tenant)

    async def revoke(self, connection_id: str, owner: str, tenant: str) -> Receipt:
        """Disconnect one connection."""
        return await self._revocation.disconnect(connection_id, owner, tenant)
