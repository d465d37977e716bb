"""What a database's tables have that this release's do not, and the other way round."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from socialvault.stores.sqlalchemy.migrations import TABLES
from socialvault.stores.sqlalchemy.migrations.marking import VERSION_TABLE
from socialvault.stores.sqlalchemy.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

_INVALID = text("""
    SELECT index.relname FROM pg_index
    JOIN pg_class AS index ON index.oid = indexrelid JOIN pg_class AS owner ON owner.oid = indrelid
    WHERE NOT indisvalid AND owner.relname = ANY (:tables) AND pg_table_is_visible(owner.oid)
    ORDER BY index.relname
""")
_NOISE = re.compile(r"::\w+|[\s()]")
_ANY = re.compile(r"= ANY \(ARRAY\[(.*?)\]\)")


def differences(connection: Connection) -> Sequence[str]:
    """Say in words how the tables differ from this release's; nothing when they are the same."""
    context = MigrationContext.configure(
        connection,
        opts={"include_name": _ours, "version_table": VERSION_TABLE, "compare_type": True},
    )  # fmt: skip
    found = [_described(difference) for difference in compare_metadata(context, metadata)]
    found.extend(_predicates(connection))
    if connection.dialect.name == "postgresql":
        broken = connection.execute(_INVALID, {"tables": sorted(TABLES)}).scalars()
        found.extend(f"index {name} is invalid: its build was interrupted" for name in broken)
    return found


def _ours(name: str | None, type_: str, *_: object) -> bool:
    return type_ != "table" or name in TABLES


def _described(difference: Any) -> str:
    if isinstance(difference, list):  # of changes to one column
        return "; ".join(
            f"{change[2]}.{change[3]}: {change[0]}, {change[5]!r} to {change[6]!r}" for change in difference
        )
    operation, item = difference[0], difference[-1]
    table = getattr(getattr(item, "table", None), "name", None)
    # Of columns Alembic names the table beside them.
    place = difference[2] if operation in ("add_column", "remove_column") else table
    return f"{operation} {item.name}" + (f" on {place}" if place else "")


def _predicates(connection: Connection) -> Iterator[str]:
    """Compare what Alembic does not: which rows a partial index is of."""
    option, inspector = f"{connection.dialect.name}_where", inspect(connection)
    present = set(inspector.get_table_names())
    for table in metadata.sorted_tables:
        if table.name not in present:
            continue
        found = {
            index["name"]: index.get("dialect_options", {}).get(option) for index in inspector.get_indexes(table.name)
        }
        for index in table.indexes:
            wanted = index.dialect_kwargs.get(option)
            if index.name in found and _plain(found[index.name]) != _plain(wanted):
                yield f"index {index.name} is of other rows: {found[index.name]} instead of {wanted}"


def _plain(predicate: object) -> str:
    """Return a predicate as it reads without what a database adds to it."""
    if predicate is None:
        return ""
    return _NOISE.sub("", _ANY.sub(r"IN (\1)", str(predicate))).lower()
