"""What is stored is what any store reads: byte by byte, in a file of either store, on both sides of a fork."""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support.vault_databases import sweep, vault_database

from socialvault.sandbox.contracts.rows import OWNER, TENANT, connection, flow, token_write, wrapped_key
from socialvault.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore
from socialvault.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.postgres import Database, Postgres


@pytest.fixture(scope="module")
def made(postgres: Postgres) -> Iterator[Database]:
    with vault_database(postgres, "sqlalchemy_sharing") as made:
        yield made


@pytest.fixture
def database(made: Database) -> Database:
    sweep(made)
    return made


def test_a_long_token_and_a_long_subject_keep_every_byte(database: Database) -> None:
    envelope = os.urandom(16 * 1024 + 64)
    subject = "".join(chr(0x100 + number) for number in range(199)) + "\U0001f511"
    row = replace(connection(subject=subject), envelope=envelope)
    with closing(SQLAlchemyStore(database.url)) as store:
        assert store.insert(row) is None
        assert store.get(row.id, TENANT, OWNER) == row
    [(stored, named)] = database.execute("SELECT envelope, subject FROM connections")
    assert (bytes(stored), named) == (envelope, subject)


def test_o_34_two_spellings_are_two_accounts(database: Database) -> None:
    with closing(SQLAlchemyStore(database.url)) as store:
        for number, subject in enumerate(("Sub", "sub", "sub ", "s\u00fcb")):
            assert store.insert(connection(f"con-{number}", subject=subject)) is None


@pytest.mark.parametrize("first", ["sqlite", "sqlalchemy"])
def test_a_file_of_one_store_opens_with_the_other(tmp_path: Path, first: str) -> None:
    path = tmp_path / "vault.db"
    row = connection()
    if first == "sqlalchemy":
        with closing(SQLAlchemyStore(f"sqlite+pysqlite:///{path}")) as maker:
            maker.create_schema()
            assert maker.insert(row) is None
            assert maker.add_key("data", wrapped_key())
            maker.put_state(flow(), 600.0)
    else:
        with closing(SQLiteStore(path)) as maker:
            assert maker.insert(row) is None
            assert maker.add_key("data", wrapped_key())
            maker.put_state(flow(), 600.0)
    with closing(SQLiteStore(path)) as one, closing(SQLAlchemyStore(f"sqlite+pysqlite:///{path}")) as two:
        for store in (one, two):
            assert store.get(row.id, TENANT, OWNER) == row
            assert store.key("data", wrapped_key().key_id) == wrapped_key()
            assert store.get_state(flow().state_hash) is not None
        two.write_token(token_write(row))
        assert one.get(row.id, TENANT, OWNER) == two.get(row.id, TENANT, OWNER)
        two.create_schema()  # it is there


def _urls(database: Database, tmp_path: Path) -> list[str]:
    return [database.url, f"sqlite+pysqlite:///{tmp_path / 'vault.db'}"]


@pytest.mark.parametrize("which", [0, 1], ids=["postgresql", "sqlite"])
def test_a_forked_child_has_connections_of_its_own(
    database: Database, tmp_path: Path, which: int, in_children: Callable[[int, Callable[[int], Any]], list[Any]]
) -> None:
    store = SQLAlchemyStore(_urls(database, tmp_path)[which])
    store.create_schema()
    rows = [connection(f"con-{number}", subject=str(number)) for number in range(4)]
    for row in rows:
        store.insert(row)

    def act(number: int) -> bool:
        for _ in range(20):
            assert store.read_token(rows[number].id, TENANT, OWNER) is not None
            assert store.acquire_lease(rows[number].id, f"child-{number}", 30.0)
        return store.write_token(token_write(rows[number])) is not None

    assert in_children(4, act) == [True] * 4
    for row in rows:
        read = store.read_token(row.id, TENANT, OWNER)
        assert read is not None
        assert read.generation == 2
    store.close()


@pytest.mark.parametrize("which", ["asyncpg", "psycopg", "aiosqlite"])
def test_nor_does_a_loop_share_them(
    database: Database, tmp_path: Path, which: str, in_children: Callable[[int, Callable[[int], Any]], list[Any]]
) -> None:
    url = f"postgresql+{which}" + database.url.removeprefix("postgresql+psycopg")
    store = AsyncSQLAlchemyStore(f"sqlite+aiosqlite:///{tmp_path / 'vault.db'}" if which == "aiosqlite" else url)
    row = connection()

    async def use(holder: str) -> bool:
        assert await store.acquire_lease(row.id, holder, 0.0)
        return await store.read_token(row.id, TENANT, OWNER) is not None

    async def main() -> None:
        await store.create_schema()
        await store.insert(row)
        assert (
            in_children(2, lambda number: asyncio.new_event_loop().run_until_complete(use(f"child-{number}")))
            == [True] * 2
        )
        assert await use("parent")
        await store.aclose()

    asyncio.run(main())
