"""Reading what ``pg_dump`` wrote: our tables' rows, into a SQLite file that can then be read as any other copy."""

from __future__ import annotations

import gzip
import re
import shutil
import sqlite3
import subprocess
import zlib
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

from socialvault.exceptions import ConfigurationError
from socialvault.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

_START_BYTES = 512
_CHUNK_BYTES = 1 << 16

_GZIP = b"\x1f\x8b"
_PLAIN = b"--\n-- PostgreSQL database dump"
_ARCHIVE = b"PGDMP"
_TAR, _TAR_AT = b"ustar", 257
_CONTENTS = "toc.dat"  # of an archive that is a folder

#: Our tables, and columns that another application's table of the same name would hardly have. Pending flows are left
#: out: they live for minutes.
_TABLES = {
    "connections": {"owner", "envelope", "candidate", "generation"},
    "revocations": {"connection_id", "envelope", "reach"},
    "vault": {"vault_id", "canary"},
    "keks": {"key_id", "wrapped_by"},
    "vault_keys": {"key_id", "wrapped_by"},
    "data_keys": {"key_id", "wrapped_by"},
}
_COPY = re.compile(
    r'COPY (?:(?P<schema>"[^"]+"|[^\s".]+)\.)?(?P<table>"[^"]+"|[^\s".]+) \((?P<columns>.*)\) FROM stdin;'
)
_ENCODING = re.compile(r"SET client_encoding = '(?P<encoding>\w+)';")
_COMPLETE = "-- PostgreSQL database dump complete"
_END = b"\\."
_NULL = b"\\N"
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
_BYTEA_ESCAPE = re.compile(rb"\\(\\|[0-7]{3})")


def load_dump(source: Path, target: Path, schema: str | None) -> None:
    """Write what a dump holds of our tables into a new SQLite file.

    Args:
        source: a plain dump, gzip or not, or an archive that ``pg_restore`` reads.
        schema: where the tables are; None where only one schema of the dump has them.

    Raises:
        ConfigurationError: it can't be read as a dump, is cut off, or holds none of our tables, or two of one name.
    """
    SQLiteStore(target).close()
    with closing(sqlite3.connect(target)) as database, _lines(source) as lines:
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("PRAGMA synchronous=OFF")
        try:
            _load(lines, database, schema)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise ConfigurationError("the dump is cut off or damaged: its compression does not end") from None
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"the dump's rows are not those of a socialvault store of this release: {error.sqlite_errorname}"
            ) from None
        except (ValueError, IndexError):  # no number, no hex, no text; a line that is too short
            raise ConfigurationError("the dump holds a field that can't be read") from None
        database.commit()


def is_archive(source: Path, start: bytes) -> bool:
    """Whether only ``pg_restore`` can read a dump that begins so: of the format custom, tar or directory."""
    if source.is_dir():
        return (source / _CONTENTS).exists()
    return start.startswith(_ARCHIVE) or start[_TAR_AT:].startswith(_TAR)


def is_text(start: bytes) -> bool:
    """Whether what begins so may be a plain dump, gzip or not."""
    return start.startswith((_PLAIN, _GZIP))


@contextmanager
def _lines(source: Path) -> Iterator[Iterator[bytes]]:
    start = start_of(source)
    if is_archive(source, start):
        with _restored(source) as lines:
            yield lines
    elif start.startswith(_GZIP):
        with gzip.open(source) as unpacked:
            yield unpacked
    else:
        with source.open("rb") as plain:
            yield plain


def start_of(source: Path) -> bytes:
    """Return what a file begins with; nothing for a folder."""
    if source.is_dir():
        return b""
    with source.open("rb") as file:
        return file.read(_START_BYTES)


@contextmanager
def _restored(source: Path) -> Iterator[Iterator[bytes]]:
    """Have an archive turned into a plain dump, on the way."""
    program = shutil.which("pg_restore")
    if program is None:
        raise ConfigurationError("this dump is an archive: install pg_restore, or write it with pg_dump --format=plain")
    command = [program, "--file=-", "--no-owner", "--no-privileges", "--", str(source)]
    told: ConfigurationError | None = None
    with subprocess.Popen(  # noqa: S603  (found on PATH; the operator names the archive)
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as restoring:
        plain = cast("IO[bytes]", restoring.stdout)
        try:
            yield plain
        except ConfigurationError as problem:  # where pg_restore failed, what it left out is no news
            told = problem
        while plain.read(_CHUNK_BYTES):  # to its end, so that its exit code tells of the archive, not of a closed pipe
            pass
    if restoring.returncode:
        raise ConfigurationError(
            f"pg_restore can't read this archive, and ended with code {restoring.returncode}: "
            "is the archive whole, and pg_restore as new as the pg_dump that wrote it?"
        )
    if told is not None:
        raise told


def _load(lines: Iterator[bytes], database: sqlite3.Connection, schema: str | None) -> None:
    found: set[str] = set()
    where: str | None = schema
    complete = False
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\n")
        complete = complete or line == _COMPLETE
        _check_encoding(line)
        header = _COPY.fullmatch(line)
        if header is None:
            continue
        place, table = _bare(header["schema"] or ""), _bare(header["table"])
        columns = [_bare(column.strip()) for column in header["columns"].split(",")]
        rows = _rows(lines, table)
        if not _TABLES.get(table, {""}) <= set(columns) or (schema is not None and place != schema):
            for _ in rows:  # another's
                pass
            continue
        if where is not None and place != where:
            raise ConfigurationError(f"the dump has our tables in {where!r} and in {place!r}: say which with --schema")
        where = place
        _insert(database, table, columns, rows)
        found.add(table)
    if not complete:
        raise ConfigurationError("the dump is cut off, or no plain dump of pg_dump: its last line is missing")
    missing = sorted(_TABLES.keys() - found)
    if missing:
        raise ConfigurationError(
            f"the dump lacks {', '.join(missing)} of a socialvault store, as rows for COPY: dump all of its tables"
        )


def _check_encoding(line: str) -> None:
    named = _ENCODING.fullmatch(line)
    if named is not None and named["encoding"] not in ("UTF8", "SQL_ASCII"):
        raise ConfigurationError(f"the dump is in {named['encoding']}: write it with pg_dump --encoding=UTF8")


def _rows(lines: Iterable[bytes], table: str) -> Iterator[list[bytes]]:
    for line in lines:
        fields = line.rstrip(b"\n")
        if fields == _END:
            return
        yield fields.split(b"\t")
    raise ConfigurationError(f"the dump is cut off in the middle of table {table}")


def _insert(database: sqlite3.Connection, table: str, columns: Sequence[str], rows: Iterator[list[bytes]]) -> None:
    """Insert rows, with those columns that this release knows."""
    kinds = {name: kind for _, name, kind, *_ in database.execute(f"PRAGMA table_info({table})")}
    known = [(position, name) for position, name in enumerate(columns) if name in kinds]
    names, marks = ", ".join(name for _, name in known), ", ".join("?" * len(known))
    readers = [(position, _READERS[kinds[name]]) for position, name in known]
    values = ([_value(fields[position], read) for position, read in readers] for fields in rows)
    statement = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})"  # noqa: S608  (names are the schema's own)
    database.executemany(statement, values)


def _value(field: bytes, read: Callable[[bytes], object]) -> object:
    return None if field == _NULL else read(_ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), field))


def _bytea(field: bytes) -> bytes:
    if field.startswith(b"\\x"):
        return bytes.fromhex(field[2:].decode("ascii"))
    return _BYTEA_ESCAPE.sub(_unescaped_byte, field)


def _unescaped_byte(found: re.Match[bytes]) -> bytes:
    escaped: Any = found[1]
    return b"\\" if escaped == b"\\" else bytes([int(escaped, 8)])


def _bare(name: str) -> str:
    return name.strip('"')


#: Turns a field of a dump into a value, by the type that SQLite's column has.
_READERS: dict[str, Callable[[bytes], object]] = {
    "BLOB": _bytea,
    "INTEGER": int,
    "REAL": float,
    "TEXT": lambda field: field.decode("utf-8"),
}
