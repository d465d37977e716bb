"""Both colours of the SQLAlchemy store, on PostgreSQL and SQLite with every driver, held to the contract."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from support.vault_databases import vault_database

from socialvault.sandbox.contracts import (
    Awaited,
    KeyStoreContract,
    ManualClock,
    StateStoreContract,
    TokenStoreContract,
    race_in_loop,
)
from socialvault.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from socialvault.stores.sqlalchemy.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine
    from support.postgres import Database, Postgres

    from socialvault.sandbox.contracts.base import OpenStore


class Contracts(TokenStoreContract, StateStoreContract, KeyStoreContract):
    """Everything that a store must do."""


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Iterator[Database]:
    """A database with all tables."""
    with vault_database(postgres, "sqlalchemy_contract") as made:
        yield made


@pytest.fixture(scope="module")
def engine(database: Database) -> Iterator[Engine]:
    """A blocking engine of the application's own."""
    engine = create_engine(database.url, hide_parameters=True)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def broom(database: Database) -> Iterator[Callable[[], None]]:
    """Empties every table."""
    tables = [name for name in metadata.tables if name != "socialvault_version"]
    with database.connect() as connection:
        yield lambda: connection.execute("; ".join(f"DELETE FROM {name}" for name in tables))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with all tables."""
    path = tmp_path_factory.mktemp("empty") / "vault.db"
    with closing(SQLAlchemyStore(f"sqlite+pysqlite:///{path}")) as store:
        store.create_schema()
    return path


class OnPostgres(Contracts):
    """In a database that is emptied before each test."""

    keeps_nul = False

    @pytest.fixture(autouse=True)
    def swept(self, broom: Callable[[], None]) -> None:
        broom()


class TestPostgresWithPsycopg(OnPostgres):
    @pytest.fixture
    def open_store(self, engine: Engine, clock: ManualClock) -> OpenStore:
        return lambda: Awaited(SQLAlchemyStore(engine, clock=clock))


class TestPostgresWithAsyncPsycopg(OnPostgres):
    race = staticmethod(race_in_loop)

    @pytest.fixture
    def open_store(self, database: Database, clock: ManualClock) -> OpenStore:
        return lambda: AsyncSQLAlchemyStore(database.url, clock=clock)


class TestPostgresWithAsyncpg(OnPostgres):
    race = staticmethod(race_in_loop)

    @pytest.fixture
    def open_store(self, database: Database, clock: ManualClock) -> OpenStore:
        return lambda: AsyncSQLAlchemyStore(database.async_url, clock=clock)


class OnSQLite(Contracts):
    """A copy of an empty database for each test."""

    @pytest.fixture
    def file(self, empty: Path, tmp_path: Path) -> Path:
        path = tmp_path / "vault.db"
        path.touch(0o600)
        path.write_bytes(empty.read_bytes())
        return path


class TestSQLiteWithPysqlite(OnSQLite):
    @pytest.fixture
    def open_store(self, file: Path, clock: ManualClock) -> OpenStore:
        return lambda: Awaited(SQLAlchemyStore(f"sqlite+pysqlite:///{file}", clock=clock))


class TestSQLiteWithAiosqlite(OnSQLite):
    race = staticmethod(race_in_loop)

    @pytest.fixture
    def open_store(self, file: Path, clock: ManualClock) -> OpenStore:
        return lambda: AsyncSQLAlchemyStore(f"sqlite+aiosqlite:///{file}", clock=clock)
