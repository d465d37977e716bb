"""Any table of a live database."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any

from socialvault.importers.columns import Columns
from socialvault.importers.database import Database, column_of, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Column, Table

    from socialvault.importers.record import ImportRecord, Row


class TableSource:
    """Reads a table whose columns you name.

    Args:
        url: of the database, as SQLAlchemy takes it; needs ``socialvault[sqlalchemy]`` and a blocking driver.
        table: its name. schema: where it is, "" for the usual one.
        columns: which column holds what.
        key: a unique column that names and orders the rows; "" takes the primary key.
        zone: of dates that name none.

    Raises:
        ConfigurationError: the database can't be opened.
    """

    def __init__(
        self, url: str, table: str, columns: Columns | None = None, *, key: str = "", schema: str = "",
        zone: tzinfo = UTC,
    ) -> None:  # fmt: skip
        self._database = Database(url, schema)
        self._table_name, self._key_name, self._zone = table, key, zone
        self._wanted = columns or Columns()
        self.name = f"table {table}"

    @cached_property
    def _table(self) -> Table:
        return self._database.table(self._table_name)

    @cached_property
    def _key(self) -> Column[Any]:
        return key_of(self._table, self._key_name)

    @cached_property
    def _columns(self) -> Columns:
        return self._wanted.within(frozenset(self._table.columns.keys()))

    @property
    def token_columns(self) -> tuple[str, ...]:
        """The columns that hold tokens."""
        return self._columns.token_columns

    def count(self, after: str) -> int:
        """As `Source.count`."""
        return self._database.count(self._table, self._key, after)

    def pages(self, after: str) -> Iterator[Sequence[Row]]:
        """As `Source.pages`."""
        columns = {name: column_of(self._table, name) for name in self._columns.names}
        return self._database.pages(self._table, self._key, columns, after)

    def read(self, row: Row) -> ImportRecord:
        """As `Source.read`."""
        return self._columns.read(row, self._zone)

    def close(self) -> None:
        """As `Source.close`."""
        self._database.close()
