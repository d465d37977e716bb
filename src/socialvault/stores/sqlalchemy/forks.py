"""What becomes of an engine that a store made, when the process forks.

A server's connections are shared with the child then, and two processes on one of them mix up each other's answers. So
the child forgets them without closing, which would end the parent's.

An SQLite file's locks belong to a process. A child inherits SQLite's own account of the locks but not the locks, so
each connection to a file is closed before the fork.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import event

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy import Engine

#: How long a fork waits for the calls of other threads.
_PATIENCE_SECONDS = 30.0
_STOP_SECONDS = 5.0


class Turnstile:
    """Lets any number of calls through, except while somebody forks."""

    def __init__(self) -> None:
        self._inside = 0
        self._changed = threading.Condition(threading.RLock())

    def __enter__(self) -> None:
        with self._changed:
            self._inside += 1

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def shut(self) -> None:
        """Wait until nobody is inside, and let nobody in until `open`, which the same thread calls."""
        self._changed.acquire()
        self._changed.wait_for(lambda: not self._inside, _PATIENCE_SECONDS)

    def open(self) -> None:
        """Go on."""
        self._changed.release()


class OwnEngine(Protocol):
    """An engine that belongs to a store."""

    def before_fork(self) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def after_fork_in_child(self) -> None: ...


class ServerEngine:
    """An engine on a database server, of either colour."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _register(self)

    def before_fork(self) -> None:
        """Connections stay open: other threads use them."""

    def after_fork_in_parent(self) -> None:
        """They are still the parent's."""

    def after_fork_in_child(self) -> None:
        """Forget them, and keep them from being closed as garbage."""
        _inherited.append(self._engine.pool)
        self._engine.dispose(close=False)


class FileEngine:
    """A blocking engine on an SQLite file, whose every call goes through the turnstile."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.turnstile = Turnstile()
        _register(self)

    def before_fork(self) -> None:
        """Close every connection."""
        self.turnstile.shut()
        self._engine.dispose()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self.turnstile.open()

    def after_fork_in_child(self) -> None:
        """Go on."""
        self.turnstile.open()


class AsyncFileEngine:
    """An engine on an SQLite file for one event loop. Calls that are under way when the loop's thread forks fail."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        event.listen(engine, "connect", self._remember)
        _register(self)

    def _remember(self, connection: Any, _record: object) -> None:
        self._connections.add(connection.driver_connection)

    def before_fork(self) -> None:
        """Close every connection, each in its own thread, which ends with it."""
        for connection in list(self._connections):
            connection.stop()
        for connection in list(self._connections):
            connection._thread.join(_STOP_SECONDS)  # nothing public tells when it is done
        self._engine.dispose(close=False)

    def after_fork_in_parent(self) -> None:
        """The engine opens others."""

    def after_fork_in_child(self) -> None:
        """The engine opens others."""


# Which engines a fork concerns, and that forks go one at a time, are facts of the process.
_engines: weakref.WeakValueDictionary[int, OwnEngine] = weakref.WeakValueDictionary()
_forking = threading.RLock()
_frozen: list[OwnEngine] = []
_inherited: list[object] = []


def _register(engine: OwnEngine) -> None:
    _engines[id(engine)] = engine


def _before_fork() -> None:
    _forking.acquire()
    _frozen.extend(engine for reference in _engines.valuerefs() if (engine := reference()) is not None)
    for engine in _frozen:
        engine.before_fork()


def _after_fork_in_parent() -> None:
    while _frozen:
        _frozen.pop().after_fork_in_parent()
    _forking.release()


def _after_fork_in_child() -> None:
    while _frozen:
        _frozen.pop().after_fork_in_child()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
