"""Reading tables of a live database through SQLAlchemy: page by page, in the order of a key, and never writing."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from socialvault.exceptions import ConfigurationError, StoreError, StoreUnavailableError
from socialvault.importers.record import Row
from socialvault.importers.source import PAGE_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Column, Connection, Engine, FromClause, Table
    from sqlalchemy.engine import URL

_EXTRA = "reading a database needs an extra: pip install 'socialvault[sqlalchemy]'"
_LOGGING_NAME = "socialvault.importers"


class Database:
    """A database that is only read.

    Args:
        url: as SQLAlchemy takes it, with a blocking driver.
        schema: of the tables; "" for the usual one.

    Raises:
        ConfigurationError: the URL, the driver or the file is not there.
    """

    def __init__(self, url: str, schema: str = "") -> None:
        self._engine = _open(url)
        self._schema = schema or None

    def table(self, name: str) -> Table:
        """Look a table up.

        Raises:
            ConfigurationError: there is none.
        """
        from sqlalchemy import MetaData, Table
        from sqlalchemy.exc import NoSuchTableError

        with self._connected() as connection:
            try:
                return Table(name, MetaData(), schema=self._schema, autoload_with=connection, resolve_fks=False)
            except NoSuchTableError:
                pass
        raise ConfigurationError(f"the database has no table {name!r}")

    def count(self, tables: FromClause, key: Column[Any], after: str) -> int:
        """Count the rows whose key comes after `after`."""
        from sqlalchemy import func, select

        query = select(func.count()).select_from(tables)
        with self._connected() as connection:
            return int(connection.execute(query.where(_following(key, after)) if after else query).scalar_one())

    def pages(
        self, tables: FromClause, key: Column[Any], columns: dict[str, Column[Any]], after: str
    ) -> Iterator[Sequence[Row]]:
        """Yield rows in the order of `key`. Between two pages no transaction is open."""
        from sqlalchemy import select

        query = select(key.label("_key"), *(_raw(column).label(name) for name, column in columns.items()))
        query = query.select_from(tables).order_by(key).limit(PAGE_LENGTH)
        following = query.where(_following(key, after)) if after else query
        while True:
            with self._connected() as connection:
                found = connection.execute(following).all()
            if found:
                yield [Row(str(row[0]), dict(zip(columns, row[1:], strict=True))) for row in found]
            if len(found) < PAGE_LENGTH:
                return
            following = query.where(key > found[-1][0])

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Lend a connection, and keep what drivers say to ourselves: it may hold values and passwords."""
        from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

        problem: StoreError | None = None
        try:
            with self._engine.connect() as connection:
                yield connection
        except OperationalError as caught:
            problem = StoreUnavailableError(f"the source database can't be read now: {_kind(caught)}")
        except (DBAPIError, SQLAlchemyError) as caught:
            problem = StoreError(f"the source database can't be read: {_kind(caught)}")
        if problem is not None:
            raise problem


def column_of(table: Table, name: str) -> Column[Any]:
    """Return a column.

    Raises:
        ConfigurationError: there is none.
    """
    found = table.columns.get(name)
    if found is None:
        raise ConfigurationError(f"the table {table.name!r} has no column {name!r}")
    return found


def key_of(table: Table, name: str = "") -> Column[Any]:
    """Return the column that names and orders rows: the one called `name`, else the primary key.

    Raises:
        ConfigurationError: there is none, or a primary key of several columns.
    """
    if name:
        return column_of(table, name)
    columns = list(table.primary_key.columns)
    if len(columns) != 1:
        raise ConfigurationError(f"the table {table.name!r} has no primary key of one column: name a unique one")
    return columns[0]


def _open(url: str) -> Engine:
    """Make an engine that logs no statement, parameter or row, whatever level the application logs at."""
    if find_spec("sqlalchemy") is None:
        raise ConfigurationError(_EXTRA)
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    reason = "its URL can't be parsed"
    try:
        parsed = make_url(url)
        _check(parsed)
        _quieten_loggers()
        engine = create_engine(
            parsed, logging_name=_LOGGING_NAME, pool_logging_name=_LOGGING_NAME, hide_parameters=True,
            pool_pre_ping=True, execution_options=_read_only(parsed),
        )  # fmt: skip
    except ModuleNotFoundError as problem:
        reason = f"its driver is not installed: pip install {problem.name}"
    except NoSuchModuleError:
        reason = "SQLAlchemy knows no such kind of database"
    except ArgumentError:
        pass
    else:
        _refuse_writes(engine)
        return engine
    raise ConfigurationError(f"the source database can't be opened: {reason}")


def _check(url: URL) -> None:
    if url.get_dialect().is_async:
        raise ConfigurationError(
            f"the source is read with a blocking driver: instead of {url.drivername} name one, "
            "such as postgresql+psycopg or sqlite"
        )
    named = (url.database or "").startswith("file:") or Path(url.database or "").is_file()
    if url.get_backend_name() == "sqlite" and not named:  # SQLite would make one
        raise ConfigurationError(f"there is no database at {url.database or 'an empty path'}")


def _quieten_loggers() -> None:
    """At DEBUG, SQLAlchemy logs every row; these loggers are of our engines alone."""
    for name in ("engine.Engine", "pool.impl.QueuePool"):
        logging.getLogger(f"sqlalchemy.{name}.{_LOGGING_NAME}").setLevel(logging.WARNING)


def _read_only(url: URL) -> dict[str, Any]:
    return {"postgresql_readonly": True} if url.get_backend_name() == "postgresql" else {}


def _refuse_writes(engine: Engine) -> None:
    """Let SQLite refuse writes; elsewhere the transaction or the account does, and no statement here is one."""
    from sqlalchemy import event

    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA query_only = ON")


def _raw(column: Column[Any]) -> Any:
    """Select a column as the driver gives it: one cell that can't be decoded must not take its page along."""
    from sqlalchemy import type_coerce
    from sqlalchemy.types import NullType

    return type_coerce(column, NullType())


def _following(key: Column[Any], after: str) -> Any:
    """Build the condition for the rows after one that is named by its id as text.

    Raises:
        ConfigurationError: no row can have this id.
    """
    try:
        kind = key.type.python_type
    except NotImplementedError:  # a type that SQLAlchemy knows no Python type for
        kind = str
    try:
        value = kind(after) if kind in (int, UUID) else after
    except ValueError:
        pass
    else:
        return key > value
    raise ConfigurationError(f"no row of the source has the id {after!r}")


def _kind(problem: Exception) -> str:
    return type(getattr(problem, "orig", None) or problem).__name__
