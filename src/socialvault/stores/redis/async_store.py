"""`AsyncRedisStore`: as `RedisStore`, for event loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.stores.redis.async_links import AsyncLink
from socialvault.stores.redis.columns import TOKEN, token_row
from socialvault.stores.redis.layout import Layout
from socialvault.stores.redis.operations import Operations
from socialvault.stores.redis.refusals import DRIVER_ERRORS, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis, RedisCluster

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
    from socialvault.stores.redis.server import ServerFacts


class AsyncRedisStore:
    """As `RedisStore`, for event loops. From a URL, one store serves any number of loops, each in its own thread.

    A call whose caller is cancelled may have been carried out or not.

    Args:
        client_or_url: as for `RedisStore`; a client, of ``redis.asyncio``, serves the one loop that it belongs to.
        namespace, clock: as for `RedisStore`.

    Raises:
        ConfigurationError: as for `RedisStore`.
    """

    def __init__(
        self, client_or_url: Redis | RedisCluster | str, *, namespace: str = "socialvault", clock: Clock | None = None
    ) -> None:
        self._layout = Layout(namespace)
        self._operations = Operations(self._layout, clock)
        self._link = AsyncLink(client_or_url, self._layout)

    async def aclose(self) -> None:
        """As `RedisStore.close`."""
        await self._link.aclose()

    async def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        """As `RedisStore.read_token`."""
        try:
            values = await self._link.ask("HMGET", self._layout.connection(connection_id), *TOKEN)
        except DRIVER_ERRORS as error:
            raise refusal(error) from None
        return token_row(values, tenant, owner)

    # connections

    async def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None:
        """As `TokenStore.get`."""
        return await self._link.run(self._operations.get(connection_id, tenant, owner))

    async def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_owner`."""
        return await self._link.run(self._operations.list_for_owner(tenant, owner))

    async def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_children`."""
        return await self._link.run(self._operations.list_children(parent_id, tenant, owner))

    async def insert(self, row: ConnectionRow) -> ConnectionRow | None:
        """As `TokenStore.insert`; a connection id that exists already is a `StoreError`."""
        return await self._link.run(self._operations.insert(row))

    async def write_token(self, write: TokenWrite) -> Status | None:
        """As `TokenStore.write_token`."""
        return await self._link.run(self._operations.write_token(write))

    async def write_status(self, write: StatusWrite) -> bool:
        """As `TokenStore.write_status`."""
        return await self._link.run(self._operations.write_status(write))

    async def count_grant_siblings(self, row: ConnectionRow) -> int:
        """As `TokenStore.count_grant_siblings`."""
        return await self._link.run(self._operations.count_grant_siblings(row))

    async def list_for_account(
        self, provider: str, client_id: str, issuer: str, subject: str
    ) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_account`."""
        return await self._link.run(self._operations.list_for_account(provider, client_id, issuer, subject))

    async def delete(self, connection_id: str) -> int:
        """As `TokenStore.delete`."""
        return await self._link.run(self._operations.delete(connection_id))

    # renewal

    async def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool:
        """As `TokenStore.acquire_lease`."""
        return await self._link.run(self._operations.acquire_lease(connection_id, holder, ttl_seconds))

    async def release_lease(self, connection_id: str, holder: str) -> bool:
        """As `TokenStore.release_lease`."""
        return await self._link.run(self._operations.release_lease(connection_id, holder))

    async def open_intent(self, intent: IntentWrite) -> bool:
        """As `TokenStore.open_intent`."""
        return await self._link.run(self._operations.open_intent(intent))

    async def write_failure(self, write: FailureWrite) -> bool:
        """As `TokenStore.write_failure`."""
        return await self._link.run(self._operations.write_failure(write))

    async def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool:
        """As `TokenStore.put_candidate`."""
        return await self._link.run(self._operations.put_candidate(connection_id, expected_generation, candidate))

    async def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[DueRow]:
        """As `TokenStore.find_due`."""
        return await self._link.run(self._operations.find_due(provider, client_id, now_seconds, limit))

    async def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        """As `TokenStore.find_warnings`."""
        return await self._link.run(self._operations.find_warnings(now_seconds, limit))

    async def write_warning(self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None) -> bool:
        """As `TokenStore.write_warning`."""
        return await self._link.run(self._operations.write_warning(connection_id, warned_at_seconds, warn_at_seconds))

    # revocations

    async def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None:
        """As `TokenStore.tombstone`; a revocation of the same id is kept as it is."""
        return await self._link.run(self._operations.tombstone(write, revocation))

    async def queue_revocation(self, revocation: RevocationRow) -> None:
        """As `TokenStore.queue_revocation`."""
        await self._link.run(self._operations.queue_revocation(revocation))

    async def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]:
        """As `TokenStore.find_revocations`."""
        return await self._link.run(self._operations.find_revocations(now_seconds, limit))

    async def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]:
        """As `TokenStore.list_revocations`."""
        return await self._link.run(self._operations.list_revocations(connection_id))

    async def claim_revocation(self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float) -> bool:
        """As `TokenStore.claim_revocation`."""
        return await self._link.run(
            self._operations.claim_revocation(revocation_id, expected_attempt, next_attempt_at_seconds)
        )

    async def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool:
        """As `TokenStore.finish_revocation`."""
        return await self._link.run(self._operations.finish_revocation(revocation_id, outcome, now_seconds))

    async def erase_owner(self, tenant: str, owner: str) -> int:
        """As `TokenStore.erase_owner`; no owner is a `StoreError`: what has none is the vault's or the tenant's."""
        return await self._link.run(self._operations.erase_owner(tenant, owner))

    # operators, across owners

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
        """As `TokenStore.find`; read in portions, each of one moment."""
        return await self._link.run(
            self._operations.find(
                tenant=tenant, owner=owner, provider=provider, status=status, after_id=after_id, limit=limit
            )
        )

    async def count_by_status(self) -> Mapping[str, int]:
        """As `TokenStore.count_by_status`."""
        return await self._link.run(self._operations.count_by_status())

    # browser flows

    async def put_state(self, row: StateRow, ttl_seconds: float) -> None:
        """As `StateStore.put_state`; a state that exists already is a `StoreError`."""
        await self._link.run(self._operations.put_state(row, ttl_seconds))

    async def get_state(self, state_hash: bytes) -> StateRow | None:
        """As `StateStore.get_state`."""
        return await self._link.run(self._operations.get_state(state_hash))

    async def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None:
        """As `StateStore.claim_state`."""
        return await self._link.run(
            self._operations.claim_state(state_hash, tenant=tenant, owner=owner, provider=provider, binding=binding)
        )

    async def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None:
        """As `StateStore.finish_state`."""
        await self._link.run(
            self._operations.finish_state(
                state_hash, connection_id=connection_id, error=error, missing_scopes=missing_scopes
            )
        )

    async def purge_states(self, limit: int) -> int:
        """As `StateStore.purge_states`."""
        return await self._link.run(self._operations.purge_states(limit))

    # keys

    async def load_vault(self) -> VaultRow | None:
        """As `KeyStore.load_vault`."""
        return await self._link.run(self._operations.load_vault())

    async def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        """As `KeyStore.create_vault`."""
        return await self._link.run(self._operations.create_vault(row, vault_key))

    async def count_seals(self, key_id: str, seals: int) -> int:
        """As `KeyStore.count_seals`."""
        return await self._link.run(self._operations.count_seals(key_id, seals))

    async def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None:
        """As `KeyStore.key`."""
        return await self._link.run(self._operations.key(level, key_id))

    async def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
        """As `KeyStore.primary_key`."""
        return await self._link.run(self._operations.primary_key(level, tenant, owner))

    async def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Sequence[WrappedKey]:
        """As `KeyStore.keys`; read in portions, each of one moment."""
        return await self._link.run(
            self._operations.keys(level, tenant=tenant, state=state, after_id=after_id, limit=limit)
        )

    async def count_keys(self, level: KeyLevel) -> Mapping[str, int]:
        """As `KeyStore.count_keys`."""
        return await self._link.run(self._operations.count_keys(level))

    async def count_uses(self, level: KeyLevel, key_id: str) -> int:
        """As `KeyStore.count_uses`."""
        return await self._link.run(self._operations.count_uses(level, key_id))

    async def add_key(self, level: KeyLevel, key: WrappedKey) -> bool:
        """As `KeyStore.add_key`."""
        return await self._link.run(self._operations.add_key(level, key))

    async def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool:
        """As `KeyStore.replace_key`; a key id that exists already is a `StoreError`."""
        return await self._link.run(self._operations.replace_key(level, key, old_key_id))

    # key rotation

    async def promote_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.promote_key`."""
        return await self._link.run(self._operations.promote_key(level, key_id))

    async def retire_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.retire_key`."""
        return await self._link.run(self._operations.retire_key(level, key_id))

    async def reinstate_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.reinstate_key`."""
        return await self._link.run(self._operations.reinstate_key(level, key_id))

    async def wrapped_under(self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int) -> Sequence[WrappedKey]:
        """As `KeyStore.wrapped_under`."""
        return await self._link.run(self._operations.wrapped_under(level, wrapping_id, after_id, limit))

    async def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> int:
        """As `KeyStore.rewrap`."""
        return await self._link.run(self._operations.rewrap(level, keys))

    async def reseal_canary(self, expected: bytes, canary: bytes) -> bool:
        """As `KeyStore.reseal_canary`."""
        return await self._link.run(self._operations.reseal_canary(expected, canary))

    async def sealed_under(self, kind: RecordKind, key_id: str, after_id: str, limit: int) -> Sequence[SealedRecord]:
        """As `KeyStore.sealed_under`."""
        return await self._link.run(self._operations.sealed_under(kind, key_id, after_id, limit))

    async def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> int:
        """As `KeyStore.reseal`."""
        return await self._link.run(self._operations.reseal(kind, records))

    # operators

    async def server_facts(self) -> ServerFacts:
        """As `RedisStore.server_facts`."""
        return await self._link.server_facts()
