"""The default transport, made at its first use: an application that only reads tokens loads no HTTP client."""

from __future__ import annotations

from importlib import import_module
from types import NoneType
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
        self._made: dict[str, HttpxTransport] = {}

    def _default(self) -> HttpxTransport:
        if not self._made:
            from socialvault.transports.httpx import HttpxTransport

            # of two threads at once each makes one, and both use the first, so that the other never opens anything
            self._made.setdefault("default", HttpxTransport(clock=self._clock))
        return self._made["default"]

    def prepare(self) -> None:
        """Load now what would be loaded while the first request is sent."""
        from socialvault.transports.httpx import HttpxTransport, default_context

        if not isinstance(self._given, (HttpxTransport, NoneType)):
            return  # the application's own, and its own business
        for module in ("encodings.idna", "httpcore._sync.http11"):
            import_module(module)
        default_context()
        self.shared()

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
        for made in self._made.values():
            made.close()


class AsyncLazyTransport:
    """An `AsyncHttpxTransport` in waiting.

    Args:
        given: the application's own transport, used instead and left open.
    """

    def __init__(self, clock: Clock, given: AsyncTransport | None) -> None:
        self._clock = clock
        self._given = given
        self._made: dict[str, AsyncHttpxTransport] = {}

    def _default(self) -> AsyncHttpxTransport:
        if not self._made:
            from socialvault.transports.httpx import AsyncHttpxTransport

            # of two threads at once each makes one, and both use the first, so that the other never opens anything
            self._made.setdefault("default", AsyncHttpxTransport(clock=self._clock))
        return self._made["default"]

    def prepare(self) -> None:
        """Load now what would be loaded while the first request is sent."""
        from socialvault.transports.httpx import AsyncHttpxTransport, default_context

        if not isinstance(self._given, (AsyncHttpxTransport, NoneType)):
            return  # the application's own, and its own business
        for module in ("encodings.idna", "httpcore._async.http11"):
            import_module(module)
        default_context()
        self.shared()

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
        for made in self._made.values():
            await made.aclose()
