"""The servers behind the stores: started when the first point needs them, ended with the run."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from torture.places import File, Place, durable_postgres, durable_valkey, make_template, postgres_place, valkey_place

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgres import Postgres
    from support.valkey import Valkey


class Servers(ExitStack):
    """Those of one run. A point asks for its place in a process of its own, so `start` comes before."""

    def __init__(self) -> None:
        super().__init__()
        self._postgres: Postgres | None = None
        self._valkey: Valkey | None = None

    def start(self, kind: str) -> None:
        """Start what a kind of store needs, unless it runs."""
        if kind == "postgres" and self._postgres is None:
            self._postgres = self.enter_context(durable_postgres())
            make_template(self._postgres)
        if kind == "valkey" and self._valkey is None:
            self._valkey = self.enter_context(durable_valkey())

    def place(self, kind: str, directory: Path) -> Place:
        """Make an empty place for rows."""
        if kind == "sqlite":
            return File(directory)
        if kind == "postgres":
            assert self._postgres is not None
            return postgres_place(self._postgres)
        assert self._valkey is not None
        return valkey_place(self._valkey)
