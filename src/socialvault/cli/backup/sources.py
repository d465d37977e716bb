"""What a backup is: a copy of a SQLite file, a dump of Postgres, or a scratch server that was restored into."""

from __future__ import annotations

import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from socialvault.cli.backup.postgres_dump import is_archive, is_text, load_dump, start_of
from socialvault.cli.opening import existing_store
from socialvault.exceptions import ConfigurationError
from socialvault.stores.sqlite.copies import SQLiteCopy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socialvault.ports.store import Store

_SQLITE = b"SQLite format 3\0"
_REDIS = b"REDIS"
_SQLITE_URL = "sqlite:///"
_SERVED = "a copy of a SQLite file, a dump of pg_dump, or the URL of a scratch restore"


@contextmanager
def opened_backup(source: str, schema: str | None) -> Iterator[Store]:
    """Open a backup for reading, for as long as the block lasts; nothing is written to it or beside it.

    Args:
        source: a path, or a store's URL.
        schema: of a dump, where our tables are.

    Raises:
        ConfigurationError: it is not there, or nothing that can be read.
        StoreUnavailableError: it can't be read now.
    """
    if "://" in source and not source.startswith(_SQLITE_URL):
        with closing(existing_store(source)) as store:
            yield store
        return
    path = Path(source.removeprefix(_SQLITE_URL))
    with _copy(path) if _is_sqlite(path) else _dump(path, schema) as store:
        yield store


def _is_sqlite(path: Path) -> bool:
    """Tell a SQLite file from a dump by how it begins.

    Raises:
        ConfigurationError: it is neither.
    """
    try:
        start = start_of(path)
    except OSError as error:
        raise ConfigurationError(f"the backup can't be read: {error.strerror}") from None
    if start.startswith(_SQLITE):
        return True
    if is_archive(path, start) or is_text(start):
        return False
    if start.startswith(_REDIS):
        raise ConfigurationError(
            "files of Redis are not read here: start a scratch server on a copy, and give its redis:// URL"
        )
    raise ConfigurationError(f"this is no backup that can be read here: give {_SERVED}")


@contextmanager
def _copy(path: Path) -> Iterator[Store]:
    with closing(SQLiteCopy(path)) as store:
        yield store


@contextmanager
def _dump(path: Path, schema: str | None) -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="socialvault-dump-") as folder:
        target = Path(folder, "dump.db")
        load_dump(path, target, schema)
        with closing(SQLiteCopy(target)) as store:
            yield store
