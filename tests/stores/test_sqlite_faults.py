"""Faults of the database: each is told by its type, and when it is over everything is as it was."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from socialvault.exceptions import ConfigurationError, StoreError, StoreUnavailableError
from socialvault.model.status import Status
from socialvault.sandbox.contracts.base import ManualClock
from socialvault.sandbox.contracts.rows import (
    OWNER,
    TENANT,
    connection,
    failure,
    flow,
    intent,
    revocation,
    status_write,
    token_write,
    wrapped_key,
)
from socialvault.stores.sqlite import SQLiteStore, connections, schema
from socialvault.stores.sqlite.connections import refusal

if TYPE_CHECKING:
    from pathlib import Path

InChild = Callable[[Callable[[], Any]], Any]

# Some of these fork while a thread of an earlier test may not be gone yet; newer Pythons warn of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(connections, "_TURN_TIMEOUT_SECONDS", 0.05)


def attempt(act: Callable[[], object]) -> str:
    """Return the name of the error that `act` raises, or "" for none."""
    try:
        act()
    except Exception as error:  # noqa: BLE001  (its name is the answer)
        return type(error).__name__
    return ""


def test_f_40_a_locked_database_is_told_and_serves_reads(
    impatient: None, path: Path, store: SQLiteStore, raw: sqlite3.Connection
) -> None:
    row, state = connection(), flow()
    store.insert(row)
    raw.execute("BEGIN IMMEDIATE")
    for act in (
        lambda: store.insert(connection("con-2", subject="2")),
        lambda: store.write_token(token_write(row)),
        lambda: store.put_candidate(row.id, row.generation, b"x"),
        lambda: store.put_state(state, 600),
        lambda: store.add_key("data", wrapped_key()),
        lambda: store.acquire_lease(row.id, "me", 1.0),
        lambda: store.open_intent(intent(row)),
        lambda: store.write_failure(failure(row)),
        lambda: store.tombstone(status_write(row, Status.REVOCATION_PENDING), revocation(row)),
        lambda: store.finish_revocation("rev-con-1", "revoked", 1.0),
        lambda: store.erase_owner(TENANT, OWNER),
    ):
        with pytest.raises(StoreUnavailableError, match="SQLITE_BUSY"):
            act()
    assert store.get(row.id, TENANT, OWNER) == row
    raw.execute("ROLLBACK")
    assert store.write_token(token_write(row))


def test_f_40_a_busy_writer_of_this_process_is_not_waited_for_forever(
    impatient: None, path: Path, store: SQLiteStore
) -> None:
    blocked = SQLiteStore(path)
    inside, done = threading.Event(), threading.Event()

    def hold() -> None:
        with blocked.database.durable.transaction():
            inside.set()
            done.wait(timeout=10)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(timeout=10)
    with pytest.raises(StoreUnavailableError, match="too many writers"):
        blocked.put_state(flow(), 600)
    done.set()
    holder.join()
    blocked.put_state(flow(), 600)
    blocked.close()


def test_leases_and_intents_run_from_when_they_are_written_however_long_that_was_waited_for(
    path: Path, store: SQLiteStore, raw: sqlite3.Connection
) -> None:
    clock = ManualClock()
    row, other = connection(), connection("con-2", subject="2")
    store.insert(row)
    store.insert(other)
    with closing(SQLiteStore(path, clock=clock)) as waiting:
        assert waiting.acquire_lease(other.id, "first", 100.0)
        for act in (lambda: waiting.open_intent(intent(row)), lambda: waiting.acquire_lease(other.id, "second", 100.0)):
            raw.execute("BEGIN IMMEDIATE")
            writer = threading.Thread(target=act)
            writer.start()
            time.sleep(0.05)
            clock.advance(100.0)
            raw.execute("ROLLBACK")
            writer.join()
        read = waiting.get(row.id, TENANT, OWNER)
        assert read is not None
        assert read.intent_sent_at_seconds == 1_900_000_100.0
        assert read.intent_deadline_seconds == 1_900_000_700.0
        assert waiting.release_lease(other.id, "second")


def test_a_disconnect_that_fails_half_way_changes_nothing(store: SQLiteStore) -> None:
    row, child = connection(), connection("con-2", parent_id="con-1")
    store.insert(row)
    store.insert(child)
    with pytest.raises(StoreError):
        store.tombstone(status_write(row, Status.REVOCATION_PENDING), revocation(row, subject="\ud800"))
    assert store.get(row.id, TENANT, OWNER) == row
    assert store.get(child.id, TENANT, OWNER) == child


def test_f_40_a_full_disk_is_told_and_leaves_nothing_half_done(path: Path, in_child: InChild) -> None:
    big = os.urandom(400_000)

    def fill() -> list[str]:
        store = SQLiteStore(path)
        store.insert(connection())
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = sum(file.stat().st_size for file in path.parent.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        told = [
            attempt(lambda: store.write_token(token_write(connection(), envelope=big))),
            attempt(lambda: store.insert(replace(connection("con-2", subject="2"), envelope=big))),
            attempt(lambda: store.put_state(replace(flow(), sealed=big), 600)),
        ]
        read = store.get("con-1", TENANT, OWNER)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        written = store.write_token(token_write(connection(), envelope=big))
        return [*told, str(read == connection()), str(written)]

    assert in_child(fill) == ["StoreUnavailableError"] * 3 + ["True", "active"]
    store = SQLiteStore(path)
    row = store.get("con-1", TENANT, OWNER)
    assert row is not None
    assert (row.envelope, row.generation) == (big, 2)
    assert store.get("con-2", TENANT, OWNER) is None
    store.close()


def test_f_40_without_file_descriptors_it_is_unavailable_until_there_are_some(path: Path, in_child: InChild) -> None:
    def exhaust() -> list[str]:
        store = SQLiteStore(path)
        store.insert(connection())
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used, 4096))
        taken = []
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        told = attempt(lambda: store.get("con-1", TENANT, OWNER))
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        return [told, str(store.get("con-1", TENANT, OWNER) == connection())]

    assert in_child(exhaust) == ["StoreUnavailableError", "True"]


def as_nobody() -> None:
    if os.geteuid() == 0:
        os.setegid(65534)
        os.seteuid(65534)


def test_f_40_a_read_only_directory_is_told(tmp_path: Path, in_child: InChild) -> None:
    tmp_path.chmod(0o555)

    def start() -> str:
        as_nobody()
        return attempt(lambda: SQLiteStore(tmp_path / "vault.db"))

    tmp_path.parent.chmod(0o755)
    assert in_child(start) == "StoreUnavailableError"
    tmp_path.chmod(0o755)
    assert list(tmp_path.iterdir()) == []


def test_f_40_a_read_only_database_is_told_and_kept(path: Path, store: SQLiteStore, raw: sqlite3.Connection) -> None:
    store.insert(connection())
    for handle in (store.database.durable, store.database.relaxed):
        handle.execute("PRAGMA query_only=ON")
    before = path.read_bytes()
    with pytest.raises(StoreUnavailableError, match="SQLITE_READONLY"):
        store.write_token(token_write(connection()))
    with pytest.raises(StoreUnavailableError, match="SQLITE_READONLY"):
        store.put_state(flow(), 600)
    assert path.read_bytes() == before
    assert store.get("con-1", TENANT, OWNER) == connection()


def test_an_interrupted_transaction_is_undone_and_the_next_one_works(store: SQLiteStore) -> None:
    store.insert(connection())
    with pytest.raises(KeyboardInterrupt), store.database.durable.transaction() as execute:
        execute("DELETE FROM connections")
        raise KeyboardInterrupt
    assert store.get("con-1", TENANT, OWNER) == connection()
    assert store.write_token(token_write(connection()))


def test_a_call_within_a_call_of_the_same_thread_reads_but_does_not_meddle(store: SQLiteStore) -> None:
    store.insert(connection())
    with store.database.patient.handle, store.database.durable.transaction() as execute:  # as a signal handler finds it
        execute("UPDATE connections SET kind = 'page'")
        assert store.get("con-1", TENANT, OWNER) == connection()
        with pytest.raises(StoreError, match="another transaction"):
            store.insert(connection("con-2", subject="2"))
        with pytest.raises(StoreError, match="another transaction"):
            store.put_candidate("con-1", 1, b"x")
    assert store.get("con-1", TENANT, OWNER) == replace(connection(), kind="page")
    assert store.insert(connection("con-2", subject="2")) is None


def test_errors_name_sqlites_code_and_no_value(store: SQLiteStore) -> None:
    store.insert(connection(subject="a-secret-subject"))
    with pytest.raises(StoreError) as raised:
        store.insert(connection(subject="another"))
    assert str(raised.value) == "the database refused: SQLITE_CONSTRAINT_PRIMARYKEY"
    assert raised.value.__suppress_context__
    assert not isinstance(raised.value, StoreUnavailableError)


@pytest.mark.parametrize("value", [{}, 1 << 80, "\ud800", object()], ids=["type", "number", "surrogate", "object"])
def test_values_that_no_column_takes_are_refused_by_type(store: SQLiteStore, value: Any) -> None:
    with pytest.raises(StoreError):
        store.read_token(value, TENANT, OWNER)
    with pytest.raises(StoreError):
        store.get("con-1", TENANT, value)
    with pytest.raises(StoreError):
        store.write_token(token_write(connection(), expected_generation=value, connection_id=value))


def test_errors_of_the_driver_itself_have_no_code() -> None:
    assert str(refusal(sqlite3.ProgrammingError("value 'secret'"))) == "the database refused: ProgrammingError"


def test_a_store_that_can_not_turn_its_log_on_gives_up_in_time(
    monkeypatch: pytest.MonkeyPatch, impatient: None, path: Path
) -> None:
    monkeypatch.setattr(schema, "BUSY_TIMEOUT_SECONDS", 0.02)
    path.touch(0o600)
    with closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN")
        blocker.execute("SELECT * FROM sqlite_master").fetchall()  # a reader, by the rules of the older journal modes
        with pytest.raises(StoreUnavailableError, match="SQLITE_BUSY"):
            SQLiteStore(path)
    SQLiteStore(path).close()


def test_a_store_waits_for_its_turn_to_turn_the_log_on(path: Path, impatient: None) -> None:
    path.touch(0o600)
    blocker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN")
    blocker.execute("SELECT * FROM sqlite_master").fetchall()
    gone = threading.Timer(0.15, blocker.close)
    gone.start()
    SQLiteStore(path).close()
    gone.join()


def test_a_database_that_can_not_keep_a_log_is_refused(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    # As on a file system without shared memory, where SQLite stays with the older journal.
    monkeypatch.setattr(connections, "_connect", lambda *_: Stubborn(":memory:", isolation_level=None))
    with pytest.raises(ConfigurationError, match="journal mode stays delete"):
        SQLiteStore(path)


class Stubborn(sqlite3.Connection):
    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        return super().execute("SELECT 'delete'" if sql == "PRAGMA journal_mode=WAL" else sql, *args)
