"""Reading a copy of a SQLite database, a backup say, without changing a byte of it or leaving a file beside it."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError, StoreUnavailableError
from socialvault.stores.sqlite.connections import Handle, Readers
from socialvault.stores.sqlite.schema import APPLICATION_ID, VERSION
from socialvault.stores.sqlite.store import SQLiteStore

if TYPE_CHECKING:
    import os

#: What SQLite keeps beside a file while it is written; where there is some, the file alone is not the database.
_BESIDE = ("-wal", "-journal")
_IDENTITY = "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version"


class SQLiteCopy(SQLiteStore):
    """A store that only reads, over a file that nobody writes; every write raises `StoreUnavailableError`.

    Where a journal lies beside the file, both are first copied to a private folder: what the journal holds belongs to
    the database, and reading it would need files beside it. Files of older schema versions can be read too.

    Args:
        path: of the file.

    Raises:
        ConfigurationError: it is no database of a socialvault store, or of a newer release.
        StoreUnavailableError: it can't be read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        try:
            self.database = _CopyDatabase(self._uri_of(Path(path).absolute()))
            super(SQLiteStore, self).__init__(self.database, time.time)
            self._check_identity()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file, and remove what was copied."""
        if hasattr(self, "database"):
            self.database.close()
        if self._scratch is not None:
            self._scratch.cleanup()

    def _uri_of(self, path: Path) -> str:
        try:
            beside = [Path(f"{path}{suffix}") for suffix in _BESIDE]
            journals = [file for file in beside if file.exists() and file.stat().st_size]
            if not journals:
                return f"{path.as_uri()}?mode=ro&immutable=1"
            self._scratch = tempfile.TemporaryDirectory(prefix="socialvault-copy-")
            copied = [Path(shutil.copyfile(file, Path(self._scratch.name, file.name))) for file in (path, *journals)]
        except OSError as error:
            raise StoreUnavailableError(f"the copy can't be read: {error.strerror}") from None
        return f"{copied[0].as_uri()}?mode=rw"

    def _check_identity(self) -> None:
        [(application, version)] = self._rows(_IDENTITY, ())
        if application != APPLICATION_ID:
            raise ConfigurationError("the file is no database of a socialvault store")
        if version > VERSION:
            raise ConfigurationError(
                f"the database has schema version {version}, this release knows {VERSION}: upgrade socialvault"
            )


class _CopyDatabase:
    """One connection that can't write."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        handle = Handle(self._connect, threading.RLock())
        self.durable = self.relaxed = handle
        self.patient = self.hasty = Readers(lambda: handle)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._uri, uri=True, isolation_level=None, check_same_thread=False)
        for pragma in ("query_only=ON", "temp_store=MEMORY", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def close(self) -> None:
        with self.durable.lock:
            self.durable.close()

    def before_fork(self) -> None:
        self.durable.lock.acquire()

    def after_fork(self) -> None:
        self.durable.lock.release()
