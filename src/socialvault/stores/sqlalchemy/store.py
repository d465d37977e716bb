"""`SQLAlchemyStore`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine

from socialvault.exceptions import ConfigurationError
from socialvault.stores.sqlalchemy.database import Database
from socialvault.stores.sqlalchemy.engines import BLOCKING, admit, open_engine, parse
from socialvault.stores.sqlalchemy.files import FileDatabase
from socialvault.stores.sqlalchemy.forks import FileEngine, ServerEngine
from socialvault.stores.sqlalchemy.rotation import Rotation

if TYPE_CHECKING:
    from sqlalchemy import URL

    from socialvault.ports.clock import Clock
    from socialvault.stores.sqlalchemy.forks import OwnEngine


class SQLAlchemyStore(Rotation):
    """Keeps everything in PostgreSQL (driver psycopg), or in an SQLite file.

    Tables are made by ``socialvault db upgrade``, never by the way: the first call looks whether they are there, and of
    this release. What returns from a write is committed. Time is the database server's. Nothing is held between two
    calls, so an engine's pool may be smaller than the number of its callers.

    Args:
        engine_or_url: an engine of your own, made with ``hide_parameters=True`` and yours to dispose; or a URL, for an
            engine that `close` disposes, which is forgotten in a forked child.
        clock: tells when states, leases and intents expire; the database's own by default.

    Raises:
        ConfigurationError: nothing here serves the URL or the engine, or its driver is not installed.
    """

    def __init__(self, engine_or_url: Engine | URL | str, *, clock: Clock | None = None) -> None:
        self._own: Engine | None = None
        if isinstance(engine_or_url, Engine):
            admit(engine_or_url, BLOCKING)
            super().__init__(Database(engine_or_url, clock))
            return
        if hasattr(engine_or_url, "sync_engine"):
            raise ConfigurationError("this store takes a blocking engine: use AsyncSQLAlchemyStore", argument="store")
        self._own = engine = open_engine(parse(engine_or_url, BLOCKING))
        if engine.dialect.name == "sqlite":
            self._in_forks: OwnEngine = (file := FileEngine(engine))
            super().__init__(FileDatabase(engine, clock, file.turnstile))
        else:
            self._in_forks = ServerEngine(engine)
            super().__init__(Database(engine, clock))

    def create_schema(self) -> None:
        """Make all tables in an empty database; one that has them is left alone. For tests and first starts.

        Raises:
            ConfigurationError: it has the tables of another release.
            StoreError: something else has tables of these names there.
            StoreUnavailableError: it can't be reached.
        """
        self.database.create_schema()

    def close(self) -> None:
        """As `TokenStore.close`; every call after it raises `StoreUnavailableError`."""
        self.database.close()
        if self._own is not None:
            self._own.dispose()
