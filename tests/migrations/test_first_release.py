"""The release before works while the schema changes below it, and after that; this one refuses to work before it."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest
from migrations.first_release import KEK_ID, KEY_ID, VAULT_KEY_ID, FirstRelease

from socialvault.exceptions import ConfigurationError
from socialvault.stores.sqlalchemy import SQLAlchemyStore


def test_f_37_the_release_before_never_notices(filled):
    failures, served, stop = [], [], threading.Event()

    def work(worker: int) -> None:
        with FirstRelease(filled.native) as process:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    process.everything(f"worker-{worker}-{number}")
                    process.refresh("connection-01", "owner-connection-01")
                    served.append(number)
                except Exception as problem:  # noqa: BLE001  # whatever it is, it is a failure
                    failures.append(problem)

    def another_is_served() -> bool:
        before, until = len(served), time.monotonic() + 30
        while len(served) == before and not failures and time.monotonic() < until:
            time.sleep(0.01)
        return len(served) > before

    # SQLite has one writer at a time, and the first release waits five seconds for it.
    workers = [threading.Thread(target=work, args=(worker,)) for worker in range(2)]
    for worker in workers:
        worker.start()
    between = []
    for _ in range(2):
        filled.migrations.upgrade()
        between.append(another_is_served())
        filled.migrations.downgrade("0001")
        between.append(another_is_served())
    filled.migrations.upgrade()
    between.append(another_is_served())
    stop.set()
    for worker in workers:
        worker.join(30)
    assert failures == []
    assert all(between)
    assert filled.migrations.check() == []


def test_what_the_release_before_writes_later_has_the_newer_columns(filled):
    filled.migrations.upgrade()
    with filled.first_release() as process:
        process.everything("later")
    assert filled.run("SELECT DISTINCT seals FROM data_keys") == [(0,)]
    assert filled.run("SELECT count(*) FROM data_keys WHERE owner = 'owner-later'") == [(2,)]


def test_f_37_this_release_refuses_the_schema_before_by_name(filled):
    store = SQLAlchemyStore(filled.url)
    with closing(store), pytest.raises(ConfigurationError, match="run `socialvault db upgrade`"):
        store.read_token("connection-01", "t", "owner-connection-01")
    assert filled.migrations.current() == "socialvault_0001"


def test_f_37_this_release_reads_what_the_release_before_wrote_and_writes(filled):
    filled.migrations.upgrade()
    with filled.first_release() as process:
        process.everything("later")
    with closing(SQLAlchemyStore(filled.url)) as store:
        vault = store.load_vault()
        assert vault is not None
        assert [key.key_id for key in store.keys("vault", tenant=None, state="primary", after_id="", limit=9)] == [
            VAULT_KEY_ID
        ]
        for name in ("connection-01", "later"):
            [row] = store.list_for_owner("t", f"owner-{name}")
            assert (row.id, row.generation, row.account.subject) == (name, 2, f"subject-{name}")
            assert row.envelope[4:36].hex() == row.key_id
            assert [record.sealed for record in store.sealed_under("token", row.key_id, "", 9)] == [row.envelope]
            assert store.key("data", row.key_id).owner == row.owner
        assert store.primary_key("kek", "", "").key_id == KEK_ID
        assert store.count_uses("kek", KEK_ID) == 1
        assert store.count_seals(KEY_ID, 3) == 3
    with filled.first_release() as process:
        process.everything("later still")
