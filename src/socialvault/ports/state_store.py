"""The state store port: browser flows on their way, each claimed at most once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from socialvault.model.state import StateRow


class StateStore(Protocol):
    """Keeps pending authorization requests; blocking. Time is the store's own clock."""

    def put_state(self, row: StateRow, ttl_seconds: float) -> None:
        """Keep `row` as pending for `ttl_seconds`."""
        ...

    def get_state(self, state_hash: bytes) -> StateRow | None:
        """Return the row, or None when it is unknown; after its time, its phase is ``expired`` until it is purged."""
        ...

    def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None:
        """Turn a pending row into a claimed one, if every value matches and its time is not over.

        Returns the row with its `sealed` part, which leaves the store in the same step; None otherwise, and
        nothing is changed then. Of any number of callers one wins.
        """
        ...

    def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None:
        """Record a claimed flow's outcome for the rest of its time."""
        ...

    def purge_states(self, limit: int) -> int:
        """Delete at most `limit` rows whose time is over; return how many."""
        ...


class AsyncStateStore(Protocol):
    """As `StateStore`, for event loops; each method means the same."""

    async def put_state(self, row: StateRow, ttl_seconds: float) -> None: ...

    async def get_state(self, state_hash: bytes) -> StateRow | None: ...

    async def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None: ...

    async def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None: ...

    async def purge_states(self, limit: int) -> int: ...
