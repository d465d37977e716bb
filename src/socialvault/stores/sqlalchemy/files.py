"""A database in a file, opened by a blocking store that may fork."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from socialvault.stores.sqlalchemy.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection, CursorResult, Engine, Executable

    from socialvault.ports.clock import Clock
    from socialvault.stores.sqlalchemy.database import Question
    from socialvault.stores.sqlalchemy.forks import Turnstile
    from socialvault.stores.sqlalchemy.rows import Values

T = TypeVar("T")


class FileDatabase(Database):
    """As `Database`, with a turnstile before each use of a connection."""

    def __init__(self, engine: Engine, clock: Clock | None, turnstile: Turnstile) -> None:
        super().__init__(engine, clock)
        self._turnstile = turnstile

    def _ask(self, statement: Question, values: Values, fetch: Callable[[CursorResult[Any]], T]) -> T:
        with self._turnstile:
            return super()._ask(statement, values, fetch)

    def rows(self, statement: Executable, values: Values) -> Sequence[Sequence[Any]]:
        """As `Database.rows`."""
        with self._turnstile:
            return super().rows(statement, values)

    def _run(self, engine: Engine, run: Callable[[Connection], T], lost: Collection[str]) -> T:
        with self._turnstile:
            return super()._run(engine, run, lost)
