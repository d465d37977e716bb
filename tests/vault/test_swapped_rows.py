"""C-05, F-33: whoever can write the database moves a sealed record, and nobody opens it there, in any kind of store.

Each kind of store is one class below: how its rows are read and written behind the vault's back.
"""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

from socialvault import Connection, LocalKeyring, Vault
from socialvault.exceptions import EncryptionError, TamperedError
from socialvault.providers import LinkedIn, X
from socialvault.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from socialvault.model.events import Event

_ACCOUNT = ("tenant", "provider", "client_id", "issuer", "subject", "parent_id", "shared_with")
_numbers = itertools.count()


class Rows(Protocol):
    """The rows of one store, behind its back."""

    store: Any

    def get(self, connection_id: str, column: str) -> Any: ...

    def put(self, connection_id: str, column: str, value: Any) -> None: ...

    def everything(self) -> object:
        """All that is stored, to be compared."""
        ...

    def close(self) -> None: ...


class MemoryRows:
    def __init__(self, _folder: Path, _request: pytest.FixtureRequest) -> None:
        self.store = MemoryStore()

    @property
    def _rows(self) -> dict[str, Any]:
        rows: dict[str, Any] = self.store._rows
        return rows

    def get(self, connection_id: str, column: str) -> Any:
        row = self._rows[connection_id]
        return getattr(row.account if column in _ACCOUNT else row, column)

    def put(self, connection_id: str, column: str, value: Any) -> None:
        row = self._rows[connection_id]
        changed = {"account": row.account._replace(**{column: value})} if column in _ACCOUNT else {column: value}
        self._rows[connection_id] = replace(row, **changed)

    def everything(self) -> object:
        return dict(self._rows)

    def close(self) -> None:
        self.store.close()


class SQLiteRows:
    def __init__(self, folder: Path, _request: pytest.FixtureRequest) -> None:
        self._path = folder / "vault.db"
        self.store: Any = f"sqlite:///{self._path}"

    def _execute(self, sql: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self._path, isolation_level=None)) as database:
            return database.execute(sql, values).fetchall()

    def get(self, connection_id: str, column: str) -> Any:
        return self._execute(f"SELECT {column} FROM connections WHERE id = ?", connection_id)[0][0]

    def put(self, connection_id: str, column: str, value: Any) -> None:
        self._execute(f"UPDATE connections SET {column} = ? WHERE id = ?", value, connection_id)

    def everything(self) -> object:
        return self._execute("SELECT * FROM connections ORDER BY id")

    def close(self) -> None:
        """Nothing is open between two calls."""


class PostgresRows:
    def __init__(self, _folder: Path, request: pytest.FixtureRequest) -> None:
        from socialvault.stores.sqlalchemy import SQLAlchemyStore

        self._database = request.getfixturevalue("postgres").create_database(f"swapped_{next(_numbers)}")
        self.store = SQLAlchemyStore(self._database.url)
        self.store.create_schema()

    def get(self, connection_id: str, column: str) -> Any:
        return self._database.execute(f"SELECT {column} FROM connections WHERE id = %s", connection_id)[0][0]

    def put(self, connection_id: str, column: str, value: Any) -> None:
        self._database.execute(f"UPDATE connections SET {column} = %s WHERE id = %s", value, connection_id)

    def everything(self) -> object:
        return self._database.execute("SELECT * FROM connections ORDER BY id")

    def close(self) -> None:
        self.store.close()


class RedisRows:
    def __init__(self, _folder: Path, request: pytest.FixtureRequest) -> None:
        from redis import Redis

        from socialvault.stores.redis import RedisStore

        self._client = Redis.from_url(request.getfixturevalue("valkey").database(7))
        self._client.flushdb()
        self.store = RedisStore(self._client, namespace="swapped")

    def _name(self, connection_id: str) -> str:
        return f"{{swapped}}:connection:{connection_id}"

    def get(self, connection_id: str, column: str) -> Any:
        value: Any = self._client.hget(self._name(connection_id), column) or b""
        return value if column in ("envelope", "candidate") else value.decode()

    def put(self, connection_id: str, column: str, value: Any) -> None:
        self._client.hset(self._name(connection_id), column, value)

    def everything(self) -> object:
        names: Any = self._client.keys("{swapped}:connection:*")
        return {name: self._client.hgetall(name) for name in sorted(names)}

    def close(self) -> None:
        self.store.close()
        self._client.close()


KINDS: dict[str, Callable[[Path, pytest.FixtureRequest], Rows]] = {
    "memory": MemoryRows,
    "sqlite": SQLiteRows,
    "postgres": PostgresRows,
    "redis": RedisRows,
}


class Stage(NamedTuple):
    """A vault, its rows, and what it told."""

    vault: Vault
    rows: Rows
    events: list[Event]

    def connect(self, owner: str, tenant: str = "acme", provider: str = "x") -> Connection:
        return self.vault.import_tokens(
            provider, owner=owner, tenant=tenant, access_token="at", refresh_token="rt", subject=f"s{next(_numbers)}"
        )

    def token(self, one: Connection) -> str:
        return self.vault.token(one.id, owner=one.owner, tenant=one.tenant).reveal()


#: A key that several owners share is tried where that is cheap: it is the vault that tells them apart, not the store.
COMBINATIONS = [*((kind, "owner") for kind in KINDS), ("memory", "tenant"), ("sqlite", "tenant")]


@pytest.fixture(scope="module", params=COMBINATIONS, ids="-".join)
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    kind, scope = request.param
    rows = KINDS[kind](tmp_path_factory.mktemp("swapped"), request)
    events: list[Event] = []
    vault = Vault(
        providers=[X("client", "secret"), LinkedIn("client", "secret")],
        store=rows.store,
        keys=LocalKeyring([LocalKeyring.generate()]),
        redirect_uri="https://app.example/{provider}/callback",
        observers=[events.append],
        dek_scope=scope,
    )
    with closing(rows), vault:
        yield Stage(vault, rows, events)


def put_elsewhere(stage: Stage, victim: Connection, source: Connection) -> None:
    """Write one connection's sealed record into the other's row, with the key's id beside it."""
    for column in ("envelope", "key_id"):
        stage.rows.put(victim.id, column, stage.rows.get(source.id, column))


def from_another_owner(stage: Stage, victim: Connection) -> None:
    put_elsewhere(stage, victim, stage.connect("mallory"))


def from_another_tenant(stage: Stage, victim: Connection) -> None:
    put_elsewhere(stage, victim, stage.connect(victim.owner, tenant="other"))


def from_another_provider(stage: Stage, victim: Connection) -> None:
    put_elsewhere(stage, victim, stage.connect(victim.owner, provider="linkedin"))


def from_another_connection(stage: Stage, victim: Connection) -> None:
    put_elsewhere(stage, victim, stage.connect(victim.owner))


def from_an_earlier_generation(stage: Stage, victim: Connection) -> None:
    old = stage.rows.get(victim.id, "envelope")
    renewed = stage.vault.import_tokens(
        "x", owner=victim.owner, tenant=victim.tenant, access_token="at2", subject=victim.subject, replace=True
    )
    assert (renewed.id, renewed.generation) == (victim.id, victim.generation + 1)
    stage.rows.put(victim.id, "envelope", old)


def from_another_purpose(stage: Stage, victim: Connection) -> None:
    from socialvault.runtimes.threads import run

    core = stage.vault._cases.core
    row = run(core.row(victim.id, victim.tenant, victim.owner))
    sealed = run(core.sealers(row)).seal_kept(run(core.open(row)), row, row.generation)
    stage.rows.put(victim.id, "envelope", sealed)


def with_another_generation(stage: Stage, victim: Connection) -> None:
    stage.rows.put(victim.id, "generation", 9)


def with_another_provider(stage: Stage, victim: Connection) -> None:
    stage.rows.put(victim.id, "provider", "linkedin")


def with_another_issuer(stage: Stage, victim: Connection) -> None:
    stage.rows.put(victim.id, "issuer", "https://evil.example")


SWAPS = [
    from_another_owner, from_another_tenant, from_another_provider, from_another_connection, from_an_earlier_generation,
    from_another_purpose, with_another_generation, with_another_provider, with_another_issuer,
]  # fmt: skip


@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: swap.__name__)
def test_c_05_f_33_a_moved_record_is_refused_told_of_and_left_as_it_is(
    stage: Stage, swap: Callable[[Stage, Connection], None]
) -> None:
    owner = f"victim-{next(_numbers)}"
    victim, bystander = stage.connect(owner), stage.connect(owner)
    assert stage.token(victim) == "at"  # its key is at hand, which must not help
    swap(stage, victim)
    before = stage.rows.everything()
    for call in (stage.vault.token, stage.vault.refresh, stage.vault.connection):
        stage.events.clear()
        with pytest.raises(EncryptionError) as caught:
            call(victim.id, owner=owner, tenant="acme")
        assert type(caught.value) is TamperedError
        [told] = stage.events
        assert (told.name, told.reason, told.connection_id) == ("record_refused", "TamperedError", victim.id)
        assert (told.owner, told.tenant) == (owner, "acme")
    assert stage.rows.everything() == before
    assert stage.token(bystander) == "at"
    assert not [bad for bad in stage.vault.admin.verify().bad if bad.id == bystander.id]
    assert [bad.error for bad in stage.vault.admin.verify().bad if bad.id == victim.id] == ["TamperedError"]


def test_a_row_that_was_given_to_another_owner_opens_for_nobody(stage: Stage) -> None:
    victim = stage.connect(f"victim-{next(_numbers)}")
    thief = stage.connect(f"thief-{next(_numbers)}")
    stage.rows.put(victim.id, "owner", thief.owner)
    before = stage.rows.everything()
    stage.events.clear()
    with pytest.raises(TamperedError):
        stage.vault.token(victim.id, owner=thief.owner, tenant="acme")
    assert [event.name for event in stage.events] == ["record_refused"]
    assert stage.rows.everything() == before
    assert stage.token(thief) == "at"


def test_signing_in_again_takes_the_place_of_a_record_that_does_not_open(stage: Stage) -> None:
    victim = stage.connect(f"victim-{next(_numbers)}")
    from_another_owner(stage, victim)
    mended = stage.vault.import_tokens(
        "x", owner=victim.owner, tenant="acme", access_token="at3", subject=victim.subject, replace=True
    )
    assert (mended.id, mended.generation) == (victim.id, 2)
    assert stage.token(mended) == "at3"
