"""`socialvault db`, as a person runs it."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from socialvault.cli.app import app
from socialvault.cli.failures import EXIT_CODES
from socialvault.stores.sqlalchemy.migrations.running import Migrations
from socialvault.stores.sqlalchemy.schema import REVISION


@pytest.fixture
def db(subject):
    def run(*arguments, answers=None):
        result = CliRunner(env={"SOCIALVAULT_STORE": subject.url}).invoke(app, ["db", *arguments], input=answers)
        return result.exit_code, result.output

    return run


def test_a_databases_life(db, subject):
    assert db("current") == (0, "no tables\n")
    code, said = db("check")
    assert code == 1
    assert f"the database is at no revision, this release needs {REVISION}" in said
    assert "socialvault db upgrade" in said
    assert db("upgrade", "--to", "0001") == (0, "no tables -> socialvault_0001\n")
    assert db("upgrade") == (0, f"socialvault_0001 -> {REVISION}\n")
    assert db("upgrade") == (0, f"at {REVISION} already\n")
    assert db("current") == (0, f"{REVISION}\n")
    assert db("check") == (0, "the tables are what this release needs\n")
    subject.run("DROP INDEX connections_owner")
    code, said = db("check")
    assert code == 1
    assert "add_index connections_owner on connections" in said


def test_going_back_says_what_is_lost_and_asks(db, subject):
    db("upgrade")
    code, said = db("downgrade", "0001", answers="n\n")
    assert code == 1
    assert "how often each data key has sealed" in said
    assert subject.migrations.current() == REVISION
    code, said = db("downgrade", "0001", answers="y\n")
    assert code == 0
    assert said.endswith(f"{REVISION} -> socialvault_0001\n")
    with subject.first_release() as process:
        process.start_vault()
        process.connect("one")
    code, said = db("downgrade", "base", "--yes")
    assert code == 0
    assert "EVERYTHING is lost: every token of 1 connections" in said
    assert said.endswith("socialvault_0001 -> no tables\n")


def test_going_back_is_refused_while_something_would_be_misread(db, filled):
    db("upgrade")
    filled.run("UPDATE vault_keys SET state = 'retired'")
    code, said = db("downgrade", "0001", "--yes")
    assert code == EXIT_CODES["fix_configuration"]
    assert "reinstate" in said


@pytest.mark.parametrize("revision", ["socialvault@-1", "head-1", "the one before"])
def test_going_back_names_where_to(revision):
    """Otherwise what is lost could not be said beforehand."""
    result = CliRunner().invoke(app, ["db", "downgrade", revision, "--yes", "--store", "sqlite:///vault.db"])
    assert result.exit_code == EXIT_CODES["fix_configuration"]
    assert "such as 0001, or base" in result.output


def test_looking_creates_no_file(tmp_path):
    path = tmp_path / "vault.db"
    for arguments in (["current"], ["check"], ["downgrade", "0001", "--yes"]):
        CliRunner().invoke(app, ["db", *arguments, "--store", f"sqlite:///{path}"])
        assert not path.exists()
    with pytest.raises(Exception, match="there is no database at"):
        Migrations(f"sqlite:///{path}").downgrade("0001")
    assert CliRunner().invoke(app, ["db", "upgrade", "--store", f"sqlite:///{path}"]).exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_statements_are_printed_for_review(on_postgres):
    result = CliRunner().invoke(app, ["db", "upgrade", "--sql", "--store", on_postgres.url])
    assert result.exit_code == 0
    assert "CREATE TABLE IF NOT EXISTS connections" in result.output
    assert on_postgres.migrations.current() == ""


def test_without_a_store_it_asks_for_one():
    result = CliRunner(env={"SOCIALVAULT_STORE": ""}).invoke(app, ["db", "current"])
    assert result.exit_code == EXIT_CODES["fix_configuration"]
    assert "--store" in result.output


def test_a_missing_extra_is_named(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith("socialvault.stores.sqlalchemy.migrations.running")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "alembic", None)
    result = CliRunner().invoke(app, ["db", "current", "--store", "postgresql://h/d"])
    assert result.exit_code == EXIT_CODES["fix_configuration"]
    assert "socialvault[sqlalchemy]" in result.output
