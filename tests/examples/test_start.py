from __future__ import annotations

import re
import signal
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from support.examples import COMMANDS, EXAMPLES, Example, Visitor, launch_example

from socialvault import LocalKeyring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


NAMES = ("PUBLIC_URL", "SANDBOX_URL", "DATABASE", "VAULT_STORE", "SOCIALVAULT_KEYS", "PORT", "SECRET_KEY")
PUBLIC = {"SANDBOX_URL": "http://127.0.0.1:1", "PUBLIC_URL": "https://app.example"}
CREDENTIALS = [f"{slug}_CLIENT_{part}" for slug in ("X", "LINKEDIN", "FACEBOOK") for part in ("ID", "SECRET")]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *CREDENTIALS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Example]]:
    """Each example by its one command and nothing else; they start side by side."""
    running = {name: launch_example(name, tmp_path_factory.mktemp(name)) for name in COMMANDS}
    yield running
    for example in running.values():
        example.server.stop()


@pytest.mark.parametrize("name", COMMANDS)
def test_one_command_without_credentials_is_all_it_takes(name: str, demos: Mapping[str, Example]) -> None:
    example = demos[name]
    example.server.wait()
    said = (example.server.directory / "stdout.log").read_text("utf-8")
    assert f"Open {example.url} " in said
    assert "Sign in as ada / analytical engine" in said
    with Visitor(example) as visitor:
        visitor.sign_in()
        assert visitor.connect("X").messages[-1] == "Ada Lovelace is connected."
    temporary = example.server.directory.parent / "tmp"
    assert list(temporary.iterdir())
    example.server.process.send_signal(signal.SIGINT)
    example.server.process.wait(10)
    assert not list(temporary.iterdir()), "files of the demo are left"
    assert "Traceback" not in example.server.output()
    assert "code=" not in example.server.output()


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "X_CLIENT_ID"),
        ({"X_CLIENT_ID": "id"}, "X_CLIENT_SECRET is missing"),
        ({"FACEBOOK_CLIENT_SECRET": "s"}, "FACEBOOK_CLIENT_ID is missing"),
        ({"X_CLIENT_ID": "id", "X_CLIENT_SECRET": "s", "SANDBOX_URL": "http://127.0.0.1:1"}, "SANDBOX_URL is set"),
        ({"SANDBOX_URL": "http://127.0.0.1:1"}, "PUBLIC_URL is missing"),
        ({"SANDBOX_URL": "http://127.0.0.1:1", "PUBLIC_URL": "http://app.example"}, "PUBLIC_URL is"),
        ({"SANDBOX_URL": "http://127.0.0.1:1", "PUBLIC_URL": "https://app.example/shop"}, "PUBLIC_URL is"),
        ({"SANDBOX_URL": "http://127.0.0.1:1", "PUBLIC_URL": "https://app.example"}, "SOCIALVAULT_KEYS"),
        ({**PUBLIC, "SOCIALVAULT_KEYS": "short"}, "SOCIALVAULT_KEYS"),
        ({**PUBLIC, "SOCIALVAULT_KEYS": LocalKeyring.generate(), "VAULT_STORE": "mysql://somewhere"}, "store"),
    ],
)
@pytest.mark.parametrize("name", ["fastapi_app", "flask_app"])
def test_a_setting_that_is_missing_or_wrong_is_named(
    name: str, environment: dict[str, str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    main = import_module(f"{name}.main")
    for variable, value in {"DATABASE": str(tmp_path / "app.db"), **environment}.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(Exception, match=re.escape(named)):
        main.create_app()


def test_the_one_command_says_so_in_one_line(tmp_path: Path) -> None:
    environment = {"X_CLIENT_ID": "id", "X_CLIENT_SECRET": "s", "DATABASE": str(tmp_path / "app.db")}
    ended = subprocess.run(
        [sys.executable, "-m", "flask_app"], cwd=EXAMPLES, capture_output=True, text=True, check=False, timeout=30,
        env=environment,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "SOCIALVAULT_KEYS" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr


def test_a_port_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(Exception, match="PORT is 'http'"):
        import_module("fastapi_app.settings").port_from_env(8000)


@pytest.mark.parametrize("missing", ["SOCIALVAULT_KEYS"])
def test_the_django_project_names_what_is_missing(missing: str, tmp_path: Path) -> None:
    environment = {
        "PUBLIC_URL": "https://app.example", "SECRET_KEY": "tests-only", "X_CLIENT_ID": "id", "X_CLIENT_SECRET": "s",
        "LINKEDIN_CLIENT_ID": "id", "LINKEDIN_CLIENT_SECRET": "s", "SOCIALVAULT_KEYS": LocalKeyring.generate(),
    }  # fmt: skip
    del environment[missing]
    ended = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=EXAMPLES / "django_app", capture_output=True, text=True,
        check=False, timeout=30, env={**environment, "VAULT_STORE": f"sqlite:///{tmp_path}/vault.db"},
    )  # fmt: skip
    assert ended.returncode != 0
    assert missing in ended.stderr.strip().splitlines()[-1]
