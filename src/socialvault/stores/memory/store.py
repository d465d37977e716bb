"""`MemoryStore`: connections and browser flows; its keys are in ``keys``."""

from __future__ import annotations

import hmac
from collections import Counter
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from socialvault.exceptions import StoreError
from socialvault.model.keys import sealing_key_id
from socialvault.model.rows import (
    ConnectionRow,
    DueRow,
    FailureWrite,
    IntentWrite,
    RevocationRow,
    StatusWrite,
    TokenRow,
    TokenWrite,
)
from socialvault.model.status import Status
from socialvault.stores.memory.keys import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from socialvault.model.state import StateRow

_BY_AGE = attrgetter("created_at_seconds", "id")
_GRANT = attrgetter("provider", "client_id", "issuer", "subject")  # of an account as of a revocation


class MemoryStore(Keys):
    """Keeps everything in this process's memory, for tests and single-process use; what it holds ends with it.

    Safe to use from any number of threads; not made to be carried over a fork.

    Args:
        clock: tells when states, leases and intents expire; the system's by default.
    """

    # connections

    def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        """As `TokenStore.read_token`."""
        row = self.get(connection_id, tenant, owner)
        if row is None:
            return None
        account = row.account
        return TokenRow(
            row.status.value, row.generation, account.provider, account.issuer, account.parent_id, row.envelope
        )

    def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None:
        """As `TokenStore.get`."""
        with self._open:
            row = self._rows.get(connection_id)
        return row if row is not None and (row.account.tenant, row.owner) == (tenant, owner) else None

    def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_owner`."""
        rows = sorted(self._live(), key=_BY_AGE)
        rows.sort(key=lambda row: row.account.parent_id != "")  # accounts before their sub-accounts
        return [row for row in rows if (row.account.tenant, row.owner) == (tenant, owner)]

    def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_children`."""
        return [row for row in self.list_for_owner(tenant, owner) if row.account.parent_id == parent_id != ""]

    def insert(self, row: ConnectionRow) -> ConnectionRow | None:
        """As `TokenStore.insert`; a connection id that exists already is a `StoreError`."""
        _require_texts(row.id, row.owner, *row.account)
        with self._open:
            self._require_not_retired("data", row.key_id)
            if row.status.live and row.account in self._accounts:
                return self._rows[self._accounts[row.account]]
            if row.id in self._rows:
                raise StoreError("there is a connection of this id")
            self._put(row)
            if row.status.live and not row.account.parent_id:
                self._keep_grant(row)
            return None

    def write_token(self, write: TokenWrite) -> Status | None:
        """As `TokenStore.write_token`."""
        with self._open:
            self._require_not_retired("data", write.key_id)
            row = self._rows.get(write.connection_id)
            if row is None or not row.status.live or row.generation != write.expected_generation:
                return None
            written = replace(
                _without_intent(row),
                status=Status.ACTIVE,
                reason="",
                generation=row.generation + 1,
                envelope=write.envelope,
                key_id=write.key_id,
                updated_at_seconds=write.updated_at_seconds,
                due_at_seconds=write.due_at_seconds,
                dies_at_seconds=write.dies_at_seconds,
                warn_at_seconds=write.warn_at_seconds,
                failing_since_seconds=None,
                failing_with="",
                failures=0,
                refusals=0,
            )
            self._put(written)
            return row.status

    def write_status(self, write: StatusWrite) -> bool:
        """As `TokenStore.write_status`."""
        with self._open:
            return self._change_status(write)

    def count_grant_siblings(self, row: ConnectionRow) -> int:
        """As `TokenStore.count_grant_siblings`."""
        return sum(
            _GRANT(other.account) == _GRANT(row.account) and row.id not in (other.id, other.account.parent_id)
            for other in self._live()
        )

    def list_for_account(self, provider: str, client_id: str, issuer: str, subject: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_account`."""
        grant = (provider, client_id, issuer, subject)
        found = (row for row in self._all() if _GRANT(row.account) == grant and not row.account.parent_id)
        return sorted(found, key=_BY_AGE)

    def delete(self, connection_id: str) -> int:
        """As `TokenStore.delete`."""
        with self._open:
            row = self._rows.get(connection_id)
            if row is None or row.status is not Status.REVOKED:
                return 0
            gone = [
                other
                for other in self._rows.values()
                if other.id == row.id or (other.account.parent_id == row.id and other.status is Status.REVOKED)
            ]
            for each in gone:
                self._forget(each)
            return len(gone)

    # renewal

    def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool:
        """As `TokenStore.acquire_lease`."""
        with self._open:
            if connection_id not in self._rows:
                return False
            now_seconds = self._now()
            held_by, until_seconds = self._leases.get(connection_id, (holder, 0.0))
            if held_by != holder and until_seconds > now_seconds:
                return False
            self._leases[connection_id] = (holder, now_seconds + ttl_seconds)
            return True

    def release_lease(self, connection_id: str, holder: str) -> bool:
        """As `TokenStore.release_lease`."""
        with self._open:
            if connection_id not in self._leases or self._leases[connection_id][0] != holder:
                return False
            del self._leases[connection_id]
            return True

    def open_intent(self, intent: IntentWrite) -> bool:
        """As `TokenStore.open_intent`; as durable as everything here."""
        with self._open:
            row = self._attempted(intent)
            if row is None:
                return False
            now_seconds, deadline_seconds = self._now(), row.intent_deadline_seconds
            if deadline_seconds is not None and deadline_seconds > now_seconds and not intent.replay:
                return False
            self._rows[row.id] = replace(
                row,
                intent_digest=intent.digest,
                intent_sent_at_seconds=now_seconds,
                intent_deadline_seconds=now_seconds + intent.lifetime_seconds,
                intent_attempt=row.intent_attempt + 1,
            )
            return True

    def write_failure(self, write: FailureWrite) -> bool:
        """As `TokenStore.write_failure`."""
        with self._open:
            row = self._attempted(write)
            if row is None:
                return False
            since_seconds = row.failing_since_seconds
            self._rows[row.id] = replace(
                row,
                due_at_seconds=write.retry_at_seconds,
                failing_since_seconds=write.at_seconds if since_seconds is None else since_seconds,
                failing_with=write.failing_with,
                failures=row.failures + 1,
                refusals=write.refusals,
                intent_digest=row.intent_digest if write.uncertain else b"",
                intent_sent_at_seconds=row.intent_sent_at_seconds if write.uncertain else None,
                intent_deadline_seconds=row.intent_deadline_seconds if write.open else None,
            )
            return True

    def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool:
        """As `TokenStore.put_candidate`."""
        with self._open:
            self._require_not_retired("data", sealing_key_id(candidate))
            row = self._rows.get(connection_id)
            if row is None or not row.status.live or row.generation != expected_generation:
                return False
            self._rows[row.id] = replace(row, candidate=candidate)
            return True

    def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[DueRow]:
        """As `TokenStore.find_due`."""
        due = [
            DueRow(row.id, row.account.tenant, row.owner, row.generation, row.due_at_seconds)
            for row in self._live()
            if row.status is Status.ACTIVE and row.due_at_seconds is not None and row.due_at_seconds <= now_seconds
            if (row.account.provider, row.account.client_id) == (provider, client_id)
        ]
        return sorted(due, key=attrgetter("due_at_seconds", "id"))[:limit]

    def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        """As `TokenStore.find_warnings`."""
        over = [
            (row.warn_at_seconds, row.id, row)
            for row in self._live()
            if row.status is Status.ACTIVE and row.warn_at_seconds is not None and row.warn_at_seconds <= now_seconds
        ]
        return [row for _, _, row in sorted(over)[:limit]]

    def write_warning(self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None) -> bool:
        """As `TokenStore.write_warning`."""
        with self._open:
            row = self._rows.get(connection_id)
            if row is None or row.status is not Status.ACTIVE or row.warn_at_seconds != warned_at_seconds:
                return False
            self._rows[row.id] = replace(row, warn_at_seconds=warn_at_seconds)
            return True

    # revocations

    def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None:
        """As `TokenStore.tombstone`; a revocation of the same id is kept as it is."""
        _require_texts(revocation.id, revocation.connection_id, revocation.tenant, revocation.owner)
        with self._open:
            self._require_not_retired("data", revocation.key_id)
            if not self._change_status(write):
                return None
            children = [row for row in self._live() if row.account.parent_id == write.connection_id]
            for child in children:
                self._revoke(child, "parent_disconnected", write.updated_at_seconds)
            self._revocations.setdefault(revocation.id, revocation)
            return sorted(children, key=_BY_AGE)

    def queue_revocation(self, revocation: RevocationRow) -> None:
        """As `TokenStore.queue_revocation`."""
        _require_texts(revocation.id, revocation.connection_id, revocation.tenant, revocation.owner)
        with self._open:
            self._require_not_retired("data", revocation.key_id)
            self._revocations.setdefault(revocation.id, revocation)

    def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]:
        """As `TokenStore.find_revocations`."""
        with self._open:
            due = [each for each in self._revocations.values() if each.next_attempt_at_seconds <= now_seconds]
        return sorted(due, key=attrgetter("next_attempt_at_seconds", "id"))[:limit]

    def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]:
        """As `TokenStore.list_revocations`."""
        with self._open:
            pending = [each for each in self._revocations.values() if each.connection_id == connection_id]
        return sorted(pending, key=_BY_AGE)

    def claim_revocation(self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float) -> bool:
        """As `TokenStore.claim_revocation`."""
        with self._open:
            pending = self._revocations.get(revocation_id)
            if pending is None or pending.attempt != expected_attempt:
                return False
            self._revocations[revocation_id] = replace(
                pending, attempt=pending.attempt + 1, next_attempt_at_seconds=next_attempt_at_seconds
            )
            return True

    def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool:
        """As `TokenStore.finish_revocation`."""
        with self._open:
            settled = self._revocations.pop(revocation_id, None)
            return settled is not None and self._settle(settled.connection_id, outcome, now_seconds)

    def erase_owner(self, tenant: str, owner: str) -> int:
        """As `TokenStore.erase_owner`; no owner is a `StoreError`: what has none is the vault's or the tenant's."""
        if not owner:
            raise StoreError("an owner to erase is needed")
        whose, wanted = attrgetter("tenant", "owner"), (tenant, owner)
        with self._open:
            gone = [row for row in self._rows.values() if (row.account.tenant, row.owner) == wanted]
            for row in gone:
                self._forget(row)
            self._revocations = {name: each for name, each in self._revocations.items() if whose(each) != wanted}
            self._states = {name: each for name, each in self._states.items() if whose(each) != wanted}
            self._forget_keys(tenant, owner)
            return len(gone)

    # operators

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
        found = [
            row
            for row in self._all()
            if row.id > after_id
            and tenant in (None, row.account.tenant)
            and owner in (None, row.owner)
            and provider in (None, row.account.provider)
            and status in (None, row.status.value)
        ]
        return sorted(found, key=attrgetter("id"))[:limit]

    def count_by_status(self) -> Mapping[str, int]:
        """As `TokenStore.count_by_status`."""
        return dict(Counter(row.status.value for row in self._all()))

    # browser flows

    def put_state(self, row: StateRow, ttl_seconds: float) -> None:
        """As `StateStore.put_state`; a state that exists already is a `StoreError`."""
        expires_at_seconds = self._now() + ttl_seconds
        with self._open:
            self._require_not_retired("data", sealing_key_id(row.sealed))
            if row.state_hash in self._states:
                raise StoreError("there is a flow of this state")
            self._states[row.state_hash] = replace(row, phase="pending", expires_at_seconds=expires_at_seconds)

    def get_state(self, state_hash: bytes) -> StateRow | None:
        """As `StateStore.get_state`."""
        now_seconds = self._now()
        with self._open:
            row = self._states.get(state_hash)
        if row is None or row.expires_at_seconds > now_seconds:
            return row
        return replace(row, phase="expired", sealed=b"")

    def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None:
        """As `StateStore.claim_state`."""
        with self._open:
            row = self.get_state(state_hash)
            if row is None or row.phase != "pending":
                return None
            if (row.tenant, row.owner, row.provider) != (tenant, owner, provider):
                return None
            if not hmac.compare_digest(row.binding, binding):
                return None
            claimed = replace(row, phase="claimed")
            self._states[state_hash] = replace(claimed, sealed=b"")
            return claimed

    def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None:
        """As `StateStore.finish_state`."""
        with self._open:
            row = self._states.get(state_hash)
            if row is not None and row.phase == "claimed":
                self._states[state_hash] = replace(
                    row, phase="done", connection_id=connection_id, error=error, missing_scopes=missing_scopes
                )

    def purge_states(self, limit: int) -> int:
        """As `StateStore.purge_states`."""
        now_seconds = self._now()
        with self._open:
            over = [row for row in self._states.values() if row.expires_at_seconds <= now_seconds]
            over = sorted(over, key=attrgetter("expires_at_seconds"))[:limit]
            for row in over:
                del self._states[row.state_hash]
            return len(over)

    # within the lock

    def _attempted(self, write: IntentWrite | FailureWrite) -> ConnectionRow | None:
        """Return the live row that `write` is about, or None when it moved on."""
        row = self._rows.get(write.connection_id)
        if row is None or not row.status.live:
            return None
        expected = (write.expected_generation, write.expected_attempt)
        return row if (row.generation, row.intent_attempt) == expected else None

    def _change_status(self, write: StatusWrite) -> bool:
        row = self._rows.get(write.connection_id)
        if row is None or row.generation != write.expected_generation or row.status not in write.expected:
            return False
        written = replace(
            _wiped(row) if write.wipe else row,
            status=write.status,
            reason=write.reason,
            updated_at_seconds=write.updated_at_seconds,
        )
        if written.status.live and self._accounts.get(row.account, row.id) != row.id:
            raise StoreError("another live connection has this account by now")
        self._put(written)
        return True

    def _keep_grant(self, row: ConnectionRow) -> None:
        """Cancel what would end the grant of `row`, which has just been inserted."""
        grant = _GRANT(row.account)
        for each in [each for each in self._revocations.values() if each.reach == "grant" and _GRANT(each) == grant]:
            del self._revocations[each.id]
            self._settle(each.connection_id, "kept_for_sibling", row.updated_at_seconds)

    def _settle(self, connection_id: str, reason: str, at_seconds: float) -> bool:
        """Revoke a tombstone for which no revocation is pending; return whether it was one."""
        row = self._rows.get(connection_id)
        if row is None or row.status is not Status.REVOCATION_PENDING or self.list_revocations(connection_id):
            return False
        # What a new connection brings may be older than the tombstone; the time of that does not go back.
        self._revoke(row, reason, max(row.updated_at_seconds, at_seconds))
        return True

    def _revoke(self, row: ConnectionRow, reason: str, at_seconds: float) -> None:
        self._put(replace(_wiped(row), status=Status.REVOKED, reason=reason, updated_at_seconds=at_seconds))

    def _forget(self, row: ConnectionRow) -> None:
        del self._rows[row.id]
        self._leases.pop(row.id, None)
        if self._accounts.get(row.account) == row.id:
            del self._accounts[row.account]
        for each in self.list_revocations(row.id):
            del self._revocations[each.id]

    def _put(self, row: ConnectionRow) -> None:
        """Keep `row`, and its account key for as long as it is live."""
        self._rows[row.id] = row
        if row.status.live:
            self._accounts[row.account] = row.id
        elif self._accounts.get(row.account) == row.id:
            del self._accounts[row.account]

    def _all(self) -> list[ConnectionRow]:
        with self._open:
            return list(self._rows.values())

    def _live(self) -> Iterable[ConnectionRow]:
        return (row for row in self._all() if row.status.live)


def _without_intent(row: ConnectionRow) -> ConnectionRow:
    return replace(
        row,
        candidate=b"",
        intent_digest=b"",
        intent_sent_at_seconds=None,
        intent_deadline_seconds=None,
        intent_attempt=0,
    )


def _wiped(row: ConnectionRow) -> ConnectionRow:
    return replace(_without_intent(row), envelope=b"", key_id="")


def _require_texts(*values: object) -> None:
    if not all(isinstance(value, str) for value in values):
        raise StoreError("ids, owners and accounts are texts")
