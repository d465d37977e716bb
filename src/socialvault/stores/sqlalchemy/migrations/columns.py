"""The kinds of columns that revisions use. A revision that is released must not change, so these must not either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Double, Integer, LargeBinary, Text, text
from sqlalchemy.dialects.sqlite import INTEGER, REAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.types import TypeEngine

_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
_SECONDS: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
_LONG = BigInteger().with_variant(INTEGER(), "sqlite")

_KINDS: dict[str, TypeEngine[Any]] = {
    "text": _TEXT,
    "bytes": LargeBinary(),
    "seconds": _SECONDS,
    "count": Integer(),
    "long": _LONG,
}


def columns(kind: str, names: str) -> Iterator[Column[Any]]:
    """Give a table these columns, all of a kind; a name that ends in ``?`` may be null."""
    for name in names.split():
        yield Column(name.rstrip("?"), _KINDS[kind], nullable=name.endswith("?"))


def identity(kind: str, name: str) -> Column[Any]:
    """Give a table its primary key."""
    return Column(name, _KINDS[kind], primary_key=True, autoincrement=False)


def defaulted(kind: str, name: str, default: str) -> Column[Any]:
    """Give a table a column with a default, in SQL, that the server fills in."""
    return Column(name, _KINDS[kind], nullable=False, server_default=text(default))
