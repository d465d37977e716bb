"""What the tables are made for: few index writes, and accounts that may do no more than they need."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from migrations.first_release import KEY_ID

from socialvault.stores.sqlalchemy import SQLAlchemyStore
from socialvault.stores.sqlalchemy.schema import metadata

DATABASES = Path(__file__).parents[2] / "docs" / "how-to" / "databases.md"


def test_a_refresh_touches_indexes_once(filled_postgres):
    """Of its four updates, three stay in their page and leave every index alone."""
    filled_postgres.migrations.upgrade()
    with filled_postgres.first_release() as process:
        process.run("BEGIN")
        process.refresh("connection-01", "owner-connection-01")
        counts = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'connections'"
        assert process.run(counts) == [(4, 3)]
        process.run("UPDATE data_keys SET seals = seals + 1 WHERE key_id = :key_id", key_id=KEY_ID)
        counts = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'data_keys'"
        assert process.run(counts) == [(1, 1)]
        process.run("COMMIT")


def test_the_permissions_that_the_page_names_are_enough_and_no_more(filled_postgres):
    database = filled_postgres.native
    filled_postgres.migrations.upgrade()
    [(schema,)] = database.execute("SELECT current_schema()")
    [statements] = re.findall(r"```sql\n(CREATE ROLE.*?)```", DATABASES.read_text("utf-8"), re.DOTALL)
    for statement in statements.replace("SCHEMA public", f"SCHEMA {schema}").strip().split(";"):
        if statement:
            database.execute(statement)
    try:
        url = re.sub(r"//[^@]*@", "//vault_app@", filled_postgres.url)
        with closing(SQLAlchemyStore(url)) as store:
            [row] = store.list_for_owner("t", "owner-connection-01")
            assert store.acquire_lease(row.id, "somebody", 60.0)
            assert store.count_seals(KEY_ID, 1) == 1
            [key] = store.keys("data", tenant="t", state="decrypt_only", after_id="", limit=1)
            assert not store.retire_key("data", key.key_id)  # a token needs it
            assert store.promote_key("data", key.key_id)
            store.erase_owner("t", "owner-connection-02")
            assert store.list_for_owner("t", "owner-connection-02") == []
        with pytest.raises(Exception, match="permission denied"):
            filled_postgres.native.execute("SET ROLE vault_app; UPDATE socialvault_version SET version_num = 'other'")
    finally:
        database.execute("DROP OWNED BY vault_app")
        database.execute("DROP ROLE vault_app")


def test_text_compares_byte_by_byte(on_postgres):
    """Alembic takes a column without a collation for one with any."""
    on_postgres.migrations.upgrade()
    collations = on_postgres.native.execute(
        "SELECT collation_name, count(*) FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND data_type = 'text' GROUP BY 1"
    )
    assert [name for name, _ in collations] == ["C"]


def test_columns_have_the_order_that_their_metadata_has(on_postgres):
    on_postgres.migrations.upgrade()
    for table in metadata.sorted_tables:
        columns = on_postgres.native.execute(
            "SELECT column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() AND table_name = %s ORDER BY ordinal_position",
            table.name,
        )
        assert [name for (name,) in columns] == [column.name for column in table.columns]
