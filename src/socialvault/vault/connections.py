"""An owner's connections: list, look up, bring in tokens obtained elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from socialvault.exceptions import ConfigurationError
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet
from socialvault.vault.settings import check_owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from socialvault.model.connection import Connection
    from socialvault.model.rows import ConnectionRow
    from socialvault.providers.base import Provider
    from socialvault.vault.core import Core
    from socialvault.vault.grants import Grants

#: What a vault has of an account: nothing, a live connection of this owner or of another one, or a disconnected one.
Standing = Literal["unknown", "connected", "of_another_owner", "ended"]

_TOKEN = re.compile(r"[!-~]+")


class Connections:
    """Reads connections."""

    def __init__(self, core: Core, grants: Grants) -> None:
        self._core = core
        self._grants = grants

    async def list(self, owner: str, tenant: str) -> Sequence[Connection]:
        """List them; see ``AsyncVault.connections``."""
        check_owner(owner, tenant)
        await self._core.ready()
        found: dict[str, Connection] = {}
        for row in await self._core.store.list_for_owner(tenant, owner):
            connection = await self._core.describe(row)
            parent = found.get(row.account.parent_id)
            found[row.id] = connection if row.envelope or parent is None else _following(connection, parent)
        return tuple(found.values())

    async def get(self, connection_id: str, owner: str, tenant: str) -> Connection:
        """Look one up; see ``AsyncVault.connection``."""
        check_owner(owner, tenant)
        await self._core.ready()
        row = await self._core.row(connection_id, tenant, owner)
        connection = await self._core.describe(row)
        if row.envelope or not row.account.parent_id:
            return connection
        parent: ConnectionRow = await self._core.row(row.account.parent_id, tenant, owner)
        return _following(connection, await self._core.describe(parent))

    @staticmethod
    def wrapped(value: str | Secret[str] | None) -> Secret[str] | None:
        """Wrap a token given by a caller, whatever it is; `import_tokens` judges it."""
        return Secret(value) if isinstance(value, str) else value

    async def import_tokens(
        self,
        slug: str,
        *,
        owner: str,
        tenant: str,
        access_token: Secret[str] | None,
        refresh_token: Secret[str] | None,
        expires_at: datetime | None,
        refresh_expires_at: datetime | None,
        scopes: Iterable[str],
        subject: str | None,
        replace: bool,
    ) -> Connection:
        """Bring in tokens; see ``AsyncVault.import_tokens``."""
        check_owner(owner, tenant)
        self._core.providers.get(slug)
        token = self.granted(access_token, refresh_token, expires_at, refresh_expires_at, scopes)
        identity = Identity(subject) if subject else await self.identify(slug, token)
        return (await self.bring_in(slug, owner, tenant, token, identity, replace=replace))[0]

    async def bring_in(
        self, slug: str, owner: str, tenant: str, token: TokenSet, identity: Identity, *, replace: bool
    ) -> tuple[Connection, bool]:
        """Store tokens of an account that is known.

        Args:
            replace: whether they take the place of what the owner's own connection holds, if there is one.

        Returns:
            The connection, and whether it is new.

        Raises:
            AlreadyConnectedError: another owner has this account; nothing was written.
        """
        check_owner(owner, tenant)
        provider = self._core.providers.get(slug)
        await self._core.ready()
        requested = tuple(sorted(token.scopes or ()))
        # Not guarded: whoever is cut off here still has the tokens.
        row, is_new = await self._grants.connect(
            provider, tenant, owner, token, identity, requested, replace_own=replace
        )
        if is_new or replace:
            await self._core.emit("imported", row)
        return await self._core.describe(row), is_new

    def granted(
        self, access_token: Secret[str] | None, refresh_token: Secret[str] | None, expires_at: datetime | None,
        refresh_expires_at: datetime | None, scopes: Iterable[str],
    ) -> TokenSet:  # fmt: skip
        """Put what was granted elsewhere together.

        Raises:
            ConfigurationError: a value can't be a token, or a time is not aware.
        """
        for name, at in (("expires_at", expires_at), ("refresh_expires_at", refresh_expires_at)):
            if at is not None and at.tzinfo is None:
                raise ConfigurationError(f"{name} must be an aware datetime")
        return TokenSet(
            access_token=_checked(access_token, "access_token"),
            obtained_at=self._core.now(),
            refresh_token=_checked(refresh_token, "refresh_token") if refresh_token is not None else None,
            scopes=frozenset(scopes),
            expires_at=expires_at,
            refresh_expires_at=refresh_expires_at,
        )

    async def standing(self, slug: str, owner: str, tenant: str, subject: str) -> Standing:
        """Say what this vault has of an account, without opening or writing anything."""
        check_owner(owner, tenant)
        provider = self._core.providers.get(slug)
        account = self._grants.account(provider, tenant, owner, subject)
        rows = [
            row
            for row in await self._core.store.list_for_account(
                account.provider, account.client_id, account.issuer, subject
            )
            if row.account == account
        ]
        live = next((row for row in rows if row.status.live), None)
        if live is not None:
            return "connected" if live.owner == owner else "of_another_owner"
        return "ended" if any(row.owner == owner for row in rows) else "unknown"

    async def identify(self, slug: str, token: TokenSet) -> Identity:
        """Ask the provider whose tokens these are.

        Raises:
            ProviderError, TransportError: it did not say.
        """
        provider = self._core.providers.get(slug)
        await self._core.ready()
        return await self._identity(provider, token)

    async def _identity(self, provider: Provider, token: TokenSet) -> Identity:
        server = await self._core.conversations.run(provider.resolve())
        return await self._core.conversations.run(provider.fetch_identity(server, token, None))


def _checked(secret: Secret[str] | None, what: str) -> Secret[str]:
    """Refuse what can be no token.

    Raises:
        ConfigurationError: it can't be sent in a header.
    """
    if isinstance(secret, Secret) and _TOKEN.fullmatch(secret.reveal()):
        return secret
    raise ConfigurationError(f"{what} must be a non-empty str of visible ASCII characters")


def _following(child: Connection, parent: Connection) -> Connection:
    """A sub-account without its own token stands where its parent stands."""
    return replace(
        child,
        status=parent.status,
        reason=parent.reason,
        scopes=parent.scopes,
        expires_at=parent.expires_at,
        dies_at=parent.dies_at,
        renewable=parent.renewable,
    )
