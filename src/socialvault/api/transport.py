"""The default transport, made at its first use: an application that only reads tokens loads no HTTP client."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socialvault.ports.clock import Clock
    from socialvault.protocol.messages import HttpRequest, HttpResponse
    from socialvault.transports.httpx import AsyncHttpxTransport, HttpxTransport


class LazyTransport:
    """An `HttpxTransport` in waiting."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made: HttpxTransport | None = None

    def get(self) -> HttpxTransport:
        """Return the transport, made at the first call."""
        with self._lock:
            if self._made is None:
                from socialvault.transports.httpx import HttpxTransport

                self._made = HttpxTransport(clock=self._clock)
            return self._made

    def send(self, request: HttpRequest) -> HttpResponse:
        """See `Transport.send`."""
        return self.get().send(request)

    def close(self) -> None:
        """See `Transport.close`."""
        if self._made is not None:
            self._made.close()


class AsyncLazyTransport:
    """An `AsyncHttpxTransport` in waiting."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._made: AsyncHttpxTransport | None = None

    def get(self) -> AsyncHttpxTransport:
        """Return the transport, made at the first call."""
        with self._lock:
            if self._made is None:
                from socialvault.transports.httpx import AsyncHttpxTransport

                self._made = AsyncHttpxTransport(clock=self._clock)
            return self._made

    async def send(self, request: HttpRequest) -> HttpResponse:
        """See `AsyncTransport.send`."""
        return await self.get().send(request)

    async def aclose(self) -> None:
        """See `AsyncTransport.aclose`."""
        if self._made is not None:
            await self._made.aclose()
