"""`AsyncMemoryStore`: calls the blocking one, which never waits for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.stores.memory.store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


class AsyncMemoryStore:
    """As `MemoryStore`, for event loops; any number of them, each in its own thread.

    Args:
        clock: as for `MemoryStore`.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._store = MemoryStore(clock=clock)

    async def aclose(self) -> None:
        """As `MemoryStore.close`."""
        self._store.close()

    # connections

    async def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        """As `TokenStore.read_token`."""
        return self._store.read_token(connection_id, tenant, owner)

    async def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None:
        """As `TokenStore.get`."""
        return self._store.get(connection_id, tenant, owner)

    async def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_owner`."""
        return self._store.list_for_owner(tenant, owner)

    async def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_children`."""
        return self._store.list_children(parent_id, tenant, owner)

    async def insert(self, row: ConnectionRow) -> ConnectionRow | None:
        """As `MemoryStore.insert`."""
        return self._store.insert(row)

    async def write_token(self, write: TokenWrite) -> Status | None:
        """As `TokenStore.write_token`."""
        return self._store.write_token(write)

    async def write_status(self, write: StatusWrite) -> bool:
        """As `TokenStore.write_status`."""
        return self._store.write_status(write)

    async def count_grant_siblings(self, row: ConnectionRow) -> int:
        """As `TokenStore.count_grant_siblings`."""
        return self._store.count_grant_siblings(row)

    async def list_for_account(
        self, provider: str, client_id: str, issuer: str, subject: str
    ) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_account`."""
        return self._store.list_for_account(provider, client_id, issuer, subject)

    async def delete(self, connection_id: str) -> int:
        """As `TokenStore.delete`."""
        return self._store.delete(connection_id)

    # renewal

    async def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool:
        """As `TokenStore.acquire_lease`."""
        return self._store.acquire_lease(connection_id, holder, ttl_seconds)

    async def release_lease(self, connection_id: str, holder: str) -> bool:
        """As `TokenStore.release_lease`."""
        return self._store.release_lease(connection_id, holder)

    async def open_intent(self, intent: IntentWrite) -> bool:
        """As `MemoryStore.open_intent`."""
        return self._store.open_intent(intent)

    async def write_failure(self, write: FailureWrite) -> bool:
        """As `TokenStore.write_failure`."""
        return self._store.write_failure(write)

    async def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool:
        """As `MemoryStore.put_candidate`."""
        return self._store.put_candidate(connection_id, expected_generation, candidate)

    async def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[DueRow]:
        """As `TokenStore.find_due`."""
        return self._store.find_due(provider, client_id, now_seconds, limit)

    async def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        """As `TokenStore.find_warnings`."""
        return self._store.find_warnings(now_seconds, limit)

    async def write_warning(self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None) -> bool:
        """As `TokenStore.write_warning`."""
        return self._store.write_warning(connection_id, warned_at_seconds, warn_at_seconds)

    # revocations

    async def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None:
        """As `MemoryStore.tombstone`."""
        return self._store.tombstone(write, revocation)

    async def queue_revocation(self, revocation: RevocationRow) -> None:
        """As `TokenStore.queue_revocation`."""
        self._store.queue_revocation(revocation)

    async def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]:
        """As `TokenStore.find_revocations`."""
        return self._store.find_revocations(now_seconds, limit)

    async def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]:
        """As `TokenStore.list_revocations`."""
        return self._store.list_revocations(connection_id)

    async def claim_revocation(self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float) -> bool:
        """As `TokenStore.claim_revocation`."""
        return self._store.claim_revocation(revocation_id, expected_attempt, next_attempt_at_seconds)

    async def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool:
        """As `TokenStore.finish_revocation`."""
        return self._store.finish_revocation(revocation_id, outcome, now_seconds)

    async def erase_owner(self, tenant: str, owner: str) -> int:
        """As `MemoryStore.erase_owner`."""
        return self._store.erase_owner(tenant, owner)

    # operators

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
        return self._store.find(
            tenant=tenant, owner=owner, provider=provider, status=status, after_id=after_id, limit=limit
        )

    async def count_by_status(self) -> Mapping[str, int]:
        """As `TokenStore.count_by_status`."""
        return self._store.count_by_status()

    # browser flows

    async def put_state(self, row: StateRow, ttl_seconds: float) -> None:
        """As `MemoryStore.put_state`."""
        self._store.put_state(row, ttl_seconds)

    async def get_state(self, state_hash: bytes) -> StateRow | None:
        """As `StateStore.get_state`."""
        return self._store.get_state(state_hash)

    async def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None:
        """As `StateStore.claim_state`."""
        return self._store.claim_state(state_hash, tenant=tenant, owner=owner, provider=provider, binding=binding)

    async def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None:
        """As `StateStore.finish_state`."""
        self._store.finish_state(state_hash, connection_id=connection_id, error=error, missing_scopes=missing_scopes)

    async def purge_states(self, limit: int) -> int:
        """As `StateStore.purge_states`."""
        return self._store.purge_states(limit)

    # keys

    async def load_vault(self) -> VaultRow | None:
        """As `KeyStore.load_vault`."""
        return self._store.load_vault()

    async def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        """As `KeyStore.create_vault`."""
        return self._store.create_vault(row, vault_key)

    async def count_seals(self, key_id: str, seals: int) -> int:
        """As `KeyStore.count_seals`."""
        return self._store.count_seals(key_id, seals)

    async def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None:
        """As `KeyStore.key`."""
        return self._store.key(level, key_id)

    async def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
        """As `KeyStore.primary_key`."""
        return self._store.primary_key(level, tenant, owner)

    async def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Sequence[WrappedKey]:
        """As `KeyStore.keys`."""
        return self._store.keys(level, tenant=tenant, state=state, after_id=after_id, limit=limit)

    async def count_keys(self, level: KeyLevel) -> Mapping[str, int]:
        """As `KeyStore.count_keys`."""
        return self._store.count_keys(level)

    async def count_uses(self, level: KeyLevel, key_id: str) -> int:
        """As `KeyStore.count_uses`."""
        return self._store.count_uses(level, key_id)

    async def add_key(self, level: KeyLevel, key: WrappedKey) -> bool:
        """As `KeyStore.add_key`."""
        return self._store.add_key(level, key)

    async def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool:
        """As `MemoryStore.replace_key`."""
        return self._store.replace_key(level, key, old_key_id)

    # key rotation

    async def promote_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.promote_key`."""
        return self._store.promote_key(level, key_id)

    async def retire_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.retire_key`."""
        return self._store.retire_key(level, key_id)

    async def reinstate_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.reinstate_key`."""
        return self._store.reinstate_key(level, key_id)

    async def wrapped_under(self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int) -> Sequence[WrappedKey]:
        """As `KeyStore.wrapped_under`."""
        return self._store.wrapped_under(level, wrapping_id, after_id, limit)

    async def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> int:
        """As `KeyStore.rewrap`."""
        return self._store.rewrap(level, keys)

    async def reseal_canary(self, expected: bytes, canary: bytes) -> bool:
        """As `KeyStore.reseal_canary`."""
        return self._store.reseal_canary(expected, canary)

    async def sealed_under(self, kind: RecordKind, key_id: str, after_id: str, limit: int) -> Sequence[SealedRecord]:
        """As `KeyStore.sealed_under`."""
        return self._store.sealed_under(kind, key_id, after_id, limit)

    async def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> int:
        """As `KeyStore.reseal`."""
        return self._store.reseal(kind, records)
