"""Signs an application's API calls, and never a call to anywhere else."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING

import httpx

from socialvault.exceptions import ConfigurationError
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping

    from socialvault.model.token import AccessToken
    from socialvault.ports.token_source import AsyncTokenSource, TokenSource

# Wider than RFC 6750's b64token, as tokens with "|" exist; but nothing that could end the header.
_TOKEN = re.compile(r"[!-~]+")


def _none(_token: Secret[str]) -> Mapping[str, str]:
    return {}


class BearerAuth(httpx.Auth):
    """Signs each request of an ``httpx.Client`` with a valid token (RFC 6750, section 2.1).

    A request that `signs` does not accept raises before anything is sent. httpx itself takes the header off a request
    that it redirects to another origin. After a 401 the source is asked once for another token and the request is sent
    once more, if its body can be.

    Args:
        source: gives tokens of one connection.
        signs: whether a token may go to a URL.
        params: the query parameters that a call with this token must carry besides (``Provider.api_params``).
    """

    def __init__(
        self,
        source: TokenSource,
        signs: Callable[[str], bool],
        params: Callable[[Secret[str]], Mapping[str, str]] = _none,
    ) -> None:
        self._source = source
        self._signs = signs
        self._params = params

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign `request`; httpx calls this.

        Raises:
            ConfigurationError: no token may go there, or the token fits in no header.
        """
        token = self._source.token()  # first: a source may know whose API it is for only with its token
        _check(request, self._signs)
        _sign(request, token, self._params)
        response = yield request
        if _asks_for_another_token(request, response, self._signs):
            fresh = self._source.token(rejected=token)
            if _differ(token, fresh):
                _sign(request, fresh, self._params)
                yield request

    def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Refuse to block an event loop.

        Raises:
            TypeError: always.
        """
        raise TypeError("BearerAuth is for httpx.Client; give httpx.AsyncClient an AsyncBearerAuth")


class AsyncBearerAuth(httpx.Auth):
    """As `BearerAuth`, for an ``httpx.AsyncClient``."""

    def __init__(
        self,
        source: AsyncTokenSource,
        signs: Callable[[str], bool],
        params: Callable[[Secret[str]], Mapping[str, str]] = _none,
    ) -> None:
        self._source = source
        self._signs = signs
        self._params = params

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As `BearerAuth.sync_auth_flow`."""
        token = await self._source.token()
        _check(request, self._signs)
        _sign(request, token, self._params)
        response = yield request
        if _asks_for_another_token(request, response, self._signs):
            fresh = await self._source.token(rejected=token)
            if _differ(token, fresh):
                _sign(request, fresh, self._params)
                yield request

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Refuse: without an event loop there is no token.

        Raises:
            TypeError: always.
        """
        raise TypeError("AsyncBearerAuth is for httpx.AsyncClient; give httpx.Client a BearerAuth")


def _check(request: httpx.Request, signs: Callable[[str], bool]) -> None:
    if not signs(str(request.url)):
        raise ConfigurationError(f"no token is sent to {request.url.host!r}: it is not one of the provider's api_hosts")


def _sign(request: httpx.Request, token: AccessToken, params: Callable[[Secret[str]], Mapping[str, str]]) -> None:
    if not _TOKEN.fullmatch(token.reveal()):
        raise ConfigurationError("the token holds characters that no header can carry")
    request.headers["Authorization"] = f"Bearer {token.reveal()}"
    if needed := params(Secret(token.reveal())):
        request.url = request.url.copy_merge_params(needed)


def _asks_for_another_token(request: httpx.Request, response: httpx.Response, signs: Callable[[str], bool]) -> bool:
    """Whether the API itself, and not a host it redirected to, says 401 to a request that can be sent again."""
    replayable = isinstance(request.stream, httpx.ByteStream)
    return response.status_code == 401 and replayable and signs(str(response.request.url))


def _differ(one: AccessToken, other: AccessToken) -> bool:
    return not hmac.compare_digest(one.reveal().encode(), other.reveal().encode())
