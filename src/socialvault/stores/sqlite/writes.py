"""What every writing half of a store has: its handles, and the fence around retired keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.exceptions import KeyNotFoundError
from socialvault.model.keys import key_name
from socialvault.stores.sqlite.reads import Reads
from socialvault.stores.sqlite.schema import KEY_TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from socialvault.model.keys import KeyLevel
    from socialvault.stores.sqlite.connections import Database, Execute

_RETIRED = {
    level: f"SELECT 1 FROM {table} WHERE key_id = ? AND state = 'retired'" for level, table in KEY_TABLES.items()
}
#: For the WHERE clause of a statement that checks by itself; its one parameter is the id of a DEK.
NOT_RETIRED = f"NOT EXISTS ({_RETIRED['data']})"


class Writes(Reads):
    """A store's handles for writing, beside what it reads."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        super().__init__(database.patient, now)
        self._durable = database.durable
        self._relaxed = database.relaxed


def require_not_retired(execute: Execute, level: KeyLevel, key_id: str) -> None:
    """Within the transaction that is to write under a key, make sure that it may.

    Raises:
        KeyNotFoundError: the key is retired.
    """
    if execute(_RETIRED[level], (key_id,)).fetchone() is not None:
        raise retired(key_id)


def retired(key_id: str) -> KeyNotFoundError:
    """Return the error that says that a key is retired."""
    return KeyNotFoundError(f"key {key_name(key_id)} is retired: nothing is written under it any more")
