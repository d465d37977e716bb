"""An escrow in a directory: token answers that the database could not take, one sealed file each.

A record is written under a draft's name, synced, and renamed; it is never changed after that. Its name sorts by age::

    <microseconds of at_seconds, 20 digits>-<nanoseconds of this machine's clock, 20 digits>-<16 hex digits>.sealed

A process killed on the way leaves a ``.draft``: torn, or whole and then a record like any other, for no token that
arrived is lost. Format 1 of the file:

======================  ==============================================================================
``SOCIALVAULT ESCROW 1``  magic and version, then a line feed
head                    one line of JSON in ASCII, then a line feed: ``row`` (the fields of `ConnectionRow`, its
                        ``account`` by field, bytes in base64), ``is_new``, ``generation``, ``at_seconds``,
                        ``envelope_bytes``
envelope                the sealed answer, ``envelope_bytes`` long
digest                  the SHA-256 of everything before it, 32 bytes
======================  ==============================================================================

The digest tells a torn or foreign file, which is left alone and stops no other; it proves nothing against someone who
can write here. What binds an answer to its vault, owner and connection is its envelope, and nothing outside of the
envelopes is secret.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import time
from contextlib import contextmanager, suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from socialvault.exceptions import ConfigurationError, StoreError, StoreUnavailableError
from socialvault.model.rows import AccountKey, ConnectionRow, EscrowRecord
from socialvault.model.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

P = ParamSpec("P")
R = TypeVar("R")

_MAGIC = b"SOCIALVAULT ESCROW 1\n"
_DIGEST_BYTES = 32
_NAME = re.compile(r"\d{20}-\d{20}-[0-9a-f]{16}", re.ASCII)
_DRAFT, _KEPT = ".draft", ".sealed"
_ASIDE = ".aside"  # nobody could open it
_TICK_NS = 1_000_000_000  # file systems count time in ticks of up to a second
_PROBE = _MAGIC + bytes(4096)
_BYTES_FIELDS = {field.name for field in fields(ConnectionRow) if field.type == "bytes"}

# With a directory held open, nobody can put another in its place between two steps. Windows can't.
_HOLDS_DIRECTORIES = os.open in os.supports_dir_fd and os.listdir in os.supports_fd
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
# A pipe planted under a record's name must not make its reader wait.
_READ = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_FOLLOW | getattr(os, "O_BINARY", 0)
_DIRECTORY = os.O_RDONLY | _NO_FOLLOW | getattr(os, "O_DIRECTORY", 0)
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class FileEscrow:
    """An `Escrow` in a directory of its own, shared by any number of threads and processes of one user.

    Nothing stays open between two calls, so a fork needs no care.

    Args:
        path: of the directory, on a local file system; created when only it is missing.

    Raises:
        ConfigurationError: the path can't be one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name: object = os.fspath(path)
        if not isinstance(name, str) or not name or "\0" in name:
            raise ConfigurationError("the escrow's path must be the path of a directory, as text")
        self._path = os.path.abspath(name)  # noqa: PTH100  (pathlib costs more to import than this package)
        self._empty_since_ns = -1

    def open(self) -> None:
        """See `Escrow.open`.

        Raises:
            ConfigurationError: the path is a symbolic link or no directory, another user's, open to others, or
                nothing can be written there.
        """
        try:
            with _Spool(self._path) as spool:
                if spool.exposed:
                    raise ConfigurationError("the escrow is open to other users of this machine: chmod it to 700")
                draft = _new_name(0.0) + _DRAFT
                try:
                    spool.write(draft, _PROBE)
                    if spool.read(draft) != _PROBE:
                        raise ConfigurationError("the escrow can't be read: the umask takes files from their owner")
                finally:
                    spool.unlink(draft)
                spool.sync()
        except OSError as error:
            hint = "give a directory that this process may write to, with room left"
            raise ConfigurationError(f"the escrow can't be written: {error.strerror}: {hint}") from None

    def keep(self, record: EscrowRecord) -> str:
        """See `Escrow.keep`."""
        name, data = _new_name(record.at_seconds), _encoded(record)
        with _unavailable("written"), _Spool(self._path) as spool:
            spool.write(name + _DRAFT, data)
            with suppress(FileNotFoundError):  # whole already, so somebody took it into the store and forgot it
                spool.rename(name + _DRAFT, name + _KEPT)
            spool.sync()
        return name

    def records(self) -> Sequence[EscrowRecord]:
        """See `Escrow.records`."""
        if self.known_empty():
            return ()
        found = []
        with _unavailable("read"), _Spool(self._path) as spool:
            self._note_if_empty(spool)
            for name in sorted({os.path.splitext(file)[0] for file in spool.list()}):  # noqa: PTH122  (as above)
                if not _NAME.fullmatch(name):
                    continue
                for file in (name + _DRAFT, name + _KEPT):  # in the order in which a record moves on
                    record = _decoded(name, spool.read(file))
                    if record is not None:
                        found.append(record)
                        break
        return found

    def known_empty(self) -> bool:
        """Whether the directory held no record when it was last looked at, and was not changed since. Takes no time."""
        try:
            return os.stat(self._path).st_mtime_ns == self._empty_since_ns  # noqa: PTH116  (as above)
        except OSError:
            return False

    def _note_if_empty(self, spool: _Spool) -> None:
        """Remember that there is nothing, unless another change in the same tick of the clock would go unnoticed."""
        changed_at_ns = os.stat(self._path).st_mtime_ns  # noqa: PTH116  (as above)
        files = {os.path.splitext(file)[1] for file in spool.list()}  # noqa: PTH122  (as above)
        settled = time.time_ns() - changed_at_ns > _TICK_NS
        self._empty_since_ns = changed_at_ns if settled and not files & {_DRAFT, _KEPT} else -1

    def set_aside(self, name: str) -> None:
        """See `Escrow.set_aside`: the file stays, with another ending.

        Raises:
            StoreError: `name` is none that `keep` or `records` gave out.
            StoreUnavailableError: the record can't be moved.
        """
        _check_name(name)
        with _unavailable("changed"), _Spool(self._path) as spool:
            for ending in (_DRAFT, _KEPT):
                with suppress(FileNotFoundError):
                    spool.rename(name + ending, name + _ASIDE)
            spool.sync()

    def forget(self, name: str) -> None:
        """See `Escrow.forget`.

        Raises:
            StoreError: `name` is none that `keep` or `records` gave out.
            StoreUnavailableError: the record can't be removed.
        """
        _check_name(name)
        with _unavailable("changed"), _Spool(self._path) as spool:
            spool.unlink(name + _DRAFT)
            spool.unlink(name + _KEPT)
            spool.sync()


class AsyncFileEscrow:
    """As `FileEscrow`, for event loops: each call runs in a thread, to its end even if its caller is cancelled.

    Args:
        path: as for `FileEscrow`.

    Raises:
        ConfigurationError: as for `FileEscrow`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._escrow = FileEscrow(path)

    async def open(self) -> None:
        """As `FileEscrow.open`."""
        await _in_thread(self._escrow.open)

    async def keep(self, record: EscrowRecord) -> str:
        """As `FileEscrow.keep`."""
        return await _in_thread(self._escrow.keep, record)

    async def records(self) -> Sequence[EscrowRecord]:
        """As `FileEscrow.records`."""
        if self._escrow.known_empty():  # nearly always, and not worth the way to another thread
            return ()
        return await _in_thread(self._escrow.records)

    async def set_aside(self, name: str) -> None:
        """As `FileEscrow.set_aside`."""
        await _in_thread(self._escrow.set_aside, name)

    async def forget(self, name: str) -> None:
        """As `FileEscrow.forget`."""
        await _in_thread(self._escrow.forget, name)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise StoreError("the escrow gives its records other names")


async def _in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    import asyncio  # only here: programs without an event loop never load it

    return await asyncio.to_thread(function, *args, **kwargs)


class _Spool:
    """The directory, held open for one call and created when it is missing.

    Raises:
        ConfigurationError: it is none, or another user's.
        OSError: it can't be reached.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        try:
            found = self._enter()
        except FileNotFoundError:
            self._create()
            found = self._enter()
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            found = None
        problem = _refusal(found)
        if problem:
            self.__exit__()
            raise ConfigurationError(problem)
        assert found is not None  # noqa: S101  (or there was a refusal)
        # What Windows calls a mode says nothing about others.
        self.exposed = os.name == "posix" and bool(found.st_mode & (stat.S_IRWXG | stat.S_IRWXO))
        return self

    def __exit__(self, *_problem: object) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _enter(self) -> os.stat_result:
        if not _HOLDS_DIRECTORIES:
            return os.lstat(self._path)
        self._descriptor = os.open(self._path, _DIRECTORY)
        return os.fstat(self._descriptor)

    def _create(self) -> None:
        with suppress(FileExistsError):  # another process was faster
            os.mkdir(self._path, 0o700)  # noqa: PTH102  (as above)
        if _HOLDS_DIRECTORIES:
            parent = os.open(os.path.dirname(self._path), os.O_RDONLY)  # noqa: PTH120  (as above)
            try:
                os.fsync(parent)
            finally:
                os.close(parent)

    def _at(self, file: str) -> str:
        return file if self._descriptor is not None else os.path.join(self._path, file)  # noqa: PTH118  (as above)

    def list(self) -> list[str]:
        """Return the names of all files."""
        return os.listdir(self._path if self._descriptor is None else self._descriptor)  # noqa: PTH208  (as above)

    def write(self, file: str, data: bytes) -> None:
        """Create `file`, which must not exist, with `data`; it is on disk on return.

        A torn file is removed. One that is whole and could not be synced stays: it may still be read one day.
        """
        descriptor = os.open(self._at(file), _CREATE, 0o600, dir_fd=self._descriptor)
        try:
            self._fill(file, descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _fill(self, file: str, descriptor: int, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                self.unlink(file)
            raise

    def read(self, file: str) -> bytes:
        """Return what is in `file`, and nothing for what is gone, no file, unreadable, or not this user's."""
        try:
            descriptor = os.open(self._at(file), _READ, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                raise
            return b""
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or _foreign(found):
                return b""
            with open(descriptor, "rb", closefd=False) as opened:
                magic = opened.read(len(_MAGIC))
                return magic + opened.read() if magic == _MAGIC else b""
        except OSError:
            return b""  # a bad sector must not hide the others
        finally:
            os.close(descriptor)

    def rename(self, old: str, new: str) -> None:
        """Give `old` its final name."""
        os.rename(self._at(old), self._at(new), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def unlink(self, file: str) -> None:
        """Remove `file` if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(self._at(file), dir_fd=self._descriptor)

    def sync(self) -> None:
        """Let new, changed and removed names survive a power cut."""
        if self._descriptor is not None:
            os.fsync(self._descriptor)


@contextmanager
def _unavailable(what: str) -> Iterator[None]:
    """Translate what stands in the way into `StoreUnavailableError`."""
    try:
        yield
    except ConfigurationError as error:  # it was all right when it was opened
        raise StoreUnavailableError(str(error)) from None
    except OSError as error:
        raise StoreUnavailableError(f"the escrow can't be {what}: {error.strerror}") from None


def _refusal(found: os.stat_result | None) -> str:
    """Say what is wrong with the directory, whoever may use it; "" for nothing."""
    if found is None or not stat.S_ISDIR(found.st_mode):
        return "the escrow is a symbolic link or no directory: give the path of a directory"
    if _foreign(found):
        return "the escrow belongs to another user: give a directory of the user that runs this process"
    return ""


def _foreign(found: os.stat_result) -> bool:
    return os.name == "posix" and found.st_uid != os.geteuid()


def _new_name(at_seconds: float) -> str:
    return f"{max(0, int(at_seconds * 1_000_000)):020d}-{time.time_ns():020d}-{secrets.token_hex(8)}"


def _encoded(record: EscrowRecord) -> bytes:
    row = {field.name: getattr(record.row, field.name) for field in fields(ConnectionRow)}
    row["account"] = record.row.account._asdict()
    for name in _BYTES_FIELDS:
        row[name] = base64.b64encode(row[name]).decode()
    head = {
        "row": row,
        "is_new": record.is_new,
        "generation": record.generation,
        "at_seconds": record.at_seconds,
        "envelope_bytes": len(record.envelope),
    }
    data = b"%s%s\n%s" % (_MAGIC, json.dumps(head).encode(), record.envelope)
    return data + hashlib.sha256(data).digest()


def _decoded(name: str, data: bytes) -> EscrowRecord | None:
    """Return the record in `data`; None when it is torn, or this version can't read it."""
    whole, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not hmac.compare_digest(hashlib.sha256(whole).digest(), digest):
        return None
    line, _, envelope = whole.removeprefix(_MAGIC).partition(b"\n")
    try:
        head: dict[str, Any] = json.loads(line)
        if len(envelope) != head["envelope_bytes"]:
            return None
        row = dict(head["row"])
        row["account"], row["status"] = AccountKey(**row["account"]), Status(row["status"])
        for field in _BYTES_FIELDS & row.keys():
            row[field] = base64.b64decode(row[field], validate=True)
        connection = ConnectionRow(**row)
        return EscrowRecord(name, connection, head["is_new"], head["generation"], envelope, head["at_seconds"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None  # of another version, or somebody else's
