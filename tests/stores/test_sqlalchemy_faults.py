"""What becomes of a call when the database does not do what it should, and what is said about it."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine
from support.postgres import running_postgres
from support.vault_databases import sweep, vault_database

from socialvault.exceptions import StoreError, StoreUnavailableError
from socialvault.model.status import Status
from socialvault.sandbox.contracts.rows import OWNER, TENANT, connection, revocation, status_write, token_write
from socialvault.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgres import Database, Postgres


@pytest.fixture(scope="module")
def made(postgres: Postgres) -> Iterator[Database]:
    with vault_database(postgres, "sqlalchemy_faults") as made:
        yield made


@pytest.fixture
def database(made: Database) -> Database:
    sweep(made)
    return made


# connections that ended


def end(postgres: Postgres, database: Database) -> None:
    """End every connection to the database, and wait until it has ended."""
    assert postgres.terminate(database.name)
    while postgres.admin.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s", database.name):
        pass


def test_a_connection_that_ended_while_it_was_idle_fails_no_call(postgres: Postgres, database: Database) -> None:
    with closing(SQLAlchemyStore(database.url)) as store:
        row = connection()
        store.insert(row)
        for number in range(3):
            end(postgres, database)
            assert store.acquire_lease(row.id, f"holder-{number}", 0.0)
            end(postgres, database)
            assert store.read_token(row.id, TENANT, OWNER) is not None
            end(postgres, database)
            assert store.find(tenant=None, owner=None, provider=None, status=None, after_id="", limit=9) == [row]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_nor_one_of_an_event_loop(postgres: Postgres, database: Database, driver: str) -> None:
    store = AsyncSQLAlchemyStore(database.url.replace("psycopg", driver))
    row = connection()
    await store.insert(row)
    for number in range(3):
        end(postgres, database)
        await asyncio.sleep(0.05)  # a loop that never turns learns nothing
        assert await store.acquire_lease(row.id, f"holder-{number}", 0.0)
        end(postgres, database)
        assert await store.read_token(row.id, TENANT, OWNER) is not None
    await store.aclose()


def test_an_account_without_rights_is_told_what_to_ask_for(database: Database) -> None:
    database.execute("CREATE ROLE stranger LOGIN")
    try:
        url = database.url.replace(database.url.split("//")[1].split("@")[0], "stranger")
        with (
            closing(SQLAlchemyStore(url)) as store,
            pytest.raises(StoreError, match=r"not permit this account .* GRANT"),
        ):
            store.load_vault()
    finally:
        database.execute("DROP ROLE stranger")


def test_a_server_that_stops_is_unavailable_and_comes_back() -> None:
    with running_postgres(durable=True) as server, vault_database(server, "vault") as database:
        store = SQLAlchemyStore(database.url)
        row = connection()
        store.insert(row)
        server.daemon.stop()
        for call in (
            lambda: store.read_token(row.id, TENANT, OWNER),
            lambda: store.write_token(token_write(row)),
            lambda: store.insert(connection("con-2", subject="2")),
        ):
            with pytest.raises(StoreUnavailableError, match="not available") as raised:
                call()
            assert "canary" not in str(raised.value)
        server.daemon.start()
        assert store.read_token(row.id, TENANT, OWNER) is not None
        assert store.write_token(token_write(row)) == "active"

        async def elsewhere() -> None:
            for url in (database.async_url, database.url):
                loops = AsyncSQLAlchemyStore(url)
                assert await loops.load_vault() is None
                server.daemon.stop()
                with pytest.raises(StoreUnavailableError):
                    await loops.read_token(row.id, TENANT, OWNER)
                with pytest.raises(StoreUnavailableError):
                    await loops.release_lease(row.id, "me")
                server.daemon.start()
                assert await loops.read_token(row.id, TENANT, OWNER) is not None
                await loops.aclose()

        asyncio.run(elsewhere())
        store.close()


def test_nobody_there_is_unavailable() -> None:
    with closing(SQLAlchemyStore("postgresql+psycopg://u:hunter2@127.0.0.1:1/d")) as store:
        with pytest.raises(StoreUnavailableError) as raised:
            store.load_vault()
        assert "hunter2" not in str(raised.value)

    async def elsewhere() -> None:
        for driver in ("asyncpg", "psycopg"):
            loops = AsyncSQLAlchemyStore(f"postgresql+{driver}://u:hunter2@127.0.0.1:1/d")
            with pytest.raises(StoreUnavailableError):
                await loops.load_vault()
            await loops.aclose()

    asyncio.run(elsewhere())


def test_read_only_and_locked_are_unavailable(database: Database) -> None:
    options = "-c default_transaction_read_only=on"
    with (
        closing(SQLAlchemyStore(f"{database.url}?options={options}")) as store,
        pytest.raises(StoreUnavailableError, match="25006"),
    ):
        store.insert(connection())
    with closing(SQLAlchemyStore(f"{database.url}?options=-c lock_timeout=20")) as store, database.connect() as other:
        store.insert(connection())
        with other.transaction():
            other.execute("SELECT 1 FROM connections FOR UPDATE")
            with pytest.raises(StoreUnavailableError, match="55P03"):
                store.acquire_lease("con-1", "me", 30.0)


def test_a_busy_and_a_read_only_file_are_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    with closing(SQLAlchemyStore(f"sqlite+pysqlite:///{path}?timeout=0")) as store:
        store.create_schema()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for call in (lambda: store.insert(connection()), lambda: store.acquire_lease("con-1", "me", 30.0)):
                with pytest.raises(StoreUnavailableError, match="SQLITE_BUSY"):
                    call()
            assert store.load_vault() is None
            other.execute("ROLLBACK")
        assert store.insert(connection()) is None


# few connections, many callers


def test_two_connections_serve_fifty_threads(database: Database) -> None:
    engine = create_engine(database.url, hide_parameters=True, pool_size=2, max_overflow=0, pool_timeout=60)
    store = SQLAlchemyStore(engine)

    def call(number: int) -> bool:
        row = connection(f"con-{number}", subject=str(number))
        return store.insert(row) is None and store.acquire_lease(row.id, "me", 30.0)

    with ThreadPoolExecutor(50) as threads:
        assert all(threads.map(call, range(50)))
    engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_two_connections_serve_fifty_tasks(database: Database, driver: str) -> None:
    url = database.url.replace("psycopg", driver)
    engine = create_async_engine(url, hide_parameters=True, pool_size=2, max_overflow=0, pool_timeout=60)
    store = AsyncSQLAlchemyStore(engine)

    async def call(number: int) -> bool:
        row = connection(f"con-{number}", subject=str(number))
        return await store.insert(row) is None and await store.acquire_lease(row.id, "me", 30.0)

    assert all(await asyncio.gather(*(call(number) for number in range(50))))
    await engine.dispose()


def test_a_pool_that_is_used_up_is_unavailable(database: Database) -> None:
    engine = create_engine(database.url, hide_parameters=True, pool_size=1, max_overflow=0, pool_timeout=0.05)
    store = SQLAlchemyStore(engine)
    with engine.connect(), pytest.raises(StoreUnavailableError, match="pool"):
        store.load_vault()
    assert store.load_vault() is None
    engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_cancelled_call_leaves_nothing_behind(database: Database, driver: str) -> None:
    url = database.url.replace("psycopg", driver)
    engine = create_async_engine(url, hide_parameters=True, pool_size=2, max_overflow=0, pool_timeout=5)
    store = AsyncSQLAlchemyStore(engine)
    row = connection()
    await store.insert(row)
    with database.connect() as other, other.transaction():
        other.execute("SELECT 1 FROM connections FOR UPDATE")
        tombstoned = asyncio.create_task(store.tombstone(status_write(row, Status.REVOKED), revocation(row)))
        waiting = asyncio.create_task(store.write_token(token_write(row)))
        await asyncio.sleep(0.1)
        for task in (tombstoned, waiting):
            task.cancel()
        assert [type(each) for each in await asyncio.gather(tombstoned, waiting, return_exceptions=True)] == [
            asyncio.CancelledError
        ] * 2
    assert await store.acquire_lease("con-1", "me", 30.0)
    assert await store.get("con-1", TENANT, OWNER) == row
    await engine.dispose()


# what is said


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
def test_l_11_statement_logs_and_constraint_errors_show_no_value(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, backend: str
) -> None:
    url = database.url if backend == "postgresql" else f"sqlite+pysqlite:///{tmp_path / 'vault.db'}"
    caplog.set_level(logging.DEBUG)
    engine = create_engine(url, hide_parameters=True, echo="debug", echo_pool="debug")
    store = SQLAlchemyStore(engine)
    (tmp_path / "vault.db").touch(0o600)
    store.create_schema()
    secret = "canary-in-the-row"
    row = replace(
        connection(subject=f"{secret}-subject"), owner=f"{secret}-owner", envelope=f"{secret}-sealed".encode()
    )
    store.insert(row)
    told: list[BaseException] = []
    for call in (
        lambda: store.insert(replace(row, account=row.account._replace(subject=f"{secret}-2"))),
        lambda: store.insert(replace(row, id=f"{secret}-\ud800")),
        lambda: store.queue_revocation(replace(revocation(row), reach=None)),  # type: ignore[arg-type]  # a bad value
        lambda: store.write_token(token_write(row, updated_at_seconds=f"{secret}-time")),
    ):
        try:
            call()
        except StoreError as error:
            told.append(error)
    assert [type(error) for error in told][:3] == [StoreError] * 3  # SQLite takes a text for a number
    assert any("23505" in str(error) or "SQLITE_CONSTRAINT" in str(error) for error in told)
    shown = "".join("".join(traceback.format_exception(error)) for error in told)
    assert "INSERT INTO connections" in caplog.text  # it did echo
    assert secret not in shown
    statements = [record for record in caplog.records if not record.getMessage().startswith("Row ")]
    assert not [record for record in statements if secret in repr(vars(record))]
    engine.dispose()
