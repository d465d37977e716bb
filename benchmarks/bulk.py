"""A million rows: re-wrapping and resealing them against the raw UPDATE of the same database, and finding what is due.

    PYTHONPATH=tests python benchmarks/bulk.py sqlite --rows 1000000
    PYTHONPATH=tests python benchmarks/bulk.py postgres --report docs/performance

The limit reads the same rows of the same table, with the same indexes, does the same cryptography and writes them back
with a compare-and-swap, in batches of the same size. Both take turns, and each turn moves every row once. Beside both,
another thread renews connections: each of its writes must stand at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from socialvault import LocalKeyring, Vault
from socialvault.api.stores import open_store
from socialvault.crypto.envelope import Sealer, Transfer, place_of
from socialvault.crypto.records import pack_token
from socialvault.model.rows import TokenWrite
from socialvault.providers import X
from socialvault.runtimes.threads import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from socialvault.model.rotation import Rotated

BATCH = 2000  # as in the library
TENANT, NOW = "acme", 1_900_000_000.0
UNKNOWN = -(2**63)
DUE = 500

COLUMNS = [
    "id", "tenant", "owner", "status", "reason", "generation", "provider", "issuer", "client_id", "parent_id",
    "envelope", "subject", "shared_with", "kind", "key_id", "created_at_seconds", "updated_at_seconds",
    "due_at_seconds", "failing_with", "failures", "refusals", "candidate", "intent_digest", "intent_attempt",
]  # fmt: skip
KEY_COLUMNS = ["key_id", "tenant", "owner", "wrapped", "wrapped_by", "state", "created_at_seconds"]


class SQLite:
    """Raw statements against a SQLite file."""

    def __init__(self, path: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=30)
        self.connection.execute("PRAGMA synchronous=FULL")

    def fill(self, table: str, columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(columns))
        self.connection.execute("BEGIN")
        self.connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
        self.connection.execute("COMMIT")
        self.connection.execute("ANALYZE")

    def read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql.replace("%s", "?"), values).fetchall()

    def swap(self, table: str, item: str, sealed: str, by: str, moved: list[tuple[str, bytes, bytes, str]]) -> int:
        sql = f"UPDATE {table} SET {sealed} = ?, {by} = ? WHERE {item} = ? AND {sealed} = ?"
        self.connection.execute("BEGIN IMMEDIATE")
        cursor = self.connection.executemany(sql, ((new, key_id, one, old) for one, old, new, key_id in moved))
        self.connection.execute("COMMIT")
        return cursor.rowcount

    def tidy(self) -> None:
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class Postgres:
    """Raw statements against PostgreSQL."""

    def __init__(self, dsn: str) -> None:
        import psycopg

        self.connection = psycopg.connect(dsn, autocommit=True)

    def fill(self, table: str, columns: list[str], rows: Iterator[tuple[Any, ...]]) -> None:
        with self.connection.cursor() as cursor, cursor.copy(
            f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
        ) as copy:  # fmt: skip
            copy.set_types([_type_of(column) for column in columns])
            for row in rows:
                copy.write_row(row)
        self.tidy()

    def read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values, binary=True).fetchall()  # type: ignore[no-any-return]  # rows

    def swap(self, table: str, item: str, sealed: str, by: str, moved: list[tuple[str, bytes, bytes, str]]) -> int:
        sql = (
            f"UPDATE {table} SET {sealed} = n.new, {by} = n.key_id"
            " FROM unnest(%b::text[], %b::bytea[], %b::bytea[], %b::text[]) AS n(id, old, new, key_id)"
            f" WHERE {table}.{item} = n.id AND {table}.{sealed} = n.old"
        )
        return self.connection.execute(sql, [list(column) for column in zip(*moved, strict=True)]).rowcount

    def tidy(self) -> None:
        self.connection.execute("VACUUM (ANALYZE) connections")
        self.connection.execute("VACUUM (ANALYZE) data_keys")
        self.connection.execute("CHECKPOINT")


def _type_of(column: str) -> str:
    if column in ("envelope", "candidate", "intent_digest", "wrapped"):
        return "bytea"
    if column.endswith("_seconds"):
        return "float8"
    return "int4" if column in ("generation", "failures", "refusals", "intent_attempt") else "text"


class Bulk:
    """A vault over a filled store."""

    def __init__(self, url: str, raw: SQLite | Postgres, rows: int) -> None:
        self.rows, self.raw = rows, raw
        self.store = open_store(url, None)
        self.vault = Vault(
            providers=[X("client", "secret")], store=self.store, keys=LocalKeyring([LocalKeyring.generate()]),
            redirect_uri="https://app.example/{provider}", dek_scope="tenant",
        )  # fmt: skip
        self.vault.open()
        self.keyring = self.vault._cases.core.keyring
        self.items = [os.urandom(16).hex() for _ in range(rows)]

    def fill(self) -> None:
        """Seal and insert connections under the tenant's DEK, and as many DEKs under the vault key."""
        named = run(self.keyring.primary(TENANT, ""))
        vault_key = run(self.keyring.vault_keys.get(run(self.keyring.vault_keys.primary_id(""))))
        packed = pack_token(
            os.urandom(100).hex().encode(), b"", os.urandom(50).hex().encode(), b"", b"", 1, 2, 3, UNKNOWN, UNKNOWN
        )

        def connections() -> Iterator[tuple[Any, ...]]:
            for number, item in enumerate(self.items):
                owner = f"user-{number % 100_000}"
                sealer = Sealer(named.cipher, named.key_id, self.keyring.vault_id, "token", TENANT, owner)
                envelope = sealer.seal(packed, "x", "", item.encode(), 1)
                yield (
                    item, TENANT, owner, "active", "", 1, "x", "", "client", "", envelope, str(number), "", "",
                    named.name, NOW, NOW, NOW + number, "", 0, 0, b"", b"", 0,
                )  # fmt: skip

        def data_keys() -> Iterator[tuple[Any, ...]]:
            from socialvault.crypto.envelope import key_id_of

            for number in range(self.rows):
                key, owner = os.urandom(32), f"owner-{number}"
                key_id = key_id_of(key).hex()
                sealer = Sealer(vault_key.cipher, vault_key.key_id, self.keyring.vault_id, "data-key", "bulk", owner)
                yield (
                    key_id,
                    "bulk",
                    owner,
                    sealer.seal(key, "", "", key_id.encode(), 0),
                    vault_key.name,
                    "primary",
                    NOW,
                )

        self.raw.fill("connections", COLUMNS, connections())
        self.raw.fill("data_keys", KEY_COLUMNS, data_keys())

    # --- the limit: the same work with raw statements ---------------------------------------------

    def raw_reseal(self) -> int:
        old, new = self._next_dek()
        return self._raw_move(
            "connections", "id", "envelope", "key_id", old, new, Transfer(old, new, self.keyring.vault_id, "token"),
            "id, tenant, owner, envelope, provider, issuer, generation",
            lambda row: place_of(row[1], row[2], row[4], row[5], row[0].encode(), row[6]),
        )  # fmt: skip

    def raw_rewrap(self) -> int:
        old, new = self._next_vault_key()
        return self._raw_move(
            "data_keys", "key_id", "wrapped", "wrapped_by", old, new,
            Transfer(old, new, self.keyring.vault_id, "data-key"), "key_id, tenant, owner, wrapped",
            lambda row: place_of(row[1], row[2], "", "", row[0].encode(), 0),
        )  # fmt: skip

    def _raw_move(
        self, table: str, item: str, sealed: str, by: str, old: Any, new: Any, transfer: Transfer, columns: str,
        place_of_row: Callable[[tuple[Any, ...]], bytes],
    ) -> int:  # fmt: skip
        after, moved = "", 0
        sql = f"SELECT {columns} FROM {table} WHERE {by} = %s AND {item} > %s ORDER BY {item} LIMIT {BATCH}"
        while rows := self.raw.read(sql, old.name, after):
            after = rows[-1][0]
            batch = []
            for row in rows:
                place = place_of_row(row)
                batch.append((row[0], row[3], transfer.move(row[3], place), new.name))
            moved += self.raw.swap(table, item, sealed, by, batch)
        return moved

    def raw_update(self) -> int:
        """Without any cryptography: the bytes are written back as they are, under another key's name."""
        names = (run(self.keyring.primary(TENANT, "")).name, "0" * 64)
        after, moved = "", 0
        sql = f"SELECT id, envelope FROM connections WHERE key_id = %s AND id > %s ORDER BY id LIMIT {BATCH}"
        for was, becomes in (names, names[::-1]):
            while rows := self.raw.read(sql, was, after):
                after = rows[-1][0]
                moved += self.raw.swap(
                    "connections", "id", "envelope", "key_id", [(row[0], row[1], row[1], becomes) for row in rows]
                )
            after = ""
        return moved

    # --- the library ------------------------------------------------------------------------------

    def reseal(self) -> Rotated:
        self._next_dek()
        return self.vault.keys.reseal(tenant=TENANT)

    def rewrap(self) -> Rotated:
        self._next_vault_key()
        return self.vault.keys.rewrap()

    def _next_dek(self) -> tuple[Any, Any]:
        old = run(self.keyring.primary(TENANT, ""))
        self.vault.keys.promote(self.vault.keys.add("data", tenant=TENANT).key_id)
        return old, run(self.keyring.primary(TENANT, ""))

    def _next_vault_key(self) -> tuple[Any, Any]:
        keys = self.keyring.vault_keys
        old = run(keys.get(run(keys.primary_id(""))))
        self.vault.keys.promote(self.vault.keys.add("vault").key_id)
        return old, run(keys.get(run(keys.primary_id(""))))

    def find_due(self) -> dict[str, float]:
        """The store's question against the same indexed one."""
        now = NOW + DUE - 1

        due = (
            f"status = 'active' AND provider = %s AND client_id = %s AND due_at_seconds <= %s ORDER BY 1, 2 LIMIT {DUE}"
        )

        def raw() -> int:
            sql = f"SELECT due_at_seconds, id, tenant, owner, generation FROM connections WHERE {due}"
            return len(self.raw.read(sql, "x", "client", now))

        def ours() -> int:
            return len(self.store.find_due("x", "client", now, DUE))

        asks: dict[str, Callable[[], int]] = {"the indexed query": raw, "find_due": ours}
        times: dict[str, list[float]] = {name: [] for name in asks}
        for _ in range(101):
            for name, ask in asks.items():
                begun = time.perf_counter()
                assert ask() == DUE
                times[name].append(time.perf_counter() - begun)
        found = {name: statistics.median(taken) for name, taken in times.items()}
        for name, taken in found.items():
            print(f"  find {DUE} due of {self.rows:,}, {name}: {taken * 1000:.2f} ms")
        ratio = found["find_due"] / found["the indexed query"]
        print(f"  -> {ratio:.2f}x the indexed query (budget 2x)")
        return {"ratio": round(ratio, 2), "milliseconds": round(1000 * found["find_due"], 2)}


class Renewing:
    """Renews connections at random while a job runs, as a refresh would."""

    def __init__(self, bulk: Bulk) -> None:
        self._bulk, self._stop, self.written = bulk, threading.Event(), dict[int, int]()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        core, random_ = self._bulk.vault._cases.core, random.Random(7)
        while not self._stop.wait(0.02):
            number = random_.randrange(self._bulk.rows)
            item = self._bulk.items[number]
            row = self._bulk.store.get(item, TENANT, f"user-{number % 100_000}")
            assert row is not None
            sealers = run(core.sealers(row))
            envelope = sealers.seal(run(core.open(row)), row, row.generation + 1)
            write = TokenWrite(item, row.generation, envelope, sealers.stored.key_id.hex(), NOW, NOW, None)
            if self._bulk.store.write_token(write) is not None:
                self.written[number] = row.generation + 1

    def check(self) -> int:
        """Every renewal must be what is stored, or have been moved whole to another key since."""
        core = self._bulk.vault._cases.core
        for number, generation in self.written.items():
            item = self._bulk.items[number]
            row = self._bulk.store.get(item, TENANT, f"user-{number % 100_000}")
            assert row is not None
            assert row.generation == generation, (item, row.generation, generation)
            run(core.open(row))
        return len(self.written)


class Memory:
    """Watches how much memory this process takes at most, beyond what it took at first.

    Attributes:
        own: megabytes of its own.
        mapped: megabytes of files that it looks into, which the system's cache holds anyway.
    """

    def __enter__(self) -> Self:
        self._first, self.own, self.mapped = self._taken(), 0.0, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            own, mapped = (now - first for now, first in zip(self._taken(), self._first, strict=True))
            self.own, self.mapped = max(self.own, own), max(self.mapped, mapped)

    def _taken(self) -> list[float]:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
        return [int(status[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")]


def timed(name: str, rows: int, act: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    done = act()
    taken = time.perf_counter() - begun
    print(f"  {name}: {taken:.1f} s, {rows / taken:,.0f} rows/s ({done})", flush=True)
    return taken


def compare(
    bulk: Bulk, what: str, limit: Callable[[], int], ours: Callable[[], Rotated], turns: int
) -> dict[str, object]:
    ratios, speeds, grown, mapped, races = [], [], 0.0, 0.0, 0
    for _ in range(turns):
        with Renewing(bulk):
            raw = timed(f"{what}, raw read + reseal + UPDATE", bulk.rows, limit)
        bulk.raw.tidy()
        with Renewing(bulk) as renewing, Memory() as memory:
            taken = timed(f"{what}, the library", bulk.rows, ours)
        grown, mapped = max(grown, memory.own), max(mapped, memory.mapped)
        bulk.raw.tidy()
        races += renewing.check()
        print(f"    {len(renewing.written)} connections were renewed meanwhile, and each renewal stands")
        ratios.append(taken / raw)
        speeds.append(bulk.rows / taken)
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    ratio = statistics.median(ratios)
    print(f"  -> {what}: {ratio:.2f}x the limit (budget 1.3x; {each})")
    print(f"     grew by {grown:.0f} MB (budget 64), and mapped {mapped:.0f} MB of the file")
    return {
        "ratio": round(ratio, 2), "each": [round(one, 2) for one in ratios], "growth_mb": round(grown),
        "mapped_mb": round(mapped), "rows_per_second": round(statistics.median(speeds)), "renewed_meanwhile": races,
    }  # fmt: skip


@contextlib.contextmanager
def database(kind: str) -> Iterator[tuple[str, SQLite | Postgres]]:
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vault.db"
            open_store(f"sqlite:///{path}", None).close()
            yield f"sqlite:///{path}", SQLite(str(path))
        return
    from support.postgres import running_postgres

    from socialvault.stores.sqlalchemy import SQLAlchemyStore

    with running_postgres(durable=True, shared_buffers="512MB", max_wal_size="4GB") as server:
        made = server.create_database("bulk")
        store = SQLAlchemyStore(made.url)
        store.create_schema()
        store.close()
        yield made.url, Postgres(made.dsn)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("kind", choices=["sqlite", "postgres"])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--turns", type=int, default=3)
    options.add_argument("--report", type=Path, metavar="FOLDER", help="write the figures there as JSON")
    given = options.parse_args()
    print(f"{given.kind}, {given.rows:,} rows, Python {sys.version.split()[0]}")
    with database(given.kind) as (url, raw):
        bulk = Bulk(url, raw, given.rows)
        timed("fill two tables", given.rows, bulk.fill)
        figures: dict[str, object] = {"rows": given.rows, "find_due": bulk.find_due()}
        timed("raw read + UPDATE twice, no cryptography", 2 * given.rows, bulk.raw_update)
        raw.tidy()
        figures["rewrap"] = compare(bulk, "rewrap", bulk.raw_rewrap, bulk.rewrap, given.turns)
        figures["reseal"] = compare(bulk, "reseal at tenant scope", bulk.raw_reseal, bulk.reseal, given.turns)
        bulk.vault.close()
    if given.report is not None:
        given.report.mkdir(parents=True, exist_ok=True)
        (given.report / f"bulk-{given.kind}.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
