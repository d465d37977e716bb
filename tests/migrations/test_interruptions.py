"""An upgrade goes on where one was interrupted, and waits for nobody's rows."""

from __future__ import annotations

import sqlite3
import threading
import time

import psycopg
import pytest

from socialvault.exceptions import ConfigurationError, StoreUnavailableError
from socialvault.stores.sqlalchemy.migrations import postgres, running
from socialvault.stores.sqlalchemy.schema import REVISION

INDEXES = ("connections_sealed_under", "data_keys_wrapped_under", "revocations_sealed_under", "connections_candidates")
INVALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = '{}'::regclass"


@pytest.mark.parametrize("index", INDEXES)
def test_an_index_whose_build_was_interrupted_is_built_again(filled_postgres, index):
    database = filled_postgres.native
    _leave_invalid(database, index)
    assert database.execute(INVALID.format(index)) == [(False,)]
    filled_postgres.migrations.upgrade()
    assert database.execute(INVALID.format(index)) == [(True,)]
    assert filled_postgres.migrations.check() == []


def test_an_invalid_index_is_told(filled_postgres):
    filled_postgres.migrations.upgrade()
    database = filled_postgres.native
    database.execute("DROP INDEX connections_sealed_under")
    _leave_invalid(database, "connections_sealed_under")
    assert "index connections_sealed_under is invalid: its build was interrupted" in filled_postgres.migrations.check()


def _leave_invalid(database, index):
    """Interrupt a build, as a lost connection would: it waits for an old transaction, and is ended there."""
    table, columns = {
        "connections_sealed_under": ("connections", "key_id, id"),
        "connections_candidates": ("connections", "id"),
        "data_keys_wrapped_under": ("data_keys", "wrapped_by, key_id"),
        "revocations_sealed_under": ("revocations", "key_id, id"),
    }[index]
    with database.connect() as old, old.transaction():
        old.execute(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")
        with database.connect() as builder:
            builder.execute("SET lock_timeout = 100")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                builder.execute(f"CREATE INDEX CONCURRENTLY {index} ON {table} ({columns})")


@pytest.mark.parametrize("steps", [2, 6])
def test_a_run_that_was_cut_off_goes_on(filled, monkeypatch, steps):
    """Each statement may be the last of a run."""
    before, left = filled.rows(), [steps]

    def cut(*_: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        for name in ("execute", "create_index", "drop_index", "create_table", "add_column"):
            _wrap(patched, name, cut)
        with pytest.raises(KeyboardInterrupt):
            filled.migrations.upgrade()
    assert filled.migrations.current() == "socialvault_0001"
    assert filled.migrations.upgrade() == REVISION
    assert filled.migrations.check() == []
    assert filled.rows() == before


def _wrap(patched, name, before):
    from alembic import op

    whole = getattr(op, name)

    def wrapped(*arguments, **options):
        before()
        return whole(*arguments, **options)

    patched.setattr(op, name, wrapped)


def test_who_holds_a_table_holds_the_upgrade_up_and_nobody_else(filled_postgres):
    """A forgotten transaction has read a row; the upgrade asks for the table again and again, and lets others pass."""
    database = filled_postgres.native
    waits = []
    with database.connect() as forgotten:
        forgotten.execute("BEGIN")
        forgotten.execute("SELECT 1 FROM data_keys LIMIT 1")
        upgrade = threading.Thread(target=filled_postgres.migrations.upgrade)
        upgrade.start()
        with filled_postgres.first_release() as process:
            process.run("SET statement_timeout = '5s'")
            deadline = time.monotonic() + 1.5
            while time.monotonic() < deadline:
                started = time.monotonic()
                process.run("UPDATE data_keys SET state = state")
                waits.append(time.monotonic() - started)
        assert upgrade.is_alive()
        forgotten.execute("COMMIT")
        upgrade.join(30)
    assert filled_postgres.migrations.current() == REVISION
    assert max(waits) < 1.0
    assert max(waits) > 0.1  # it did ask


def test_a_table_that_stays_locked_is_told_and_nothing_is_half_done(filled_postgres, monkeypatch):
    monkeypatch.setattr(postgres, "ATTEMPTS", 2)
    monkeypatch.setattr(postgres, "LOCK_TIMEOUT_MILLISECONDS", 20)
    with filled_postgres.native.connect() as forgotten:
        forgotten.execute("BEGIN")
        forgotten.execute("SELECT 1 FROM data_keys LIMIT 1")
        with pytest.raises(StoreUnavailableError, match="locked by others for too long"):
            filled_postgres.migrations.upgrade()
        with filled_postgres.first_release() as process:
            process.everything("another")
        assert filled_postgres.migrations.current() == "socialvault_0001"
    filled_postgres.migrations.upgrade()
    assert filled_postgres.migrations.check() == []


def test_processes_that_upgrade_at_once_take_turns(filled_postgres):
    reached = []
    threads = [threading.Thread(target=lambda: reached.append(filled_postgres.migrations.upgrade())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert reached == [REVISION] * 3
    assert filled_postgres.migrations.check() == []


def test_who_waits_too_long_for_its_turn_is_told_to_try_again(on_postgres, monkeypatch):
    monkeypatch.setattr(running, "TURN_SECONDS", 0.0)
    with on_postgres.native.connect() as other:
        other.execute("SELECT pg_advisory_lock(%s)", (running._ADVISORY_LOCK,))
        with pytest.raises(StoreUnavailableError, match="another process"):
            on_postgres.migrations.upgrade()


def test_an_account_that_may_not_change_tables_is_told(on_postgres):
    database = on_postgres.native
    database.execute("DROP ROLE IF EXISTS reader")
    database.execute("CREATE ROLE reader LOGIN PASSWORD 'reader-password-canary'")
    on_postgres.migrations.upgrade("0001")
    [(schema,)] = database.execute("SELECT current_schema()")
    database.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO reader")
    database.execute(f"GRANT USAGE ON SCHEMA {schema} TO reader")
    url = on_postgres.url.replace(on_postgres.url.split("//")[1].split("@")[0], "reader:reader-password-canary")
    try:
        with pytest.raises(ConfigurationError, match="does not permit") as caught:
            running.Migrations(url).upgrade()
        assert "canary" not in str(caught.value)
        assert caught.value.__suppress_context__
    finally:
        database.execute("DROP OWNED BY reader")
        database.execute("DROP ROLE reader")


def test_a_server_that_is_away_is_told_without_the_password(postgres):
    url = "postgresql://somebody:password-canary@127.0.0.1:9/nothing"
    with pytest.raises(StoreUnavailableError, match=r"^the database is not available: \w+$"):
        running.Migrations(url).current()


def test_a_file_that_is_busy_is_told(tmp_path, monkeypatch):
    from socialvault.stores.sqlalchemy.migrations import engines

    monkeypatch.setattr(engines, "_SQLITE_BUSY_SECONDS", 0.05)
    path = tmp_path / "vault.db"
    path.touch(0o600)
    migrations = running.Migrations(f"sqlite:///{path}")
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailableError, match="SQLITE_BUSY"):
            migrations.upgrade()
    finally:
        other.close()
    migrations.upgrade()
