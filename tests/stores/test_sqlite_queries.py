"""No statement reads more of a table than it needs."""

from __future__ import annotations

import re
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from socialvault.stores.sqlite import SQLiteStore, endings, keys, reads, schema, store, writes

if TYPE_CHECKING:
    from socialvault.model.keys import KeyLevel, KeyState

NAMED = {
    f"{name} {variant}".strip(): statement
    for module in (reads, writes, endings, keys, store)
    for name, value in vars(module).items()
    for variant, statement in (value if isinstance(value, dict) else {"": value}).items()
    if name != "__builtins__"
}
STATEMENTS = {
    name: value
    for name, value in NAMED.items()
    if isinstance(value, str) and value.split()[0] in {"SELECT", "UPDATE", "DELETE"} and "WHERE" in value
}
PURGE = STATEMENTS.pop("_PURGE_STATES")
ERASURES = {statement.split()[2]: statement for statement in endings._ERASE}
ERASE_STATES = ERASURES.pop("states")
# They read what is few: vault keys, candidates, pending flows.
FEW = {name: STATEMENTS.pop(name) for name in ("_USES kek", "_USES vault", "_USES data", "_WRAPPED_UNDER kek")}
STATEMENTS |= {f"_ERASE {table}": statement for table, statement in ERASURES.items()}


def plan(statement: str) -> list[str]:
    with closing(SQLiteStore(":memory:")) as opened:
        named = dict.fromkeys(re.findall(r":(\w+)", statement), 1)
        rows = opened.database.durable.execute(
            f"EXPLAIN QUERY PLAN {statement}", named or (1,) * statement.count("?")
        ).fetchall()
    return [row[3] for row in rows]


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_a_statement_searches_by_an_index(statement: str) -> None:
    steps = plan(statement)
    assert steps
    assert not [step for step in steps if step.startswith("SCAN")]


def test_the_longest_due_are_read_in_order_and_no_further() -> None:
    assert len(STATEMENTS) > 15
    assert plan(STATEMENTS["_DUE"]) == [
        "SEARCH connections USING INDEX connections_due (provider=? AND client_id=? AND due_at_seconds<?)"
    ]
    assert plan(STATEMENTS["_WARNINGS"]) == ["SEARCH connections USING INDEX connections_warnings (warn_at_seconds<?)"]
    assert plan(STATEMENTS["_REVOCATIONS_DUE"]) == [
        "SEARCH revocations USING INDEX revocations_due (next_attempt_at_seconds<?)"
    ]


def test_rows_are_counted_without_reading_them() -> None:
    assert plan(reads._COUNTS) == ["SCAN connections USING COVERING INDEX connections_status"]


def test_a_purge_reads_flows_in_the_order_they_came_and_sorts_nothing() -> None:
    assert plan(PURGE) == ["SEARCH states USING INTEGER PRIMARY KEY (rowid=?)", "LIST SUBQUERY 1", "SCAN states"]


def test_what_a_key_seals_is_found_in_order_by_an_index() -> None:
    assert plan(keys._SEALED_UNDER["token"]) == [
        "SEARCH connections USING INDEX connections_sealed_under (key_id=? AND id>?)"
    ]
    assert plan(keys._SEALED_UNDER["candidate"]) == ["SEARCH connections USING INDEX connections_candidates (id>?)"]
    assert plan(keys._SEALED_UNDER["revocation"]) == [
        "SEARCH revocations USING INDEX revocations_sealed_under (key_id=? AND id>?)"
    ]


def test_what_a_key_wraps_is_found_in_order_by_an_index() -> None:
    assert plan(keys._WRAPPED_UNDER["data"]) == [
        "SEARCH data_keys USING INDEX data_keys_wrapped_under (wrapped_by=? AND key_id>?)"
    ]


def test_uses_are_counted_by_indexes_but_the_few_candidates_flows_and_vault_keys() -> None:
    assert [step for step in plan(FEW["_USES data"]) if not step.startswith("SCALAR")] == [
        "SCAN CONSTANT ROW",
        "SEARCH connections USING COVERING INDEX connections_sealed_under (key_id=?)",
        "SCAN connections USING INDEX connections_candidates",
        "SEARCH revocations USING COVERING INDEX revocations_sealed_under (key_id=?)",
        "SCAN states",
    ]
    assert [step for step in plan(FEW["_USES vault"]) if not step.startswith("SCALAR")] == [
        "SCAN CONSTANT ROW",
        "SEARCH data_keys USING COVERING INDEX data_keys_wrapped_under (wrapped_by=?)",
        "SCAN vault",
    ]
    assert plan(FEW["_USES kek"]) == ["SCAN vault_keys"]


@pytest.mark.parametrize("level", ["kek", "vault", "data"])
def test_a_primary_key_is_found_by_its_scope(level: KeyLevel) -> None:
    (step,) = plan(STATEMENTS[f"_PRIMARY_KEY {level}"])
    assert step.startswith(f"SEARCH {schema.KEY_TABLES[level]} USING INDEX {schema.KEY_TABLES[level]}_primary (")


class Asked(SQLiteStore):
    """Remembers the last question."""

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        self.sql = sql
        return super()._rows(sql, parameters)


@pytest.mark.parametrize("tenant", [None, "acme"])
@pytest.mark.parametrize("state", [None, "primary", "decrypt_only"])
def test_keys_are_listed_in_the_order_of_their_ids_without_sorting(tenant: str | None, state: KeyState | None) -> None:
    with closing(Asked(":memory:")) as opened:
        opened.keys("data", tenant=tenant, state=state, after_id="", limit=9)
    assert plan(opened.sql) == ["SEARCH data_keys USING INDEX sqlite_autoindex_data_keys_1 (key_id>?)"]


def test_the_fence_is_a_look_up_by_the_id() -> None:
    for level, table in schema.KEY_TABLES.items():
        assert plan(writes._RETIRED[level]) == [f"SEARCH {table} USING INDEX sqlite_autoindex_{table}_1 (key_id=?)"]


def test_an_erasure_finds_all_by_their_owner_but_the_flows_which_are_few() -> None:
    assert plan(ERASE_STATES) == ["SCAN states"]
    assert [plan(statement) for statement in endings._ERASE if "data_keys" in statement] == [
        ["SEARCH data_keys USING INDEX data_keys_primary (tenant=? AND owner=?)"],
        ["SEARCH data_keys USING INDEX data_keys_former (tenant=? AND owner=?)"],
    ]


def test_a_new_connection_finds_what_would_end_its_grant_by_an_index() -> None:
    grant = "subject=? AND issuer=? AND client_id=? AND provider=?"
    assert plan(STATEMENTS["_DISCONNECTED_FROM_GRANT"]) == [
        f"SEARCH revocations USING INDEX revocations_grant ({grant})"
    ]


def test_the_rows_of_an_account_are_found_by_the_indexes_of_the_living_and_of_the_dead() -> None:
    searches = [step for step in plan(STATEMENTS["_OF_ACCOUNT"]) if step.startswith("SEARCH")]
    account = "subject=? AND issuer=? AND client_id=? AND provider=?"
    assert searches == [
        f"SEARCH connections USING INDEX connections_account ({account})",
        f"SEARCH connections USING INDEX connections_tombstones ({account} AND parent_id=?)",
    ]


def test_children_are_found_by_their_parent() -> None:
    by_parent = "SEARCH connections USING INDEX connections_children (parent_id=?)"
    assert plan(STATEMENTS["_DELETE_CHILDREN"]) == [by_parent]
    assert plan(STATEMENTS["_REVOKE_CHILDREN"]) == [by_parent]
    assert plan(STATEMENTS["CHILDREN_OF"])[0] == by_parent
    assert by_parent in plan(STATEMENTS["_FORGET_REVOCATIONS_OF_CHILDREN"])
