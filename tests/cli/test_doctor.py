from __future__ import annotations

import json
import sqlite3
import sys
from datetime import timedelta

import pytest

from socialvault import AsyncVault, LocalKeyring, Vault
from socialvault.cli.doctor.clock import Reading, judge_clocks, read_clocks
from socialvault.cli.doctor.sqlite import Facts, judge_sqlite, sqlite_facts
from socialvault.exceptions import StoreUnavailableError
from socialvault.stores.memory import MemoryStore


def examine(invoke, *options):
    """Return the exit code, and the findings by what they are about; the last one about a thing counts."""
    ended = invoke("doctor", "--json", *options)
    document = json.loads(ended.stdout)
    assert document["well"] is (ended.exit_code == 0)
    assert all(finding["action"] for finding in document["findings"])
    return ended.exit_code, {finding["about"]: finding for finding in document["findings"]}


def levels(findings):
    return {about: finding["level"] for about, finding in findings.items()}


# --- a healthy installation ----------------------------------------------------------------------


def test_a_healthy_store_is_well(invoke_service, service):
    service.connect()
    code, findings = examine(invoke_service, "--store", service.url)
    assert code == 0
    well = dict.fromkeys(("keys", "store", "canary", "files", "journal", "clock"), "ok")
    assert levels(findings) == well
    assert LocalKeyring([service.key]).primary_id[:12] in findings["keys"]["found"]
    assert findings["store"]["found"] == "1 active"
    assert "vault.db 0600" in findings["files"]["found"]


@pytest.mark.parametrize("vault", ["service:make_vault", "service:make_async_vault"])
def test_a_healthy_application_is_told_what_to_register(invoke_service, service, vault):
    service.connect()
    code, findings = examine(invoke_service, "--vault", vault)
    assert code == 0
    assert findings["redirect URI at x"]["found"].startswith("https://app.example/x/callback,")
    assert findings["redirect URI at facebook"]["action"] == "fix_configuration"
    assert levels(findings)["canary"] == "ok"
    assert (levels(findings)["escrow"], findings["escrow"]["action"]) == ("warn", "fix_configuration")


@pytest.mark.parametrize("vault", ["service:make_vault", "service:make_async_vault"])
def test_an_escrow_is_tried_out(invoke_service, service, monkeypatch, vault):
    service.connect()
    make, folder = vault.partition(":")[2], service.folder / "escrow"
    kind = AsyncVault if "async" in make else Vault
    monkeypatch.setattr(sys.modules["service"], make, lambda: kind(**service.options(escrow=folder)))
    code, findings = examine(invoke_service, "--vault", vault)
    assert (code, levels(findings)["escrow"]) == (0, "ok")
    folder.chmod(0o755)
    code, findings = examine(invoke_service, "--vault", vault)
    assert (code, levels(findings)["escrow"]) == (1, "wrong")


def test_the_table_says_who_must_act_on_every_line(invoke_service, service):
    service.connect()
    ended = invoke_service("doctor", "--store", service.url)
    assert ended.exit_code == 0
    lines = [line.split() for line in ended.stdout.splitlines()[3:] if line.strip()]
    assert {line[1]: line[-1] for line in lines} == {
        "keys": "none", "store": "none", "canary": "none", "files": "none", "journal": "none", "clock": "none",
    }  # fmt: skip


def test_examining_writes_nothing(invoke_service, service):
    service.connect()

    def contents():
        return {file.name: file.read_bytes() for file in service.folder.iterdir() if not file.name.endswith("-shm")}

    with service.make_vault() as held:  # so that nobody writes the log back meanwhile
        held.admin.counts()
        before = contents()
        examine(invoke_service, "--store", service.url)
        assert contents() == before


# --- what can be wrong ---------------------------------------------------------------------------


def test_missing_keys_are_wrong(invoke, monkeypatch):
    monkeypatch.delenv("SOCIALVAULT_KEYS", raising=False)
    code, findings = examine(invoke)
    assert code == 1
    assert levels(findings) == {"keys": "wrong"}
    assert findings["keys"]["action"] == "fix_configuration"


def test_keys_alone_can_be_looked_at(invoke, monkeypatch):
    monkeypatch.setenv("SOCIALVAULT_KEYS", f"{LocalKeyring.generate()} {LocalKeyring.generate()}")
    code, findings = examine(invoke)
    assert code == 0
    assert findings["keys"]["found"].startswith("2 in SOCIALVAULT_KEYS")
    assert levels(findings)["store"] == "warn"


def test_a_missing_database_is_wrong(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("SOCIALVAULT_KEYS", LocalKeyring.generate())
    code, findings = examine(invoke, "--store", f"sqlite:///{tmp_path / 'none.db'}")
    assert code == 1
    assert levels(findings)["store"] == "wrong"
    assert list(tmp_path.iterdir()) == []


def test_another_key_is_wrong(invoke_service, service, monkeypatch):
    service.connect()
    monkeypatch.setenv("SOCIALVAULT_KEYS", LocalKeyring.generate())
    code, findings = examine(invoke_service, "--store", service.url)
    assert code == 1
    assert levels(findings)["canary"] == "wrong"
    assert findings["canary"]["action"] == "fix_configuration"


def test_a_damaged_canary_is_wrong(invoke_service, service):
    service.connect()
    with sqlite3.connect(service.database) as database:
        [canary] = database.execute("SELECT canary FROM vault").fetchone()
        database.execute("UPDATE vault SET canary = ?", (canary[:-1] + bytes([canary[-1] ^ 1]),))
    database.close()
    code, findings = examine(invoke_service, "--store", service.url)
    assert code == 1
    assert findings["canary"]["action"] == "report"


def test_a_database_open_to_everybody_is_wrong(invoke_service, service):
    service.connect()
    service.database.chmod(0o604)
    code, findings = examine(invoke_service, "--store", service.url)
    assert code == 1
    assert levels(findings)["store"] == "wrong"
    assert "chmod" in findings["store"]["found"]


def test_a_database_open_to_its_group_is_doubtful(invoke_service, service):
    service.connect()
    service.database.chmod(0o640)
    code, findings = examine(invoke_service, "--store", service.url)
    assert code == 0
    assert levels(findings)["files"] == "warn"
    assert "vault.db 0640" in findings["files"]["found"]


def test_a_log_open_to_everybody_is_wrong(invoke_service, service):
    with service.make_vault() as held:
        held.admin.counts()
        service.connect()
        (service.folder / "vault.db-wal").chmod(0o644)
        code, findings = examine(invoke_service, "--store", service.url)
    assert code == 1
    assert "vault.db-wal 0644" in findings["files"]["found"]


def test_a_clock_behind_the_newest_write_is_doubtful(invoke_service, service):
    service.sandbox.clock.advance(timedelta(days=2))
    service.connect()
    code, findings = examine(invoke_service, "--store", service.url)
    assert code == 0
    ended = invoke_service("doctor", "--store", service.url)
    assert "behind the newest write in the store" in ended.stdout
    assert "wrong" not in levels(findings).values()


def test_an_application_whose_clock_is_its_own_is_doubtful(invoke_service, service):
    service.sandbox.clock.advance(timedelta(hours=1))
    service.connect()
    ended = invoke_service("doctor", "--vault", "service:make_vault")
    assert "the vault's clock is +3600 s from the system's" in ended.stdout
    assert "behind the newest write" not in ended.stdout


def test_an_application_that_does_not_load_is_wrong(invoke):
    code, findings = examine(invoke, "--vault", "no_such_module_here:vault")
    assert code == 1
    assert levels(findings) == {"vault": "wrong"}


def test_an_application_without_providers_is_wrong(invoke_service, service, monkeypatch):
    service.connect()
    sys.modules["service"].bare = lambda: Vault(**service.options(providers=()))
    code, findings = examine(invoke_service, "--vault", "service:bare")
    assert code == 1
    assert findings["providers"]["found"] == "this vault has none"


def test_a_store_that_no_vault_has_used_is_left_as_it_is(invoke, service):
    code, findings = examine(invoke, "--vault", "service:make_vault")
    assert code == 0
    assert levels(findings)["canary"] == "warn"
    with sqlite3.connect(service.database) as database:
        assert database.execute("SELECT count(*) FROM vault").fetchone() == (0,)
    database.close()


def test_a_store_in_memory_is_not_asked_for_files(invoke, service):
    sys.modules["service"].in_memory = lambda: Vault(**service.options(store=MemoryStore(clock=service.sandbox.clock)))
    _, findings = examine(invoke, "--vault", "service:in_memory")
    assert "files" not in findings
    assert levels(findings)["clock"] == "ok"


def test_a_store_that_is_away_is_wrong(invoke, service):
    class Away(MemoryStore):
        def count_by_status(self):
            raise StoreUnavailableError("the database is not available")

    sys.modules["service"].away = lambda: Vault(**service.options(store=Away(clock=service.sandbox.clock)))
    code, findings = examine(invoke, "--vault", "service:away")
    assert code == 1
    assert findings["store"] == {
        "level": "wrong", "about": "store", "found": "the database is not available", "action": "retry",
    }  # fmt: skip


# --- clocks and journals, as values --------------------------------------------------------------

CALM = Reading(1000.0, 50.0, 1000.0)


@pytest.mark.parametrize(
    ("last", "newest", "told"),
    [
        (Reading(1001.0, 51.0, 1001.0), None, []),
        (Reading(1001.0, 51.0, 1001.0), 1002.0, []),
        (Reading(1061.0, 51.0, 1061.0), None, ["the system clock was just set by +60 s"]),
        (Reading(941.0, 51.0, 941.0), None, ["the system clock was just set by -60 s"]),
        (Reading(1001.0, 51.0, 901.0), None, ["the vault's clock is -100 s from the system's"]),
        (Reading(1001.0, 51.0, 1001.0), 4601.0, ["the clock is 1:00:00 behind the newest write in the store"]),
    ],
)
def test_clocks_are_compared(last, newest, told):
    *doubts, summary = judge_clocks(CALM, last, newest)
    assert [doubt.found.partition(":")[0] for doubt in doubts] == [words.partition(":")[0] for words in told]
    assert all((doubt.level, doubt.action) == ("warn", "fix_configuration") for doubt in doubts)
    assert (summary.level, summary.action) == ("ok", "none")


def test_clocks_are_read_together(service):
    reading = read_clocks(service.sandbox.clock)
    assert abs(reading.vault_seconds - reading.system_seconds) < 1


def test_another_journal_mode_is_wrong(tmp_path):
    (tmp_path / "vault.db").touch(0o600)
    found = {one.about: one for one in judge_sqlite(Facts(str(tmp_path / "vault.db"), "delete", None))}
    assert found["journal"].level == "wrong"
    assert "delete" in found["journal"].found


def test_a_sqlite_store_in_memory_ends_with_its_process(service):
    from socialvault.stores.sqlite import SQLiteStore

    store = SQLiteStore(":memory:")
    facts = sqlite_facts(store)
    store.close()
    assert facts is not None
    [finding] = judge_sqlite(facts)
    assert finding.level == "warn"
    assert "memory" in finding.found
