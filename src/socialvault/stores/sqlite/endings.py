"""How connections end: status changes, tombstones with their revocations, deletion, erasure."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from socialvault.exceptions import StoreError
from socialvault.stores.sqlite.reads import CHILDREN_OF, REVOCATION_COLUMNS, connection_row
from socialvault.stores.sqlite.schema import LIVE
from socialvault.stores.sqlite.writes import Writes, require_not_retired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.model.rows import ConnectionRow, RevocationRow, StatusWrite
    from socialvault.stores.sqlite.connections import Execute

CLOSED_INTENT = "intent_digest = x'', intent_sent_at_seconds = NULL, intent_deadline_seconds = NULL, intent_attempt = 0"

_WRITE_STATUS = """
    UPDATE connections SET status = ?, reason = ?, updated_at_seconds = ?
    WHERE id = ? AND generation = ? AND status IN (?, ?, ?, ?)
"""
_WIPED = f"envelope = x'', key_id = '', candidate = x'', {CLOSED_INTENT}"
_WIPE = f"UPDATE connections SET {_WIPED} WHERE id = ?"
# Left to itself, SQLite reads every live row.
_REVOKE_CHILDREN = f"""
    UPDATE connections INDEXED BY connections_children
    SET status = 'revoked', reason = 'parent_disconnected', updated_at_seconds = ?, {_WIPED}
    WHERE parent_id = ? AND parent_id <> '' AND {LIVE}
"""

_QUEUE_REVOCATION = f"""
    INSERT INTO revocations ({REVOCATION_COLUMNS}) VALUES (?{", ?" * REVOCATION_COLUMNS.count(",")})
    ON CONFLICT (id) DO NOTHING
"""
_CLAIM_REVOCATION = """
    UPDATE revocations SET attempt = attempt + 1, next_attempt_at_seconds = ? WHERE id = ? AND attempt = ?
"""
_CONNECTION_OF = "SELECT connection_id FROM revocations WHERE id = ?"
_FINISH_REVOCATION = "DELETE FROM revocations WHERE id = ?"
# What a new connection brings may be older than the tombstone; the time of that does not go back.
_SETTLE = f"""
    UPDATE connections
    SET status = 'revoked', reason = ?, updated_at_seconds = max(updated_at_seconds, ?), {_WIPED}
    WHERE id = ? AND status = 'revocation_pending'
    AND NOT EXISTS (SELECT 1 FROM revocations WHERE connection_id = connections.id)
"""
_ENDS_THE_GRANT = "reach = 'grant' AND subject = ? AND issuer = ? AND client_id = ? AND provider = ?"
# Asked first, although DELETE could return it: SQLite 3.34 and older, which some systems still bring, can't.
_DISCONNECTED_FROM_GRANT = f"SELECT connection_id FROM revocations WHERE {_ENDS_THE_GRANT}"
_KEEP_GRANT = f"DELETE FROM revocations WHERE {_ENDS_THE_GRANT}"

_DELETE = "DELETE FROM connections WHERE id = ? AND status = 'revoked'"
# Left to itself, SQLite reads every revoked row.
_REVOKED_CHILDREN = """
    FROM connections INDEXED BY connections_children
    WHERE parent_id = ? AND parent_id <> '' AND status = 'revoked'
"""
_DELETE_CHILDREN = f"DELETE {_REVOKED_CHILDREN}"
_FORGET_REVOCATIONS = "DELETE FROM revocations WHERE connection_id = ?"
_FORGET_REVOCATIONS_OF_CHILDREN = f"DELETE FROM revocations WHERE connection_id IN (SELECT id {_REVOKED_CHILDREN})"

_ERASE_CONNECTIONS = "DELETE FROM connections WHERE tenant = ? AND owner = ?"
_ERASE = (
    "DELETE FROM revocations WHERE tenant = ? AND owner = ?",
    "DELETE FROM states WHERE tenant = ? AND owner = ?",  # few, and gone in minutes by themselves: it reads them all
    "DELETE FROM data_keys WHERE tenant = ? AND owner = ? AND state = 'primary'",
    "DELETE FROM data_keys WHERE tenant = ? AND owner = ? AND state <> 'primary'",
)


class Endings(Writes):
    """The half of a store that takes away."""

    def write_status(self, write: StatusWrite) -> bool:
        """As `TokenStore.write_status`."""
        with self._durable.transaction() as execute:
            return _change_status(execute, write)

    def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None:
        """As `TokenStore.tombstone`; a revocation of the same id is kept as it is."""
        with self._durable.transaction() as execute:
            require_not_retired(execute, "data", revocation.key_id)
            if not _change_status(execute, write):
                return None
            children = execute(CHILDREN_OF, (write.connection_id,)).fetchall()
            execute(_REVOKE_CHILDREN, (write.updated_at_seconds, write.connection_id))
            execute(_QUEUE_REVOCATION, astuple(revocation))
        return [connection_row(columns) for columns in children]

    def queue_revocation(self, revocation: RevocationRow) -> None:
        """As `TokenStore.queue_revocation`."""
        with self._durable.transaction() as execute:
            require_not_retired(execute, "data", revocation.key_id)
            execute(_QUEUE_REVOCATION, astuple(revocation))

    def claim_revocation(self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float) -> bool:
        """As `TokenStore.claim_revocation`. When a power cut undoes it, the provider is asked once more."""
        values = (next_attempt_at_seconds, revocation_id, expected_attempt)
        return self._relaxed.change(_CLAIM_REVOCATION, values) == 1

    def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool:
        """As `TokenStore.finish_revocation`."""
        with self._durable.transaction() as execute:
            found = execute(_CONNECTION_OF, (revocation_id,)).fetchone()
            if found is None:
                return False
            execute(_FINISH_REVOCATION, (revocation_id,))
            return execute(_SETTLE, (outcome, now_seconds, found[0])).rowcount == 1

    def delete(self, connection_id: str) -> int:
        """As `TokenStore.delete`."""
        with self._durable.transaction() as execute:
            gone: int = execute(_DELETE, (connection_id,)).rowcount
            if gone:
                execute(_FORGET_REVOCATIONS, (connection_id,))
                execute(_FORGET_REVOCATIONS_OF_CHILDREN, (connection_id,))
                gone += execute(_DELETE_CHILDREN, (connection_id,)).rowcount
        return gone

    def erase_owner(self, tenant: str, owner: str) -> int:
        """As `TokenStore.erase_owner`; no owner is a `StoreError`: what has none is the vault's or the tenant's."""
        if not owner:
            raise StoreError("an owner to erase is needed")
        with self._durable.transaction() as execute:
            gone: int = execute(_ERASE_CONNECTIONS, (tenant, owner)).rowcount
            for statement in _ERASE:
                execute(statement, (tenant, owner))
        return gone


def keep_grant(execute: Execute, row: ConnectionRow) -> None:
    """Cancel what would end the grant of `row`, which has just been inserted; settle whose last revocation that was."""
    account = row.account
    grant = (account.subject, account.issuer, account.client_id, account.provider)
    disconnected = execute(_DISCONNECTED_FROM_GRANT, grant).fetchall()
    if disconnected:
        execute(_KEEP_GRANT, grant)
    for (connection_id,) in disconnected:
        execute(_SETTLE, ("kept_for_sibling", row.updated_at_seconds, connection_id))


def _change_status(execute: Execute, write: StatusWrite) -> bool:
    expected = sorted({status.value for status in write.expected})
    values = (
        write.status.value,
        write.reason,
        write.updated_at_seconds,
        write.connection_id,
        write.expected_generation,
        *(expected + [""] * 4)[:4],
    )
    written: bool = execute(_WRITE_STATUS, values).rowcount == 1
    if written and write.wipe:
        execute(_WIPE, (write.connection_id,))
    return written
