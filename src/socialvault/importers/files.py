"""Tokens in files: CSV, or one JSON object a line."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from datetime import UTC, tzinfo
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from socialvault.exceptions import ConfigurationError
from socialvault.importers.columns import Columns
from socialvault.importers.record import ImportRecord, Row
from socialvault.importers.source import PAGE_LENGTH

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence


class _FileSource(ABC):
    """What the two have in common: a row is named by the number of its (last) line."""

    kind = ""

    def __init__(self, path: str | os.PathLike[str], columns: Columns | None = None, *, zone: tzinfo = UTC) -> None:
        self._path = Path(path)
        self._wanted = columns or Columns()
        self._zone = zone
        self.name = f"{self.kind} {self._path.name}"

    @abstractmethod
    def _rows(self) -> Iterator[Row]:
        """Read all rows, from the first one on."""

    @cached_property
    def _columns(self) -> Columns:
        return self._wanted

    @property
    def token_columns(self) -> tuple[str, ...]:
        """The columns that hold tokens."""
        return self._columns.token_columns

    def count(self, after: str) -> int:
        """As `Source.count`."""
        return sum(1 for _ in self._following(after))

    def pages(self, after: str) -> Iterator[Sequence[Row]]:
        """As `Source.pages`."""
        rows = self._following(after)
        while page := list(islice(rows, PAGE_LENGTH)):
            yield page

    def read(self, row: Row) -> ImportRecord:
        """As `Source.read`."""
        return self._columns.read(row, self._zone)

    def close(self) -> None:  # noqa: B027  # nothing to do: a file is open only while it is read
        """As `Source.close`."""

    def _following(self, after: str) -> Iterator[Row]:
        if after and not (after.isascii() and after.isdigit()):
            raise ConfigurationError(f"no row of a file has the id {after!r}: they are the numbers of its lines")
        last = int(after or 0)
        return (row for row in self._rows() if int(row.id) > last)

    def _open(self) -> TextIO:
        try:
            # What is no UTF-8 is told apart row by row.
            return self._path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        except OSError as problem:
            reason = problem.strerror
        raise ConfigurationError(f"{self._path} can't be read: {reason}")


class CsvSource(_FileSource):
    """Reads a CSV file whose first line names the columns.

    Args:
        path: of the file.
        columns: which column holds what.
        zone: of dates that name none.
    """

    kind = "CSV"

    @cached_property
    def _columns(self) -> Columns:
        with self._open() as file:
            return self._wanted.within(frozenset(next(csv.reader(file), [])))

    def _rows(self) -> Iterator[Row]:
        with self._open() as file:
            reader = csv.reader(file)
            names = next(reader, [])
            for cells in _records(reader):
                number = str(reader.line_num)
                if cells is None:
                    yield Row(number, {}, "the row is malformed CSV")
                elif len(cells) != len(names):
                    yield Row(number, {}, "the row has another number of cells than the heading")
                else:
                    yield Row(number, dict(zip(names, cells, strict=True)))


def _records(reader: Iterator[list[str]]) -> Iterator[list[str] | None]:
    """Yield rows that are not empty, None for one that is no CSV."""
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield None
            continue
        if cells:
            yield cells


class JsonLinesSource(_FileSource):
    """Reads a file with one JSON object a line.

    Args:
        path: of the file.
        columns: which key holds what; with ``token`` an object inside, as Authlib keeps tokens.
        zone: of dates that name none.
    """

    kind = "JSON lines"

    def _rows(self) -> Iterator[Row]:
        with self._open() as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _json_row(str(number), line)


def _json_row(number: str, line: str) -> Row:
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        return Row(number, {}, "the line is malformed JSON")
    return Row(number, found) if isinstance(found, dict) else Row(number, {}, "the line is no JSON object")
