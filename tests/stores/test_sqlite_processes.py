"""Threads, event loops, processes and forks around one file."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest
import pytest_asyncio

from socialvault.exceptions import StoreUnavailableError
from socialvault.sandbox.contracts.base import race_in_threads
from socialvault.sandbox.contracts.rows import OWNER, TENANT, connection, flow, intent, token_write, wrapped_key
from socialvault.stores.sqlite import AsyncSQLiteStore, SQLiteStore, schema

InChild = Callable[[Callable[[], Any]], Any]
InChildren = Callable[[int, Callable[[int], Any]], list[Any]]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest_asyncio.fixture
async def async_store(path: Path) -> AsyncIterator[AsyncSQLiteStore]:
    store = AsyncSQLiteStore(path)
    yield store
    await store.aclose()


class Heart:
    """Beats every millisecond for as long as the event loop lets it."""

    def __init__(self) -> None:
        self.beats = 0
        self.lively = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._beat())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _beat(self) -> None:
        while True:
            self.beats += 1
            if self.beats > 10:
                self.lively.set()
            await asyncio.sleep(0.001)


# threads and loops


async def test_reads_go_on_during_a_long_write_and_the_write_waits_outside_the_loop(
    path: Path, async_store: AsyncSQLiteStore
) -> None:
    row = connection()
    await async_store.insert(row)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE connections SET envelope = x'00', generation = 99")
        async with Heart() as heart:
            writing = asyncio.create_task(async_store.write_token(token_write(row)))
            for _ in range(50):
                read = await async_store.read_token(row.id, TENANT, OWNER)
                assert read is not None
                assert read.generation == 1
                await asyncio.sleep(0.001)
            assert heart.lively.is_set()
            assert not writing.done()
            other.execute("ROLLBACK")
            assert await writing


async def test_a_read_that_meets_a_busy_database_waits_in_another_thread(
    path: Path, async_store: AsyncSQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = connection()
    await async_store.insert(row)
    database = async_store._store.database
    database.before_fork()  # closes every connection, so that somebody can have the file for himself
    database.after_fork()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        async with Heart() as heart:
            reads = [
                asyncio.create_task(async_store.read_token(row.id, TENANT, OWNER)),
                asyncio.create_task(async_store.get(row.id, TENANT, OWNER)),
            ]
            await heart.lively.wait()  # while they held the loop up, it would be their patience that ends first
            assert not any(read.done() for read in reads)
            other.close()
            narrow, whole = await asyncio.gather(*reads)
    assert narrow is not None
    assert whole == row


async def test_in_memory_readers_see_no_uncommitted_write() -> None:
    store = AsyncSQLiteStore(":memory:")
    row = connection()
    await store.insert(row)
    inside, leave = threading.Event(), threading.Event()

    def write() -> None:
        with store._store.database.durable.transaction() as execute:
            execute("UPDATE connections SET generation = 99")
            inside.set()
            leave.wait(timeout=0.02)
            execute("UPDATE connections SET generation = 1")

    writing = asyncio.create_task(asyncio.to_thread(write))
    await asyncio.to_thread(inside.wait)
    read = await store.read_token(row.id, TENANT, OWNER)
    assert read is not None
    assert read.generation == 1
    await writing
    await store.aclose()


async def test_one_store_serves_several_event_loops(path: Path) -> None:
    store = AsyncSQLiteStore(path)
    loops = 4

    async def work(number: int) -> list[int]:
        row = replace(connection(f"con-{number}", subject=str(number)), owner=f"user-{number}")
        await store.insert(row)
        for generation in range(1, 6):
            assert await store.write_token(token_write(row, expected_generation=generation))
        reads = await asyncio.gather(*(store.read_token(row.id, TENANT, row.owner) for _ in range(20)))
        return [read.generation for read in reads if read is not None]

    assert await race_in_threads(loops, work) == [[6] * 20] * loops
    await store.aclose()


async def test_a_write_whose_caller_is_cancelled_is_carried_out(path: Path, async_store: AsyncSQLiteStore) -> None:
    row = connection()
    await async_store.insert(row)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(async_store.write_token(token_write(row)))
        await asyncio.sleep(0.01)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        other.execute("ROLLBACK")
    deadline = time.monotonic() + 5
    while (read := await async_store.read_token(row.id, TENANT, OWNER)) and time.monotonic() < deadline:
        if read.generation == 2:
            break
        await asyncio.sleep(0.005)
    assert read is not None
    assert read.generation == 2


def test_a_thread_that_ends_closes_its_connection(store: SQLiteStore) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    store.insert(connection())
    store.read_token("con-1", TENANT, OWNER)
    before = descriptors()
    for _ in range(20):
        thread = threading.Thread(target=store.read_token, args=("con-1", TENANT, OWNER))
        thread.start()
        thread.join()
    gc.collect()
    assert descriptors() <= before + 2  # SQLite may keep a descriptor for a while: closing one drops the file's locks


def test_closing_ends_calls_of_other_threads_cleanly(store: SQLiteStore) -> None:
    store.insert(connection())
    started = threading.Barrier(5)
    ends: list[object] = []

    def read() -> None:
        started.wait()
        try:
            while True:
                row = store.read_token("con-1", TENANT, OWNER)
                assert row is not None
        except BaseException as error:  # noqa: BLE001  (compared below)
            ends.append(type(error))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait()
    time.sleep(0.01)
    store.close()
    for thread in threads:
        thread.join(timeout=10)
    assert ends == [StoreUnavailableError] * 4


# forks


def locks_of(process: int, path: Path) -> list[str]:
    """Return the locks that `process` holds on `path`, as the kernel counts them."""
    inode = str(path.stat().st_ino)
    return [line for line in Path("/proc/locks").read_text().splitlines() if f" {process} " in line and inode in line]


def test_a_forked_child_opens_its_own_connections_and_holds_its_own_locks(
    path: Path, store: SQLiteStore, in_child: InChild
) -> None:
    row = connection()
    store.insert(row)
    store.read_token(row.id, TENANT, OWNER)
    assert locks_of(os.getpid(), path)

    def child() -> list[bool]:
        read = store.get(row.id, TENANT, OWNER) == row
        wrote = store.write_token(token_write(row))
        return [read, wrote, bool(locks_of(os.getpid(), path))]

    assert in_child(child) == [True, "active", True]
    read = store.read_token(row.id, TENANT, OWNER)
    assert read is not None
    assert read.generation == 2
    assert store.write_token(token_write(row, expected_generation=2))


def test_a_fork_in_the_middle_of_other_threads_work_leaves_both_sides_working(
    path: Path, store: SQLiteStore, in_child: InChild
) -> None:
    rows = [connection(f"con-{number}", subject=str(number)) for number in range(3)]
    for row in rows:
        store.insert(row)
    stop = threading.Event()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        generation = 1
        try:
            while not stop.is_set():
                assert store.write_token(token_write(rows[number], expected_generation=generation))
                generation += 1
                read = store.read_token(rows[number].id, TENANT, OWNER)
                assert read is not None
                assert read.generation == generation
        except BaseException as error:  # noqa: BLE001  (compared below)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for write in (token_write(rows[2]), token_write(rows[2], expected_generation=2)):
            assert in_child(functools.partial(store.write_token, write))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert store.database.durable.execute("PRAGMA integrity_check").fetchone() == ("ok",)


class Ending:
    """A thread that reads and ends, and is held up where the connection that it leaves behind is closed."""

    def __init__(self, store: SQLiteStore) -> None:
        self.began, self.go_on = threading.Event(), threading.Event()
        self.closed = False
        self._store = store
        self._inner: sqlite3.Connection | None = None
        self.thread = threading.Thread(target=self._read)
        self.thread.start()
        assert self.began.wait(10)

    def _read(self) -> None:
        self._store.get("con-1", TENANT, OWNER)
        handle = self._store.database.patient.handle
        self._inner, handle._connection = handle._connection, self  # type: ignore[assignment]  # has what a close needs

    def close(self) -> None:
        self.began.set()
        self.go_on.wait(10)
        assert self._inner is not None
        self._inner.close()
        self.closed = True


def test_a_fork_waits_for_what_an_ended_thread_is_closing(store: SQLiteStore, in_child: InChild) -> None:
    """A child that inherited a connection in the middle of its end would read an old state of the file for ever."""
    store.insert(connection())
    ending, read = Ending(store), []
    forking = threading.Thread(
        target=lambda: read.append(in_child(lambda: [ending.closed, store.get("con-1", TENANT, OWNER) == connection()]))
    )
    forking.start()
    forking.join(0.3)
    assert read == []
    ending.go_on.set()
    ending.thread.join(10)
    forking.join(10)
    assert read == [[True, True]]


def test_closing_waits_for_what_an_ended_thread_is_closing_and_leaves_the_file_alone(
    store: SQLiteStore, path: Path
) -> None:
    """The last connection writes the log back into the file, so that one file is all there is to copy."""
    store.insert(connection())
    ending = Ending(store)
    closing = threading.Thread(target=store.close)
    closing.start()
    closing.join(0.3)
    assert closing.is_alive()
    ending.go_on.set()
    ending.thread.join(10)
    closing.join(10)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_child_that_closes_the_store_closes_its_own_alone(store: SQLiteStore, in_child: InChild) -> None:
    store.insert(connection())
    in_child(store.close)
    assert store.get("con-1", TENANT, OWNER) == connection()


def test_a_database_in_memory_is_copied_by_a_fork(in_child: InChild) -> None:
    store = SQLiteStore(":memory:")
    store.insert(connection())

    def child() -> bool:
        return store.write_token(token_write(connection())) and store.get("con-1", TENANT, OWNER) is not None

    assert in_child(child)
    assert store.get("con-1", TENANT, OWNER) == connection()
    store.close()


async def test_an_event_loop_in_a_forked_child_has_a_working_store(path: Path, in_child: InChild) -> None:
    store = AsyncSQLiteStore(path)
    row = connection()
    await store.insert(row)

    def child() -> list[bool]:
        outcome: list[bool] = []

        async def main() -> None:
            outcome.append(await store.get(row.id, TENANT, OWNER) == row)
            outcome.append(await store.write_token(token_write(row)))

        thread = threading.Thread(target=lambda: asyncio.run(main()))
        thread.start()
        thread.join()
        return outcome

    assert in_child(child) == [True, "active"]
    read = await store.read_token(row.id, TENANT, OWNER)
    assert read is not None
    assert read.generation == 2
    await store.aclose()


# processes


def test_what_a_file_is_is_read_in_one_moment_while_another_process_makes_it(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as making:
        making.execute("PRAGMA journal_mode=WAL")
    child = os.fork()
    if child == 0:
        making = sqlite3.connect(path, isolation_level=None)
        making.execute("PRAGMA synchronous=OFF")
        for mark in [1, 0] * 300:
            making.execute("BEGIN IMMEDIATE")
            making.execute("CREATE TABLE t (a)" if mark else "DROP TABLE t")
            making.execute(f"PRAGMA application_id={mark}")
            making.execute(f"PRAGMA user_version={mark}")
            making.execute("COMMIT")
        os._exit(0)
    seen = set()
    with closing(sqlite3.connect(path, isolation_level=None)) as reading:
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            try:
                seen.add(reading.execute(schema._IDENTITY).fetchone())
            except sqlite3.OperationalError as error:  # 50 changes overtook one statement: no answer, not a mixed one
                assert error.sqlite_errorcode == sqlite3.SQLITE_SCHEMA
    assert seen == {(0, 0, 0), (1, 1, 1)}


def test_f_08_of_racing_processes_one_wins_each_round(path: Path, store: SQLiteStore, in_children: InChildren) -> None:
    rounds = 15
    store.insert(connection())
    sent = connection("intent", subject="intent")
    store.insert(sent)
    for number in range(rounds):
        store.put_state(flow(str(number)), 600)

    def contend(me: int) -> list[str]:
        won = []
        for number in range(rounds):
            state = flow(str(number))
            key = wrapped_key(f"{me} {number}", owner=str(number))
            account = replace(connection(f"{number}-{me}", subject=str(number)), owner=str(me))
            outcomes = {
                "state": store.claim_state(
                    state.state_hash, tenant=TENANT, owner=OWNER, provider="linkedin", binding=state.binding
                )
                is not None,
                "account": store.insert(account) is None,
                "generation": store.write_token(token_write(connection(), expected_generation=number + 1)),
                "attempt": store.open_intent(intent(sent, expected_attempt=number, lifetime_seconds=0.0)),
                "key": store.add_key("data", key),
            }
            won += [f"{kind}-{number}" for kind, outcome in outcomes.items() if outcome]
        return won

    won = [each for answer in in_children(4, contend) for each in answer]
    kinds = ("state", "account", "generation", "attempt", "key")
    assert sorted(won) == sorted(f"{kind}-{number}" for kind in kinds for number in range(rounds))
