"""The token store port: connections and their sealed tokens.

Every method that names a connection on behalf of an owner takes the owner and the tenant and has both in its
WHERE clause. Every token write is a compare-and-swap on the generation. A store sees sealed records only.
Adapters raise `StoreUnavailableError` when the database can't be reached, is locked, full or read-only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socialvault.model.rows import ConnectionRow, StatusWrite, TokenRow, TokenWrite


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
        """Insert `row` unless a live row has its account key; return that row, or None when inserted."""
        ...

    def write_token(self, write: TokenWrite) -> bool:
        """Apply `write` to a live row; return False when its generation moved or it is not live."""
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
        """Delete a revoked connection and its revoked children; return how many rows went.

        A row of another status is never deleted.
        """
        ...

    # cross-process renewal: a lease is an optimisation, an intent tells what was sent

    def acquire_lease(self, connection_id: str, holder: str, now_seconds: float, ttl_seconds: float) -> bool:
        """Take the right to renew until `now_seconds` + `ttl_seconds`, if it is free, expired or already `holder`'s."""
        ...

    def release_lease(self, connection_id: str, holder: str) -> bool:
        """Give it back; False when `holder` no longer had it."""
        ...

    def open_intent(
        self,
        connection_id: str,
        expected_generation: int,
        expected_attempt: int,
        digest: bytes,
        sent_at_seconds: float,
        deadline_seconds: float,
    ) -> bool:
        """Record that a refresh token is about to be presented; False when generation or attempt moved.

        It raises the attempt by one; a token write resets it to 0.
        """
        ...

    def put_candidate(self, connection_id: str, candidate: bytes) -> bool:
        """Keep a sealed token answer that lost the compare-and-swap beside the stored one."""
        ...

    def find_due(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        """Return active rows whose renewal is due, the longest due first."""
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

    async def write_token(self, write: TokenWrite) -> bool: ...

    async def write_status(self, write: StatusWrite) -> bool: ...

    async def count_grant_siblings(self, row: ConnectionRow) -> int: ...

    async def list_for_account(
        self, provider: str, client_id: str, issuer: str, subject: str
    ) -> Sequence[ConnectionRow]: ...

    async def delete(self, connection_id: str) -> int: ...

    async def acquire_lease(self, connection_id: str, holder: str, now_seconds: float, ttl_seconds: float) -> bool: ...

    async def release_lease(self, connection_id: str, holder: str) -> bool: ...

    async def open_intent(
        self,
        connection_id: str,
        expected_generation: int,
        expected_attempt: int,
        digest: bytes,
        sent_at_seconds: float,
        deadline_seconds: float,
    ) -> bool: ...

    async def put_candidate(self, connection_id: str, candidate: bytes) -> bool: ...

    async def find_due(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]: ...

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
