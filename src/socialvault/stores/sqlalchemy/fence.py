"""The fence: nothing is written under a retired key, however late the writer noticed.

A writer reads the key's state within the very statement, or transaction, that writes, and locks the key's row meanwhile
(``FOR KEY SHARE``; SQLite has one writer at a time). Whoever retires the key locks the row against that, so he waits
for such writers and then counts what they wrote, and who comes later reads ``retired``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Column, ColumnElement, Table, bindparam, func, literal_column, select

from socialvault.exceptions import KeyNotFoundError
from socialvault.model.keys import key_name
from socialvault.stores.sqlalchemy.rows import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection, Select

    from socialvault.model.keys import KeyLevel

#: The key that wraps a key of the level; KEKs are wrapped elsewhere.
WRAPPED_BY: dict[KeyLevel, KeyLevel] = {"data": "vault", "vault": "kek"}

#: Where the id of the key lies in what it sealed, counted from 1.
_ID_FROM, _ID_BYTES = 5, 32


def not_retired(level: KeyLevel, name: str) -> ColumnElement[bool]:
    """Return the condition that the key whose id is the value `name` is not retired, or not known at all."""
    keys = KEYS[level]
    state = (
        select(keys.c.state)
        .where(keys.c.key_id == bindparam(name, type_=keys.c.key_id.type))
        .with_for_update(read=True, key_share=True)
        .scalar_subquery()
    )
    return func.coalesce(state, literal_column("''")) != literal_column("'retired'")


def _states(keys: Table) -> Select[Any, Any]:
    ids = bindparam("key_ids", type_=keys.c.key_id.type, expanding=True)
    return (
        select(keys.c.key_id, keys.c.state)
        .where(keys.c.key_id.in_(ids))
        .order_by(keys.c.key_id)
        .with_for_update(read=True, key_share=True)
    )


_STATES = {level: _states(keys) for level, keys in KEYS.items()}


def refuse_retired(connection: Connection, level: KeyLevel, key_ids: Iterable[str]) -> None:
    """Lock the rows of these keys for the rest of the transaction.

    Raises:
        KeyNotFoundError: one of them is retired.
    """
    for key_id, state in connection.execute(_STATES[level], {"key_ids": sorted(set(key_ids))}):
        if state == "retired":
            raise KeyNotFoundError(f"key {key_name(key_id)} is retired: nothing is written under it any more")


def sealing_id(column: Column[Any]) -> ColumnElement[bytes]:
    """Return the raw id of the key that sealed what a column holds."""
    return func.substr(column, literal_column(str(_ID_FROM)), literal_column(str(_ID_BYTES)), type_=column.type)


def raw_id(key_id: str) -> bytes | None:
    """Return the id as envelopes hold it; None for what is no key's id, which then equals nothing."""
    try:
        raw = bytes.fromhex(key_id)
    except ValueError:
        return None
    return raw if len(raw) == _ID_BYTES else None
