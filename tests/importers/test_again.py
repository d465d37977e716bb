"""An import may be stopped anywhere and run again: there is one connection for each account, and none comes back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from support.canaries import assert_absent_from_files
from support.legacy import bring, counts, job_of, reasons, run_job

from socialvault.exceptions import ConfigurationError, StoreUnavailableError
from socialvault.importers import AllauthSource, Columns, CsvSource, CursorFile, ImportMapping, JsonLinesSource
from socialvault.vault.connections import Connections

if TYPE_CHECKING:
    from pathlib import Path

    from support.legacy import Legacy
    from support.world import World

    from socialvault.sandbox import IssuedTokens

OWNER_1: dict[str, Any] = {"owner": "1", "tenant": ""}


def write_rows(path: Path, world: World, users: list[str]) -> list[IssuedTokens]:
    issued: list[IssuedTokens] = world.sandbox.issue_many("x", users)
    rows = [
        {
            "provider": "x", "owner": str(number), "subject": tokens.subject, "token": {
                "access_token": tokens.access_token.reveal(),
                "refresh_token": tokens.refresh_token and tokens.refresh_token.reveal(),
                "expires_at": tokens.expires_at and int(tokens.expires_at.timestamp()),
                "token_type": "Bearer",
                "scope": "users.read tweet.read",
            },
        }
        for number, tokens in enumerate(issued, start=1)
    ]  # fmt: skip
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return issued


@pytest.fixture
def file(sync_world: World, tmp_path: Path) -> Path:
    path = tmp_path / "tokens.jsonl"
    write_rows(path, sync_world, ["ada", "grace", "katherine", "mary", "joan"])
    return path


def change(path: Path, line: int, **changes: Any) -> None:
    """Change one object of a file of JSON lines; `line` 0 is the first one."""
    lines = [json.loads(one) for one in path.read_text("utf-8").splitlines()]
    lines[line].update(changes)
    path.write_text("".join(f"{json.dumps(one)}\n" for one in lines), "utf-8")


def rows_of(path: Path) -> JsonLinesSource:
    return JsonLinesSource(path, Columns(token="token"))


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socialvault.importers.files.PAGE_LENGTH", 2)
    monkeypatch.setattr("socialvault.importers.database.PAGE_LENGTH", 2)


# --- what is there already ------------------------------------------------------------------------


async def test_what_was_disconnected_does_not_come_back(sync_world: World, file: Path) -> None:
    await bring(sync_world, rows_of(file))
    [connection] = await sync_world.vault.connections(owner="1")
    await sync_world.vault.disconnect(connection.id, **OWNER_1)

    again = await bring(sync_world, rows_of(file))

    assert counts(again) == {"already_there": 4, "skipped": 1}
    assert reasons(again) == {"its owner has disconnected the account in this vault": ["1"]}
    assert counts(await bring(sync_world, rows_of(file), dry_run=True)) == counts(again)
    assert await sync_world.vault.connections(owner="1") == ()


async def test_replace_writes_over_the_owners_own_connection(sync_world: World, file: Path) -> None:
    await bring(sync_world, rows_of(file))
    newer = write_rows(file, sync_world, ["ada"])
    rehearsed = await bring(sync_world, rows_of(file), replace=True, dry_run=True)
    assert counts(rehearsed) == {"updated": 1}
    [connection] = await sync_world.vault.connections(owner="1")
    assert connection.generation == 1

    assert counts(await bring(sync_world, rows_of(file), replace=True)) == {"updated": 1}

    token = await sync_world.vault.token(connection.id, **OWNER_1)
    assert token.reveal() == newer[0].access_token.reveal()
    assert token.generation == 2


async def test_an_account_of_two_users_is_refused_to_the_second(world: World, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    write_rows(file, world, ["ada", "ada", "grace"])
    expected = {"another owner has connected this account": ["2"]}
    rehearsed = await bring(world, rows_of(file), dry_run=True)
    assert (counts(rehearsed), reasons(rehearsed)) == ({"imported": 2, "refused": 1}, expected)
    assert await world.vault.connections(owner="1") == ()

    report = await bring(world, rows_of(file))

    assert (counts(report), reasons(report)) == ({"imported": 2, "refused": 1}, expected)
    assert len(await world.vault.connections(owner="1")) == 1
    assert await world.vault.connections(owner="2") == ()


async def test_where_accounts_are_shared_each_user_gets_a_connection(sync_world: World, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    write_rows(file, sync_world, ["ada", "ada"])
    sync_world.vault = sync_world.build(on_shared_account="separate")
    assert counts(await bring(sync_world, rows_of(file), dry_run=True)) == {"imported": 2}
    assert counts(await bring(sync_world, rows_of(file))) == {"imported": 2}


async def test_an_import_that_lost_the_race_leaves_the_winner_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tokens.jsonl"
    write_rows(file, world, ["ada"])
    await bring(world, rows_of(file))
    [before] = await world.vault.connections(owner="1")

    async def nothing_is_known(*_: object) -> str:
        return "unknown"

    monkeypatch.setattr(Connections, "standing", nothing_is_known)
    assert counts(await bring(world, rows_of(file))) == {"already_there": 1}
    assert await world.vault.connections(owner="1") == (before,)
    assert [event.name for event in world.events].count("imported") == 1


async def test_one_call_leaves_a_connection_alone_too(world: World) -> None:
    first, second = world.sandbox.issue("x"), world.sandbox.issue("x")
    for tokens in (first, second):
        connection = await world.vault.import_tokens(
            "x", owner="1", access_token=tokens.access_token, subject=tokens.subject
        )
    assert (await world.vault.token(connection.id, **OWNER_1)).reveal() == first.access_token.reveal()
    replaced = await world.vault.import_tokens(
        "x", owner="1", access_token=second.access_token, subject=second.subject, replace=True
    )
    assert (await world.vault.token(connection.id, **OWNER_1)).reveal() == second.access_token.reveal()
    assert (replaced.id, replaced.generation) == (connection.id, 2)


async def test_a_dry_run_writes_nothing(world: World, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    write_rows(file, world, ["ada", "grace"])
    files = [world.database, world.database.with_name("vault.db-wal")]
    before = [one.read_bytes() for one in files]
    report = await bring(world, rows_of(file), dry_run=True, cursor=CursorFile(tmp_path / "cursor"))
    assert counts(report) == {"imported": 2}
    assert report.dry_run
    assert [one.read_bytes() for one in files] == before
    assert not (tmp_path / "cursor").exists()


# --- going on ---------------------------------------------------------------------------------------


async def test_it_goes_on_after_a_row_or_where_the_cursor_stands(sync_world: World, file: Path, tmp_path: Path) -> None:
    after = await bring(sync_world, rows_of(file), after="3", dry_run=True)
    assert (counts(after), after.after) == ({"imported": 2}, "5")
    cursor = CursorFile(tmp_path / "cursor")
    first = await bring(sync_world, rows_of(file), cursor=cursor)
    assert (counts(first), first.after) == ({"imported": 5}, "5")
    assert counts(await bring(sync_world, rows_of(file), cursor=cursor)) == {}
    with file.open("a", encoding="utf-8") as more:
        more.write('{"provider": "myspace", "owner": "6", "token": {"access_token": "t"}}\n')
    assert counts(await bring(sync_world, rows_of(file), cursor=cursor)) == {"skipped": 1}


async def test_a_cursor_of_another_source_is_refused(sync_world: World, file: Path, tmp_path: Path) -> None:
    await bring(sync_world, rows_of(file), cursor=CursorFile(tmp_path / "cursor"))
    other = file.with_name("other.jsonl")
    other.write_text("", "utf-8")
    with pytest.raises(ConfigurationError, match="belongs to another source: JSON lines tokens"):
        job_of(sync_world, rows_of(other), cursor=CursorFile(tmp_path / "cursor"))
    (tmp_path / "cursor").write_text("7", "utf-8")
    with pytest.raises(ConfigurationError, match="no cursor of an import"):
        job_of(sync_world, rows_of(file), cursor=CursorFile(tmp_path / "cursor"))
    with pytest.raises(ConfigurationError, match="not both"):
        job_of(sync_world, rows_of(file), cursor=CursorFile(tmp_path / "none"), after="3")
    with pytest.raises(ConfigurationError, match="can't be written"):
        CursorFile(tmp_path / "nowhere" / "cursor").save(rows_of(file), "1")


async def test_a_store_that_goes_away_ends_it_and_the_next_run_goes_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cursor = tmp_path / "tokens.jsonl", CursorFile(tmp_path / "cursor")
    write_rows(file, world, ["ada", "grace", "katherine", "mary"])
    bring_in, calls = Connections.bring_in, []

    async def away(*given: Any, **options: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise StoreUnavailableError("the store is away")
        return await bring_in(*given, **options)

    monkeypatch.setattr(Connections, "bring_in", away)
    job = job_of(world, rows_of(file), cursor=cursor)
    with pytest.raises(StoreUnavailableError):
        await run_job(job)
    assert (counts(job.report), job.report.after) == ({"imported": 1}, "1")

    assert counts(await bring(world, rows_of(file), cursor=cursor)) == {"imported": 3}


async def test_a_row_that_a_provider_did_not_answer_for_is_where_the_next_run_begins(
    sync_world: World, file: Path, tmp_path: Path
) -> None:
    change(file, 1, subject="")
    cursor = CursorFile(tmp_path / "cursor")
    sync_world.sandbox.fault("x", "userinfo", status=503)
    report = await bring(sync_world, rows_of(file), cursor=cursor, ask_providers=True)
    assert counts(report) == {"imported": 4, "skipped": 1}
    assert reasons(report) == {"the provider did not say whose token it is": ["2"]}
    again = await bring(sync_world, rows_of(file), cursor=cursor, ask_providers=True)
    assert (counts(again), again.after) == ({"imported": 1, "already_there": 3}, "5")


KILLED = """
import os, signal, sys
from socialvault import LocalKeyring, Vault
from socialvault.importers import CsvSource, CursorFile, ImportJob, files
from socialvault.providers import X

files.PAGE_LENGTH = 4
folder, key, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
done = []

def note(outcome):
    done.append(outcome)
    if len(done) == rows:
        os.kill(os.getpid(), signal.SIGKILL)

with Vault(providers=[X("app", "secret")], store=f"sqlite:///{folder}/vault.db", keys=LocalKeyring([key]),
           redirect_uri="https://app.example/{provider}") as vault:
    source, cursor = CsvSource(f"{folder}/tokens.csv"), CursorFile(f"{folder}/cursor")
    report = ImportJob(vault, source, cursor=cursor, on_outcome=note).run()
    print(report.imported, report.already_there, len(list(vault.admin.find(limit=100))))
"""


def test_killed_anywhere_and_started_again_it_ends_the_same(tmp_path: Path) -> None:
    from socialvault import LocalKeyring

    heading = "provider,owner,subject,access_token,refresh_token\n"
    rows = [f"x,user-{n},subject-{n},plain-access-{n},plain-refresh-{n}\n" for n in range(20)]
    (tmp_path / "tokens.csv").write_text(heading + "".join(rows), "utf-8")
    command = [sys.executable, "-W", "error", "-c", KILLED, str(tmp_path), LocalKeyring.generate()]

    def start(rows_to_live: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, str(rows_to_live)], capture_output=True, text=True, check=False, timeout=60)

    assert [start(rows_to_live).returncode for rows_to_live in (3, 5, 9)] == [-signal.SIGKILL] * 3
    ended = start(0)
    assert ended.returncode == 0, ended.stderr
    imported, already_there, connections = map(int, ended.stdout.split())
    assert connections == 20
    assert imported + already_there < 20, "the cursor did not help"
    (tmp_path / "tokens.csv").unlink()
    assert_absent_from_files([f"plain-{kind}-{n}" for kind in ("access", "refresh") for n in range(20)], tmp_path)


# --- what can't be imported -------------------------------------------------------------------------


async def test_rows_that_fit_nothing_are_named_by_their_ids_alone(sync_world: World, legacy: Legacy) -> None:
    world = sync_world
    issued = world.sandbox.issue_many("x", ["ada", "grace", "katherine", "mary", "joan", "edith"])
    other = {"id": 1, "p": "twitter_oauth2", "c": "another-client"}, {"id": 2, "p": "x", "c": "sandbox-x"}
    legacy.write("INSERT INTO socialaccount_socialapp VALUES (:id, :p, '', :c, '', '', '', '{}')", *other)
    legacy.add_allauth(1, "twitter_oauth2", issued[0], app=1)
    legacy.add_allauth(2, "twitter_oauth2", issued[1], app=2)
    legacy.add_allauth(3, "twitter", issued[2])
    legacy.add_allauth(4, issued[3].access_token.reveal(), issued[3])
    legacy.add_allauth(5, "twitter_oauth2", issued[4], uid="")
    legacy.add_allauth(6, "twitter_oauth2", issued[5], token="no token at all")
    report = await bring(world, AllauthSource(legacy.url))
    assert reasons(report) == {
        "issued to another application than this vault's: its client id differs": ["1"],
        "this vault has no provider 'twitter'": ["3"],
        "this vault has no provider of that name": ["4"],
        "no subject: name its column, or let the providers be asked": ["5"],
        "access_token must be a non-empty str of visible ASCII characters": ["6"],
    }
    assert counts(report) == {"imported": 1, "skipped": 5}
    assert {reason.action for reason in report.reasons} == {"fix_configuration", "report"}
    told = json.dumps(report.as_dict())
    assert not [token for token in world.sandbox.issued_tokens() if token in told]
    assert "no token at all" not in told


async def test_a_provider_is_asked_whose_token_it_is_only_when_told_to(world: World, legacy: Legacy) -> None:
    issued = world.sandbox.issue("x")
    legacy.add_allauth(1, "twitter_oauth2", issued, uid="")
    legacy.add_allauth(2, "twitter_oauth2", issued, uid="", token="revoked-long-ago")
    assert counts(await bring(world, AllauthSource(legacy.url))) == {"skipped": 2}
    assert len(world.sandbox.log) == 0
    report = await bring(world, AllauthSource(legacy.url), ask_providers=True)
    assert counts(report) == {"imported": 1, "skipped": 1}
    assert reasons(report) == {"the provider does not accept the token, so nobody knows whose it is": ["2"]}
    [connection] = await world.vault.connections(owner="1")
    assert connection.subject == issued.subject


async def test_reasons_stay_few_whatever_the_source_calls_its_providers(sync_world: World, tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text("provider,owner,access_token\n" + "".join(f"name{n},1,t\n" for n in range(100)), "utf-8")
    report = await bring(sync_world, CsvSource(file))
    assert len(report.reasons) == 51
    assert report.skipped == 100


async def test_memory_does_not_grow_with_the_rows(
    sync_world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tracemalloc

    monkeypatch.undo()  # pages of their usual length
    file, used = tmp_path / "tokens.csv", []
    rows = (f"x,user-{n},subject-{n},{'t' * 200}{n},2100-01-01\n" for n in range(5000))
    file.write_text("provider,owner,subject,access_token,expires_at\n" + "".join(rows), "utf-8")

    def measure(outcome: Any) -> None:
        if int(outcome.source_id) % 1000 == 0:
            used.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        report = await bring(sync_world, CsvSource(file), dry_run=True, on_outcome=measure)
    finally:
        tracemalloc.stop()
    assert counts(report) == {"imported": 5000}
    assert all(later - earlier < 100_000 for earlier, later in pairwise(used)), used


async def test_owners_can_be_renamed_and_providers_too(sync_world: World, file: Path) -> None:
    change(file, 4, provider="our-name-for-x")
    mapping = ImportMapping({"our-name-for-x": "x"}, owner="member:{}".format, tenant="globex")
    assert counts(await bring(sync_world, rows_of(file), mapping)) == {"imported": 5}
    [connection] = await sync_world.vault.connections(owner="member:5", tenant="globex")
    assert connection.scopes == {"users.read", "tweet.read"}
    sync_world.sandbox.clock.advance(timedelta(hours=3))
    await sync_world.vault.token(connection.id, owner="member:5", tenant="globex")
