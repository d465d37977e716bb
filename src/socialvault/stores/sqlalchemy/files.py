"""A database in a file, opened by a blocking store that may fork."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from socialvault.stores.sqlalchemy.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy import Connection, Engine

    from socialvault.ports.clock import Clock
    from socialvault.stores.sqlalchemy.forks import Turnstile

T = TypeVar("T")


class FileDatabase(Database):
    """As `Database`, with a turnstile before each use of a connection."""

    def __init__(self, engine: Engine, clock: Clock | None, turnstile: Turnstile) -> None:
        super().__init__(engine, clock)
        self._turnstile = turnstile

    def _read(self, ask: Callable[[Connection], T]) -> T:
        with self._turnstile:
            return super()._read(ask)

    def _run(self, engine: Engine, run: Callable[[Connection], T], lost: Collection[str]) -> T:
        with self._turnstile:
            return super()._run(engine, run, lost)
