"""No statement reads more of a table than it needs."""

from __future__ import annotations

from contextlib import closing

import pytest

from socialvault.stores.sqlite import SQLiteStore, endings, reads, store

STATEMENTS = {
    name: value
    for module in (reads, endings, store)
    for name, value in vars(module).items()
    if isinstance(value, str) and value.split()[0] in {"SELECT", "UPDATE", "DELETE"} and "WHERE" in value
}
PURGE = STATEMENTS.pop("_PURGE_STATES")
ERASURES = {statement.split()[2]: statement for statement in endings._ERASE}
ERASE_STATES = ERASURES.pop("states")
STATEMENTS |= {f"_ERASE {table}": statement for table, statement in ERASURES.items()}


def plan(statement: str) -> list[str]:
    with closing(SQLiteStore(":memory:")) as opened:
        rows = opened.database.durable.execute(
            f"EXPLAIN QUERY PLAN {statement}", (1,) * statement.count("?")
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
