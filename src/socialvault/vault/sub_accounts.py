"""What a connection can act for: listed at the provider, selected as child connections."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError, ProviderError, ReauthorizationRequiredError, TransportError
from socialvault.model.identity import Identity
from socialvault.model.rows import ConnectionRow, StatusWrite
from socialvault.model.status import Status
from socialvault.model.token import TokenSet
from socialvault.vault.core import Core, not_found
from socialvault.vault.settings import check_owner
from socialvault.vault.verdict import mark_dead, reauthorization_required

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from socialvault.model.connection import Connection, SubAccount, SubAccountGrant
    from socialvault.providers.base import Provider
    from socialvault.vault.grants import Grants


class SubAccounts:
    """Lists, selects and renews sub-accounts."""

    def __init__(self, core: Core, grants: Grants) -> None:
        self._core = core
        self._grants = grants

    async def list(self, connection_id: str, owner: str, tenant: str) -> Sequence[SubAccount]:
        """List them; see ``AsyncVault.sub_accounts``."""
        parent, _ = await self._parent(connection_id, owner, tenant)
        selected = {child.account.subject: child.id for child in await self._children(parent)}
        offered = await self._offered(parent)
        return tuple(replace(grant.account, connection_id=selected.get(grant.account.id, "")) for grant in offered)

    async def select(self, connection_id: str, ids: Iterable[str], owner: str, tenant: str) -> Sequence[Connection]:
        """Make exactly these the children; see ``AsyncVault.select_sub_accounts``."""
        parent, provider = await self._parent(connection_id, owner, tenant)
        wanted = tuple(ids) if not isinstance(ids, str) else (ids,)
        offered = {grant.account.id: grant for grant in await self._offered(parent)}
        for sub_id in wanted:
            if sub_id not in offered:
                raise ConfigurationError(
                    f"{provider.slug}: the connection has no sub-account {sub_id!r}", argument="ids"
                )
            if not offered[sub_id].account.granted:
                raise ConfigurationError(
                    f"{provider.slug}: sub-account {sub_id!r} was not granted; reconnect to grant it", argument="ids"
                )
        rows = await self._core.guarded(lambda: self._replace(parent, provider, [offered[sub_id] for sub_id in wanted]))
        return tuple([await self._core.describe(row) for row in rows])

    async def renew(self, child: ConnectionRow) -> ConnectionRow:
        """Read a child's own token again through its parent; returns the row that holds it.

        Raises:
            ReauthorizationRequiredError: it is not granted any more.
        """
        parent, provider = await self._parent(child.account.parent_id, child.owner, child.account.tenant)
        for grant in await self._offered(parent):
            if grant.account.id == child.account.subject and grant.access_token is not None:
                return await self._keep(parent, provider, grant)
        raise ReauthorizationRequiredError(
            f"{provider.slug}: the sub-account is not granted any more", provider=provider.slug, reason="not_granted"
        )

    async def revive(self, parent: ConnectionRow) -> None:
        """After a reconnect, bring the children's tokens up to date; what can't be reached stays as it is."""
        children = await self._children(parent)
        if not children:
            return
        provider = self._core.provider_of(parent)
        try:
            offered = {grant.account.id: grant for grant in await self._offered(parent)}
        except (ProviderError, TransportError, ConfigurationError):
            return
        for child in children:
            grant = offered.get(child.account.subject)
            if grant is not None and grant.account.granted:
                await self._keep(parent, provider, grant)

    async def remove(self, child: ConnectionRow, reason: str) -> bool:
        """Tombstone a child: there is nothing of its own to revoke at the provider."""
        write = StatusWrite(
            connection_id=child.id,
            expected_generation=child.generation,
            expected=(Status.ACTIVE, Status.REAUTHORIZATION_REQUIRED),
            status=Status.REVOKED,
            reason=reason,
            updated_at_seconds=self._core.clock.now_seconds(),
            wipe=True,
        )
        removed = await self._core.store.write_status(write)
        if removed:
            await self._core.emit("disconnected", child, reason)
        return removed

    async def _parent(self, connection_id: str, owner: str, tenant: str) -> tuple[ConnectionRow, Provider]:
        check_owner(owner, tenant)
        await self._core.ready()
        row = await self._core.row(connection_id, tenant, owner)
        if row.account.parent_id:
            raise ConfigurationError("a sub-account has no sub-accounts of its own", argument="connection_id")
        if row.status is not Status.ACTIVE:
            raise reauthorization_required(row.account.provider, row.reason)
        return row, self._core.provider_of(row)

    async def _children(self, parent: ConnectionRow) -> Sequence[ConnectionRow]:
        return await self._core.store.list_children(parent.id, parent.account.tenant, parent.owner)

    async def _offered(self, parent: ConnectionRow) -> Sequence[SubAccountGrant]:
        provider = self._core.provider_of(parent)
        record = await self._core.open(parent)
        server = await self._core.conversations.run(provider.resolve())
        try:
            return await self._core.conversations.run(provider.list_sub_accounts(server, record.token))
        except ReauthorizationRequiredError as verdict:
            await mark_dead(self._core, parent, verdict.reason)
            raise

    async def _replace(
        self, parent: ConnectionRow, provider: Provider, grants: Sequence[SubAccountGrant]
    ) -> Sequence[ConnectionRow]:
        keep = {grant.account.id for grant in grants}
        for child in await self._children(parent):
            if child.account.subject not in keep:
                await self.remove(child, "deselected")
        return [await self._keep(parent, provider, grant) for grant in grants]

    async def _keep(self, parent: ConnectionRow, provider: Provider, grant: SubAccountGrant) -> ConnectionRow:
        """Store one child with its own token, or without one where it acts with its parent's."""
        current = await self._core.store.get(parent.id, parent.account.tenant, parent.owner)
        if current is None or not current.status.live:
            raise not_found(parent.id)
        identity = Identity(grant.account.id, name=grant.account.name)
        if grant.access_token is None:
            row, is_new = await self._grants.attach(provider, parent, identity, grant.account.kind)
        else:
            record = await self._core.open(parent)
            token = TokenSet(grant.access_token, self._core.now(), scopes=record.token.scopes)
            row, is_new = await self._grants.connect(
                provider, parent.account.tenant, parent.owner, token, identity, record.requested,
                parent_id=parent.id, kind=grant.account.kind,
            )  # fmt: skip
        if is_new:
            await self._core.emit("sub_account_selected", row)
        current = await self._core.store.get(parent.id, parent.account.tenant, parent.owner)
        if current is None or not current.status.live:  # disconnected meanwhile, which did not see this child
            await self.remove(row, "parent_disconnected")
            raise not_found(parent.id)
        return row
