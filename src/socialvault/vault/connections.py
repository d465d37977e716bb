"""An owner's connections: list, look up, bring in tokens obtained elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

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
        scopes: Iterable[str],
        subject: str | None,
    ) -> Connection:
        """Bring in tokens; see ``AsyncVault.import_tokens``."""
        check_owner(owner, tenant)
        provider = self._core.providers.get(slug)
        if expires_at is not None and expires_at.tzinfo is None:
            raise ConfigurationError("expires_at must be an aware datetime")
        await self._core.ready()
        token = TokenSet(
            access_token=_checked(access_token, "access_token"),
            obtained_at=self._core.now(),
            refresh_token=_checked(refresh_token, "refresh_token") if refresh_token is not None else None,
            scopes=frozenset(scopes),
            expires_at=expires_at,
        )
        identity = Identity(subject) if subject else await self._identity(provider, token)
        requested = tuple(sorted(token.scopes or ()))
        row, _ = await self._core.guarded(
            lambda: self._grants.connect(provider, tenant, owner, token, identity, requested)
        )
        await self._core.emit("imported", row)
        return await self._core.describe(row)

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
