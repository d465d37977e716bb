from __future__ import annotations

import sqlite3
import sys
from types import ModuleType

import pytest

from socialvault import LocalKeyring
from socialvault.cli import opening
from socialvault.cli.opening import application_vault
from socialvault.exceptions import ConfigurationError
from socialvault.stores.memory import MemoryStore

SECRET = "hunter2-in-a-settings-module"


def list_by(invoke, vault: str):
    return invoke("connections", "list", "--vault", vault)


# --- an existing store ---------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+pysqlite", "sqlite+aiosqlite"])
def test_looking_creates_no_database(invoke, tmp_path, monkeypatch, scheme):
    monkeypatch.setenv("SOCIALVAULT_KEYS", LocalKeyring.generate())
    file = tmp_path / "typo.db"
    ended = invoke("connections", "list", "--store", f"{scheme}:///{file}")
    assert ended.exit_code == 78
    assert f"there is no database at {file}" in ended.stderr
    assert not file.exists()


def test_looking_makes_no_vault_of_an_empty_file(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("SOCIALVAULT_KEYS", LocalKeyring.generate())
    file = tmp_path / "empty.db"
    file.touch(0o600)
    ended = invoke("connections", "list", "--store", f"sqlite:///{file}")
    assert ended.exit_code == 78
    assert "no vault has used this store yet" in ended.stderr
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT count(*) FROM vault").fetchone() == (0,)
    database.close()


@pytest.mark.parametrize("store", [":memory:", "mysql://db", "vault.db"])
def test_a_store_that_holds_nothing_is_told(invoke, monkeypatch, store):
    monkeypatch.setenv("SOCIALVAULT_KEYS", LocalKeyring.generate())
    assert invoke("connections", "list", "--store", store).exit_code == 78


def test_another_key_opens_nothing_and_says_which_is_missing(invoke, service, monkeypatch):
    service.connect()
    monkeypatch.setenv("SOCIALVAULT_KEYS", LocalKeyring.generate())
    ended = invoke("connections", "list", "--store", service.url)
    assert ended.exit_code == 78
    assert f"this database was sealed under key {LocalKeyring([service.key]).primary_id[:12]}" in ended.stderr


@pytest.mark.parametrize(
    ("url", "blocking"),
    [
        ("postgresql+asyncpg://db/vault?a=b&ssl=require", "postgresql+psycopg://db/vault?a=b&sslmode=require"),
        ("sqlite+aiosqlite:///vault.db", "sqlite+pysqlite:///vault.db"),
        ("postgresql://db/vault?ssl=x", "postgresql://db/vault?ssl=x"),
    ],
)
def test_a_url_for_event_loops_gives_way_to_a_blocking_one(monkeypatch, url, blocking):
    opened = []
    monkeypatch.setattr(opening, "_file", lambda _: None)
    monkeypatch.setattr(opening, "open_store", lambda given, _: opened.append(given) or MemoryStore())
    with pytest.raises(ConfigurationError, match="no vault has used this store yet"):
        opening.existing_store(url)
    assert opened == [blocking]


# --- an application's vault ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["service", "service:", ":vault", ""])
def test_a_vault_has_a_module_and_an_attribute(invoke, name):
    ended = list_by(invoke, name)
    assert ended.exit_code == 78
    assert "module:attribute" in ended.stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("service:missing", "service has no missing"),
        ("service:__name__.missing", "service has no __name__.missing"),
        ("service:__name__", "service:__name__ is no Vault and no AsyncVault, but str"),
        ("no_such_module_here:vault", "no_such_module_here can't be imported: ModuleNotFoundError"),
    ],
)
def test_what_is_not_there_is_told(invoke, service, name, told):
    ended = list_by(invoke, name)
    assert ended.exit_code == 78
    assert told in ended.stderr


def test_a_vault_may_be_an_attribute_of_an_attribute(service):
    holder = ModuleType("holder")
    holder.vault = service.make_vault()
    sys.modules["service"].holder = holder
    with application_vault("service:holder.vault") as found:
        assert found.core.providers.by_slug.keys() == {"x", "facebook"}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the working directory, as `settings.py`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(text: str) -> None:
        (tmp_path / "settings_of_the_app.py").write_text(text)

    yield write
    sys.modules.pop("settings_of_the_app", None)


def test_a_module_is_found_in_the_working_directory(invoke, module, monkeypatch):
    module(
        "from socialvault import LocalKeyring, Vault\n"
        "vault = Vault(providers=(), store=':memory:', keys=LocalKeyring([LocalKeyring.generate()]),"
        " redirect_uri='https://app.example/cb')\n"
    )
    assert list_by(invoke, "settings_of_the_app:vault").exit_code == 0


def test_what_a_module_raises_is_placed_and_not_repeated(invoke, module, tmp_path):
    module(f"\n\nraise ValueError('the password {SECRET} is wrong')\n")
    ended = list_by(invoke, "settings_of_the_app:vault")
    assert ended.exit_code == 78
    assert f"ValueError at {tmp_path / 'settings_of_the_app.py'}:3" in ended.stderr
    assert SECRET not in ended.output


def test_a_module_s_own_configuration_error_is_told_as_it_is(invoke, module):
    module("from socialvault import LocalKeyring\nLocalKeyring(['not a key'])\n")
    ended = list_by(invoke, "settings_of_the_app:vault")
    assert ended.exit_code == 78
    assert ended.stderr.startswith("error: key 1 is malformed")
