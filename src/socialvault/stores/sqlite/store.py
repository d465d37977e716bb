"""`SQLiteStore`: every change a store makes, each as one transaction."""

from __future__ import annotations

import hmac
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from socialvault.model.keys import sealing_key_id
from socialvault.model.state import StateRow
from socialvault.model.status import Status
from socialvault.stores.sqlite.connections import open_database
from socialvault.stores.sqlite.endings import CLOSED_INTENT, Endings, keep_grant
from socialvault.stores.sqlite.keys import Keys
from socialvault.stores.sqlite.reads import CONNECTION_COLUMNS, STATE_COLUMNS, connection_row
from socialvault.stores.sqlite.schema import LIVE, prepare
from socialvault.stores.sqlite.writes import NOT_RETIRED, require_not_retired, retired

if TYPE_CHECKING:
    import os

    from socialvault.model.rows import ConnectionRow, FailureWrite, IntentWrite, TokenWrite
    from socialvault.ports.clock import Clock

_INSERT = f"""
    INSERT INTO connections ({CONNECTION_COLUMNS}) VALUES (?{", ?" * CONNECTION_COLUMNS.count(",")})
    ON CONFLICT (subject, issuer, client_id, provider, tenant, parent_id, shared_with) WHERE {LIVE} DO NOTHING
"""
_LIVE_ACCOUNT = f"""
    SELECT {CONNECTION_COLUMNS} FROM connections
    WHERE tenant = ? AND provider = ? AND client_id = ? AND issuer = ? AND subject = ? AND parent_id = ?
    AND shared_with = ? AND {LIVE}
"""
_WRITE_TOKEN = f"""
    UPDATE connections SET
        envelope = ?, key_id = ?, updated_at_seconds = ?, due_at_seconds = ?, dies_at_seconds = ?, warn_at_seconds = ?,
        generation = generation + 1, status = 'active', reason = '', candidate = x'',
        failing_since_seconds = NULL, failing_with = '', failures = 0, refusals = 0, {CLOSED_INTENT}
    WHERE id = ? AND generation = ? AND {LIVE}
"""
_ACQUIRE_LEASE = """
    UPDATE connections SET lease_holder = ?, lease_until_seconds = ?
    WHERE id = ? AND (lease_until_seconds IS NULL OR lease_until_seconds <= ? OR lease_holder = ?)
"""
_RELEASE_LEASE = """
    UPDATE connections SET lease_holder = '', lease_until_seconds = NULL
    WHERE id = ? AND lease_holder = ? AND lease_until_seconds IS NOT NULL
"""
_OPEN_INTENT = f"""
    UPDATE connections SET
        intent_digest = ?, intent_sent_at_seconds = ?, intent_deadline_seconds = ?, intent_attempt = intent_attempt + 1
    WHERE id = ? AND generation = ? AND intent_attempt = ? AND {LIVE}
    AND (intent_deadline_seconds IS NULL OR intent_deadline_seconds <= ? OR ?)
"""
_WRITE_FAILURE = f"""
    UPDATE connections SET
        due_at_seconds = ?, failing_since_seconds = coalesce(failing_since_seconds, ?), failing_with = ?,
        failures = failures + 1, refusals = ?,
        intent_digest = CASE WHEN ? THEN intent_digest ELSE x'' END,
        intent_sent_at_seconds = CASE WHEN ? THEN intent_sent_at_seconds END,
        intent_deadline_seconds = CASE WHEN ? THEN intent_deadline_seconds END
    WHERE id = ? AND generation = ? AND intent_attempt = ? AND {LIVE}
"""
_PUT_CANDIDATE = f"UPDATE connections SET candidate = ? WHERE id = ? AND generation = ? AND {LIVE}"
_LIVE_STATUS = f"SELECT status FROM connections WHERE id = ? AND generation = ? AND {LIVE}"
_WRITE_WARNING = """
    UPDATE connections SET warn_at_seconds = ? WHERE id = ? AND status = 'active' AND warn_at_seconds = ?
"""

_PUT_STATE = f"""
    INSERT INTO states ({STATE_COLUMNS})
    SELECT ?, ?, ?, ?, ?, ?, ?, 'pending', ?, '', '', '' WHERE {NOT_RETIRED}
"""
_PENDING = """
    FROM states WHERE state_hash = ? AND tenant = ? AND owner = ? AND provider = ? AND phase = 'pending'
    AND expires_at_seconds > ?
"""
_SELECT_PENDING = f"SELECT {STATE_COLUMNS} {_PENDING}"
_CLAIM_STATE = "UPDATE states SET phase = 'claimed', sealed = x'' WHERE state_hash = ?"
_FINISH_STATE = """
    UPDATE states SET phase = 'done', connection_id = ?, error = ?, missing_scopes = ?
    WHERE state_hash = ? AND phase = 'claimed'
"""
_PURGE_STATES = """
    DELETE FROM states WHERE rowid IN (
        SELECT rowid FROM states WHERE expires_at_seconds <= ? ORDER BY rowid LIMIT ?
    )
"""


class SQLiteStore(Endings, Keys):
    """Keeps everything in one SQLite file, shared by any number of threads and processes of one machine.

    The file is made for its owner alone (mode 0600) and written ahead (WAL), so readers never wait for writers. What
    returns from a token or key write is on disk. Deleted records are overwritten; until the log is next written back
    into the file, it still holds their sealed bytes.

    Args:
        path: of the file, created when missing, or ``:memory:`` for a database that ends with the store.
        clock: tells when states, leases and intents expire; the system's by default.

    Raises:
        ConfigurationError: the file is a link, is open to other users, or is not this release's.
        StoreUnavailableError: it can't be read or written.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock | None = None) -> None:
        self.database = open_database(path)
        try:
            prepare(self.database.durable)
        except BaseException:
            self.database.close()
            raise
        super().__init__(self.database, time.time if clock is None else clock.now_seconds)

    def close(self) -> None:
        """As `TokenStore.close`; every call after it raises `StoreUnavailableError`."""
        self.database.close()

    # connections

    def insert(self, row: ConnectionRow) -> ConnectionRow | None:
        """As `TokenStore.insert`; a connection id that exists already is a `StoreError`."""
        with self._durable.transaction() as execute:
            require_not_retired(execute, "data", row.key_id)
            if not execute(_INSERT, _connection_columns(row)).rowcount:
                return connection_row(execute(_LIVE_ACCOUNT, row.account).fetchone())
            if row.status.live and not row.account.parent_id:
                keep_grant(execute, row)
        return None

    def write_token(self, write: TokenWrite) -> Status | None:
        """As `TokenStore.write_token`."""
        values = (
            write.envelope,
            write.key_id,
            write.updated_at_seconds,
            write.due_at_seconds,
            write.dies_at_seconds,
            write.warn_at_seconds,
            write.connection_id,
            write.expected_generation,
        )
        with self._durable.transaction() as execute:
            require_not_retired(execute, "data", write.key_id)
            found = execute(_LIVE_STATUS, (write.connection_id, write.expected_generation)).fetchone()
            if found is not None:
                execute(_WRITE_TOKEN, values)
        return None if found is None else Status(found[0])

    # renewal; the time is read once it is this writer's turn, which may come seconds after the call

    def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool:
        """As `TokenStore.acquire_lease`. One that a power cut undoes is only an optimisation less."""
        with self._relaxed.transaction() as execute:
            now_seconds = self.now()
            values = (holder, now_seconds + ttl_seconds, connection_id, now_seconds, holder)
            return execute(_ACQUIRE_LEASE, values).rowcount == 1

    def release_lease(self, connection_id: str, holder: str) -> bool:
        """As `TokenStore.release_lease`."""
        return self._relaxed.change(_RELEASE_LEASE, (connection_id, holder)) == 1

    def open_intent(self, intent: IntentWrite) -> bool:
        """As `TokenStore.open_intent`."""
        with self._durable.transaction() as execute:
            now_seconds = self.now()
            values = (
                intent.digest,
                now_seconds,
                now_seconds + intent.lifetime_seconds,
                intent.connection_id,
                intent.expected_generation,
                intent.expected_attempt,
                now_seconds,
                intent.replay,
            )
            return execute(_OPEN_INTENT, values).rowcount == 1

    def write_failure(self, write: FailureWrite) -> bool:
        """As `TokenStore.write_failure`.

        Not synced: a power cut undoes it only together with everything after it, so what comes back is the row before
        it. There the intent is open and the token may have been spent, which is the careful side: nobody presents it
        before the deadline, and then one attempt settles it. What was counted and put off costs an early retry.
        """
        values = (
            write.retry_at_seconds,
            write.at_seconds,
            write.failing_with,
            write.refusals,
            write.uncertain,
            write.uncertain,
            write.open,
            write.connection_id,
            write.expected_generation,
            write.expected_attempt,
        )
        return self._relaxed.change(_WRITE_FAILURE, values) == 1

    def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool:
        """As `TokenStore.put_candidate`."""
        with self._durable.transaction() as execute:
            require_not_retired(execute, "data", sealing_key_id(candidate))
            return execute(_PUT_CANDIDATE, (candidate, connection_id, expected_generation)).rowcount == 1

    def write_warning(self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None) -> bool:
        """As `TokenStore.write_warning`. Synced, so that nobody is warned twice."""
        return self._durable.change(_WRITE_WARNING, (warn_at_seconds, connection_id, warned_at_seconds)) == 1

    # browser flows; one that a power cut undoes is begun again, but what was claimed stays claimed

    def put_state(self, row: StateRow, ttl_seconds: float) -> None:
        """As `StateStore.put_state`; a state that exists already is a `StoreError`."""
        values = (
            row.state_hash,
            row.tenant,
            row.owner,
            row.provider,
            row.binding,
            row.sealed,
            row.return_to,
            self.now() + ttl_seconds,
            key_id := sealing_key_id(row.sealed),
        )
        if not self._relaxed.change(_PUT_STATE, values):
            raise retired(key_id)

    def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None:
        """As `StateStore.claim_state`."""
        now_seconds = self.now()
        with self._durable.transaction() as execute:
            columns = execute(_SELECT_PENDING, (state_hash, tenant, owner, provider, now_seconds)).fetchone()
            if columns is None:
                return None
            row = StateRow(*columns)
            if not hmac.compare_digest(row.binding, binding):
                return None
            execute(_CLAIM_STATE, (state_hash,))
        return replace(row, phase="claimed")

    def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None:
        """As `StateStore.finish_state`."""
        self._relaxed.change(_FINISH_STATE, (connection_id, error, missing_scopes, state_hash))

    def purge_states(self, limit: int) -> int:
        """As `StateStore.purge_states`."""
        return self._relaxed.change(_PURGE_STATES, (self.now(), limit))


def _connection_columns(row: ConnectionRow) -> tuple[object, ...]:
    """Return what `CONNECTION_COLUMNS` names."""
    return (
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
    )
