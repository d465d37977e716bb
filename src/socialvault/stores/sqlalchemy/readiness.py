"""Whether a database has the tables of this release, and giving them to one that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, inspect, select, text

from socialvault.exceptions import ConfigurationError, StoreError
from socialvault.stores.sqlalchemy.schema import REVISION, SQLITE_VERSION, metadata, socialvault_version

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: "SVLT", in the header of an SQLite file that is the vault's own.
_APPLICATION_ID = 0x53564C54
# "SVLTMADE": of those who start at the same time one makes the tables.
_ADVISORY_LOCK = 0x53564C54_4D414445
_OLDEST_SQLITE = (3, 35)

_VERSION = select(socialvault_version.c.version_num)


def check_schema(connection: Connection) -> None:
    """Make sure that the database is at the revision that this release knows.

    Raises:
        ConfigurationError: it is not, or SQLite is too old.
    """
    dialect = connection.dialect
    if dialect.name == "sqlite" and (dialect.server_version_info or ()) < _OLDEST_SQLITE:
        raise ConfigurationError("SQLite is older than 3.35: use a newer one, or the store of the standard library")
    found = _revision(connection)
    if found == REVISION:
        return
    if found > REVISION:
        raise ConfigurationError(f"the database is at {found}, this release knows {REVISION}: upgrade socialvault")
    state = f"is at {found}, this release needs {REVISION}" if found else "has no tables for socialvault"
    raise ConfigurationError(f"the database {state}: run `socialvault db upgrade`", argument="store")


def _revision(connection: Connection) -> str:
    """Return the revision, "" for none. The header of an SQLite file counts where there is one of ours."""
    if connection.dialect.name == "sqlite":
        application = connection.execute(text("PRAGMA application_id")).scalar_one()
        if application == _APPLICATION_ID:
            return f"socialvault_{connection.execute(text('PRAGMA user_version')).scalar_one():04}"
    if not inspect(connection).has_table(socialvault_version.name):
        return ""
    return connection.execute(_VERSION).scalar() or ""


def keep_log(connection: Connection) -> None:
    """Let readers and the writer of an SQLite file never wait for each other; the file remembers it."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")


def create_schema(connection: Connection) -> None:
    """Within a transaction, give an empty database all tables; a database that has them is left alone.

    Raises:
        ConfigurationError: it has those of another release.
        StoreError: something else has tables of the same names there.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    if _revision(connection):
        check_schema(connection)
    else:
        _create_tables(connection)


def _create_tables(connection: Connection) -> None:
    there = set(inspect(connection).get_table_names())
    taken = sorted(there & set(metadata.tables))
    if taken:
        raise StoreError(f"the database has other tables of the same names: {', '.join(taken)}")
    metadata.create_all(connection, checkfirst=False)
    connection.execute(insert(socialvault_version).values(version_num=REVISION))
    if connection.dialect.name == "sqlite" and not there:
        connection.exec_driver_sql(f"PRAGMA application_id={_APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version={SQLITE_VERSION}")
