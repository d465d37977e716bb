"""`AsyncSQLiteStore`: reads in the event loop's own thread, everything else in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from socialvault.exceptions import StoreUnavailableError
from socialvault.stores.sqlite.reads import Reads
from socialvault.stores.sqlite.store import SQLiteStore

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from socialvault.model.keys import (
        KeyLevel,
        KeyState,
        RecordKind,
        Resealed,
        Rewrapped,
        SealedRecord,
        VaultRow,
        WrappedKey,
    )
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
    from socialvault.model.state import StateRow
    from socialvault.model.status import Status
    from socialvault.ports.clock import Clock

P = ParamSpec("P")
R = TypeVar("R")


async def _in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    import asyncio  # only here: programs without an event loop never load it

    return await asyncio.to_thread(function, *args, **kwargs)


class AsyncSQLiteStore:
    """As `SQLiteStore`, for event loops; one store serves any number of loops, each in its own thread.

    A look-up takes some ten microseconds, far less than the way to another thread and back, so it happens in the
    loop's own; only when the database is busy it goes to another thread, where it may wait. Writes and searches always
    do. A write whose caller is cancelled is still carried out. Opening the store happens in the calling thread.

    Args:
        path, clock: as for `SQLiteStore`.

    Raises:
        ConfigurationError, StoreUnavailableError: as for `SQLiteStore`.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock | None = None) -> None:
        self._store = SQLiteStore(path, clock=clock)
        self._here = Reads(self._store.database.hasty, self._store.now)

    async def aclose(self) -> None:
        """As `SQLiteStore.close`."""
        await _in_thread(self._store.close)

    async def _look_up(self, function: Callable[Concatenate[Reads, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(self._here, *args, **kwargs)
        except StoreUnavailableError:
            pass  # most likely busy: wait for it where waiting stops nobody
        return await _in_thread(function, self._store, *args, **kwargs)

    # connections

    async def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        """As `TokenStore.read_token`."""
        try:
            return self._here.read_token(connection_id, tenant, owner)
        except StoreUnavailableError:
            pass
        return await _in_thread(self._store.read_token, connection_id, tenant, owner)

    async def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None:
        """As `TokenStore.get`."""
        return await self._look_up(Reads.get, connection_id, tenant, owner)

    async def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_owner`."""
        return await self._look_up(Reads.list_for_owner, tenant, owner)

    async def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_children`."""
        return await self._look_up(Reads.list_children, parent_id, tenant, owner)

    async def insert(self, row: ConnectionRow) -> ConnectionRow | None:
        """As `SQLiteStore.insert`."""
        return await _in_thread(self._store.insert, row)

    async def write_token(self, write: TokenWrite) -> Status | None:
        """As `TokenStore.write_token`."""
        return await _in_thread(self._store.write_token, write)

    async def write_status(self, write: StatusWrite) -> bool:
        """As `TokenStore.write_status`."""
        return await _in_thread(self._store.write_status, write)

    async def count_grant_siblings(self, row: ConnectionRow) -> int:
        """As `TokenStore.count_grant_siblings`."""
        return await self._look_up(Reads.count_grant_siblings, row)

    async def list_for_account(
        self, provider: str, client_id: str, issuer: str, subject: str
    ) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_account`."""
        return await self._look_up(Reads.list_for_account, provider, client_id, issuer, subject)

    async def delete(self, connection_id: str) -> int:
        """As `TokenStore.delete`."""
        return await _in_thread(self._store.delete, connection_id)

    # renewal

    async def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool:
        """As `SQLiteStore.acquire_lease`."""
        return await _in_thread(self._store.acquire_lease, connection_id, holder, ttl_seconds)

    async def release_lease(self, connection_id: str, holder: str) -> bool:
        """As `TokenStore.release_lease`."""
        return await _in_thread(self._store.release_lease, connection_id, holder)

    async def open_intent(self, intent: IntentWrite) -> bool:
        """As `TokenStore.open_intent`."""
        return await _in_thread(self._store.open_intent, intent)

    async def write_failure(self, write: FailureWrite) -> bool:
        """As `SQLiteStore.write_failure`."""
        return await _in_thread(self._store.write_failure, write)

    async def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool:
        """As `SQLiteStore.put_candidate`."""
        return await _in_thread(self._store.put_candidate, connection_id, expected_generation, candidate)

    async def write_warning(self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None) -> bool:
        """As `SQLiteStore.write_warning`."""
        return await _in_thread(self._store.write_warning, connection_id, warned_at_seconds, warn_at_seconds)

    # revocations

    async def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None:
        """As `SQLiteStore.tombstone`."""
        return await _in_thread(self._store.tombstone, write, revocation)

    async def queue_revocation(self, revocation: RevocationRow) -> None:
        """As `TokenStore.queue_revocation`."""
        await _in_thread(self._store.queue_revocation, revocation)

    async def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]:
        """As `TokenStore.list_revocations`."""
        return await self._look_up(Reads.list_revocations, connection_id)

    async def claim_revocation(self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float) -> bool:
        """As `SQLiteStore.claim_revocation`."""
        return await _in_thread(self._store.claim_revocation, revocation_id, expected_attempt, next_attempt_at_seconds)

    async def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool:
        """As `TokenStore.finish_revocation`."""
        return await _in_thread(self._store.finish_revocation, revocation_id, outcome, now_seconds)

    async def erase_owner(self, tenant: str, owner: str) -> int:
        """As `SQLiteStore.erase_owner`."""
        return await _in_thread(self._store.erase_owner, tenant, owner)

    # searches, whose length the caller sets

    async def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[DueRow]:
        """As `TokenStore.find_due`."""
        return await _in_thread(self._store.find_due, provider, client_id, now_seconds, limit)

    async def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        """As `TokenStore.find_warnings`."""
        return await _in_thread(self._store.find_warnings, now_seconds, limit)

    async def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]:
        """As `TokenStore.find_revocations`."""
        return await _in_thread(self._store.find_revocations, now_seconds, limit)

    async def find(
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
        return await _in_thread(
            self._store.find,
            tenant=tenant,
            owner=owner,
            provider=provider,
            status=status,
            after_id=after_id,
            limit=limit,
        )

    async def count_by_status(self) -> Mapping[str, int]:
        """As `TokenStore.count_by_status`."""
        return await _in_thread(self._store.count_by_status)

    # browser flows

    async def put_state(self, row: StateRow, ttl_seconds: float) -> None:
        """As `SQLiteStore.put_state`."""
        await _in_thread(self._store.put_state, row, ttl_seconds)

    async def get_state(self, state_hash: bytes) -> StateRow | None:
        """As `StateStore.get_state`."""
        return await self._look_up(Reads.get_state, state_hash)

    async def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None:
        """As `StateStore.claim_state`."""
        return await _in_thread(
            self._store.claim_state, state_hash, tenant=tenant, owner=owner, provider=provider, binding=binding
        )

    async def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None:
        """As `StateStore.finish_state`."""
        await _in_thread(
            self._store.finish_state,
            state_hash,
            connection_id=connection_id,
            error=error,
            missing_scopes=missing_scopes,
        )

    async def purge_states(self, limit: int) -> int:
        """As `StateStore.purge_states`."""
        return await _in_thread(self._store.purge_states, limit)

    # keys

    async def load_vault(self) -> VaultRow | None:
        """As `KeyStore.load_vault`."""
        return await self._look_up(Reads.load_vault)

    async def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        """As `KeyStore.create_vault`."""
        return await _in_thread(self._store.create_vault, row, vault_key)

    async def count_seals(self, key_id: str, seals: int) -> int:
        """As `KeyStore.count_seals`."""
        return await _in_thread(self._store.count_seals, key_id, seals)

    async def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None:
        """As `KeyStore.key`."""
        return await self._look_up(Reads.key, level, key_id)

    async def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
        """As `KeyStore.primary_key`."""
        return await self._look_up(Reads.primary_key, level, tenant, owner)

    async def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Sequence[WrappedKey]:
        """As `KeyStore.keys`."""
        return await _in_thread(self._store.keys, level, tenant=tenant, state=state, after_id=after_id, limit=limit)

    async def count_keys(self, level: KeyLevel) -> Mapping[str, int]:
        """As `KeyStore.count_keys`."""
        return await _in_thread(self._store.count_keys, level)

    async def count_uses(self, level: KeyLevel, key_id: str) -> int:
        """As `KeyStore.count_uses`."""
        return await _in_thread(self._store.count_uses, level, key_id)

    async def add_key(self, level: KeyLevel, key: WrappedKey) -> bool:
        """As `KeyStore.add_key`."""
        return await _in_thread(self._store.add_key, level, key)

    async def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool:
        """As `SQLiteStore.replace_key`."""
        return await _in_thread(self._store.replace_key, level, key, old_key_id)

    # key rotation

    async def promote_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.promote_key`."""
        return await _in_thread(self._store.promote_key, level, key_id)

    async def retire_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.retire_key`."""
        return await _in_thread(self._store.retire_key, level, key_id)

    async def reinstate_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.reinstate_key`."""
        return await _in_thread(self._store.reinstate_key, level, key_id)

    async def wrapped_under(self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int) -> Sequence[WrappedKey]:
        """As `KeyStore.wrapped_under`."""
        return await _in_thread(self._store.wrapped_under, level, wrapping_id, after_id, limit)

    async def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> int:
        """As `KeyStore.rewrap`."""
        return await _in_thread(self._store.rewrap, level, keys)

    async def reseal_canary(self, expected: bytes, canary: bytes) -> bool:
        """As `KeyStore.reseal_canary`."""
        return await _in_thread(self._store.reseal_canary, expected, canary)

    async def sealed_under(self, kind: RecordKind, key_id: str, after_id: str, limit: int) -> Sequence[SealedRecord]:
        """As `KeyStore.sealed_under`."""
        return await _in_thread(self._store.sealed_under, kind, key_id, after_id, limit)

    async def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> int:
        """As `KeyStore.reseal`."""
        return await _in_thread(self._store.reseal, kind, records)
