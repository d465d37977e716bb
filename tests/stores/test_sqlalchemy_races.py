"""Races that PostgreSQL's row locks decide; in SQLite there is one writer at a time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from support.vault_databases import sweep, vault_database

from socialvault.exceptions import KeyNotFoundError
from socialvault.model.keys import Resealed, Rewrapped
from socialvault.model.status import Status
from socialvault.sandbox.contracts.rows import (
    connection,
    flow,
    revocation,
    status_write,
    token_write,
    vault,
    wrapped_key,
)
from socialvault.stores.sqlalchemy import SQLAlchemyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.postgres import Database, Postgres

ROUNDS = 60


@pytest.fixture(scope="module")
def made(postgres: Postgres) -> Iterator[Database]:
    with vault_database(postgres, "sqlalchemy_races") as made:
        yield made


@pytest.fixture(scope="module")
def store(made: Database) -> Iterator[SQLAlchemyStore]:
    with closing(SQLAlchemyStore(made.url)) as store:
        yield store


@pytest.fixture(autouse=True)
def swept(made: Database) -> None:
    sweep(made)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Run the calls at the same moment; return their answers or errors."""
    together = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        together.wait(30)
        try:
            return call()
        except KeyNotFoundError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


def sealed_by(key_id: str, text: bytes = b"") -> bytes:
    return b"SV\x01\x01" + bytes.fromhex(key_id) + b"nonce and text" + text


def _token(store: SQLAlchemyStore, key_id: str, number: int) -> Callable[[], Any]:
    row = connection(f"con-{number}", subject=str(number))
    store.insert(row)
    return lambda: store.write_token(token_write(row, key_id=key_id))


def _insert(store: SQLAlchemyStore, key_id: str, number: int) -> Callable[[], Any]:
    row = replace(connection(f"con-{number}", subject=str(number)), key_id=key_id)
    return lambda: store.insert(row) or "inserted"


def _candidate(store: SQLAlchemyStore, key_id: str, number: int) -> Callable[[], Any]:
    row = connection(f"con-{number}", subject=str(number))
    store.insert(row)
    return lambda: store.put_candidate(row.id, row.generation, sealed_by(key_id))


def _revocation(store: SQLAlchemyStore, key_id: str, number: int) -> Callable[[], Any]:
    pending = revocation(connection(f"con-{number}"), key_id=key_id, envelope=b"late")
    return lambda: store.queue_revocation(pending)


def _tombstone(store: SQLAlchemyStore, key_id: str, number: int) -> Callable[[], Any]:
    row = connection(f"con-{number}", subject=str(number))
    store.insert(row)
    write = status_write(row, Status.REVOCATION_PENDING)
    return lambda: store.tombstone(write, revocation(row, key_id=key_id)) == []


def _state(store: SQLAlchemyStore, key_id: str, number: int) -> Callable[[], Any]:
    row = replace(flow(str(number)), sealed=sealed_by(key_id))
    return lambda: store.put_state(row, 600.0)


def _reseal(store: SQLAlchemyStore, key_id: str, number: int) -> Callable[[], Any]:
    row = connection(f"con-{number}", subject=str(number))
    store.insert(row)
    return lambda: store.reseal("token", [Resealed(row.id, row.envelope, b"again", key_id)])


@pytest.mark.parametrize("writer", [_token, _insert, _candidate, _revocation, _tombstone, _state, _reseal])
def test_whoever_retires_a_key_counts_every_writer_or_stops_it(store: SQLAlchemyStore, writer: Any) -> None:
    for number in range(ROUNDS // 3):
        key = wrapped_key(str(number), owner=f"user-{number}")._replace(state="decrypt_only")
        assert store.add_key("data", key)
        write = writer(store, key.key_id, number)
        wrote, retired = at_once(write, partial(store.retire_key, "data", key.key_id))
        assert retired is (isinstance(wrote, KeyNotFoundError)), (number, wrote, retired)
        assert store.count_uses("data", key.key_id) == (not retired)


def test_whoever_retires_a_vault_key_counts_what_it_wraps(store: SQLAlchemyStore) -> None:
    for number in range(ROUNDS // 2):
        wrapping = wrapped_key(f"v-{number}", tenant="", owner="")._replace(state="decrypt_only")
        assert store.add_key("vault", wrapping)
        key = wrapped_key(f"d-{number}", owner=f"user-{number}")._replace(wrapped_by=wrapping.key_id)
        old = wrapped_key(f"o-{number}", owner=f"other-{number}")
        assert store.add_key("data", old)
        swap = [Rewrapped(old.key_id, old.wrapped, b"again", wrapping.key_id)]
        added, swapped, retired = at_once(
            partial(store.add_key, "data", key),
            partial(store.rewrap, "data", swap),
            partial(store.retire_key, "vault", wrapping.key_id),
        )
        assert retired is all(isinstance(each, KeyNotFoundError) for each in (added, swapped))
        assert retired is not any(each is True or each == 1 for each in (added, swapped))


def test_the_canary_counts_as_well(store: SQLAlchemyStore) -> None:
    first = wrapped_key("v-0", tenant="", owner="")
    canary = sealed_by(first.key_id)
    assert store.create_vault(replace(vault(), canary=canary), first)
    for number in range(ROUNDS // 3):
        key = wrapped_key(f"w-{number}", tenant="", owner="")._replace(state="decrypt_only")
        assert store.add_key("vault", key)
        resealed = sealed_by(key.key_id)
        wrote, retired = at_once(
            partial(store.reseal_canary, canary, resealed), partial(store.retire_key, "vault", key.key_id)
        )
        assert retired is isinstance(wrote, KeyNotFoundError)
        canary = canary if retired else resealed


def test_of_racing_promotions_each_counts_and_one_key_is_primary(store: SQLAlchemyStore) -> None:
    keys = [wrapped_key(f"p-{number}")._replace(state="pre_active") for number in range(4)]
    for key in keys:
        assert store.add_key("data", key)
    for _ in range(ROUNDS // 3):
        assert at_once(*(partial(store.promote_key, "data", key.key_id) for key in keys)) == [True] * 4
        assert store.count_keys("data")["primary"] == 1


def test_a_writer_waits_for_whoever_is_about_to_retire_its_key(made: Database, store: SQLAlchemyStore) -> None:
    row, key = connection(), wrapped_key()._replace(state="decrypt_only")
    store.insert(row)
    store.add_key("data", key)
    with made.connect() as other, ThreadPoolExecutor(1) as threads:
        with other.transaction():
            other.execute("SELECT 1 FROM data_keys FOR UPDATE")
            writing = threads.submit(store.write_token, token_write(row, key_id=key.key_id))
            with pytest.raises(TimeoutError):
                writing.result(0.3)
            other.execute("UPDATE data_keys SET state = 'retired'")
        with pytest.raises(KeyNotFoundError):
            writing.result(30)
    assert store.get(row.id, row.account.tenant, row.owner) == row


def test_whoever_loses_an_account_sees_the_winner(store: SQLAlchemyStore) -> None:
    for number in range(ROUNDS // 3):
        rows = [connection(f"con-{number}-{racer}", subject=f"account-{number}") for racer in range(4)]
        answers = at_once(*(partial(store.insert, row) for row in rows))
        winner = rows[answers.index(None)]
        assert answers.count(None) == 1
        assert [answer for answer in answers if answer is not None] == [winner] * 3
