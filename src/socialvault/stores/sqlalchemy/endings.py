"""How connections end: status changes, tombstones with their revocations, deletion, erasure.

Rows are locked in one order, so that two of these seldom meet head-on: keys, connections, revocations.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, and_, bindparam, case, delete, exists, literal_column, select, text, update

from socialvault.exceptions import StoreError
from socialvault.model.rows import RevocationRow
from socialvault.stores.sqlalchemy.dialects import for_each
from socialvault.stores.sqlalchemy.fence import not_retired, refuse_retired
from socialvault.stores.sqlalchemy.rows import (
    CONNECTION_COLUMNS,
    REVOCATION_COLUMNS,
    at,
    connection_row,
    new,
    new_values,
)
from socialvault.stores.sqlalchemy.schema import LIVE, data_keys, revocations, states
from socialvault.stores.sqlalchemy.schema import connections as table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from socialvault.model.rows import ConnectionRow, StatusWrite
    from socialvault.stores.sqlalchemy.database import Database
    from socialvault.stores.sqlalchemy.rows import Values

c, r = table.c, revocations.c
_REVOKED = c.status == literal_column("'revoked'")

CLOSED_INTENT: Values = {
    "intent_digest": b"",
    "intent_sent_at_seconds": None,
    "intent_deadline_seconds": None,
    "intent_attempt": 0,
}
_WIPED: Values = {"envelope": b"", "key_id": "", "candidate": b"", **CLOSED_INTENT}

_IDS = bindparam("ids", type_=c.id.type, expanding=True)
_EXPECTED = bindparam("expected", type_=c.status.type, expanding=True)
_WRITE_STATUS = (
    update(table)
    .where(at(c.id), at(c.generation), c.status.in_(_EXPECTED))
    .values(status=new(c.status), reason=new(c.reason), updated_at_seconds=new(c.updated_at_seconds))
)
_WRITE_STATUS_AND_WIPE = _WRITE_STATUS.values(_WIPED)

# The children of a connection that is being disconnected, whoever they belong to.
_LIVE_CHILDREN = (
    select(*CONNECTION_COLUMNS)
    .where(at(c.parent_id), c.parent_id != literal_column("''"), text(LIVE))
    .order_by(c.created_at_seconds, c.id)
    .with_for_update()
)
_REVOKE_CHILDREN = (
    update(table)
    .where(c.id.in_(_IDS))
    .values(status="revoked", reason="parent_disconnected", updated_at_seconds=new(c.updated_at_seconds), **_WIPED)
)

_QUEUE = for_each(
    lambda insert: (
        insert(revocations)
        .from_select(
            [column.name for column in REVOCATION_COLUMNS],
            select(*(new(column) for column in REVOCATION_COLUMNS)).where(not_retired("data", "new_key_id")),
        )
        .on_conflict_do_nothing(index_elements=["id"])
        .execution_options(preserve_rowcount=True)
    )
)
_DUE = (
    select(*REVOCATION_COLUMNS)
    .where(r.next_attempt_at_seconds <= bindparam("moment", type_=r.next_attempt_at_seconds.type))
    .order_by(r.next_attempt_at_seconds, r.id)
    .limit(bindparam("limit", type_=Integer()))
)
_OF_CONNECTION = select(*REVOCATION_COLUMNS).where(at(r.connection_id)).order_by(r.created_at_seconds, r.id)
_CLAIM = (
    update(revocations)
    .where(at(r.id), at(r.attempt))
    .values(attempt=r.attempt + 1, next_attempt_at_seconds=new(r.next_attempt_at_seconds))
)
_CONNECTION_OF = select(r.connection_id).where(at(r.id))
_FINISH = delete(revocations).where(at(r.id))

# Whoever settles a tombstone locks it first. Of two who each delete one of its last two revocations, the second comes
# to its own next statement after the first has committed, and finds none left.
_LOCK = select(c.id).where(c.id.in_(_IDS)).order_by(c.id).with_for_update()
# What a new connection brings may be older than the tombstone; the time of that does not go back.
_LATER = case((c.updated_at_seconds > new(c.updated_at_seconds), c.updated_at_seconds), else_=new(c.updated_at_seconds))
_SETTLE = (
    update(table)
    .where(c.id.in_(_IDS), c.status == literal_column("'revocation_pending'"), ~exists().where(r.connection_id == c.id))
    .values(status="revoked", reason=new(c.reason), updated_at_seconds=_LATER, **_WIPED)
)
_ENDS_THE_GRANT = and_(
    r.reach == literal_column("'grant'"), at(r.subject), at(r.issuer), at(r.client_id), at(r.provider)
)
_DISCONNECTED_FROM_GRANT = select(r.connection_id).where(_ENDS_THE_GRANT).distinct()
_KEEP_GRANT = delete(revocations).where(_ENDS_THE_GRANT, r.connection_id.in_(_IDS))

_DELETE = delete(table).where(at(c.id), _REVOKED)
_REVOKED_CHILDREN = and_(at(c.parent_id), c.parent_id != literal_column("''"), _REVOKED)
_FORGET_REVOCATIONS = delete(revocations).where(at(r.connection_id))
_FORGET_REVOCATIONS_OF_CHILDREN = delete(revocations).where(r.connection_id.in_(select(c.id).where(_REVOKED_CHILDREN)))
_DELETE_CHILDREN = delete(table).where(_REVOKED_CHILDREN)

# The keys first, as whoever writes a token has its key's row before the connection's.
_ERASE_KEYS = delete(data_keys).where(at(data_keys.c.tenant), at(data_keys.c.owner))
_ERASE_CONNECTIONS = delete(table).where(at(c.tenant), at(c.owner))
_ERASE_REST = tuple(delete(each).where(at(each.c.tenant), at(each.c.owner)) for each in (revocations, states))


class Endings:
    """The half of a token store that takes away."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def write_status(self, write: StatusWrite) -> bool:
        """As `TokenStore.write_status`."""
        statement = _WRITE_STATUS_AND_WIPE if write.wipe else _WRITE_STATUS
        return self.database.change(statement, _status_values(write)) == 1

    def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None:
        """As `TokenStore.tombstone`; a revocation of the same id is kept as it is."""
        statement = _WRITE_STATUS_AND_WIPE if write.wipe else _WRITE_STATUS

        def work(connection: Connection) -> list[ConnectionRow] | None:
            refuse_retired(connection, "data", (revocation.key_id,))
            if connection.execute(statement, _status_values(write)).rowcount != 1:
                return None
            rows = connection.execute(_LIVE_CHILDREN, {"at_parent_id": write.connection_id}).all()
            children = [connection_row(columns) for columns in rows]
            if children:
                ids = [child.id for child in children]
                connection.execute(_REVOKE_CHILDREN, {"ids": ids, "new_updated_at_seconds": write.updated_at_seconds})
            connection.execute(_QUEUE[self.database.name], _revocation_values(revocation))
            return children

        return self.database.transaction(work)

    def queue_revocation(self, revocation: RevocationRow) -> None:
        """As `TokenStore.queue_revocation`."""
        statement = _QUEUE[self.database.name]
        self.database.change_sealed("data", revocation.key_id, statement, _revocation_values(revocation))

    def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]:
        """As `TokenStore.find_revocations`."""
        rows = self.database.rows(_DUE, {"moment": now_seconds, "limit": limit})
        return [RevocationRow(*columns) for columns in rows]

    def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]:
        """As `TokenStore.list_revocations`."""
        rows = self.database.rows(_OF_CONNECTION, {"at_connection_id": connection_id})
        return [RevocationRow(*columns) for columns in rows]

    def claim_revocation(self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float) -> bool:
        """As `TokenStore.claim_revocation`."""
        values: Values = {
            "at_id": revocation_id,
            "at_attempt": expected_attempt,
            "new_next_attempt_at_seconds": next_attempt_at_seconds,
        }
        return self.database.change(_CLAIM, values) == 1

    def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool:
        """As `TokenStore.finish_revocation`."""

        def work(connection: Connection) -> bool:
            ids = connection.execute(_CONNECTION_OF, {"at_id": revocation_id}).scalars().all()
            connection.execute(_LOCK, {"ids": ids})
            if not connection.execute(_FINISH, {"at_id": revocation_id}).rowcount:
                return False
            return _settle(connection, ids, outcome, now_seconds) == 1

        return self.database.transaction(work)

    def delete(self, connection_id: str) -> int:
        """As `TokenStore.delete`."""

        def work(connection: Connection) -> int:
            gone = connection.execute(_DELETE, {"at_id": connection_id}).rowcount
            if gone:
                connection.execute(_FORGET_REVOCATIONS, {"at_connection_id": connection_id})
                connection.execute(_FORGET_REVOCATIONS_OF_CHILDREN, {"at_parent_id": connection_id})
                gone += connection.execute(_DELETE_CHILDREN, {"at_parent_id": connection_id}).rowcount
            return gone

        return self.database.transaction(work)

    def erase_owner(self, tenant: str, owner: str) -> int:
        """As `TokenStore.erase_owner`; no owner is a `StoreError`: what has none is the vault's or the tenant's."""
        if not owner:
            raise StoreError("an owner to erase is needed")
        values = {"at_tenant": tenant, "at_owner": owner}

        def work(connection: Connection) -> int:
            connection.execute(_ERASE_KEYS, values)
            gone = connection.execute(_ERASE_CONNECTIONS, values).rowcount
            for statement in _ERASE_REST:
                connection.execute(statement, values)
            return gone

        return self.database.transaction(work)

    def keep_grant(self, connection: Connection, row: ConnectionRow) -> None:
        """Cancel what would end the grant of a row that has just been inserted; settle what nothing is left of."""
        account = row.account
        grant: Values = {
            "at_subject": account.subject,
            "at_issuer": account.issuer,
            "at_client_id": account.client_id,
            "at_provider": account.provider,
        }
        ids = connection.execute(_DISCONNECTED_FROM_GRANT, grant).scalars().all()
        if ids:
            connection.execute(_LOCK, {"ids": ids})
            connection.execute(_KEEP_GRANT, {**grant, "ids": ids})
            _settle(connection, ids, "kept_for_sibling", row.updated_at_seconds)


def _settle(connection: Connection, ids: Sequence[Any], reason: str, at_seconds: float) -> int:
    values = {"ids": ids, "new_reason": reason, "new_updated_at_seconds": at_seconds}
    return connection.execute(_SETTLE, values).rowcount


def _status_values(write: StatusWrite) -> Values:
    return {
        "at_id": write.connection_id,
        "at_generation": write.expected_generation,
        "expected": [status.value for status in write.expected],
        "new_status": write.status.value,
        "new_reason": write.reason,
        "new_updated_at_seconds": write.updated_at_seconds,
    }


def _revocation_values(row: RevocationRow) -> Values:
    return new_values(REVOCATION_COLUMNS, astuple(row))
