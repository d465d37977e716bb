"""Databases that have the vault's tables."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from socialvault.stores.sqlalchemy import SQLAlchemyStore
from socialvault.stores.sqlalchemy.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import Database, Postgres


@contextmanager
def vault_database(postgres: Postgres, name: str) -> Iterator[Database]:
    """Make a database with all tables, for the length of the block."""
    made = postgres.create_database(name)
    try:
        with closing(SQLAlchemyStore(made.url)) as store:
            store.create_schema()
        yield made
    finally:
        postgres.drop_database(name)


def sweep(database: Database) -> None:
    """Delete every row."""
    tables = [name for name in metadata.tables if name != "socialvault_version"]
    database.execute("; ".join(f"DELETE FROM {name}" for name in tables))
