"""Every question a store answers, on whichever connection it is given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from socialvault.model.keys import VaultRow, WrappedKey
from socialvault.model.rows import AccountKey, ConnectionRow, DueRow, RevocationRow, TokenRow
from socialvault.model.state import StateRow
from socialvault.model.status import Status
from socialvault.stores.sqlite.connections import DRIVER_ERRORS, Readers, refusal
from socialvault.stores.sqlite.schema import DEAD, KEY_TABLES, LIVE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from socialvault.model.keys import KeyLevel

CONNECTION_COLUMNS = (
    "id, tenant, provider, client_id, issuer, subject, parent_id, shared_with, owner, kind, status, reason, generation,"
    " envelope, key_id, created_at_seconds, updated_at_seconds, due_at_seconds, dies_at_seconds, warn_at_seconds,"
    " failing_since_seconds, failing_with, failures, refusals, candidate, intent_digest, intent_sent_at_seconds,"
    " intent_deadline_seconds, intent_attempt"
)
REVOCATION_COLUMNS = (
    "id, connection_id, tenant, owner, provider, client_id, issuer, subject, reach, generation, envelope, key_id,"
    " attempt, next_attempt_at_seconds, created_at_seconds"
)
STATE_COLUMNS = (
    "state_hash, tenant, owner, provider, binding, sealed, return_to, phase, expires_at_seconds, connection_id, error,"
    " missing_scopes"
)
KEY_COLUMNS = "key_id, tenant, owner, wrapped, wrapped_by, state, created_at_seconds"

_SELECT = f"SELECT {CONNECTION_COLUMNS} FROM connections"

_TOKEN = """
    SELECT status, generation, provider, issuer, parent_id, envelope FROM connections
    WHERE id = ? AND tenant = ? AND owner = ?
"""
_CONNECTION = f"{_SELECT} WHERE id = ? AND tenant = ? AND owner = ?"
# Accounts before their sub-accounts, whatever the clock said when they were made.
_OF_OWNER = f"{_SELECT} WHERE tenant = ? AND owner = ? AND {LIVE} ORDER BY parent_id <> '', created_at_seconds, id"
_CHILDREN = f"""
    {_SELECT} WHERE parent_id = ? AND parent_id <> '' AND tenant = ? AND owner = ? AND {LIVE}
    ORDER BY created_at_seconds, id
"""
_SIBLINGS = f"""
    SELECT count(*) FROM connections
    WHERE subject = ? AND issuer = ? AND client_id = ? AND provider = ? AND {LIVE} AND id <> ? AND parent_id <> ?
"""
# Live rows and tombstones, each by their own index.
_OF_ACCOUNT = f"""
    {_SELECT} WHERE subject = ? AND issuer = ? AND client_id = ? AND provider = ? AND parent_id = '' AND {LIVE}
    UNION ALL
    {_SELECT} WHERE subject = ? AND issuer = ? AND client_id = ? AND provider = ? AND parent_id = '' AND {DEAD}
    ORDER BY created_at_seconds, id
"""
# Left to itself, SQLite finds the active rows by their status and sorts them all.
_DUE = f"""
    SELECT {", ".join(DueRow._fields)} FROM connections INDEXED BY connections_due
    WHERE status = 'active' AND provider = ? AND client_id = ? AND due_at_seconds <= ?
    ORDER BY due_at_seconds, id LIMIT ?
"""
_WARNINGS = f"""
    {_SELECT} INDEXED BY connections_warnings
    WHERE status = 'active' AND warn_at_seconds <= ? ORDER BY warn_at_seconds, id LIMIT ?
"""
# The children of a connection that is being disconnected, whoever they belong to; left to itself, SQLite reads every
# live row.
CHILDREN_OF = f"""
    {_SELECT} INDEXED BY connections_children
    WHERE parent_id = ? AND parent_id <> '' AND {LIVE} ORDER BY created_at_seconds, id
"""
_COUNTS = "SELECT status, count(*) FROM connections GROUP BY status"

_REVOCATIONS_DUE = f"""
    SELECT {REVOCATION_COLUMNS} FROM revocations
    WHERE next_attempt_at_seconds <= ? ORDER BY next_attempt_at_seconds, id LIMIT ?
"""
_REVOCATIONS = f"""
    SELECT {REVOCATION_COLUMNS} FROM revocations WHERE connection_id = ? ORDER BY created_at_seconds, id
"""

_STATE = f"SELECT {STATE_COLUMNS} FROM states WHERE state_hash = ?"

_VAULT = "SELECT vault_id, canary, created_at_seconds FROM vault"
_KEY = {level: f"SELECT {KEY_COLUMNS} FROM {table} WHERE key_id = ?" for level, table in KEY_TABLES.items()}
_PRIMARY_KEY = {
    level: f"SELECT {KEY_COLUMNS} FROM {table} WHERE tenant = ? AND owner = ? AND state = 'primary'"
    for level, table in KEY_TABLES.items()
}


def connection_row(columns: tuple[Any, ...]) -> ConnectionRow:
    """Build a row from `CONNECTION_COLUMNS`."""
    connection_id, account, (owner, kind, status) = columns[0], columns[1:8], columns[8:11]
    return ConnectionRow(connection_id, AccountKey._make(account), owner, kind, Status(status), *columns[11:])


class Reads:
    """The reading half of a store."""

    def __init__(self, readers: Readers, now: Callable[[], float]) -> None:
        self._readers = readers
        self.now = now

    def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        """As `TokenStore.read_token`. Everything here is laid out for its speed."""
        handle = self._readers.handle
        try:
            with handle.lock:
                row = handle.execute(_TOKEN, (connection_id, tenant, owner)).fetchone()
        except DRIVER_ERRORS as error:
            raise refusal(error) from None
        return None if row is None else TokenRow._make(row)

    def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None:
        """As `TokenStore.get`."""
        rows = self._connections(_CONNECTION, (connection_id, tenant, owner))
        return rows[0] if rows else None

    def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_owner`."""
        return self._connections(_OF_OWNER, (tenant, owner))

    def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_children`."""
        return self._connections(_CHILDREN, (parent_id, tenant, owner))

    def count_grant_siblings(self, row: ConnectionRow) -> int:
        """As `TokenStore.count_grant_siblings`."""
        account = row.account
        grant = (account.subject, account.issuer, account.client_id, account.provider)
        count: int = self._rows(_SIBLINGS, (*grant, row.id, row.id))[0][0]
        return count

    def list_for_account(self, provider: str, client_id: str, issuer: str, subject: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_account`."""
        account = (subject, issuer, client_id, provider)
        return self._connections(_OF_ACCOUNT, (*account, *account))

    def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[DueRow]:
        """As `TokenStore.find_due`."""
        return list(map(DueRow._make, self._rows(_DUE, (provider, client_id, now_seconds, limit))))

    def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        """As `TokenStore.find_warnings`."""
        return self._connections(_WARNINGS, (now_seconds, limit))

    def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]:
        """As `TokenStore.find_revocations`."""
        return [RevocationRow(*columns) for columns in self._rows(_REVOCATIONS_DUE, (now_seconds, limit))]

    def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]:
        """As `TokenStore.list_revocations`."""
        return [RevocationRow(*columns) for columns in self._rows(_REVOCATIONS, (connection_id,))]

    def find(
        self,
        *,
        tenant: str | None,
        owner: str | None,
        provider: str | None,
        status: str | None,
        after_id: str,
        limit: int,
    ) -> Sequence[ConnectionRow]:
        """As `TokenStore.find`."""
        filters = {"tenant": tenant, "owner": owner, "provider": provider, "status": status}
        given = {column: value for column, value in filters.items() if value is not None}
        conditions = "".join(f" AND {column} = ?" for column in given)
        return self._connections(
            f"{_SELECT} WHERE id > ?{conditions} ORDER BY id LIMIT ?", (after_id, *given.values(), limit)
        )

    def count_by_status(self) -> Mapping[str, int]:
        """As `TokenStore.count_by_status`."""
        return dict(self._rows(_COUNTS, ()))

    def get_state(self, state_hash: bytes) -> StateRow | None:
        """As `StateStore.get_state`."""
        rows = self._rows(_STATE, (state_hash,))
        if not rows:
            return None
        row = StateRow(*rows[0])
        return row if row.expires_at_seconds > self.now() else replace(row, phase="expired", sealed=b"")

    def load_vault(self) -> VaultRow | None:
        """As `KeyStore.load_vault`."""
        rows = self._rows(_VAULT, ())
        return VaultRow(*rows[0]) if rows else None

    def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None:
        """As `KeyStore.key`."""
        rows = self._rows(_KEY[level], (key_id,))
        return WrappedKey(*rows[0]) if rows else None

    def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
        """As `KeyStore.primary_key`."""
        rows = self._rows(_PRIMARY_KEY[level], (tenant, owner))
        return WrappedKey(*rows[0]) if rows else None

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._readers.handle as execute:
            return execute(sql, parameters).fetchall()

    def _connections(self, sql: str, parameters: tuple[object, ...]) -> list[ConnectionRow]:
        return [connection_row(columns) for columns in self._rows(sql, parameters)]
