"""``socialvault import``, on real databases and files."""

from __future__ import annotations

import csv
import json
import re
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.fernet import Fernet
from support.canaries import assert_absent_from_files, found_in
from support.legacy import Legacy
from typer.testing import CliRunner, Result

from socialvault import AsyncVault, LocalKeyring, Vault
from socialvault.cli.app import app
from socialvault.importers import ImportJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from socialvault.sandbox import Sandbox

    Invoke = Callable[..., Result]


@pytest.fixture(params=["make_vault", "make_async_vault"])
def invoke(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Invoke]:
    """Run an import into a vault of either colour; what it prints and writes holds no token in any spelling."""
    folder, key, printed = tmp_path / "vault", LocalKeyring.generate(), []
    folder.mkdir()

    def options() -> dict[str, Any]:
        return {
            "providers": [sandbox.provider("x")], "store": f"sqlite:///{folder / 'vault.db'}", "clock": sandbox.clock,
            "keys": LocalKeyring([key]), "redirect_uri": "https://app.example/{provider}/callback",
        }  # fmt: skip

    module = ModuleType("service")
    module.make_vault = lambda: Vault(**options())  # type: ignore[attr-defined]  # a module of the test's own
    module.make_async_vault = lambda: AsyncVault(**options())  # type: ignore[attr-defined]  # a module of the test's own
    monkeypatch.setitem(sys.modules, "service", module)
    for name in ("SOCIALVAULT_VAULT", "SOCIALVAULT_IMPORT_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object, vault: str | None = f"service:{request.param}", **given: Any) -> Result:
        named = ["--vault", vault] if vault else []
        result = CliRunner().invoke(app, ["import", *map(str, arguments), *named], **given)
        printed.append(result.output.encode())
        assert "Traceback" not in result.output
        return result

    yield run
    assert not found_in([*sandbox.issued_tokens(), key], b"\n".join(printed))
    assert_absent_from_files(sandbox.issued_tokens(), folder)


def stored(sandbox: Sandbox, **filters: Any) -> list[Any]:
    with sys.modules["service"].make_vault() as vault:
        return sorted(vault.admin.find(**filters), key=lambda one: one.owner)


def test_allauth(invoke: Invoke, sandbox: Sandbox, legacy: Legacy) -> None:
    for number, tokens in enumerate(sandbox.issue_many("x", ["ada", "grace"]), start=1):
        legacy.add_allauth(number, "twitter_oauth2", tokens)
    arguments = ["--owner", "user-{}", "--tenant", "acme", "--scopes", "x=tweet.read users.read", "--json"]
    rehearsed = json.loads(invoke("allauth", legacy.url, "--dry-run", *arguments).stdout)
    assert (rehearsed["imported"], rehearsed["dry_run"]) == (2, True)
    assert stored(sandbox) == []

    ended = invoke("allauth", *arguments, env={"SOCIALVAULT_IMPORT_URL": legacy.url})

    assert ended.exit_code == 0
    assert ended.stderr == ""
    assert json.loads(ended.stdout) == {**rehearsed, "dry_run": False}
    assert [(one.owner, one.tenant, one.provider) for one in stored(sandbox)] == [
        ("user-1", "acme", "x"), ("user-2", "acme", "x"),
    ]  # fmt: skip
    again = json.loads(invoke("allauth", legacy.url, *arguments).stdout)
    assert (again["imported"], again["already_there"]) == (0, 2)


def test_social_auth_with_a_table_of_reasons_and_a_list_of_problems(
    invoke: Invoke, sandbox: Sandbox, legacy: Legacy, tmp_path: Path
) -> None:
    legacy.add_social_auth(1, "twitter-oauth2", sandbox.issue("x"))
    for number in range(2, 30):
        legacy.add_extra_data(number, "\x1b[31mred", f"s{number}", '{"access_token": "t"}')
    legacy.add_extra_data(30, "our-x", "s", "{}")
    problems, cursor = tmp_path / "problems.csv", tmp_path / "cursor"
    ended = invoke(
        "social-auth", legacy.url, "--problems", problems, "--cursor", cursor, "--provider", "our-x=x", "--timezone",
        "Europe/Berlin",
    )  # fmt: skip
    assert ended.exit_code == 0
    assert "\x1b" not in ended.output
    shown = dict(re.findall(r"^ *([a-z ]+?) +(\d+) *$", ended.stdout, re.MULTILINE))
    assert shown == {
        "read": "30", "imported": "1", "updated": "0", "already there": "0", "skipped": "29", "refused": "0"
    }  # fmt: skip
    assert re.search(r"28 +this vault has no provider of that name +fix_configuration +2 3 4", ended.stdout)
    assert "…" in ended.stdout
    assert "may go on with --after 30" in ended.stderr
    with problems.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 1 + 29
    assert rows[-1] == ["30", "skipped", "there is no access token", "report"]
    assert json.loads(cursor.read_text("utf-8")) == {"source": "social-auth social_auth_usersocialauth", "after": "30"}


def test_authlib_and_tables_of_ones_own(invoke: Invoke, sandbox: Sandbox, legacy: Legacy) -> None:
    legacy.create(
        "CREATE TABLE oauth2token (id {serial}, user_id integer, name text, access_token text, refresh_token text,"
        " expires_at integer, sub text)"
    )
    issued = sandbox.issue("x")
    assert issued.refresh_token is not None
    row = {"at": issued.access_token.reveal(), "rt": issued.refresh_token.reveal(), "sub": issued.subject}
    legacy.write("INSERT INTO oauth2token VALUES (1, 7, 'x', :at, :rt, 1, :sub)", row)
    lacking = json.loads(invoke("authlib", legacy.url, "--json").stdout)
    assert [reason["action"] for reason in lacking["reasons"]] == ["fix_configuration"]
    assert len(sandbox.log) == 0
    asked = json.loads(invoke("authlib", legacy.url, "--json", "--ask-providers", "--dry-run").stdout)
    assert asked["imported"] == 1
    owned = json.loads(invoke("authlib", legacy.url, "--json", "--column", "subject=sub").stdout)
    assert owned["imported"] == 1
    columns = ["--column", "provider==x", "--column", "owner=user_id", "--column", "subject=sub"]
    again = invoke("table", legacy.url, "--table", "oauth2token", *columns, "--json", "--after", "0", "--key", "id")
    assert json.loads(again.stdout)["already_there"] == 1


def test_encrypted_files(invoke: Invoke, sandbox: Sandbox, tmp_path: Path) -> None:
    key, [ada, grace] = Fernet.generate_key(), sandbox.issue_many("x", ["ada", "grace"])
    sealed = {name: Fernet(key).encrypt(one.access_token.reveal().encode()).decode()
              for name, one in (("ada", ada), ("grace", grace))}  # fmt: skip
    lines = tmp_path / "tokens.jsonl"
    lines.write_text(
        json.dumps({"who": "ada", "at": "x", "id": ada.subject, "token": {"access_token": sealed["ada"]}}), "utf-8"
    )
    table = tmp_path / "tokens.csv"
    table.write_text(f"provider,owner,subject,access_token\nx,grace,{grace.subject},{sealed['grace']}\n", "utf-8")
    env = {"OLD_KEY": key.decode()}
    columns = ["owner=who", "provider=at", "subject=id", "token=token"]
    given = [part for column in columns for part in ("--column", column)]
    for arguments in (["json-lines", lines, *given], ["csv", table, "--fernet-column", "access_token"]):
        ended = invoke(*arguments, "--fernet-key-env", "OLD_KEY", "--json", env=env)
        assert json.loads(ended.stdout)["imported"] == 1, ended.output
    assert [one.owner for one in stored(sandbox)] == ["ada", "grace"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--timezone", "Mars/Olympus"], "no time zone 'Mars/Olympus'"),
        (["--owner", "user"], "--owner must hold {} once"),
        (["--owner", "{0.x}"], "--owner must hold {} once"),
        (["--provider", "x"], "--provider takes NAME=VALUE"),
        (["--scopes", "x=a", "--scopes", "x=b"], "--scopes takes NAME=VALUE, each name once"),
        (["--column", "user=id"], "there is no field 'user'"),
        (["--fernet-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY holds no key"),
        (["--problems", "/nowhere/problems.csv"], "can't be written: No such file"),
        (["--after", "x"], "no row of a file has the id 'x'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_wrong_options_are_settings_to_mend(
    invoke: Invoke, sandbox: Sandbox, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    file = tmp_path / "tokens.csv"
    file.write_text("provider,owner,access_token\n", "utf-8")
    ended = invoke("csv", file, *arguments)
    assert ended.exit_code == 78
    assert complaint in ended.stderr


def test_it_needs_the_applications_vault(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "tokens.csv"
    file.touch()
    ended = invoke("csv", file, vault=None)
    assert ended.exit_code == 78
    assert "give --vault MODULE:ATTRIBUTE" in ended.stderr


def test_what_was_done_before_an_error_is_told(
    invoke: Invoke, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socialvault.importers.files.PAGE_LENGTH", 1)
    file = tmp_path / "tokens.csv"
    file.write_text("provider,owner,subject,access_token\nx,1,s1,t1\nx,2,s2,t2\n", "utf-8")
    monkeypatch.setattr("socialvault.importers.job.check_owner", _refuse_the_second)
    ended = invoke("csv", file, "--json")
    assert ended.exit_code == 75
    assert json.loads(ended.stdout)["imported"] == 1
    assert "the store is away (retry)" in ended.stderr


def _refuse_the_second(owner: str, _tenant: str) -> None:
    from socialvault.exceptions import StoreUnavailableError

    if owner == "2":
        raise StoreUnavailableError("the store is away")


def test_away_from_a_terminal_it_says_now_and_then_how_far_it_is(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socialvault.cli.imports._ROWS_PER_LINE", 2)
    file = tmp_path / "tokens.csv"
    file.write_text("provider,owner,access_token\n" + "y,1,t\n" * 5, "utf-8")
    ended = invoke("csv", file)
    assert ended.stderr.splitlines()[:2] == ["2 of 5 rows", "4 of 5 rows"]


def test_on_a_terminal_it_draws_a_bar(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    file = tmp_path / "tokens.csv"
    file.write_text("provider,owner,access_token\n" + "y,1,t\n" * 5, "utf-8")
    ended = invoke("csv", file, "--json")
    assert "5/5" in ended.stderr
    assert json.loads(ended.stdout)["skipped"] == 5


def test_an_interrupt_ends_it_after_a_whole_row(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cursor = tmp_path / "tokens.csv", tmp_path / "cursor"
    file.write_text("provider,owner,subject,access_token\n" + "".join(f"x,{n},s{n},t{n}\n" for n in "123"), "utf-8")
    offer = ImportJob._offer

    async def interrupted(self: Any, record: Any) -> Any:
        if record.owner == "2":
            raise KeyboardInterrupt
        return await offer(self, record)

    monkeypatch.setattr("socialvault.importers.job._Import._offer", interrupted)
    assert invoke("csv", file, "--cursor", cursor, "--json").exit_code != 0
    assert json.loads(cursor.read_text("utf-8"))["after"] == "2"
    monkeypatch.undo()
