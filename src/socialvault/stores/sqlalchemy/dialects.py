"""What PostgreSQL and SQLite spell differently, and no two statements share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ColumnElement, Double, Insert, bindparam, func, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from socialvault.stores.sqlalchemy.schema import HAS_CANDIDATE_POSTGRESQL, HAS_CANDIDATE_SQLITE

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import TextClause
    from sqlalchemy.sql.compiler import SQLCompiler

T = TypeVar("T")


class _ServerTime(FunctionElement[float]):
    """The seconds since 1970 by the database's own clock, at the moment the statement gets to it."""

    type = Double()
    inherit_cache = True


@compiles(_ServerTime, "postgresql")
def _postgresql_time(_element: _ServerTime, _compiler: SQLCompiler, **_kw: Any) -> str:
    # Not now(), which stands still for a statement that waits for a lock.
    return "extract(epoch from clock_timestamp())::double precision"


@compiles(_ServerTime, "sqlite")
def _sqlite_time(_element: _ServerTime, _compiler: SQLCompiler, **_kw: Any) -> str:
    # SQLite asks this machine's clock, once it is this writer's turn, and counts in milliseconds.
    return "((julianday('now') - 2440587.5) * 86400.0)"


#: The store's time: ``now`` where the store was given a clock, else the database's.
NOW: ColumnElement[float] = func.coalesce(bindparam("now", type_=Double()), _ServerTime(), type_=Double())

INSERTS: dict[str, Callable[[Any], Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}

HAS_CANDIDATE: dict[str, TextClause] = {
    "postgresql": text(HAS_CANDIDATE_POSTGRESQL),
    "sqlite": text(HAS_CANDIDATE_SQLITE),
}


def for_each(build: Callable[[Callable[[Any], Any]], Insert]) -> dict[str, Insert]:
    """Build a statement with the ``insert`` of every dialect: what to do on a conflict is no common SQL."""
    return {name: build(insert) for name, insert in INSERTS.items()}
