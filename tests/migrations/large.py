"""Upgrading and downgrading a large table while it is in use, and how long anybody waited.

As a program it does so with as many rows as it is asked for, on a server of its own::

    cd tests && python -m migrations.large --rows 5000000
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from migrations.first_release import KEY_ID, VAULT_KEY_ID, FirstRelease

from socialvault.stores.sqlalchemy.migrations.running import Migrations

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.postgres import Database

REQUESTS_PER_SECOND = 20
WORKERS = 4
#: Of them one new connection in ten requests; the others read a token, renew it and write it back.
_CONNECT_EVERY = 10
_SAMPLE_SECONDS = 0.02

_INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = current_schema() AND tablename IN ('connections', 'data_keys') AND indexname NOT LIKE '%%_pkey'
"""
_ENVELOPE = r"'\x53560101'::bytea || decode('{key}', 'hex') || decode(repeat(md5(n::text), 18), 'hex')"
# Five connections for each data key, as where some people connect several accounts.
_CONNECTIONS = f"""
    INSERT INTO connections
    SELECT 'connection-' || n, 't', 'owner-' || n, 'active', '', 1, 'google', 'https://issuer.test', 'client', '',
        {_ENVELOPE}, 'subject-' || n, '', 'account', '{{key}}', n, n, n + 2000000000, NULL, NULL, NULL, '', 0, 0,
        ''::bytea, ''::bytea, NULL, NULL, 0, '', NULL
    FROM generate_series({{first}}, {{last}}) AS n
"""
_DATA_KEYS = f"""
    INSERT INTO data_keys
    SELECT md5(n::text) || md5('x' || n), 't', 'former-' || n, decode(repeat(md5(n::text), 6), 'hex'), '{VAULT_KEY_ID}',
        'primary', n
    FROM generate_series({{first}}, {{last}}) AS n
"""
_BATCH = 250_000

# Who waits for a lock, for how long; and which whole tables are held.
_WAITING = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - waitstart)), 0) FROM pg_locks
    WHERE NOT granted AND pid = ANY (%s)
"""
_EXCLUSIVE = """
    SELECT pid, relation, virtualtransaction FROM pg_locks
    WHERE granted AND mode = 'AccessExclusiveLock' AND relation = ANY (%s::regclass[])
"""


@dataclass
class Report:
    """What was measured, in seconds.

    Attributes:
        slowest_request: of all, whatever it waited for.
        longest_wait: of a request for a lock.
        longest_exclusive: for how long a whole table was locked.
    """

    rows: int
    changes: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    errors: list[str] = field(default_factory=list)
    slowest_request: float = 0.0
    longest_wait: float = 0.0
    longest_exclusive: float = 0.0


def fill(database: Database, rows: int) -> None:
    """Give the first schema's tables `rows` connections and a fifth as many data keys."""
    Migrations(database.url).upgrade("0001")
    with FirstRelease(database) as process:
        process.start_vault()
    with database.connect() as connection:
        indexes = connection.execute(_INDEXES).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        for statement, count in ((_CONNECTIONS, rows), (_DATA_KEYS, rows // 5)):
            for first in range(1, count + 1, _BATCH):
                last = min(first + _BATCH - 1, count)
                connection.execute(statement.format(first=first, last=last, key=KEY_ID))
        for _, definition in indexes:
            connection.execute(definition)
        connection.execute("VACUUM ANALYZE connections")
        connection.execute("VACUUM ANALYZE data_keys")


class Traffic:
    """The release before at work: `REQUESTS_PER_SECOND` requests, on a fixed schedule whatever each one takes."""

    def __init__(self, database: Database, rows: int, report: Report) -> None:
        self._database, self._rows, self._report = database, rows, report
        self._stop = threading.Event()
        self._pids: list[int] = []
        self._ready = threading.Barrier(WORKERS + 1)
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(worker,)) for worker in range(WORKERS)]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()
        self._ready.wait(60)
        self._threads.append(threading.Thread(target=self._sample))
        self._threads[-1].start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()

    def _work(self, worker: int) -> None:
        chance = random.Random(worker)
        with FirstRelease(self._database) as process:
            self._pids.append(process.run("SELECT pg_backend_pid()")[0][0])
            self._ready.wait(60)
            begun, number = time.monotonic(), 0
            while not self._stop.wait(max(0.0, begun + number * WORKERS / REQUESTS_PER_SECOND - time.monotonic())):
                number += 1
                self._request(process, chance, f"new-{worker}-{number}")

    def _request(self, process: FirstRelease, chance: random.Random, name: str) -> None:
        started = time.monotonic()
        try:
            if chance.randrange(_CONNECT_EVERY):
                number = chance.randint(1, self._rows)
                process.refresh(f"connection-{number}", f"owner-{number}")
            else:
                process.everything(name)
        except Exception as problem:  # noqa: BLE001  # whatever it is, it is counted
            with self._lock:
                self._report.errors.append(f"{type(problem).__name__}: {problem}")
        with self._lock:
            self._report.requests += 1
            self._report.slowest_request = max(self._report.slowest_request, time.monotonic() - started)

    def _sample(self) -> None:
        since: dict[tuple[object, ...], float] = {}
        with self._database.connect() as connection:
            while not self._stop.wait(_SAMPLE_SECONDS):
                [(waited,)] = connection.execute(_WAITING, (self._pids,)).fetchall()
                self._report.longest_wait = max(self._report.longest_wait, float(waited))
                held = connection.execute(_EXCLUSIVE, (["connections", "data_keys"],)).fetchall()
                now = time.monotonic()
                since = {lock: since.get(lock, now) for lock in held}
                for begun in since.values():
                    self._report.longest_exclusive = max(self._report.longest_exclusive, now - begun)


def change_under_load(database: Database, rows: int, *, calm_seconds: float) -> Report:
    """Upgrade and downgrade a database that is `fill`\\ ed, under load before, between and after."""
    report, migrations = Report(rows), Migrations(database.url)
    steps: list[tuple[str, Callable[[], object]]] = [
        ("upgrade", migrations.upgrade),
        ("downgrade", lambda: migrations.downgrade("0001")),
    ]
    with ExitStack() as stack:
        stack.enter_context(Traffic(database, rows, report))
        for name, step in steps:
            time.sleep(calm_seconds)
            started = time.monotonic()
            step()
            report.changes[name] = time.monotonic() - started
        time.sleep(calm_seconds)
    return report


def main() -> None:
    """Run it and print what was measured."""
    from support.postgres import running_postgres

    parser = argparse.ArgumentParser(description="Change the schema of a large table that is in use.")
    parser.add_argument("--rows", type=int, default=5_000_000)
    rows = parser.parse_args().rows
    with running_postgres(max_wal_size="4GB", maintenance_work_mem="256MB", autovacuum="on") as server:
        database = server.create_database("large")
        started = time.monotonic()
        fill(database, rows)
        [(size,)] = database.execute("SELECT pg_size_pretty(pg_database_size(current_database()))")
        print(f"{rows} connections, {size}, filled in {time.monotonic() - started:.0f} s", flush=True)
        report = change_under_load(database, rows, calm_seconds=5.0)
    for name, value in asdict(report).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
