"""Connections to one SQLite database: who uses which, and what becomes of them when the process forks.

SQLite's locks belong to a process. A fork inherits SQLite's own account of the locks but not the locks, so a child that
opened the file beside an inherited connection would hold none and could lose commits. Hence every connection is closed
before a fork, and each side opens its own when it next needs one.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from socialvault.exceptions import ConfigurationError, StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from types import TracebackType

BUSY_TIMEOUT_SECONDS = 5.0
# For one's turn behind the other writers of this process, each of whom may wait for the database in turn.
_TURN_TIMEOUT_SECONDS = 30.0

DRIVER_ERRORS = (sqlite3.Error, UnicodeError, OverflowError)

_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOLFS,
}

Execute = Callable[..., sqlite3.Cursor]
Connect = Callable[[], sqlite3.Connection]


def refusal(error: Exception) -> StoreError:
    """Translate what the driver raised into an error that names SQLite's code and no value."""
    if not isinstance(error, sqlite3.Error):
        return StoreError("a value can't be stored: a text that is no Unicode, or a number beyond 64 bits")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF in _UNAVAILABLE:
        return StoreUnavailableError(f"the database is not available: {name}")
    return StoreError(f"the database refused: {name}")


class Handle:
    """One connection, opened on first use. Who uses it holds its lock, so that no call is in flight at close or fork.

    As a context manager it takes the lock, gives `execute`, and translates the driver's errors.
    """

    def __init__(self, connect: Connect, lock: threading.RLock) -> None:
        self.lock = lock
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        # Replaced by the connection's own method once it is open: reading a token has no time for detours.
        self.execute: Execute = self._open_and_execute

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
            self.execute = self._connection.execute
        return self._connection

    def _open_and_execute(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Cursor:
        return self._open().execute(sql, parameters)

    def __enter__(self) -> Execute:
        if not self.lock.acquire(timeout=_TURN_TIMEOUT_SECONDS):
            raise StoreUnavailableError("too many writers wait for the database")
        if self._connection is not None and self._connection.in_transaction:
            # The same thread, from a signal handler or a finaliser: it must neither join nor undo what it interrupts.
            self.lock.release()
            raise StoreError("this thread is in the middle of another transaction")
        return self.execute

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.lock.release()
        if isinstance(error, DRIVER_ERRORS):
            raise refusal(error) from None

    @contextmanager
    def transaction(self) -> Iterator[Execute]:
        """Hold the database's write lock; commit at the end, or undo everything when an error leaves the block."""
        with self as execute:
            try:
                execute("BEGIN IMMEDIATE")
                yield execute
                execute("COMMIT")
            finally:
                if self._connection is not None and self._connection.in_transaction:
                    execute("ROLLBACK")

    def change(self, sql: str, parameters: tuple[object, ...]) -> int:
        """Run one statement as its own transaction; return how many rows it changed."""
        with self as execute:
            return execute(sql, parameters).rowcount

    def change_each(self, sql: str, parameters: Iterable[tuple[object, ...]]) -> int:
        """Within a transaction, run one statement for each of `parameters`; return how many rows changed in all."""
        return self._open().executemany(sql, parameters).rowcount

    def close(self) -> None:
        """Close the connection; the next use opens another. The caller holds the lock."""
        self.execute = self._open_and_execute
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:  # its thread ended
            _left.append(connection)
            _close_left()


class Readers(threading.local):
    """The calling thread's own handle for reading."""

    def __init__(self, make: Callable[[], Handle]) -> None:
        self.handle = make()


class Database(Protocol):
    """The handles on one database.

    Attributes:
        durable: for writes that survive a power cut once they return.
        relaxed: for writes that a power cut may undo, together and in order; much faster.
        patient, hasty: for reads; the hasty ones fail at once where the others wait for a busy database.
    """

    durable: Handle
    relaxed: Handle
    patient: Readers
    hasty: Readers

    def close(self) -> None: ...

    def before_fork(self) -> None: ...

    def after_fork(self) -> None: ...


class FileDatabase:
    """One file, any number of processes."""

    def __init__(self, path: str) -> None:
        _admit(path)
        self._uri = "file:///" + quote(path.replace(os.sep, "/").lstrip("/")) + "?mode=rw"
        self._closed = False
        self._guard = threading.RLock()  # over the two collections below
        self._handles: weakref.WeakSet[Handle] = weakref.WeakSet()
        self._held: list[Handle] = []
        writing = threading.RLock()
        self.durable = self._handle(writing, BUSY_TIMEOUT_SECONDS, "synchronous=FULL")
        self.relaxed = self._handle(writing, BUSY_TIMEOUT_SECONDS, "synchronous=NORMAL")
        self.patient = Readers(lambda: self._reader(BUSY_TIMEOUT_SECONDS))
        self.hasty = Readers(lambda: self._reader(0.0))
        _databases[id(self)] = self

    def _reader(self, timeout_seconds: float) -> Handle:
        # Mapped pages are shared by all threads and spare each read a copy: a tenth of it with 10 000 rows, a fifth
        # with 100 000.
        return self._handle(threading.RLock(), timeout_seconds, "query_only=ON", "mmap_size=268435456")

    def _handle(self, lock: threading.RLock, timeout_seconds: float, *pragmas: str) -> Handle:
        handle = Handle(lambda: self._connect(timeout_seconds, pragmas), lock)
        with self._guard:
            self._handles.add(handle)
        return handle

    def _connect(self, timeout_seconds: float, pragmas: tuple[str, ...]) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        return _connect(self._uri, timeout_seconds, pragmas)

    def close(self) -> None:
        """Close every connection; the last one writes the log back into the file and removes it."""
        with self._guard:
            self._closed = True
            handles = list(self._handles)  # from here on no thread that ends leaves one of them behind
        with _closing:  # by nobody who holds the guard, which a fork takes second
            _drain()
        with self._guard:
            for handle in handles:
                with handle.lock:
                    handle.close()

    def before_fork(self) -> None:
        """Close every connection and let nobody open one until `after_fork`."""
        self._guard.acquire()
        self._held = list(self._handles)
        for handle in self._held:
            handle.lock.acquire()
            handle.close()

    def after_fork(self) -> None:
        """Go on, in the parent as in the child."""
        for handle in self._held:
            handle.lock.release()
        self._held = []
        self._guard.release()


class MemoryDatabase:
    """One connection for all threads. A forked child has its own copy from then on."""

    def __init__(self) -> None:
        handle = Handle(self._connect, threading.RLock())
        self._closed = False
        self.durable = self.relaxed = handle
        self.patient = self.hasty = Readers(lambda: handle)
        _databases[id(self)] = self

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        return _connect("file::memory:", BUSY_TIMEOUT_SECONDS, ())

    def close(self) -> None:
        """Forget everything."""
        with self.durable.lock:
            self._closed = True
            self.durable.close()

    def before_fork(self) -> None:
        """Let nobody be in the middle of something."""
        self.durable.lock.acquire()

    def after_fork(self) -> None:
        """Go on, in the parent as in the child."""
        self.durable.lock.release()


def open_database(path: str | os.PathLike[str]) -> Database:
    """Open the file at `path`, created when missing, or a database in memory for ``:memory:``.

    Raises:
        ConfigurationError: what is at `path` is no regular file, or others than its owner and group may use it.
        StoreUnavailableError: it can't be reached.
    """
    name = os.fspath(path)
    if name == ":memory:":
        return MemoryDatabase()
    return FileDatabase(os.path.abspath(name))  # noqa: PTH100  (pathlib costs more to import than this package)


def _admit(path: str) -> None:
    """Create the file when it is missing, for its owner alone, and refuse one that is not private.

    It never opens an existing file: closing it again would drop the locks that SQLite holds on it in this process.
    """
    try:
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            _create(path)
            found = os.lstat(path)
    except OSError as error:
        raise StoreUnavailableError(f"the database file can't be reached: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError("the database path is a symbolic link or no file: give the path of a regular file")
    if os.name == "posix" and found.st_mode & stat.S_IRWXO:
        raise ConfigurationError("the database file is open to every user of this machine: chmod it to 600")


def _create(path: str) -> None:
    # Under another name first, so that nobody finds the file before it is closed here.
    draft = f"{path}.{secrets.token_hex(8)}.new"
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600))
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.unlink(draft)  # noqa: PTH108  (as above)


def _connect(uri: str, timeout_seconds: float, pragmas: tuple[str, ...]) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=timeout_seconds, isolation_level=None, check_same_thread=False)
    try:
        # Deleted bytes are overwritten, sorting never spills to disk, and a schema can't call functions.
        for pragma in ("secure_delete=ON", "temp_store=MEMORY", "trusted_schema=OFF", *pragmas):
            connection.execute(f"PRAGMA {pragma}").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


# Which databases a fork concerns, and that forks go one at a time, are facts of the process. So is what threads left
# behind that have ended: nobody else knows of it any more, and a fork in the middle of its end would take it along.
_databases: weakref.WeakValueDictionary[int, Database] = weakref.WeakValueDictionary()
_forking = threading.RLock()
_frozen: list[Database] = []
_left: deque[sqlite3.Connection] = deque()
_closing = threading.RLock()


def _close_left() -> None:
    """Close what ended threads left, unless somebody is at it; a finaliser may run anywhere, so it waits for nobody."""
    while _left and _closing.acquire(blocking=False):
        try:
            _drain()
        finally:
            _closing.release()


def _drain() -> None:
    with suppress(IndexError):
        while True:
            _left.popleft().close()


def _before_fork() -> None:
    _forking.acquire()
    _closing.acquire()  # before any handle's lock, whose holder does not wait for this one
    _frozen.extend(database for reference in _databases.valuerefs() if (database := reference()) is not None)
    for database in _frozen:
        database.before_fork()
    _drain()


def _after_fork() -> None:
    while _frozen:
        _frozen.pop().after_fork()
    _closing.release()
    _close_left()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
