"""Browser flows on their way, each claimed at most once."""

from __future__ import annotations

import hmac
from dataclasses import replace

from sqlalchemy import Integer, bindparam, delete, insert, literal_column, select, update

from socialvault.model.keys import sealing_key_id
from socialvault.model.state import StateRow
from socialvault.stores.sqlalchemy.connections import Connections
from socialvault.stores.sqlalchemy.dialects import NOW
from socialvault.stores.sqlalchemy.fence import not_retired
from socialvault.stores.sqlalchemy.rows import STATE_COLUMNS, at, new
from socialvault.stores.sqlalchemy.schema import states as table

c = table.c
_PENDING = c.phase == literal_column("'pending'")

_GIVEN = (c.state_hash, c.tenant, c.owner, c.provider, c.binding, c.sealed, c.return_to)
_NONE_YET = (c.connection_id, c.error, c.missing_scopes)
_PUT = (
    insert(table)
    .from_select(
        [column.name for column in (*_GIVEN, c.phase, c.expires_at_seconds, *_NONE_YET)],
        select(
            *(new(column) for column in _GIVEN),
            literal_column("'pending'"),
            NOW + bindparam("seconds", type_=c.expires_at_seconds.type),
            *(literal_column("''").label(column.name) for column in _NONE_YET),
        ).where(not_retired("data", "sealed_by")),
    )
    .execution_options(preserve_rowcount=True)
)
_GET = select(*STATE_COLUMNS, (c.expires_at_seconds > NOW).label("in_time")).where(at(c.state_hash))
_CLAIMABLE = select(*STATE_COLUMNS).where(
    at(c.state_hash), at(c.tenant), at(c.owner), at(c.provider), _PENDING, c.expires_at_seconds > NOW
)
# What was read is what is claimed: a pending row changes only by being claimed.
_CLAIM = (
    update(table)
    .where(at(c.state_hash), _PENDING, c.expires_at_seconds > NOW)
    .values(phase="claimed", sealed=b"")
)  # fmt: skip
_FINISH = (
    update(table)
    .where(at(c.state_hash), c.phase == literal_column("'claimed'"))
    .values({column.name: new(column) for column in _NONE_YET} | {"phase": "done"})
)
_OVER = (
    select(c.state_hash)
    .where(c.expires_at_seconds <= NOW)
    .limit(bindparam("limit", type_=Integer()))
    .with_for_update(skip_locked=True)
)
# PostgreSQL asks a subquery again for every row, which then skips what it has locked itself; but not a CTE. Python's
# driver for SQLite does not count what a statement deletes that begins with one.
_PURGE = {
    "postgresql": delete(table).where(c.state_hash.in_(select(_OVER.cte("over").c.state_hash))),
    "sqlite": delete(table).where(c.state_hash.in_(_OVER)),
}


class States(Connections):
    """The state store."""

    def put_state(self, row: StateRow, ttl_seconds: float) -> None:
        """As `StateStore.put_state`; a state that exists already is a `StoreError`."""
        key_id = sealing_key_id(row.sealed)
        values = {f"new_{column.name}": getattr(row, column.name) for column in _GIVEN}
        values |= {"seconds": ttl_seconds, "sealed_by": key_id}
        self.database.change_sealed("data", key_id, _PUT, values | self.database.time())

    def get_state(self, state_hash: bytes) -> StateRow | None:
        """As `StateStore.get_state`."""
        found = self.database.row(_GET, {"at_state_hash": state_hash} | self.database.time())
        if found is None:
            return None
        *columns, in_time = found
        row = StateRow(*columns)
        return row if in_time else replace(row, phase="expired", sealed=b"")

    def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None:
        """As `StateStore.claim_state`."""
        state = {"at_state_hash": state_hash} | self.database.time()
        found = self.database.row(_CLAIMABLE, state | {"at_tenant": tenant, "at_owner": owner, "at_provider": provider})
        if found is None:
            return None
        row = StateRow(*found)
        if not hmac.compare_digest(row.binding, binding) or not self.database.change(_CLAIM, state):
            return None
        return replace(row, phase="claimed")

    def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None:
        """As `StateStore.finish_state`."""
        values = {
            "at_state_hash": state_hash,
            "new_connection_id": connection_id,
            "new_error": error,
            "new_missing_scopes": missing_scopes,
        }
        self.database.change(_FINISH, values)

    def purge_states(self, limit: int) -> int:
        """As `StateStore.purge_states`."""
        return self.database.change(_PURGE[self.database.name], {"limit": limit} | self.database.time())
