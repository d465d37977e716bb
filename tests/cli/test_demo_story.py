"""Each promise of the demo, and how the demo notices that it is broken."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest
from support.canaries import found_in

from socialvault.cli import demo as command
from socialvault.cli.demo import perform, story
from socialvault.cli.demo.report import kept
from socialvault.cli.demo.stage import Stage, set_stage
from socialvault.cli.demo.story import STORY, Step
from socialvault.crypto.envelope import Sealer
from socialvault.crypto.keyring import Keyring
from socialvault.exceptions import ConfigurationError, StateMismatchError
from socialvault.providers import Provider
from socialvault.runtimes.asyncio import AsyncioRuntime
from socialvault.runtimes.threads import ThreadRuntime
from socialvault.sandbox import Sandbox
from socialvault.stores.sqlite import SQLiteStore
from socialvault.vault.lease import Leases

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS = {step.id: step for step in STORY}
CALLERS = 8


@pytest.fixture
def stage() -> Iterator[Stage]:
    with set_stage(CALLERS) as built:
        yield built


def play(stage: Stage, *ids: str):
    """Play some steps; return the last one's finding."""
    *_, last = [STEPS[id_].play(stage) for id_ in ids]
    return last


async def not_shared(_self, _key, factory):
    return await factory()


async def not_held(_self, _connection_id, work):
    return (await work(),)


def let_everybody_renew(monkeypatch, runtime):
    """Take away all three: what callers share in a process, the lease, and the intent."""
    monkeypatch.setattr(runtime, "single_flight", not_shared)
    monkeypatch.setattr(Leases, "hold", not_held)
    monkeypatch.setattr(SQLiteStore, "open_intent", lambda _self, _intent: True)


# --- kept ----------------------------------------------------------------------------------------


def test_every_promise_is_kept_and_no_secret_is_told(stage):
    results = list(perform(stage, STORY))
    assert kept(results), [result for result in results if not result.finding.held]
    said = json.dumps([asdict(result) for result in results]).encode()
    assert not found_in([*stage.sandbox.issued_tokens(), stage.key.reveal()], said)


def test_nothing_is_left_behind():
    with set_stage(CALLERS) as stage:
        folder, vault = stage.folder, stage.vault
        play(stage, "connect")
        assert folder.is_dir()
    assert not folder.exists()
    assert not vault.health().ok


# --- broken --------------------------------------------------------------------------------------


def test_a_consent_too_many_is_noticed(stage, monkeypatch):
    sign_in = Stage.sign_in
    monkeypatch.setattr(Stage, "sign_in", lambda *args, **how: [sign_in(*args, **how), sign_in(*args, **how)][1])
    assert not play(stage, "connect").held


def test_a_page_without_its_own_token_is_noticed(stage, monkeypatch):
    play(stage, "connect")
    token = stage.vault.token
    parent = stage.connections["facebook"]
    monkeypatch.setattr(stage.vault, "token", lambda _id, **whose: token(parent, **whose))
    assert not play(stage, "sub-account").held


def test_a_callback_that_serves_strangers_is_noticed(stage, monkeypatch):
    monkeypatch.setattr(story, "STRANGER", story.NEIGHBOUR)
    finding = play(stage, "strangers")
    assert not finding.held
    assert "another owner: none" in finding.happened


def test_a_duplicate_that_is_refused_is_noticed(stage, monkeypatch):
    complete, deliveries = story.complete, iter(range(story.DELIVERIES))

    def once(*args, **whose):
        if next(deliveries):
            raise StateMismatchError("used before")
        return complete(*args, **whose)

    monkeypatch.setattr(story, "complete", once)
    finding = play(stage, "duplicates")
    assert not finding.held
    assert "1 did it, 0 got the same outcome" in finding.happened


def test_a_second_exchange_is_noticed(stage, monkeypatch):
    log_since = Stage.log_since
    monkeypatch.setattr(Stage, "log_since", lambda *args: log_since(*args) * 2)
    finding = play(stage, "duplicates")
    assert not finding.held
    assert finding.log == "code exchanges: 2"


def test_a_vault_that_takes_any_key_is_noticed(stage, monkeypatch):
    async def take(_self):
        return None

    play(stage, "connect")
    monkeypatch.setattr(Keyring, "open", take)
    assert not play(stage, "wrong-key").held


def test_a_write_under_a_wrong_key_is_noticed(stage, monkeypatch):
    open_ = Keyring.open

    async def write_first(self):
        (stage.folder / "vault.db").write_bytes(b"overwritten")
        await open_(self)

    play(stage, "connect")
    monkeypatch.setattr(Keyring, "open", write_first)
    monkeypatch.setattr(Stage, "contents", lambda _self: {"vault.db": (stage.folder / "vault.db").read_bytes()})
    finding = play(stage, "wrong-key")
    assert not finding.held


@pytest.mark.parametrize(("runtime", "step"), [(ThreadRuntime, "threads"), (AsyncioRuntime, "tasks")])
def test_a_renewal_that_is_not_shared_is_noticed(stage, monkeypatch, runtime, step):
    play(stage, "connect")
    let_everybody_renew(monkeypatch, runtime)
    finding = play(stage, step)
    assert not finding.held
    assert "x 1," not in finding.log


def test_an_outage_that_logs_out_is_noticed(stage, monkeypatch):
    fault = Sandbox.fault
    monkeypatch.setattr(Sandbox, "fault", lambda self, *where, **_: fault(self, *where, error="invalid_request"))
    finding = play(stage, "connect", "outage")
    assert not finding.held
    assert "reauthorization_required" in finding.happened


def test_a_token_for_another_host_is_noticed(stage, monkeypatch):
    monkeypatch.setattr(Provider, "signs", lambda _self, _url: True)
    finding = play(stage, "connect", "hosts")
    assert not finding.held
    assert "API calls: 2" in finding.log


def test_a_token_in_a_file_is_noticed(stage):
    play(stage, "connect")
    assert play(stage, "sealed").held
    token = min(stage.sandbox.live_tokens("x"))
    (stage.folder / "vault.db-copy").write_text(token.encode().hex())
    assert not play(stage, "sealed").held


def test_a_record_that_is_not_sealed_is_noticed(stage, monkeypatch):
    monkeypatch.setattr(Sealer, "seal", lambda self, plain, *_: self.header + bytes(12) + plain + bytes(16))
    monkeypatch.setattr(Sealer, "open", lambda _self, envelope, *_: envelope[48:-16])
    finding = play(stage, "connect", "sealed")
    assert not finding.held
    assert ": 0 hits" not in finding.happened


def test_a_search_that_finds_nothing_at_all_is_noticed(stage, monkeypatch):
    play(stage, "connect")
    monkeypatch.setattr(story, "hits", lambda _secrets, _files: 0)
    assert not play(stage, "sealed").held


def test_a_revocation_that_never_reached_the_provider_is_noticed(stage, monkeypatch):
    def pretend(*_):
        return "revoked"
        yield

    play(stage, "connect")
    monkeypatch.setattr(Provider, "revoke", pretend)
    finding = play(stage, "disconnect")
    assert not finding.held
    assert "revoked: linkedin 0, x 0, facebook 0" in finding.log


def test_a_revocation_that_is_put_off_is_noticed(stage):
    play(stage, "connect")
    stage.sandbox.fault("linkedin", "revoke", status=503)
    assert not play(stage, "disconnect").held


# --- steps that fail -----------------------------------------------------------------------------


def test_an_error_breaks_its_promise_and_ends_the_story(stage):
    def fail(_stage):
        raise ConfigurationError("something is missing")

    results = list(perform(stage, [Step("a", "A", fail), STEPS["connect"]]))
    assert [result.finding.happened for result in results] == [
        "ConfigurationError: something is missing",
        "not reached",
    ]
    assert not kept(results)
    assert len(stage.sandbox.log) == 0


# --- the command ---------------------------------------------------------------------------------


def test_the_command_prints_promises_and_a_stored_row(invoke):
    ended = invoke("demo", "--callers", 3)
    assert ended.exit_code == 0
    assert ended.stderr == ""
    assert f"{len(STORY)} of {len(STORY)} promises held" in ended.stdout
    assert "nothing was checked live" in ended.stdout
    assert "key id, a commitment to the key" in ended.stdout


def test_the_command_fails_when_a_promise_is_broken(invoke, monkeypatch):
    let_everybody_renew(monkeypatch, ThreadRuntime)
    ended = invoke("demo", "--callers", 4, "--json")
    assert ended.exit_code == 1
    document = json.loads(ended.stdout)
    assert document["held"] is False
    assert "threads" in [promise["id"] for promise in document["promises"] if not promise["held"]]


def test_a_broken_promise_stands_out_in_the_table(invoke, monkeypatch):
    monkeypatch.setattr(
        command,
        "STORY",
        [STEPS["connect"], Step("x", "A promise", lambda _stage: command.Finding("nothing", "", held=False))],
    )
    ended = invoke("demo")
    assert ended.exit_code == 1
    assert "1 of 2 promises held" in ended.stdout
    [line] = [line for line in ended.stdout.splitlines() if "A promise" in line]
    assert "NO" in line


def test_progress_is_shown_on_a_terminal_only(invoke, monkeypatch):
    monkeypatch.setattr(command, "STORY", [STEPS["connect"]])
    assert invoke("demo").stderr == ""
    assert STEPS["connect"].promise in invoke("demo", env={"FORCE_COLOR": "1"}).stderr


def test_json_is_one_document_and_nothing_else(run):
    few_files = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (256, r.getrlimit(r.RLIMIT_NOFILE)[1]));"
    ended = run("demo", "--json", code=few_files + "from socialvault.cli import main; main()")
    assert (ended.returncode, ended.stderr) == (0, "")
    document = json.loads(ended.stdout)
    assert document["held"] is True
    assert document["emulated"] is True
    assert document["callers"] == 200
    assert document["milliseconds"] < 20_000
    logs = {promise["id"]: promise["log"] for promise in document["promises"]}
    assert list(logs) == list(STEPS)
    assert logs["threads"] == "token requests: linkedin 0, x 1, facebook 1"
    assert logs["tasks"] == "token requests: linkedin 1, x 1, facebook 0"
    assert logs["duplicates"] == "code exchanges: 1"
    assert logs["disconnect"].endswith(" 0 after")
    assert document["stored_row"]["fields"][0] == {"name": "magic", "at": 0, "hex": "5356"}
