"""Where a bench's rows are: a file, a database of a Postgres, or one of a Valkey; and what can be done to it.

Everything that a point does to a store behind the library's back is a method here, so that points know no kind.
"""

from __future__ import annotations

import itertools
import os
import re
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.postgres import Database, Postgres, running_postgres
from support.valkey import Valkey, running_valkey

if TYPE_CHECKING:
    from socialvault.ports.clock import Clock

#: What is said of a store in a report, and on the command line with ``--store`` and ``--colour``.
KINDS = ("sqlite", "postgres", "valkey")
_HELD = "SELECT id, lease_holder FROM connections WHERE lease_until_seconds IS NOT NULL"
_NUMBERS = itertools.count()


class Place:
    """A store's rows. A subclass says of which kind.

    Attributes:
        patience_seconds: how long the store itself waits for a database that somebody else has seized.
    """

    kind: str
    patience_seconds: float

    @property
    def url(self) -> str:
        """What a vault's ``store`` may be."""
        raise NotImplementedError

    def open(self, clock: Clock) -> Any:
        """Open it, blocking."""
        raise NotImplementedError

    def open_async(self, clock: Clock) -> Any:
        """Open it, for event loops."""
        raise NotImplementedError

    def beside(self, directory: Path) -> Place:
        """An empty one of the same kind."""
        raise NotImplementedError

    def of_trial(self, directory: Path) -> Place:
        """Where a trial of its own finds its rows; another one only where trials would get into each other's way."""
        return self

    def discard(self) -> None:
        """Remove what is left of it elsewhere than in its folder."""

    # --- behind the library's back ----------------------------------------------------------------

    def held_leases(self) -> list[tuple[str, str]]:
        """Who holds a lease: pairs of a connection's id and a holder."""
        raise NotImplementedError

    def take_lease_away(self, connection_id: str, holder: str) -> bool:
        """Delete a lease; False when it was gone."""
        raise NotImplementedError

    def seize(self, seconds: float) -> None:
        """Keep everybody else out for so long, from now on; returns at once."""
        raise NotImplementedError

    def watch_intents(self) -> None:
        """From now on keep note of every intent that is written."""
        raise NotImplementedError

    def intents(self, connection_id: str) -> dict[str, float]:
        """When each token was first about to be presented: by the first 16 digits of its digest."""
        raise NotImplementedError


# --- SQLite ---------------------------------------------------------------------------------------


@dataclass
class File(Place):
    """A SQLite file, for the store that needs nothing else."""

    directory: Path
    kind = "sqlite"
    patience_seconds = 5.0

    @property
    def path(self) -> Path:
        """The file."""
        return self.directory / "vault.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    def open(self, clock: Clock) -> Any:
        from socialvault.stores.sqlite import SQLiteStore

        return SQLiteStore(self.path, clock=clock)

    def open_async(self, clock: Clock) -> Any:
        from socialvault.stores.sqlite import AsyncSQLiteStore

        return AsyncSQLiteStore(self.path, clock=clock)

    def beside(self, directory: Path) -> Place:
        return File(directory)

    def of_trial(self, directory: Path) -> Place:
        return File(directory)  # who is stopped in the middle of a transaction keeps all others from writing

    def held_leases(self) -> list[tuple[str, str]]:
        return self._execute(_HELD).fetchall()

    def take_lease_away(self, connection_id: str, holder: str) -> bool:
        statement = (
            "UPDATE connections SET lease_holder = '', lease_until_seconds = NULL WHERE id = ? AND lease_holder = ?"
        )
        return self._execute(statement, connection_id, holder).rowcount == 1

    def seize(self, seconds: float) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN EXCLUSIVE")
        threading.Timer(seconds, connection.close).start()

    def watch_intents(self) -> None:
        with closing(sqlite3.connect(self.path)) as database:
            database.executescript(
                """
                CREATE TABLE audit (connection_id TEXT, digest TEXT, sent_at REAL);
                CREATE TRIGGER audit_intents AFTER UPDATE OF intent_attempt ON connections
                WHEN NEW.intent_attempt > OLD.intent_attempt BEGIN
                    INSERT INTO audit VALUES (NEW.id, lower(hex(NEW.intent_digest)), NEW.intent_sent_at_seconds);
                END;
                """
            )

    def intents(self, connection_id: str) -> dict[str, float]:
        statement = "SELECT digest, sent_at FROM audit WHERE connection_id = ? ORDER BY sent_at DESC"
        return {digest[:16]: sent_at for digest, sent_at in self._execute(statement, connection_id)}

    def _execute(self, statement: str, *values: Any) -> Any:
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as database:
            cursor = database.execute(statement, values)
            return _Fetched(cursor.fetchall(), cursor.rowcount)


@dataclass
class _Fetched:
    """What is left of a cursor once its connection is closed."""

    rows: list[Any]
    rowcount: int

    def fetchall(self) -> list[Any]:
        return self.rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)


# --- of servers ------------------------------------------------------------------------------------


class ServerPlace(Place):
    """A place on a server, which may go away."""

    server: Postgres | Valkey

    def own_server(self) -> AbstractContextManager[ServerPlace]:
        """Start another server of the same kind, for a point that ends it; return a place on it."""
        raise NotImplementedError

    def cut_connections(self) -> None:
        """End every connection that others have to it."""
        raise NotImplementedError


# --- Postgres -------------------------------------------------------------------------------------


@dataclass
class PostgresDatabase(ServerPlace):
    """A database of a Postgres, through SQLAlchemy.

    Attributes:
        engine, async_engine: of few connections, once `small_pool` has made them.
    """

    server: Postgres
    database: Database
    engine: Any = None
    async_engine: Any = None
    kind = "postgres"
    patience_seconds = 5.0

    @property
    def url(self) -> str:
        return self.database.url

    def open(self, clock: Clock) -> Any:
        from socialvault.stores.sqlalchemy import SQLAlchemyStore

        return SQLAlchemyStore(self.engine or self.database.url, clock=clock)

    def open_async(self, clock: Clock) -> Any:
        from socialvault.stores.sqlalchemy import AsyncSQLAlchemyStore

        return AsyncSQLAlchemyStore(self.async_engine or self.database.async_url, clock=clock)

    def beside(self, directory: Path) -> Place:
        return postgres_place(self.server)

    @contextmanager
    def own_server(self) -> Iterator[ServerPlace]:
        with durable_postgres() as server:
            make_template(server)
            yield postgres_place(server)

    def cut_connections(self) -> None:
        self.server.terminate(self.database.name)

    def small_pool(self, size: int) -> None:
        """From now on open stores over engines of their application's own, of so few connections."""
        from sqlalchemy import create_engine
        from sqlalchemy.ext.asyncio import create_async_engine

        few = {"pool_size": size, "max_overflow": 0, "pool_timeout": _POOL_SECONDS, "hide_parameters": True}
        self.engine = create_engine(self.database.url, **few)
        self.async_engine = create_async_engine(self.database.async_url, **few)
        SMALL_POOLS.append(self)

    def held_leases(self) -> list[tuple[str, str]]:
        return [(row[0], row[1]) for row in self.database.execute(_HELD)]

    def take_lease_away(self, connection_id: str, holder: str) -> bool:
        statement = (
            "UPDATE connections SET lease_holder = '', lease_until_seconds = NULL "
            "WHERE id = %s AND lease_holder = %s RETURNING id"
        )
        return bool(self.database.execute(statement, connection_id, holder))

    def seize(self, seconds: float) -> None:
        connection = self.database.connect()
        connection.autocommit = False
        connection.execute("LOCK TABLE connections IN ACCESS EXCLUSIVE MODE")
        threading.Timer(seconds, connection.close).start()

    def watch_intents(self) -> None:
        self.database.execute("CREATE TABLE IF NOT EXISTS audit (connection_id text, digest text, sent_at float8)")
        self.database.execute(
            """
            CREATE OR REPLACE FUNCTION note_intent() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO audit VALUES (NEW.id, encode(NEW.intent_digest, 'hex'), NEW.intent_sent_at_seconds);
                RETURN NULL;
            END $$
            """
        )
        self.database.execute(
            """
            CREATE OR REPLACE TRIGGER audit_intents AFTER UPDATE OF intent_attempt ON connections FOR EACH ROW
            WHEN (NEW.intent_attempt > OLD.intent_attempt) EXECUTE FUNCTION note_intent()
            """
        )

    def intents(self, connection_id: str) -> dict[str, float]:
        statement = "SELECT digest, sent_at FROM audit WHERE connection_id = %s ORDER BY sent_at DESC"
        return {digest[:16]: sent_at for digest, sent_at in self.database.execute(statement, connection_id)}

    def discard(self) -> None:
        self.server.drop_database(self.database.name)


def make_template(server: Postgres) -> None:
    """Make the tables that every place has a copy of."""
    from socialvault.stores.sqlalchemy import SQLAlchemyStore

    store = SQLAlchemyStore(server.create_database(_TEMPLATE).url)
    store.create_schema()
    store.close()


def postgres_place(server: Postgres) -> PostgresDatabase:
    """Make a database without rows."""
    name = f"torture_{os.getpid()}_{next(_NUMBERS)}"
    return PostgresDatabase(server, server.create_database(name, template=_TEMPLATE))


_TEMPLATE = "torture_template"
_MOST_CONNECTIONS = "400"
_POOL_SECONDS = 10.0
#: Those places of this process that have one, for the mutation that misuses it.
SMALL_POOLS: list[PostgresDatabase] = []


def durable_postgres() -> AbstractContextManager[Postgres]:
    """Run a Postgres that keeps what it has committed, whatever happens to it."""
    return running_postgres(durable=True, max_connections=_MOST_CONNECTIONS)


# --- Valkey ---------------------------------------------------------------------------------------


@dataclass
class ValkeyDatabase(ServerPlace):
    """One of the databases of a Valkey."""

    server: Valkey
    number: int
    kind = "valkey"
    patience_seconds = 5.0
    _watch: IntentWatch | None = None

    @property
    def url(self) -> str:
        return self.server.database(self.number)

    def open(self, clock: Clock) -> Any:
        from socialvault.stores.redis import RedisStore

        return RedisStore(self.url, clock=clock)

    def open_async(self, clock: Clock) -> Any:
        from socialvault.stores.redis import AsyncRedisStore

        return AsyncRedisStore(self.url, clock=clock)

    def beside(self, directory: Path) -> Place:
        return valkey_place(self.server)

    @contextmanager
    def own_server(self) -> Iterator[ServerPlace]:
        with durable_valkey() as server:
            yield valkey_place(server)

    def cut_connections(self) -> None:
        self.server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def held_leases(self) -> list[tuple[str, str]]:
        with self._client() as client:
            found = client.eval(_HELD_LEASES, 0)
        return [(key.decode().rpartition(_CONNECTION)[2], holder.decode()) for key, holder in found]

    def take_lease_away(self, connection_id: str, holder: str) -> bool:
        with self._client() as client:
            return bool(client.eval(_TAKE_AWAY, 0, connection_id, holder))

    def seize(self, seconds: float) -> None:
        assert self.server.command("CLIENT", "PAUSE", str(round(1000 * seconds)), "ALL") == "+OK"

    def watch_intents(self) -> None:
        if self._watch is None:
            self._watch = IntentWatch(self._client())

    def intents(self, connection_id: str) -> dict[str, float]:
        assert self._watch is not None
        return self._watch.first_sent[connection_id]

    def _client(self) -> Any:
        import redis

        return redis.Redis.from_url(self.url)


_CONNECTION = "connection:"
_HELD_LEASES = """
    local found = {}
    for _, key in ipairs(redis.call('KEYS', '*connection:*')) do
        local held = redis.call('HMGET', key, 'lease_holder', 'lease_until_seconds')
        if held[1] and held[2] then found[#found + 1] = {key, held[1]} end
    end
    return found
"""
_TAKE_AWAY = """
    for _, key in ipairs(redis.call('KEYS', '*connection:' .. ARGV[1])) do
        if redis.call('HGET', key, 'lease_holder') == ARGV[2] then
            return redis.call('HDEL', key, 'lease_holder', 'lease_until_seconds')
        end
    end
    return 0
"""


class IntentWatch:
    """Reads what the server says that it does, and keeps when each token was first about to be presented.

    Attributes:
        first_sent: by connection and by the first 16 digits of the token's digest, in seconds.
    """

    def __init__(self, client: Any) -> None:
        self.first_sent: dict[str, dict[str, float]] = defaultdict(dict)
        self._client = client  # who is collected closes the connection
        self._monitor = client.monitor()
        self._monitor.__enter__()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError, ValueError, *_closed()):  # the server's end, or this process's
            for said in self._monitor.listen():
                self._note(said["command"])

    def _note(self, command: str) -> None:
        written = _INTENT.match(command)
        sent_at, digest = (_SENT_AT.search(command), _DIGEST.search(command)) if written else (None, None)
        if written and sent_at and digest:
            self.first_sent[written[1]].setdefault(_unescaped(digest[1])[:8].hex(), float(sent_at[1]))


#: A script writes all of an intent's fields in one command, in any order.
_INTENT = re.compile(rf"HSET \S*{_CONNECTION}(\S+) ")
_SENT_AT = re.compile(r" intent_sent_at_seconds (\S+)")
_DIGEST = re.compile(r" intent_digest (.*)", re.DOTALL)


def _closed() -> tuple[type[Exception], ...]:
    import redis

    return (redis.ConnectionError, redis.TimeoutError)


def _unescaped(word: str) -> bytes:
    """Undo what MONITOR makes of bytes."""
    return word.encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")


_DATABASES = "4096"


def durable_valkey() -> AbstractContextManager[Valkey]:
    """Run a Valkey that has written down what it has answered for."""
    return running_valkey(
        appendonly="yes", appendfsync="always", maxmemory_policy="noeviction", databases=_DATABASES
    )  # fmt: skip


def valkey_place(server: Valkey) -> ValkeyDatabase:
    """Make an empty database."""
    place = ValkeyDatabase(server, next(_NUMBERS))
    with place._client() as client:
        client.flushdb()
    return place
