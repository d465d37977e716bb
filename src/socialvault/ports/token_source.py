"""The token source port: whoever has it can sign requests for one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from socialvault.model.token import AccessToken


class TokenSource(Protocol):
    """Gives a valid token of one connection."""

    def token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return a valid token; never the `rejected` one, which the API answered with 401."""
        ...


class AsyncTokenSource(Protocol):
    """As `TokenSource`, for event loops."""

    async def token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """As `TokenSource.token`."""
        ...
