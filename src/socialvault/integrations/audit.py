"""An audit log: what happened to connections, one line of JSON each; needs no extra.

Give it to a vault as an observer::

    vault = Vault(..., observers=[AuditLog("/var/log/app/socialvault.jsonl")])
"""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import weakref
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from socialvault.exceptions import ConfigurationError
from socialvault.model.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable

# What may be written. A field that an event gains later waits here until somebody has decided about it.
_ALLOWED = {
    "name", "at", "connection_id", "tenant", "owner", "provider", "generation", "reason", "dies_at", "key_id",
}  # fmt: skip
_KEYS = {"name": "event", "at": "time"}
_FIELDS = tuple(field.name for field in fields(Event) if field.name in _ALLOWED)
_OPEN = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT
    # A link planted in the file's place must not lead elsewhere, and a pipe must not make anybody wait.
    | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)  # fmt: skip
_NO_FILE = {errno.ELOOP, errno.EISDIR, errno.ENXIO}


class AuditLog:
    """An observer that writes each event as a line of JSON; it holds ids of people and no secret.

    A line has ``time`` (ISO 8601, UTC), ``event``, and the event's other fields under their own names. Threads and
    processes may share a file, and forks need no care. Rotate it by renaming: the next event begins a new file. A line
    is in the operating system's hands when the vault goes on, and not yet on disk: a power cut may take the last ones.
    An event that can't be written raises; the vault logs that and goes on.

    Args:
        target: the path of the file, created with mode 0600 when it is missing; or an open text stream, which stays
            yours to close, and whose lines are whole only among the threads of one process.
        reads: whether to have every token that is given out told, too, as ``token_read``.

    Attributes:
        wants_reads: as `reads` said. wants_keys: it is told of keys that are made. A vault asks for both.

    Raises:
        ConfigurationError: the file can't be written, or others may write to it.
    """

    def __init__(self, target: str | os.PathLike[str] | TextIO, *, reads: bool = False) -> None:
        self.wants_reads = reads
        self.wants_keys = True
        self._write: Callable[[str], None]
        if isinstance(target, (str, os.PathLike)):
            self._write = _File(os.fspath(target)).write
        elif callable(getattr(target, "write", None)):
            self._write = _Stream(target).write
        else:
            raise ConfigurationError("an audit log needs the path of a file, as text, or an open text stream")

    def __call__(self, event: Event) -> None:
        """Write `event`.

        Raises:
            OSError: there is no room, or the like.
            ConfigurationError: the file was exchanged for something else.
        """
        self._write(_line(event))


def _line(event: Event) -> str:
    # In ASCII: whatever an owner is called, nobody's name can begin a line of its own.
    return json.dumps({_KEYS.get(name, name): _plain(getattr(event, name)) for name in _FIELDS}) + "\n"


def _plain(value: object) -> str | int | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if value is None or isinstance(value, (str, int)):
        return value
    raise TypeError(f"an event may not carry a {type(value).__name__}")


class _File:
    """A file, opened for each line: nothing is shared with a forked child or lost when it is renamed."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # noqa: PTH100  (pathlib costs more to import than this package)
        self._torn = False
        try:
            os.close(self._open())
        except OSError as error:
            raise ConfigurationError(f"the audit log can't be written: {error.strerror}") from None

    def _open(self) -> int:
        try:
            descriptor = os.open(self._path, _OPEN, 0o600)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            raise ConfigurationError(_LINK) from None
        found = os.fstat(descriptor)
        problem = ""
        if not stat.S_ISREG(found.st_mode):
            problem = _LINK
        elif os.name == "posix" and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            problem = "others may write to the audit log: chmod it to 600"
        if problem:
            os.close(descriptor)
            raise ConfigurationError(problem)
        return descriptor

    def write(self, line: str) -> None:
        """Append `line` in one step, so that lines of several processes don't mix."""
        data = line.encode("ascii")
        if self._torn:
            data = b"\n" + data  # what is left of an earlier line spoils no other
        descriptor = self._open()
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
        self._torn = written < len(data)
        if self._torn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


_LINK = "the audit log is a symbolic link or no regular file: give the path of a file, or an open stream"


class _Stream:
    """A stream of the application's, one thread at a time."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lock = threading.RLock()
        _streams.add(self)

    def write(self, line: str) -> None:
        """Write `line` and flush it."""
        with self.lock:
            self._stream.write(line)
            self._stream.flush()


# Which streams a fork concerns, and that forks go one at a time, are facts of the process. A line that another thread
# is in the middle of would stay in the copy of the buffer, behind a lock that nobody in the child gives back.
_streams: weakref.WeakSet[_Stream] = weakref.WeakSet()
_forking = threading.RLock()
_held: list[_Stream] = []


def _before_fork() -> None:
    _forking.acquire()
    for stream in list(_streams):
        stream.lock.acquire()
        _held.append(stream)


def _after_fork() -> None:
    while _held:
        _held.pop().lock.release()
    _forking.release()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
