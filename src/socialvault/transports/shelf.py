"""Idle connections, kept for the next request to the same origin.

httpcore's own pool looks at every connection, with a system call each, whenever a request begins or ends, and hands one
connection to several requests at once: with 50 in flight that costs more than the requests. Here a connection belongs
to one request at a time. The pool is left what it does well: it knows how to make one, through a proxy or not.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpcore


class Connection(Protocol):
    """What httpcore's connections of both colours have in common."""

    def can_handle_request(self, origin: httpcore.Origin) -> bool: ...

    def has_expired(self) -> bool: ...

    def is_available(self) -> bool: ...


ConnectionT = TypeVar("ConnectionT", bound=Connection)


class Shelf(Generic[ConnectionT]):
    """Lends connections of either colour, and has at most `limit` open as long as at most so many are lent.

    It closes nothing itself, as that is I/O: whoever is told that a connection is not kept closes it.

    Args:
        create: makes a connection that connects with its first request.
        limit: how many may be open.
    """

    def __init__(self, create: Callable[[httpcore.Origin], ConnectionT], limit: int) -> None:
        self._create = create
        self._limit = limit
        self._lock = threading.Lock()
        self._idle: list[ConnectionT] = []  # the longest unused first
        self._lent: set[ConnectionT] = set()

    def take(self, origin: httpcore.Origin) -> tuple[ConnectionT, list[ConnectionT]]:
        """Lend a connection to `origin`; return it, and those that are no longer kept."""
        with self._lock:
            dropped: list[ConnectionT] = []
            while self._idle and self._idle[0].has_expired():
                dropped.append(self._idle.pop(0))
            connection = self._find(origin, dropped)
            if connection is None:
                if self._idle and len(self._idle) + len(self._lent) >= self._limit:
                    dropped.append(self._idle.pop(0))
                connection = self._create(origin)
            self._lent.add(connection)
            return connection, dropped

    def _find(self, origin: httpcore.Origin, dropped: list[ConnectionT]) -> ConnectionT | None:
        for position in reversed(range(len(self._idle))):
            if self._idle[position].can_handle_request(origin):
                connection = self._idle.pop(position)
                if not connection.has_expired():
                    return connection
                dropped.append(connection)
        return None

    def give_back(self, connection: ConnectionT) -> bool:
        """End a loan; return whether the connection is kept."""
        with self._lock:
            kept = connection in self._lent and connection.is_available()
            self._lent.discard(connection)
            if kept:
                self._idle.append(connection)
            return kept

    def clear(self) -> list[ConnectionT]:
        """Keep none; return all, those on loan included. It takes no lock: one that a fork copied may never be free."""
        everything = [*self._idle, *self._lent]
        self._idle, self._lent = [], set()
        return everything
