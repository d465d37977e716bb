"""`FileAnchor`: generations in a small SQLite file of their own, which no backup of the database may hold."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import threading
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BUSY_SECONDS = 5.0
_TABLE = "CREATE TABLE IF NOT EXISTS anchors (connection_id TEXT NOT NULL PRIMARY KEY, generation INTEGER NOT NULL)"
_HIGHEST = "SELECT generation FROM anchors WHERE connection_id = ?"
_RAISE = """
    INSERT INTO anchors (connection_id, generation) VALUES (?, ?)
    ON CONFLICT (connection_id) DO UPDATE SET generation = excluded.generation WHERE excluded.generation > generation
"""
_RESET = "DELETE FROM anchors WHERE connection_id = ?"


class FileAnchor:
    """Keeps generations in one file of this machine, for any number of its threads and processes.

    The file holds connection ids and numbers, and no secret. Keep it out of the database's backups: an anchor that is
    put back together with the rows says nothing.

    Args:
        path: of the file, created with mode 0600 when it is missing; its folder must be there.

    Raises:
        ConfigurationError: it is a link or no file, or others than its owner may write it.
        StoreUnavailableError: it can't be reached.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).absolute()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        _anchors.add(self)
        with self._execute() as execute:
            execute(_TABLE)

    def highest(self, connection_id: str) -> int:
        """As `Anchor.highest`."""
        with self._execute() as execute:
            row = execute(_HIGHEST, (connection_id,)).fetchone()
        return 0 if row is None else int(row[0])

    def raise_to(self, connection_id: str, generation: int) -> None:
        """As `Anchor.raise_to`."""
        with self._execute() as execute:
            execute(_RAISE, (connection_id, generation))

    def reset(self, connection_id: str) -> None:
        """As `Anchor.reset`."""
        with self._execute() as execute:
            execute(_RESET, (connection_id,))

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            self._disconnect()

    @contextmanager
    def _execute(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._connect()
                yield self._connection.execute
            except (sqlite3.Error, UnicodeError, OverflowError) as error:
                name = getattr(error, "sqlite_errorname", type(error).__name__)
                raise StoreUnavailableError(f"the anchor is not available: {name}") from None

    def _connect(self) -> sqlite3.Connection:
        _admit(self._path)
        connection = sqlite3.connect(
            f"{self._path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF"):
                connection.execute(f"PRAGMA {pragma}").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def before_fork(self) -> None:
        """Close the connection, which a child must not inherit, and let nobody open one until `after_fork`."""
        self._lock.acquire()
        self._disconnect()

    def after_fork(self) -> None:
        """Go on, in the parent as in the child."""
        self._lock.release()


class AsyncFileAnchor:
    """As `FileAnchor`, for event loops: each call runs in a thread."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._anchor = FileAnchor(path)

    async def highest(self, connection_id: str) -> int:
        """As `AsyncAnchor.highest`."""
        return await asyncio.to_thread(self._anchor.highest, connection_id)

    async def raise_to(self, connection_id: str, generation: int) -> None:
        """As `AsyncAnchor.raise_to`."""
        await asyncio.to_thread(self._anchor.raise_to, connection_id, generation)

    async def reset(self, connection_id: str) -> None:
        """As `AsyncAnchor.reset`."""
        await asyncio.to_thread(self._anchor.reset, connection_id)

    async def aclose(self) -> None:
        """As `FileAnchor.close`."""
        await asyncio.to_thread(self._anchor.close)


def _admit(path: Path) -> None:
    """Create the file when it is missing, for its owner alone; refuse one that others could change."""
    try:
        if not path.is_symlink() and not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600))
        found = path.lstat()
    except OSError as error:
        raise StoreUnavailableError(f"the anchor's file can't be reached: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError("the anchor's path is a symbolic link or no file: give the path of a regular file")
    if os.name == "posix" and found.st_mode & (stat.S_IWGRP | stat.S_IRWXO):
        raise ConfigurationError("the anchor's file is open to others: chmod it to 600")


# SQLite's locks belong to a process: no connection may be open across a fork. Which anchors that concerns is a fact of
# the process.
_anchors: weakref.WeakSet[FileAnchor] = weakref.WeakSet()
_frozen: list[FileAnchor] = []


def _before_fork() -> None:
    _frozen.extend(_anchors)
    for anchor in _frozen:
        anchor.before_fork()


def _after_fork() -> None:
    while _frozen:
        _frozen.pop().after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
