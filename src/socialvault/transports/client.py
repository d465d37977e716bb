"""httpx clients for an application's API calls, which share a transport's connections and TLS context.

They cost microseconds, so there is one per block of calls; closing one closes nothing that others use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from socialvault.exceptions import ConfigurationError
from socialvault.transports.addresses import AddressPolicy, read_target
from socialvault.transports.exchange import without_frames

if TYPE_CHECKING:
    import httpcore

    from socialvault.transports.bearer import AsyncBearerAuth, BearerAuth
    from socialvault.transports.httpx import AsyncHttpxTransport, HttpxTransport
    from socialvault.transports.settings import TransportSettings


def shared_client(transport: HttpxTransport, auth: BearerAuth, *, untrusted_host: bool = False) -> httpx.Client:
    """Return a client that signs API calls by `auth` and sends them over `transport`'s connections.

    It follows no redirect unless told to, and takes nothing from the environment.

    Args:
        transport: outlives the client.
        auth: gives each request its token.
        untrusted_host: the API's host came from a user or from a document; the address policy applies to each request.
    """
    return httpx.Client(
        transport=_SharedTransport(transport, untrusted_host=untrusted_host),
        auth=auth,
        timeout=_timeout(transport.settings),
        trust_env=False,
    )


def shared_async_client(
    transport: AsyncHttpxTransport, auth: AsyncBearerAuth, *, untrusted_host: bool = False
) -> httpx.AsyncClient:
    """As `shared_client`, for event loops."""
    return httpx.AsyncClient(
        transport=_AsyncSharedTransport(transport, untrusted_host=untrusted_host),
        auth=auth,
        timeout=_timeout(transport.settings),
        trust_env=False,
    )


class _SharedTransport(httpx.BaseTransport):
    """Borrows a pool per request, as after a fork it is another one. Closing it does nothing."""

    def __init__(self, transport: HttpxTransport, *, untrusted_host: bool) -> None:
        self._transport = transport
        self._untrusted_host = untrusted_host

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self._untrusted_host:
            _check(request, self._transport.policy)
        outcome = self._outcome(request)
        try:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome
        finally:
            del outcome

    def _outcome(self, request: httpx.Request) -> httpx.Response | BaseException:
        try:
            pool = self._transport.api_pool(untrusted_host=self._untrusted_host)
            return _Borrowed(pool).handle_request(request)
        except BaseException as error:  # noqa: BLE001  # the caller raises what may be shown of it
            return _without_request(error)


class _AsyncSharedTransport(httpx.AsyncBaseTransport):
    """As `_SharedTransport`; each running loop has its own pool."""

    def __init__(self, transport: AsyncHttpxTransport, *, untrusted_host: bool) -> None:
        self._transport = transport
        self._untrusted_host = untrusted_host

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._untrusted_host:
            _check(request, self._transport.policy)
        outcome = await self._outcome(request)
        try:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome
        finally:
            del outcome

    async def _outcome(self, request: httpx.Request) -> httpx.Response | BaseException:
        try:
            pool = self._transport.api_pool(untrusted_host=self._untrusted_host)
            return await _AsyncBorrowed(pool).handle_async_request(request)
        except BaseException as error:  # noqa: BLE001  # the caller raises what may be shown of it
            return _without_request(error)


class _Borrowed(httpx.HTTPTransport):
    """httpx's own way from its messages to httpcore's and back, over a pool that is not its own."""

    def __init__(self, pool: httpcore.ConnectionPool) -> None:
        self._pool = pool


class _AsyncBorrowed(httpx.AsyncHTTPTransport):
    def __init__(self, pool: httpcore.AsyncConnectionPool) -> None:
        self._pool = pool


def _timeout(settings: TransportSettings) -> httpx.Timeout:
    return httpx.Timeout(settings.total_deadline.total_seconds(), connect=settings.connect_timeout.total_seconds())


def _check(request: httpx.Request, policy: AddressPolicy) -> None:
    target = read_target(str(request.url))
    if target is None:
        raise ConfigurationError(f"{request.url.host}: not an http or https URL without user information")
    policy.check(target)


def _without_request(error: BaseException) -> BaseException:
    """Return what may be raised: an error while sending has the token in its frames, and may quote the answer."""
    if isinstance(error, httpx.RequestError):
        words = type(error).__name__ if isinstance(error, httpx.ProtocolError) else str(error)
        return type(error)(words)
    return without_frames(error)
