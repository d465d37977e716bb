"""A loopback port that passes everything on to another one, until it is cut off or made to hang."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 65536


class Relay:
    """Passes connections on to a port of this machine; works for TLS too, since it does not look at what it passes."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._hanging = False
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.connections = 0
        self._listen()

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Refuse connections, and end those there are."""
        self.close()
        try:
            yield
        finally:
            self._listen()

    @contextlib.contextmanager
    def hanging(self) -> Iterator[None]:
        """Accept connections and never answer; end those there are."""
        self._hanging = True
        self._hang_up()
        try:
            yield
        finally:
            self._hanging = False
            self._hang_up()

    def close(self) -> None:
        """Stop listening, and end every connection."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in `accept`
            listener.close()
        self._hang_up()
        for thread in self._threads:
            thread.join(5)
        self._threads.clear()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(64)
        self.port, self._listener = listener.getsockname()[1], listener
        self._start(self._accept, listener)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]  # any function
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(here)
            if not self._hanging:
                try:
                    there = socket.create_connection(("127.0.0.1", self._target_port), 5)
                except OSError:
                    _end(here)
                    continue
                self._open.add(there)
                self._start(self._pump, here, there)
                self._start(self._pump, there, here)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                sink.sendall(data)
        for end in (source, sink):
            _end(end)
        self._open -= {source, sink}

    def _hang_up(self) -> None:
        for end in list(self._open):
            _end(end)
        self._open.clear()


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
