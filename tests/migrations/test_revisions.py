"""Up and down from every revision, with rows in place."""

from __future__ import annotations

import itertools

import pytest
from migrations.first_release import KEK_ID, VAULT_KEY_ID

from socialvault.exceptions import ConfigurationError
from socialvault.stores.sqlalchemy.migrations.running import Migrations
from socialvault.stores.sqlalchemy.schema import REVISION


def test_an_empty_database_comes_to_this_releases_tables_and_leaves_them(subject):
    assert (subject.migrations.current(), subject.migrations.connections()) == ("", 0)
    assert subject.migrations.upgrade() == REVISION
    assert subject.migrations.check() == []
    assert subject.migrations.downgrade("base") == ""
    tables = (
        "SELECT 1 FROM sqlite_master"
        if subject.kind == "sqlite"
        else "SELECT 1 FROM pg_tables WHERE schemaname = current_schema()"
    )
    assert subject.run(tables) == []
    assert subject.migrations.upgrade() == REVISION
    assert subject.migrations.check() == []


def test_rows_are_the_same_bytes_in_every_revision(filled):
    before = filled.rows()
    assert len(before["connections"]) == 10
    assert filled.migrations.upgrade() == REVISION
    assert filled.migrations.check() == []
    assert filled.rows() == before
    assert filled.migrations.downgrade("0001") == "socialvault_0001"
    assert filled.rows() == before
    assert filled.migrations.check() == [f"the database is at socialvault_0001, this release needs {REVISION}"]
    assert filled.migrations.upgrade("+1") == REVISION
    assert filled.rows() == before


def test_the_first_schema_comes_back_whole(filled):
    indexes = "SELECT name FROM sqlite_master WHERE type = 'index'" if filled.kind == "sqlite" else (
        "SELECT replace(indexdef, current_schema() || '.', '') FROM pg_indexes WHERE schemaname = current_schema()"
    )  # fmt: skip
    before = sorted(filled.run(indexes))
    filled.migrations.upgrade()
    assert sorted(filled.run(indexes)) != before
    filled.migrations.downgrade("0001")
    assert sorted(filled.run(indexes)) == before


def test_upgrading_again_changes_nothing(filled):
    filled.migrations.upgrade()
    before = filled.rows()
    assert filled.migrations.upgrade() == REVISION
    assert filled.rows() == before


def test_the_key_that_wraps_the_vault_key_becomes_known_as_the_primary(filled):
    filled.migrations.upgrade()
    [(key_id, tenant, owner, wrapped, wrapped_by, state, created)] = filled.run("SELECT * FROM keks")
    assert (key_id, tenant, owner, bytes(wrapped), wrapped_by, state) == (KEK_ID, "", "", b"", "", "primary")
    assert [(created,)] == filled.run("SELECT created_at_seconds FROM vault_keys")
    assert filled.run("SELECT DISTINCT seals FROM data_keys") == [(0,)]


def test_a_vault_without_keys_has_no_key_above_them(subject):
    subject.migrations.upgrade()
    assert subject.run("SELECT * FROM keks") == []


def test_a_key_state_that_the_first_schema_would_misread_forbids_going_back(filled):
    filled.migrations.upgrade()
    before = filled.rows()
    for table, state in itertools.product(("data_keys", "vault_keys"), ("retired", "pre_active")):
        filled.run(f"UPDATE {table} SET state = '{state}' WHERE owner = ''")
        with pytest.raises(ConfigurationError, match="retired, or not in use yet"):
            filled.migrations.downgrade("0001")
        filled.run(f"UPDATE {table} SET state = 'primary' WHERE state = '{state}'")
    assert filled.migrations.current() == REVISION
    assert filled.migrations.check() == []
    assert filled.rows() == before
    assert filled.migrations.downgrade("0001") == "socialvault_0001"


def test_a_tenants_own_vault_key_forbids_going_back(filled):
    filled.migrations.upgrade()
    filled.run(
        "INSERT INTO vault_keys SELECT 'own', 'a tenant', '', wrapped, wrapped_by, 'primary', 1.0 FROM vault_keys"
        f" WHERE key_id = '{VAULT_KEY_ID}'"
    )
    with pytest.raises(ConfigurationError, match="no vault keys of tenants, and 1 are stored"):
        filled.migrations.downgrade("0001")


def test_a_revision_that_does_not_exist_is_told_by_name(subject):
    with pytest.raises(ConfigurationError, match="socialvault_0099"):
        subject.migrations.upgrade("0099")
    with pytest.raises(ConfigurationError, match="0099"):
        subject.migrations.downgrade("0099")


def test_statements_for_review_are_what_upgrading_runs(on_postgres):
    on_postgres.migrations.upgrade("0001")
    script = on_postgres.migrations.upgrade_sql()
    assert on_postgres.migrations.current() == "socialvault_0001"
    assert "CREATE TABLE IF NOT EXISTS connections" not in script
    assert script.count("CREATE INDEX CONCURRENTLY IF NOT EXISTS") == 4
    with on_postgres.native.connect() as connection:
        for statement in script.split(";\n\n"):
            if statement.strip():
                connection.execute(statement)
    assert on_postgres.migrations.current() == REVISION
    assert on_postgres.migrations.check() == []


def test_only_the_statements_for_postgres_can_be_reviewed(tmp_path):
    with pytest.raises(ConfigurationError, match="header"):
        Migrations(f"sqlite:///{tmp_path}/vault.db").upgrade_sql()


def test_going_back_is_not_written_down_for_later(on_postgres):
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"dialect": "postgresql"})
    config.set_main_option("script_location", "socialvault:stores/sqlalchemy/migrations")
    with pytest.raises(ConfigurationError, match="while connected"):
        command.downgrade(config, "socialvault_0002:socialvault_0001", sql=True)
