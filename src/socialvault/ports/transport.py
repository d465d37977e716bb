"""The transport port: one bounded HTTP exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from socialvault.protocol.messages import HttpRequest, HttpResponse


class Transport(Protocol):
    """Sends one request and reads its answer whole. Follows no redirect, retries nothing."""

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send `request` within the transport's total deadline.

        Raises:
            TransportError: no complete answer came; says whether anything was sent.
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class AsyncTransport(Protocol):
    """As `Transport`, for event loops."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """As `Transport.send`."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
