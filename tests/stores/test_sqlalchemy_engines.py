"""What a SQLAlchemy store is made from, and what it finds there."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from support.vault_databases import vault_database

from socialvault.exceptions import ConfigurationError, StoreError, StoreUnavailableError
from socialvault.sandbox.contracts.rows import OWNER, TENANT, connection, flow
from socialvault.stores.sqlalchemy import AsyncSQLAlchemyStore, SQLAlchemyStore, engines
from socialvault.stores.sqlalchemy.schema import REVISION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgres import Database, Postgres


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Iterator[Database]:
    with vault_database(postgres, "sqlalchemy_engines") as made:
        yield made


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+pysqlite:///{tmp_path / 'vault.db'}"


# what is refused, by name and without a password


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (SQLAlchemyStore, "postgresql+asyncpg://u:hunter2@h/d", r"'asyncpg' is for the other colour"),
        (SQLAlchemyStore, "sqlite+aiosqlite:///hunter2.db", r"'aiosqlite' is for the other colour .* sqlite\+pysqlite"),
        (AsyncSQLAlchemyStore, "sqlite+pysqlite:///hunter2.db", r"other colour .* sqlite\+aiosqlite"),
        (SQLAlchemyStore, "postgresql+psycopg2://u:hunter2@h/d", "'psycopg2' is not served"),
        (SQLAlchemyStore, "mysql://u:hunter2@h/d", "'mysql' is not served"),
        (SQLAlchemyStore, "hunter2", "can't be read"),
        (SQLAlchemyStore, "sqlite+pysqlite:///:memory:", "':memory:'"),
        (SQLAlchemyStore, "sqlite+pysqlite://", "':memory:'"),
        (AsyncSQLAlchemyStore, "sqlite+aiosqlite://", "':memory:'"),
        (AsyncSQLAlchemyStore, "postgresql+asyncpg://u:hunter2@h/d?sslmode=require", "no 'sslmode' .* write ssl=…"),
        (AsyncSQLAlchemyStore, "postgresql+asyncpg://u:hunter2@h/d?options=-cx", "no 'options' .* postgresql.psycopg"),
    ],
)  # fmt: skip
def test_a_url_that_nothing_serves_is_refused(
    kind: type[SQLAlchemyStore | AsyncSQLAlchemyStore], given: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told) as raised:
        kind(given)
    assert "hunter2" not in str(raised.value)


def test_a_missing_driver_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match=r"'psycopg' is missing: pip install 'socialvault\[sqlalchemy\]'"):
        SQLAlchemyStore("postgresql://h/d")
    with pytest.raises(ConfigurationError, match=r"'asyncpg' is missing: pip install .* asyncpg"):
        AsyncSQLAlchemyStore("postgresql://h/d")


def test_without_asyncpg_psycopg_serves_both_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = engines.parse("postgresql://h/d", engines.ASYNCHRONOUS)
    assert parsed.drivername == "postgresql+asyncpg"
    monkeypatch.setattr(engines, "find_spec", lambda name: name == "psycopg")
    assert engines.parse("postgresql://h/d", engines.ASYNCHRONOUS).drivername == "postgresql+psycopg"
    assert engines.parse("postgresql://h/d", engines.BLOCKING).drivername == "postgresql+psycopg"


def test_a_missing_extra_says_what_to_install() -> None:
    program = """
import sys
sys.modules["sqlalchemy"] = None
import socialvault, socialvault.stores.sqlalchemy as package
from socialvault.exceptions import ConfigurationError
try:
    package.SQLAlchemyStore
except ConfigurationError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'socialvault[sqlalchemy]'" in done.stdout


def test_importing_the_library_loads_no_sqlalchemy() -> None:
    program = "import sys, socialvault, socialvault.stores.sqlalchemy; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_engine_that_shows_values_is_refused(url: str) -> None:
    engine = create_engine(url)
    with pytest.raises(ConfigurationError, match="hide_parameters=True"):
        SQLAlchemyStore(engine)
    asynchronous = create_async_engine("postgresql+asyncpg://h/d")
    with pytest.raises(ConfigurationError, match="hide_parameters=True"):
        AsyncSQLAlchemyStore(asynchronous)


def test_an_engine_of_the_other_colour_is_refused(url: str) -> None:
    blocking = create_engine(url, hide_parameters=True)
    asynchronous = create_async_engine(url.replace("pysqlite", "aiosqlite"), hide_parameters=True)
    with pytest.raises(ConfigurationError, match="AsyncSQLAlchemyStore"):
        SQLAlchemyStore(asynchronous)  # type: ignore[arg-type]  # from a caller who checks no types
    with pytest.raises(ConfigurationError, match="use SQLAlchemyStore"):
        AsyncSQLAlchemyStore(blocking)  # type: ignore[arg-type]  # as above
    with pytest.raises(ConfigurationError, match=r"sqlite\+aiosqlite is not served"):
        SQLAlchemyStore(asynchronous.sync_engine)


def test_an_engine_that_would_not_undo_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="skip_autocommit_rollback"):
        SQLAlchemyStore(create_engine(url, hide_parameters=True, skip_autocommit_rollback=True))


# whose the connections are


def test_an_engine_of_ones_own_outlives_the_store(database: Database) -> None:
    engine = create_engine(database.url, hide_parameters=True)
    with closing(SQLAlchemyStore(engine)) as store:
        assert store.load_vault() is None
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]  # of its QueuePool
    with engine.connect() as other:
        assert other.execute(text("SELECT 1")).scalar() == 1
    engine.dispose()


def test_a_store_closes_what_it_opened(database: Database) -> None:
    store = SQLAlchemyStore(database.url)
    store.load_vault()
    mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
    assert database.execute(mine, database.name) == [(1,)]
    store.close()
    for _ in range(100):
        if database.execute(mine, database.name) == [(0,)]:
            break
        time.sleep(0.05)
    else:
        pytest.fail("a connection stayed open")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_one_store_serves_several_loops_one_after_the_other(database: Database, driver: str) -> None:
    store = AsyncSQLAlchemyStore(database.url.replace("psycopg", driver))

    async def use() -> None:
        assert await store.load_vault() is None
        assert store._own is not None
        for each in list(store._own._loops.values()):
            await each.engine.dispose()

    asyncio.run(use())
    asyncio.run(use())
    asyncio.run(store.aclose())


@pytest.mark.parametrize("level", ["READ COMMITTED", "SERIALIZABLE", "AUTOCOMMIT"])
def test_any_isolation_of_an_engine_of_ones_own_will_do(database: Database, level: str) -> None:
    engine = create_engine(database.url, hide_parameters=True, isolation_level=level)
    row = connection(f"con-{level}", subject=level)
    with closing(SQLAlchemyStore(engine)) as store:
        store.insert(row)
        assert store.acquire_lease(row.id, "me", 30.0)
    assert database.execute("SELECT lease_holder FROM connections WHERE id = %s", row.id) == [("me",)]
    engine.dispose()


def test_an_engine_of_ones_own_may_name_the_schema(database: Database) -> None:
    database.execute("CREATE SCHEMA apart")
    with closing(SQLAlchemyStore(f"{database.url}?options=-csearch_path%3Dapart")) as store:
        store.create_schema()
    engine = create_engine(
        database.url, hide_parameters=True, execution_options={"schema_translate_map": {None: "apart"}}
    )
    row = connection("con-apart", subject="apart")
    with closing(SQLAlchemyStore(engine)) as store:
        assert store.insert(row) is None
        token = store.read_token(row.id, TENANT, OWNER)
        due = store.find_due(row.account.provider, row.account.client_id, row.due_at_seconds or 0.0, 9)
        assert store.get(row.id, TENANT, OWNER) == row
    assert token is not None
    assert (token.envelope, [each.id for each in due]) == (row.envelope, [row.id])
    assert database.execute("SELECT id FROM apart.connections") == [(row.id,)]
    assert database.execute("SELECT id FROM public.connections WHERE id = %s", row.id) == []
    engine.dispose()


# tables


def test_a_store_makes_no_tables_by_the_way(postgres: Postgres, url: str, tmp_path: Path) -> None:
    bare = postgres.create_database("sqlalchemy_bare")
    for given in (bare.url, url):
        with (
            closing(SQLAlchemyStore(given)) as store,
            pytest.raises(ConfigurationError, match="socialvault db upgrade"),
        ):
            store.read_token("con-1", TENANT, OWNER)
    assert bare.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    postgres.drop_database(bare.name)


async def test_an_async_store_makes_them_when_asked(tmp_path: Path) -> None:
    store = AsyncSQLAlchemyStore(f"sqlite+aiosqlite:///{tmp_path / 'vault.db'}")
    with pytest.raises(ConfigurationError, match="socialvault db upgrade"):
        await store.load_vault()
    await store.create_schema()
    await store.create_schema()
    assert await store.load_vault() is None
    await store.aclose()
    with pytest.raises(StoreUnavailableError):
        await store.create_schema()


def test_tables_are_made_once_and_say_their_revision(database: Database) -> None:
    with closing(SQLAlchemyStore(database.url)) as store:
        store.create_schema()
    assert database.execute("SELECT version_num FROM socialvault_version") == [(REVISION,)]


@pytest.mark.parametrize(
    ("revision", "told"),
    [("socialvault_0001", "run `socialvault db upgrade`"), ("socialvault_9999", "upgrade socialvault")],
)
def test_tables_of_another_release_are_not_used(database: Database, revision: str, told: str) -> None:
    database.execute("UPDATE socialvault_version SET version_num = %s", revision)
    try:
        with closing(SQLAlchemyStore(database.url)) as store:
            with pytest.raises(ConfigurationError, match=told):
                store.load_vault()
            with pytest.raises(ConfigurationError, match=told):
                store.create_schema()
    finally:
        database.execute("UPDATE socialvault_version SET version_num = %s", REVISION)


def test_somebody_elses_tables_are_left_alone(url: str, tmp_path: Path) -> None:
    (tmp_path / "vault.db").touch(0o600)
    with closing(sqlite3.connect(tmp_path / "vault.db")) as theirs:
        theirs.execute("CREATE TABLE states (name)")
    with closing(SQLAlchemyStore(url)) as store, pytest.raises(StoreError, match="same names: states"):
        store.create_schema()
    with closing(sqlite3.connect(tmp_path / "vault.db")) as theirs:
        assert theirs.execute("SELECT name FROM sqlite_master").fetchall() == [("states",)]


# files


def test_a_file_is_its_owners_alone(url: str, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with closing(SQLAlchemyStore(url)) as store:
            store.create_schema()
    finally:
        os.umask(old)
    assert (tmp_path / "vault.db").stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_may_open_or_that_is_a_link_is_refused(url: str, tmp_path: Path) -> None:
    (tmp_path / "vault.db").touch(0o644)
    (tmp_path / "vault.db").chmod(0o644)
    with closing(SQLAlchemyStore(url)) as store, pytest.raises(ConfigurationError, match="chmod it to 600"):
        store.load_vault()
    (tmp_path / "link.db").symlink_to(tmp_path / "vault.db")
    with (
        closing(SQLAlchemyStore(url.replace("vault.db", "link.db"))) as store,
        pytest.raises(ConfigurationError, match="symbolic link"),
    ):
        store.load_vault()


def test_time_is_the_servers_own(database: Database) -> None:
    with closing(SQLAlchemyStore(database.url)) as store:
        store.put_state(flow(), 600.0)
        read = store.get_state(flow().state_hash)
    assert read is not None
    [(now,)] = database.execute("SELECT extract(epoch FROM now())::float8")
    assert read.expires_at_seconds == pytest.approx(now + 600.0, abs=60.0)


def test_time_in_a_file_is_this_machines(url: str) -> None:
    import time

    with closing(SQLAlchemyStore(url)) as store:
        store.create_schema()
        before = time.time()
        store.put_state(flow(), 600.0)
        read = store.get_state(flow().state_hash)
    assert read is not None
    assert before + 599.9 <= read.expires_at_seconds <= time.time() + 600.1
