"""Which columns make which row, in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, ColumnElement, Table, bindparam

from socialvault.model.rows import AccountKey, ConnectionRow
from socialvault.model.status import Status
from socialvault.stores.sqlalchemy.schema import connections, data_keys, keks, revocations, states, vault_keys

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.model.keys import KeyLevel

Values = dict[str, Any]


def _columns(table: Table, names: str) -> tuple[Column[Any], ...]:
    return tuple(table.c[name] for name in names.split())


CONNECTION_COLUMNS = _columns(
    connections,
    "id tenant provider client_id issuer subject parent_id shared_with owner kind status reason generation envelope"
    " key_id created_at_seconds updated_at_seconds due_at_seconds dies_at_seconds warn_at_seconds failing_since_seconds"
    " failing_with failures refusals candidate intent_digest intent_sent_at_seconds intent_deadline_seconds"
    " intent_attempt",
)
REVOCATION_COLUMNS = tuple(revocations.c)
STATE_COLUMNS = _columns(
    states, "state_hash tenant owner provider binding sealed return_to phase expires_at_seconds connection_id error"
    " missing_scopes",
)  # fmt: skip
KEY_NAMES = "key_id tenant owner wrapped wrapped_by state created_at_seconds"

KEYS: dict[KeyLevel, Table] = {"kek": keks, "vault": vault_keys, "data": data_keys}
KEY_COLUMNS = {level: _columns(table, KEY_NAMES) for level, table in KEYS.items()}


def at(column: Column[Any]) -> ColumnElement[bool]:
    """Return the condition that a column has the value ``at_<column>``."""
    return column == bindparam(f"at_{column.name}", type_=column.type)


def new(column: Column[Any]) -> ColumnElement[Any]:
    """Return the value ``new_<column>``, which is to be written to that column."""
    return bindparam(f"new_{column.name}", type_=column.type)


def new_values(columns: Sequence[Column[Any]], values: Sequence[object]) -> Values:
    """Return `values` under the names that `new` gives them."""
    return {f"new_{column.name}": value for column, value in zip(columns, values, strict=True)}


def connection_row(columns: Sequence[Any]) -> ConnectionRow:
    """Build a row from `CONNECTION_COLUMNS`."""
    connection_id, account, (owner, kind, status) = columns[0], columns[1:8], columns[8:11]
    return ConnectionRow(connection_id, AccountKey._make(account), owner, kind, Status(status), *columns[11:])


def connection_values(row: ConnectionRow) -> Values:
    """Return what `new` names for `CONNECTION_COLUMNS`."""
    return new_values(
        CONNECTION_COLUMNS,
        (
            row.id,
            *row.account,
            row.owner,
            row.kind,
            row.status.value,
            row.reason,
            row.generation,
            row.envelope,
            row.key_id,
            row.created_at_seconds,
            row.updated_at_seconds,
            row.due_at_seconds,
            row.dies_at_seconds,
            row.warn_at_seconds,
            row.failing_since_seconds,
            row.failing_with,
            row.failures,
            row.refusals,
            row.candidate,
            row.intent_digest,
            row.intent_sent_at_seconds,
            row.intent_deadline_seconds,
            row.intent_attempt,
        ),
    )
