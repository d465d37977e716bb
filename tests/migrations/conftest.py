"""Databases of the first schema, and what they hold."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from migrations.first_release import FirstRelease
from sqlalchemy import text

from socialvault.stores.sqlalchemy.migrations.engines import migration_engine
from socialvault.stores.sqlalchemy.migrations.running import Migrations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgres import Database, Postgres

_numbers = itertools.count(1)


@dataclass
class Subject:
    """A database under test.

    Attributes:
        native: what drivers open: a file's name, or a Postgres database.
    """

    kind: str
    url: str
    native: Any

    @property
    def migrations(self) -> Migrations:
        return Migrations(self.url)

    def first_release(self) -> FirstRelease:
        return FirstRelease(self.native)

    def run(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        engine = migration_engine(self.url)
        with engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table that the first schema has, in the columns that it has."""
        columns = {
            "connections": "*", "states": "*", "vault": "*", "vault_keys": "*", "revocations": "*",
            "data_keys": "key_id, tenant, owner, wrapped, wrapped_by, state, created_at_seconds",
        }  # fmt: skip
        return {table: self.run(f"SELECT {names} FROM {table} ORDER BY 1") for table, names in columns.items()}


@pytest.fixture(scope="session")
def shared_database(postgres: Postgres) -> Database:
    return postgres.create_database("migrations")


@pytest.fixture
def empty_postgres(shared_database: Database) -> Iterator[Database]:
    """A schema of its own: as good as a database, and much faster to come by."""
    name = f"m{next(_numbers)}"
    shared_database.execute(f"CREATE SCHEMA {name}")
    yield replace(shared_database, name=f"{shared_database.name}?options=-csearch_path%3D{name}")
    shared_database.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["postgresql", "sqlite"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    """An empty database of each kind."""
    if request.param == "sqlite":
        path = str(tmp_path / "vault.db")
        return Subject("sqlite", f"sqlite:///{path}", path)
    database = request.getfixturevalue("empty_postgres")
    return Subject("postgresql", database.url, database)


@pytest.fixture
def on_postgres(empty_postgres: Database) -> Subject:
    return Subject("postgresql", empty_postgres.url, empty_postgres)


@pytest.fixture
def filled(subject: Subject) -> Subject:
    """The first schema, with rows that the release before wrote."""
    fill(subject)
    return subject


@pytest.fixture
def filled_postgres(on_postgres: Subject) -> Subject:
    fill(on_postgres)
    return on_postgres


def fill(subject: Subject) -> None:
    subject.migrations.upgrade("0001")
    with subject.first_release() as process:
        process.start_vault()
        for number in range(10):
            process.everything(f"connection-{number:02}")
        process.run("UPDATE connections SET candidate = envelope, reason = 'Ünïcode' WHERE id = 'connection-03'")
        process.run(
            "INSERT INTO revocations SELECT id, id, tenant, owner, provider, client_id, issuer, subject, 'token', 1,"
            " envelope, key_id, 0, 1.5, 2.5 FROM connections WHERE id = 'connection-04'"
        )
