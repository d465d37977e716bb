"""Bringing a database to a revision, and asking which one it has."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from socialvault.exceptions import ConfigurationError, StoreError, StoreUnavailableError
from socialvault.stores.sqlalchemy.migrations.comparing import differences
from socialvault.stores.sqlalchemy.migrations.engines import migration_engine
from socialvault.stores.sqlalchemy.migrations.marking import APPLICATION_ID, VERSION_TABLE
from socialvault.stores.sqlalchemy.schema import REVISION

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FOLDER = Path(__file__).parent
_PREFIX = "socialvault_"

#: Who runs revisions holds it: "SVLT" and "MIGR".
_ADVISORY_LOCK = 0x53564C54_4D494752
#: How long it is waited for.
TURN_SECONDS = 600.0

_NOT_PERMITTED, _LOCKED = "42501", ("55P03", "40P01", "57014")


class Migrations:
    """The revisions of one database.

    Args:
        url: of a store; an asynchronous driver in it gives way to a blocking one.

    Raises:
        ConfigurationError: nothing serves this URL.
    """

    def __init__(self, url: str) -> None:
        self._engine = migration_engine(url)

    def current(self) -> str:
        """Return the revision that the database has; "" before the first."""
        if self._is_missing():
            return ""
        with self._reading() as connection:
            return _current(connection)

    def check(self) -> Sequence[str]:
        """Say in words how the database differs from what this release needs; nothing when it is right."""
        current = self.current()
        if current != REVISION:
            return [f"the database is at {current or 'no revision'}, this release needs {REVISION}"]
        with self._reading() as connection:
            return differences(connection)

    def upgrade(self, revision: str = "head") -> str:
        """Go forward to a revision; return the one that was reached. Going on after an interruption is safe.

        Raises:
            ConfigurationError: there is no such revision, or the database does not permit it.
            StoreUnavailableError: it can't be reached, or others lock its tables for too long: try again.
        """
        with self._changing() as connection:
            _adopt(connection)
            command.upgrade(_config(connection), _full(revision))
            return _current(connection)

    def upgrade_sql(self, revision: str = "head") -> str:
        """Return the statements that `upgrade` would run, for review; nothing is changed.

        Raises:
            ConfigurationError: it is an SQLite file, whose header they would not reach, or there is no such revision.
            StoreUnavailableError: it can't be reached.
        """
        with self._reading() as connection:
            if connection.dialect.name == "sqlite":
                raise ConfigurationError("an SQLite file has a header besides its tables: let upgrade change both")
            out = io.StringIO()
            config = Config(output_buffer=out, attributes={"dialect": connection.dialect.name})
            config.set_main_option("script_location", str(_FOLDER))
            command.upgrade(config, f"{_current(connection) or 'base'}:{_full(revision)}", sql=True)
            return out.getvalue()

    def downgrade(self, revision: str) -> str:
        """Go back to a revision, or to ``base``: no tables. Stop this release's processes first.

        Raises:
            ConfigurationError: as `upgrade`, or what is stored means nothing to that revision.
            StoreUnavailableError: as `upgrade`.
        """
        if self._is_missing():
            raise ConfigurationError(f"there is no database at {self._engine.url.database}")
        with self._changing() as connection:
            _adopt(connection)
            command.downgrade(_config(connection), _full(revision))
            current = _current(connection)
            if not current:
                connection.execute(text(f"DROP TABLE IF EXISTS {VERSION_TABLE}"))
                connection.commit()
            return current

    def connections(self) -> int:
        """Count the connections that are stored."""
        if self._is_missing():
            return 0
        with self._reading() as connection:
            if not inspect(connection).has_table("connections"):
                return 0
            return int(connection.execute(text("SELECT count(*) FROM connections")).scalar_one())

    def _is_missing(self) -> bool:
        """Whether it is a file that is not there: looking must not create it."""
        url = self._engine.url
        return url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _changing(self) -> Iterator[Connection]:
        with self._reading() as connection:
            if connection.dialect.name != "postgresql":
                yield connection
                return
            # A build of an index takes as long as it takes, and the builds wait for nothing but old transactions.
            for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                connection.execute(text(f"SET {setting} = 0"))
            _take_turn(connection)
            yield connection  # the lock goes with the connection


def _take_turn(connection: Connection) -> None:
    """Wait until no other process runs revisions here.

    It asks again and again: one long wait would itself be an old transaction, and an index build waits for these.
    """
    deadline = time.monotonic() + TURN_SECONDS
    while not connection.execute(text(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})")).scalar():
        connection.commit()
        if time.monotonic() > deadline:
            raise StoreUnavailableError("another process has been changing this database's schema for too long")
        time.sleep(0.2)
    connection.commit()


def _config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config


def _full(revision: str) -> str:
    """Return a revision's name; its number alone will do."""
    return f"{_PREFIX}{revision}" if revision.isdigit() else revision


def _current(connection: Connection) -> str:
    if inspect(connection).has_table(VERSION_TABLE):
        found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        if found:
            return str(found)
    return _file_revision(connection)


def _file_revision(connection: Connection) -> str:
    """Return the revision that an SQLite file of the first schema has, which had no table for it."""
    if connection.dialect.name != "sqlite":
        return ""
    application = connection.execute(text("PRAGMA application_id")).scalar()
    version = connection.execute(text("PRAGMA user_version")).scalar()
    return f"{_PREFIX}{version:04}" if application == APPLICATION_ID and version else ""


def _adopt(connection: Connection) -> None:
    """Let Alembic know what only the header of an SQLite file says."""
    found = _file_revision(connection)
    known = inspect(connection).has_table(VERSION_TABLE)
    connection.rollback()
    if found and not known:
        command.stamp(_config(connection), found)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what Alembic and the drivers raise into this library's errors; no URL and no value is told."""
    try:
        yield
    except CommandError as problem:
        refusal: Exception = ConfigurationError(f"the revision can't be reached: {problem}")
    except DBAPIError as problem:
        refusal = _refusal(problem)
    except ModuleNotFoundError as problem:
        refusal = ConfigurationError(f"the database's driver is missing: pip install {problem.name}")
    else:
        return
    raise refusal from None


def _refusal(problem: DBAPIError) -> Exception:
    state = str(getattr(problem.orig, "sqlstate", None) or getattr(problem.orig, "pgcode", None) or "")
    what = state or getattr(problem.orig, "sqlite_errorname", None) or type(problem.orig).__name__
    if state == _NOT_PERMITTED:
        return ConfigurationError("the database does not permit this account to change its tables")
    if state in _LOCKED:
        return StoreUnavailableError(f"the tables are locked by others for too long ({what}); nothing is half done")
    if problem.connection_invalidated or not state or state.startswith(("08", "53", "57")):
        return StoreUnavailableError(f"the database is not available: {what}")
    return StoreError(f"the database refused: {what}")
