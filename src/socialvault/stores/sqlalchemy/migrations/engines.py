"""An engine for changing a schema: blocking, with one connection, and patient."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sqlalchemy import NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from socialvault.exceptions import ConfigurationError
from socialvault.stores.sqlalchemy.engines import admit_file

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

_SQLITE_BUSY_SECONDS = 30.0


def migration_engine(url: str) -> Engine:
    """Open the database that a store's URL names; an asynchronous driver gives way to a blocking one.

    Raises:
        ConfigurationError: it is no URL of Postgres or SQLite, or no blocking driver is installed.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None:
        raise ConfigurationError("the store's URL can't be read; give postgresql://… or sqlite:///FILE")
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return create_engine(_postgres(parsed), poolclass=NullPool)
    if backend == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return _sqlite_engine(parsed)
    raise ConfigurationError(f"{backend} stores have no tables: give postgresql://… or sqlite:///FILE")


def _postgres(url: URL) -> URL:
    if find_spec("psycopg") is None:
        raise ConfigurationError("changing the schema needs a blocking driver: pip install 'psycopg[binary]'")
    if "ssl" in url.query:  # asyncpg's word for it
        url = url.update_query_dict({"sslmode": url.query["ssl"]}).difference_update_query(["ssl"])
    return url.set(drivername="postgresql+psycopg")


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(
        url.set(drivername="sqlite"), poolclass=NullPool, connect_args={"timeout": _SQLITE_BUSY_SECONDS}
    )

    path = str(url.database)
    event.listen(engine, "do_connect", lambda *_: admit_file(path))

    # The driver would commit before some statements and begin no transaction before others: a revision is one step.
    @event.listens_for(engine, "connect")
    def leave_transactions_alone(connection: Any, _: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
