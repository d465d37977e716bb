"""The default transport, made at its first use: an application that only reads tokens loads no HTTP client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from socialvault.ports.clock import Clock
    from socialvault.ports.transport import AsyncTransport, Transport
    from socialvault.protocol.messages import HttpRequest, HttpResponse
    from socialvault.transports.httpx import AsyncHttpxTransport, HttpxTransport


class LazyTransport:
    """An `HttpxTransport` in waiting.

    Args:
        given: the application's own transport, used instead and left open.
    """

    def __init__(self, clock: Clock, given: Transport | None) -> None:
        self._clock = clock
        self._given = given
        self._made: HttpxTransport | None = None

    def _default(self) -> HttpxTransport:
        if self._made is None:  # two threads at once make two, and one is dropped before it has opened anything
            from socialvault.transports.httpx import HttpxTransport

            self._made = HttpxTransport(clock=self._clock)
        return self._made

    def shared(self) -> HttpxTransport:
        """Return the transport whose connections API clients share.

        Raises:
            ConfigurationError: the application's own transport is of another kind.
        """
        if self._given is None:
            return self._default()
        from socialvault.transports.httpx import HttpxTransport

        if not isinstance(self._given, HttpxTransport):
            raise ConfigurationError("client() needs the vault's own transport, or an HttpxTransport")
        return self._given

    def send(self, request: HttpRequest) -> HttpResponse:
        """See `Transport.send`."""
        return (self._given or self._default()).send(request)

    def close(self) -> None:
        """Close what was made here."""
        if self._made is not None:
            self._made.close()


class AsyncLazyTransport:
    """An `AsyncHttpxTransport` in waiting.

    Args:
        given: the application's own transport, used instead and left open.
    """

    def __init__(self, clock: Clock, given: AsyncTransport | None) -> None:
        self._clock = clock
        self._given = given
        self._made: AsyncHttpxTransport | None = None

    def _default(self) -> AsyncHttpxTransport:
        if self._made is None:  # two threads at once make two, and one is dropped before it has opened anything
            from socialvault.transports.httpx import AsyncHttpxTransport

            self._made = AsyncHttpxTransport(clock=self._clock)
        return self._made

    def shared(self) -> AsyncHttpxTransport:
        """Return the transport whose connections API clients share.

        Raises:
            ConfigurationError: the application's own transport is of another kind.
        """
        if self._given is None:
            return self._default()
        from socialvault.transports.httpx import AsyncHttpxTransport

        if not isinstance(self._given, AsyncHttpxTransport):
            raise ConfigurationError("client() needs the vault's own transport, or an AsyncHttpxTransport")
        return self._given

    async def send(self, request: HttpRequest) -> HttpResponse:
        """See `AsyncTransport.send`."""
        return await (self._given or self._default()).send(request)

    async def aclose(self) -> None:
        """Close what was made here."""
        if self._made is not None:
            await self._made.aclose()
