"""The token store port: connections and their sealed tokens.

Every method that names a connection on behalf of an owner takes the owner and the tenant and has both in its
WHERE clause. Every token write is a compare-and-swap on the generation. A store sees sealed records only. Leases and
intents run by the store's own clock, so that the hosts' clocks may differ.
Adapters raise `StoreUnavailableError` when the database can't be reached, is locked, full or read-only, and
`KeyNotFoundError` instead of writing what is sealed under a retired key (see ``key_store``): `insert`, `write_token`,
`put_candidate`, `tombstone` and `queue_revocation` here, `put_state` in the state store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


class TokenStore(Protocol):
    """Keeps connections; blocking."""

    def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        """Return what ``token()`` needs, revoked rows included, in one indexed look-up."""
        ...

    def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None:
        """Return the whole row, revoked rows included."""
        ...

    def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """Return the owner's live rows, oldest first, children after their parents."""
        ...

    def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """Return the live children of a connection, oldest first."""
        ...

    def insert(self, row: ConnectionRow) -> ConnectionRow | None:
        """Insert `row` unless a live row has its account key; return that row, or None when inserted.

        In the same step it cancels the pending revocations that would end the new row's grant: those that reach the
        whole grant of its (provider, client id, issuer, subject). A tombstone none of whose revocations is left becomes
        ``revoked`` with the reason ``kept_for_sibling`` and is wiped. A row that is not live, or a child, cancels none.
        """
        ...

    def write_token(self, write: TokenWrite) -> Status | None:
        """Apply `write` to a live row; return the status it had, None when its generation moved or it is not live."""
        ...

    def write_status(self, write: StatusWrite) -> bool:
        """Apply `write`; return False when generation or status moved."""
        ...

    def count_grant_siblings(self, row: ConnectionRow) -> int:
        """Count other live rows of the same (provider, client id, issuer, subject), of any owner or tenant.

        Children of `row` do not count.
        """
        ...

    # what a provider says about an account, and what is left of it

    def list_for_account(self, provider: str, client_id: str, issuer: str, subject: str) -> Sequence[ConnectionRow]:
        """Return every row of a provider account, of any owner, tenant and status, oldest first; no children."""
        ...

    def delete(self, connection_id: str) -> int:
        """Delete a revoked connection and its revoked children, with their revocations; return how many rows went.

        A row of another status is never deleted.
        """
        ...

    # cross-process renewal: a lease is an optimisation, an intent decides who may present a token

    def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool:
        """Take the right to renew for `ttl_seconds`, if it is free, expired or already `holder`'s."""
        ...

    def release_lease(self, connection_id: str, holder: str) -> bool:
        """Give it back; False when `holder` no longer had it."""
        ...

    def open_intent(self, intent: IntentWrite) -> bool:
        """Record that a token is about to be presented; durable on return.

        False when generation or attempt moved, the row is not live, or another's intent is still open.
        """
        ...

    def write_failure(self, write: FailureWrite) -> bool:
        """Apply `write` to a live row; return False when generation or attempt moved."""
        ...

    def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool:
        """Keep a sealed token answer that lost the compare-and-swap beside the stored one.

        False when the generation, which it is sealed for, moved, or the row is not live.
        """
        ...

    def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[DueRow]:
        """Return what is due of an application at a provider: its active rows, the longest due first."""
        ...

    def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        """Return active rows whose `warn_at_seconds` has come, the longest due first."""
        ...

    def write_warning(self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None) -> bool:
        """Replace `warned_at_seconds` by `warn_at_seconds` in an active row; False when another did so first."""
        ...

    # revocations that the provider has not confirmed yet

    def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None:
        """Apply `write` to a connection, revoke and wipe its live children, and queue `revocation`, in one step.

        Children get the reason ``parent_disconnected``. Returns the children as they were, or None when generation or
        status moved, and nothing is changed then.
        """
        ...

    def queue_revocation(self, revocation: RevocationRow) -> None:
        """Add a revocation; one of the same id is kept as it is."""
        ...

    def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]:
        """Return revocations whose next attempt has come, the longest due first."""
        ...

    def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]:
        """Return a connection's pending revocations, oldest first."""
        ...

    def claim_revocation(self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float) -> bool:
        """Raise the attempt by one and put the next one off; False when another did so first, or it is settled."""
        ...

    def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool:
        """Delete a revocation; return whether that ended its connection.

        A tombstone whose last one it was becomes ``revoked``, is wiped, and has `outcome` as its reason.
        """
        ...

    def erase_owner(self, tenant: str, owner: str) -> int:
        """Delete an owner's connections, revocations, pending flows and data keys; return how many connections.

        Raises:
            StoreError: `owner` is empty; what has no owner is the vault's or a tenant's.
        """
        ...

    # operators, across owners

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
        """Return rows that match every given filter, by id, after `after_id`."""
        ...

    def count_by_status(self) -> Mapping[str, int]:
        """Count rows per status."""
        ...

    def close(self) -> None:
        """Close every connection to the database."""
        ...


class AsyncTokenStore(Protocol):
    """As `TokenStore`, for event loops; each method means the same."""

    async def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None: ...

    async def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None: ...

    async def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]: ...

    async def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]: ...

    async def insert(self, row: ConnectionRow) -> ConnectionRow | None: ...

    async def write_token(self, write: TokenWrite) -> Status | None: ...

    async def write_status(self, write: StatusWrite) -> bool: ...

    async def count_grant_siblings(self, row: ConnectionRow) -> int: ...

    async def list_for_account(
        self, provider: str, client_id: str, issuer: str, subject: str
    ) -> Sequence[ConnectionRow]: ...

    async def delete(self, connection_id: str) -> int: ...

    async def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool: ...

    async def release_lease(self, connection_id: str, holder: str) -> bool: ...

    async def open_intent(self, intent: IntentWrite) -> bool: ...

    async def write_failure(self, write: FailureWrite) -> bool: ...

    async def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool: ...

    async def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[DueRow]: ...

    async def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]: ...

    async def write_warning(
        self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None
    ) -> bool: ...

    async def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None: ...

    async def queue_revocation(self, revocation: RevocationRow) -> None: ...

    async def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]: ...

    async def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]: ...

    async def claim_revocation(
        self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float
    ) -> bool: ...

    async def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool: ...

    async def erase_owner(self, tenant: str, owner: str) -> int: ...

    async def find(
        self,
        *,
        tenant: str | None,
        owner: str | None,
        provider: str | None,
        status: str | None,
        after_id: str,
        limit: int,
    ) -> Sequence[ConnectionRow]: ...

    async def count_by_status(self) -> Mapping[str, int]: ...

    async def aclose(self) -> None: ...
