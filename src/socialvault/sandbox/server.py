"""The real server: uvicorn on a thread of its own, on a loopback port that the system picks."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

_STOP_SECONDS = 5.0


class _Protocol(H11Protocol):
    """HTTP/1.1 that hands each request its transport, so that a fault can cut the connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connected = cast("asyncio.Transport", transport)
        self.app_state = {**self.app_state, "transport": connected}
        self.access_log = False  # it would show codes and states; the sandbox has a log of its own
        super().connection_made(connected)


class _Uvicorn(uvicorn.Server):
    """Stops at once, and lets no open connection hold it back."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    async def main_loop(self) -> None:
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=_STOP_SECONDS / 2)

    def stop(self) -> None:
        """Stop, from another thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)


class LocalServer:
    """Serves an application until it is stopped.

    Args:
        host: a loopback address. port: 0 for any free one.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._socket = _listening(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._server = _Uvicorn(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
            )
        )
        self._thread = threading.Thread(target=self._run, name="socialvault-sandbox", daemon=True)
        self._thread.start()
        self._server.ready.wait(_STOP_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        """Stop, and wait until every connection is closed."""
        self._server.stop()
        self._thread.join(_STOP_SECONDS)
        self._socket.close()


def _listening(host: str, port: int) -> socket.socket:
    # asyncio switches Nagle's algorithm off only where the socket names its protocol; with it each answer takes 40 ms
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener
