"""The file itself: who may read it, what it is, what stays in it."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from socialvault.exceptions import ConfigurationError, KeyNotFoundError, StoreError, StoreUnavailableError
from socialvault.model.keys import Resealed, Rewrapped
from socialvault.model.status import Status
from socialvault.sandbox.contracts.rows import (
    OWNER,
    TENANT,
    connection,
    failure,
    flow,
    intent,
    revocation,
    sealed_by,
    status_write,
    token_write,
    vault,
    wrapped_key,
)
from socialvault.stores.sqlite import SQLiteStore, schema

if TYPE_CHECKING:
    from pathlib import Path

InChildren = Callable[[int, Callable[[int], Any]], list[Any]]


def contents(path: Path) -> dict[str, bytes]:
    """Return every byte of the database, by file; the index into the log (-shm) is no content."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}


def modes(path: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}


# private


def test_l_14_all_files_belong_to_their_owner_alone_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        store = SQLiteStore(path)
        store.insert(connection())
        store.read_token("con-1", TENANT, OWNER)
        assert modes(path) == {"vault.db": 0o600, "vault.db-wal": 0o600, "vault.db-shm": 0o600}
    finally:
        os.umask(before)
    store.close()
    assert modes(path) == {"vault.db": 0o600}


@pytest.mark.parametrize("target", ["there", "dangling"])
def test_l_14_a_symbolic_link_is_refused(path: Path, target: str) -> None:
    elsewhere = path.with_name("elsewhere.db")
    if target == "there":
        elsewhere.touch(0o600)
    path.symlink_to(elsewhere)
    with pytest.raises(ConfigurationError):
        SQLiteStore(path)
    assert target == "there" or not elsewhere.exists()
    assert target == "dangling" or elsewhere.read_bytes() == b""


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_l_14_a_file_that_everybody_may_use_is_refused(path: Path, mode: int) -> None:
    path.touch()
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod"):
        SQLiteStore(path)
    assert path.read_bytes() == b""


def test_a_file_may_be_shared_with_its_group(path: Path) -> None:
    path.touch()
    path.chmod(0o660)
    store = SQLiteStore(path)
    store.insert(connection())
    assert set(modes(path).values()) == {0o660}
    store.close()


def test_l_14_a_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        SQLiteStore(tmp_path)


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError):
        SQLiteStore(tmp_path / "missing" / "vault.db")


def test_a_file_that_vanished_is_not_made_anew(path: Path, store: SQLiteStore) -> None:
    path.unlink()
    with pytest.raises(StoreUnavailableError):
        store.read_token("con-1", TENANT, OWNER)
    assert not path.exists()


def test_a_path_may_hold_what_means_something_in_a_uri(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c%20d &e.db"
    with closing(SQLiteStore(path)) as store:
        store.insert(connection())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_relative_path_stays_what_it_was_when_the_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("vault.db")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert store.read_token("con-1", TENANT, OWNER) is None
    store.close()


# settings


def test_every_connection_overwrites_what_it_deletes_and_the_log_is_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = plain(*args, **kwargs)
        connection.execute("PRAGMA secure_delete=OFF")  # some builds have it on by themselves
        return connection

    plain = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", careless)
    with closing(SQLiteStore(path)) as store:
        database = store.database
        for handle in (database.durable, database.relaxed, database.patient.handle, database.hasty.handle):
            assert handle.execute("PRAGMA secure_delete").fetchone() == (1,)
            assert handle.execute("PRAGMA temp_store").fetchone() == (2,)
            assert handle.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_what_must_survive_a_power_cut_is_synced_and_a_new_flow_is_not(store: SQLiteStore) -> None:
    assert store.database.durable.execute("PRAGMA synchronous").fetchone() == (2,)
    assert store.database.relaxed.execute("PRAGMA synchronous").fetchone() == (1,)
    synced: list[str] = []
    connection_of_synced_writes = store.database.durable._connection
    assert connection_of_synced_writes is not None
    connection_of_synced_writes.set_trace_callback(synced.append)

    def is_synced(write: Callable[[], object]) -> bool:
        synced.clear()
        write()
        return any(statement.split()[0] in {"INSERT", "UPDATE", "DELETE"} for statement in synced)

    row, state = connection(), flow()
    claim = {"tenant": TENANT, "owner": OWNER, "provider": "linkedin", "binding": state.binding}
    assert is_synced(lambda: store.insert(row))
    assert is_synced(lambda: store.open_intent(intent(row)))
    assert not is_synced(lambda: store.write_failure(failure(row, expected_attempt=1)))
    assert is_synced(lambda: store.write_warning(row.id, row.warn_at_seconds or 0.0, None))
    assert is_synced(lambda: store.put_candidate(row.id, row.generation, b"candidate"))
    assert is_synced(lambda: store.write_token(token_write(row)))
    assert is_synced(lambda: store.write_status(status_write(replace(row, generation=2), Status.REVOKED, wipe=True)))
    assert not is_synced(lambda: store.put_state(state, 600))
    assert is_synced(lambda: store.claim_state(state.state_hash, **claim))  # type: ignore[arg-type]  # one is bytes
    assert not is_synced(lambda: store.acquire_lease(row.id, "me", 30.0))
    assert not is_synced(lambda: store.release_lease(row.id, "me"))
    assert is_synced(lambda: store.create_vault(vault(), wrapped_key("v")))
    old, new = wrapped_key(), wrapped_key("new")
    assert is_synced(lambda: store.add_key("data", old))
    assert is_synced(lambda: store.replace_key("data", new, old.key_id))
    assert is_synced(lambda: store.count_seals(new.key_id, 1))
    assert is_synced(lambda: store.promote_key("data", old.key_id))
    assert is_synced(lambda: store.retire_key("data", new.key_id))
    assert is_synced(lambda: store.reinstate_key("data", new.key_id))
    assert is_synced(lambda: store.rewrap("data", [Rewrapped(old.key_id, old.wrapped, b"again", "ab" * 32)]))
    assert is_synced(lambda: store.reseal_canary(vault().canary, b"again"))
    assert is_synced(lambda: store.reseal("token", [Resealed(row.id, b"", b"again", "ab" * 32)]))
    other = connection("con-2", subject="2")
    store.insert(other)
    assert is_synced(lambda: store.tombstone(status_write(other, Status.REVOCATION_PENDING), revocation(other)))
    assert is_synced(lambda: store.queue_revocation(revocation(other, "-late")))
    assert not is_synced(lambda: store.claim_revocation("rev-con-2", 0, 1.0))
    assert is_synced(lambda: store.finish_revocation("rev-con-2", "revoked", 1.0))
    assert is_synced(lambda: store.delete(row.id))
    assert is_synced(lambda: store.erase_owner(TENANT, OWNER))


def test_reading_connections_can_not_write(store: SQLiteStore) -> None:
    store.insert(connection())
    with pytest.raises(StoreError), store.database.patient.handle as execute:
        execute("DELETE FROM connections")
    assert store.get("con-1", TENANT, OWNER) == connection()


def test_deleted_secrets_are_gone_from_the_file_once_it_is_closed(path: Path, store: SQLiteStore) -> None:
    def secret(number: int, what: str) -> bytes:
        return b"<%s %d>" % (what.encode(), number) * (1 + number % 200)

    rows = [
        replace(connection(f"con-{number}", subject=str(number)), envelope=secret(number, "first"))
        for number in range(30)
    ]
    for number, row in enumerate(rows):
        store.insert(row)
        store.put_candidate(row.id, row.generation, secret(number, "candidate"))
        store.put_state(replace(flow(str(number)), sealed=secret(number, "sealed")), 600)
    everything = b"".join(contents(path).values())
    assert b"<first 3>" in everything
    for number, row in enumerate(rows):
        if number % 2:
            store.write_token(token_write(row, envelope=b"short"))
        else:
            store.write_status(status_write(row, Status.REVOKED, wipe=True))
        state = flow(str(number))
        store.claim_state(state.state_hash, tenant=TENANT, owner=OWNER, provider="linkedin", binding=state.binding)
    store.close()
    left = contents(path)
    assert set(left) == {"vault.db"}
    for what in (b"<first", b"<candidate", b"<sealed"):
        assert what not in left["vault.db"]


def test_an_erased_owners_secrets_and_keys_are_gone_from_the_file_once_it_is_closed(
    path: Path, store: SQLiteStore
) -> None:
    row = replace(connection(), envelope=b"<envelope>" * 90, candidate=b"<candidate>" * 90)
    store.insert(row)
    store.put_state(replace(flow(), sealed=b"<sealed>" * 90), 600)
    store.queue_revocation(revocation(row, envelope=b"<late>" * 90))
    store.add_key("data", wrapped_key(wrapped=b"<wrapped>" * 90))
    store.replace_key("data", wrapped_key("new", wrapped=b"<wrapped>" * 90), wrapped_key().key_id)
    secrets = (b"<envelope>", b"<candidate>", b"<sealed>", b"<late>", b"<wrapped>")
    before = b"".join(contents(path).values())
    assert all(secret in before for secret in secrets)
    store.erase_owner(TENANT, OWNER)
    store.close()
    left = contents(path)
    assert set(left) == {"vault.db"}
    assert not [secret for secret in secrets if secret in left["vault.db"]]


# versions and strangers


def test_a_newer_schema_is_refused_and_nothing_is_written(path: Path) -> None:
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version={schema.VERSION + 1}")
    before = contents(path)
    with pytest.raises(ConfigurationError, match="upgrade"):
        SQLiteStore(path)
    assert contents(path) == before


def test_an_older_schema_is_refused_with_what_to_do_and_nothing_is_written(path: Path) -> None:
    SQLiteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version={schema.VERSION - 1}")
    before = contents(path)
    with pytest.raises(ConfigurationError) as refused:
        SQLiteStore(path)
    assert str(refused.value) == "the database has schema version 1, this release needs 2: run `socialvault db upgrade`"
    assert contents(path) == before


def test_a_new_file_says_which_migration_it_is_at(path: Path, store: SQLiteStore, raw: sqlite3.Connection) -> None:
    assert raw.execute("PRAGMA user_version").fetchone() == (2,)
    assert raw.execute("SELECT version_num FROM socialvault_version").fetchall() == [("socialvault_0002",)]


@pytest.mark.parametrize("mark", ["CREATE TABLE connections (id)", "PRAGMA user_version=1", "PRAGMA application_id=7"])
def test_a_database_of_another_application_is_refused_and_nothing_is_written(path: Path, mark: str) -> None:
    path.touch(0o600)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(mark)
    before = contents(path)
    with pytest.raises(ConfigurationError, match="another application"):
        SQLiteStore(path)
    assert contents(path) == before


@pytest.mark.parametrize("garbage", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused_and_kept(path: Path, garbage: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(garbage)
    with pytest.raises(StoreError):
        SQLiteStore(path)
    assert contents(path) == {"vault.db": garbage}


def test_i7_a_damaged_page_is_told_and_nothing_is_overwritten(path: Path) -> None:
    store = SQLiteStore(path)
    for number in range(50):
        store.insert(replace(connection(f"con-{number}", subject=str(number)), envelope=os.urandom(2000)))
    store.close()
    damaged = bytearray(path.read_bytes())
    for page in range(len(damaged) // 4096 // 2, len(damaged) // 4096):
        damaged[page * 4096 : page * 4096 + 100] = b"\xff" * 100
    path.write_bytes(damaged)
    told = 0
    with closing(SQLiteStore(path)) as store:
        for number in range(50):
            try:
                store.read_token(f"con-{number}", TENANT, OWNER)
            except StoreError:
                told += 1
                with pytest.raises(StoreError):
                    store.write_token(token_write(connection(f"con-{number}")))
        with pytest.raises(StoreError):
            store.list_for_owner(TENANT, OWNER)
    assert told > 10
    assert path.read_bytes() == bytes(damaged)


def test_a_restored_backup_that_lost_its_log_mode_gets_it_back(
    path: Path, store: SQLiteStore, raw: sqlite3.Connection
) -> None:
    store.insert(connection())
    backup = path.with_name("backup.db")
    backup.touch(0o600)
    raw.execute("VACUUM INTO ?", (str(backup),))
    with closing(SQLiteStore(backup)) as restored:
        assert restored.get("con-1", TENANT, OWNER) == connection()
        assert restored.database.durable.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_i7_refused_operations_leave_every_byte_as_it_was(path: Path, store: SQLiteStore) -> None:
    row, state, retired = connection(), flow(), wrapped_key(state="retired")
    store.insert(row)
    store.put_state(state, 600)
    store.add_key("data", retired)
    before = contents(path)
    fitting = {"tenant": TENANT, "owner": OWNER, "provider": "linkedin", "binding": state.binding}
    assert store.insert(replace(row, id="con-2", owner="user-43")) == row
    with pytest.raises(StoreError):
        store.insert(connection("con-1", subject="another"))
    with pytest.raises(StoreError):
        store.insert(connection("con-3", subject="\ud800"))
    with pytest.raises(StoreError):
        store.put_state(state, 600)
    assert not store.write_token(token_write(row, expected_generation=9))
    assert not store.write_status(status_write(row, Status.REVOKED, expected_generation=9, wipe=True))
    assert not store.open_intent(intent(row, expected_generation=9))
    assert not store.write_failure(failure(row, expected_generation=9))
    assert not store.write_warning(row.id, 9.0, None)
    assert store.tombstone(status_write(row, Status.REVOKED, expected_generation=9), revocation(row)) is None
    assert not store.claim_revocation("nowhere", 0, 1.0)
    assert not store.finish_revocation("nowhere", "revoked", 1.0)
    assert store.erase_owner(TENANT, "nobody") == 0
    assert not store.release_lease(row.id, "nobody")
    assert not store.replace_key("data", wrapped_key(), "unknown")
    assert not store.promote_key("data", "unknown")
    assert not store.retire_key("data", "unknown")
    assert not store.reinstate_key("data", "unknown")
    assert store.count_seals("unknown", 1) == 0
    assert store.rewrap("data", [Rewrapped("unknown", b"", b"again", "")]) == 0
    assert not store.reseal_canary(b"other", b"again")
    assert store.reseal("token", [Resealed(row.id, b"other", b"again", "ab" * 32)]) == 0
    for under_retired in (
        lambda: store.insert(replace(connection("con-4", subject="4"), key_id=retired.key_id)),
        lambda: store.write_token(token_write(row, key_id=retired.key_id)),
        lambda: store.put_state(replace(flow("2"), sealed=sealed_by(retired.key_id)), 600),
        lambda: store.reseal("token", [Resealed(row.id, row.envelope, b"again", retired.key_id)]),
    ):
        with pytest.raises(KeyNotFoundError, match="retired"):
            under_retired()
    for what in fitting:
        foreign = fitting | {what: b"x" * 32 if what == "binding" else "foreign"}
        assert store.claim_state(state.state_hash, **foreign) is None  # type: ignore[arg-type]  # one is bytes
    assert contents(path) == before


def test_processes_that_start_at_once_make_one_database(path: Path, in_children: InChildren) -> None:
    def start(number: int) -> bool:
        with closing(SQLiteStore(path)) as store:
            return store.create_vault(vault(b"%d" % number), wrapped_key(str(number), tenant="", owner=""))

    for _ in range(3):
        assert sorted(in_children(4, start)) == [False, False, False, True]
        assert not list(path.parent.glob("*.new"))
        for file in path.parent.iterdir():  # the log may be there still, when all closed at the same moment
            file.unlink()
