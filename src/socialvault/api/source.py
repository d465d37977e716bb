"""Token sources: one connection's tokens, without the vault around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.runtimes.threads import run

if TYPE_CHECKING:
    from socialvault.model.token import AccessToken
    from socialvault.vault.tokens import Tokens


class ConnectionSource:
    """The `TokenSource` that ``Vault.source`` returns.

    Attributes:
        provider: the slug of the provider whose API the tokens are for; "" until there was one.
    """

    __slots__ = ("_connection_id", "_owner", "_tenant", "_tokens", "provider")

    def __init__(self, tokens: Tokens, connection_id: str, owner: str, tenant: str) -> None:
        self._tokens = tokens
        self._connection_id = connection_id
        self._owner = owner
        self._tenant = tenant
        self.provider = ""

    def token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return a valid token; never the `rejected` one, which the API answered with 401.

        Raises:
            SocialVaultError: as ``Vault.token``.
        """
        if rejected is not None:
            return run(self._tokens.replace_rejected(rejected, self._owner, self._tenant))
        token = run(self._tokens.token(self._connection_id, self._owner, self._tenant))
        self.provider = token.provider
        return token


class AsyncConnectionSource:
    """The `AsyncTokenSource` that ``AsyncVault.source`` returns. Attributes: as `ConnectionSource`."""

    __slots__ = ("_connection_id", "_owner", "_tenant", "_tokens", "provider")

    def __init__(self, tokens: Tokens, connection_id: str, owner: str, tenant: str) -> None:
        self._tokens = tokens
        self._connection_id = connection_id
        self._owner = owner
        self._tenant = tenant
        self.provider = ""

    async def token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """As `ConnectionSource.token`."""
        if rejected is not None:
            return await self._tokens.replace_rejected(rejected, self._owner, self._tenant)
        token = await self._tokens.token(self._connection_id, self._owner, self._tenant)
        self.provider = token.provider
        return token
