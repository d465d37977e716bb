"""Browser flows on their way."""

from __future__ import annotations

from dataclasses import astuple, replace
from typing import TYPE_CHECKING

from socialvault.stores.redis.columns import STATE, sealing_key_id, seconds, state_row, written
from socialvault.stores.redis.layout import encoded, joined
from socialvault.stores.redis.requests import Asker, Asking, Request, counted, names
from socialvault.stores.redis.scripts import READS, STATES

if TYPE_CHECKING:
    from socialvault.model.state import StateRow


class States(Asker):
    """Each is claimed at most once."""

    def put_state(self, row: StateRow, ttl_seconds: float) -> Asking[None]:
        """As `StateStore.put_state`; a state that exists already is a `StoreError`."""
        pairs = written(STATE, astuple(replace(row, phase="pending")))
        key_id = sealing_key_id(row.sealed)
        if key_id:
            pairs += (b"key_id", key_id.encode())
        yield self._on("put_state", row.state_hash, seconds(ttl_seconds), *pairs)

    def get_state(self, state_hash: bytes) -> Asking[StateRow | None]:
        """As `StateStore.get_state`; a pending flow that was claimed before has come back and is over."""
        now, claimed, values = yield self.call(READS, "state", self._keys(state_hash), *counted(STATE))
        if values[0] is None:
            return None
        row = state_row(values)
        over = row.expires_at_seconds <= float(now) or (claimed and row.phase == "pending")
        return replace(row, phase="expired", sealed=b"") if over else row

    def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> Asking[StateRow | None]:
        """As `StateStore.claim_state`."""
        values = yield self._on("claim_state", state_hash, joined(tenant, owner, provider), binding, *names(STATE))
        return None if values is None else replace(state_row(values), phase="claimed")

    def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> Asking[None]:
        """As `StateStore.finish_state`."""
        outcome = {"connection_id": connection_id, "error": error, "missing_scopes": missing_scopes}
        pairs = [part for name, value in outcome.items() for part in (name.encode(), encoded(value))]
        yield self._on("finish_state", state_hash, *pairs)

    def purge_states(self, limit: int) -> Asking[int]:
        """As `StateStore.purge_states`."""
        count: int = yield self.call(STATES, "purge_states", [self.layout.states], b"%d" % limit)
        return count

    def _on(self, operation: str, state_hash: bytes, *arguments: bytes) -> Request:
        return self.call(STATES, operation, self._keys(state_hash), state_hash.hex().encode(), *arguments)

    def _keys(self, state_hash: bytes) -> list[bytes]:
        return [self.layout.state(state_hash), self.layout.claimed(state_hash)]
