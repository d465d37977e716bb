"""`AsyncSQLAlchemyStore`: the very same statements, awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from socialvault.exceptions import ConfigurationError, StoreUnavailableError
from socialvault.stores.sqlalchemy.database import Database
from socialvault.stores.sqlalchemy.engines import ASYNCHRONOUS, admit, parse
from socialvault.stores.sqlalchemy.loops import EnginePerLoop
from socialvault.stores.sqlalchemy.rotation import Rotation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import URL

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


class AsyncSQLAlchemyStore:
    """As `SQLAlchemyStore`, for event loops; drivers asyncpg and psycopg, and aiosqlite.

    A connection belongs to the loop that opened it. Made from a URL, a store has an engine per loop; an engine of your
    own serves its own loop only.

    Args:
        engine_or_url, clock: as for `SQLAlchemyStore`.

    Raises:
        ConfigurationError: as for `SQLAlchemyStore`.
    """

    def __init__(self, engine_or_url: AsyncEngine | URL | str, *, clock: Clock | None = None) -> None:
        self._own: EnginePerLoop | None = None
        self._given: Rotation | None = None
        if isinstance(engine_or_url, AsyncEngine):
            admit(engine_or_url.sync_engine, ASYNCHRONOUS)
            self._given = Rotation(Database(engine_or_url.sync_engine, clock))
        elif isinstance(engine_or_url, Engine):
            raise ConfigurationError("this store takes an asynchronous engine: use SQLAlchemyStore", argument="store")
        else:
            self._own = EnginePerLoop(parse(engine_or_url, ASYNCHRONOUS), clock)

    @property
    def _here(self) -> Rotation:
        """What the running loop uses."""
        if self._given is not None:
            return self._given
        if self._own is None:
            raise StoreUnavailableError("the store is closed")
        return self._own.store()

    async def create_schema(self) -> None:
        """As `SQLAlchemyStore.create_schema`."""
        await greenlet_spawn(self._here.database.create_schema)

    async def aclose(self) -> None:
        """As `SQLAlchemyStore.close`."""
        own, self._own = self._own, None
        if self._given is not None:
            self._given.database.close()
        if own is not None:
            await own.aclose()

    # connections and revocations

    async def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        """As `TokenStore.read_token`."""
        return await greenlet_spawn(self._here.read_token, connection_id, tenant, owner)

    async def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None:
        """As `TokenStore.get`."""
        return await greenlet_spawn(self._here.get, connection_id, tenant, owner)

    async def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_owner`."""
        return await greenlet_spawn(self._here.list_for_owner, tenant, owner)

    async def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_children`."""
        return await greenlet_spawn(self._here.list_children, parent_id, tenant, owner)

    async def insert(self, row: ConnectionRow) -> ConnectionRow | None:
        """As `TokenStore.insert`."""
        return await greenlet_spawn(self._here.insert, row)

    async def write_token(self, write: TokenWrite) -> Status | None:
        """As `TokenStore.write_token`."""
        return await greenlet_spawn(self._here.write_token, write)

    async def write_status(self, write: StatusWrite) -> bool:
        """As `TokenStore.write_status`."""
        return await greenlet_spawn(self._here.write_status, write)

    async def count_grant_siblings(self, row: ConnectionRow) -> int:
        """As `TokenStore.count_grant_siblings`."""
        return await greenlet_spawn(self._here.count_grant_siblings, row)

    async def list_for_account(
        self, provider: str, client_id: str, issuer: str, subject: str
    ) -> Sequence[ConnectionRow]:
        """As `TokenStore.list_for_account`."""
        return await greenlet_spawn(self._here.list_for_account, provider, client_id, issuer, subject)

    async def delete(self, connection_id: str) -> int:
        """As `TokenStore.delete`."""
        return await greenlet_spawn(self._here.delete, connection_id)

    async def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool:
        """As `TokenStore.acquire_lease`."""
        return await greenlet_spawn(self._here.acquire_lease, connection_id, holder, ttl_seconds)

    async def release_lease(self, connection_id: str, holder: str) -> bool:
        """As `TokenStore.release_lease`."""
        return await greenlet_spawn(self._here.release_lease, connection_id, holder)

    async def open_intent(self, intent: IntentWrite) -> bool:
        """As `TokenStore.open_intent`."""
        return await greenlet_spawn(self._here.open_intent, intent)

    async def write_failure(self, write: FailureWrite) -> bool:
        """As `TokenStore.write_failure`."""
        return await greenlet_spawn(self._here.write_failure, write)

    async def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool:
        """As `TokenStore.put_candidate`."""
        return await greenlet_spawn(self._here.put_candidate, connection_id, expected_generation, candidate)

    async def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[DueRow]:
        """As `TokenStore.find_due`."""
        return await greenlet_spawn(self._here.find_due, provider, client_id, now_seconds, limit)

    async def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        """As `TokenStore.find_warnings`."""
        return await greenlet_spawn(self._here.find_warnings, now_seconds, limit)

    async def write_warning(self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None) -> bool:
        """As `TokenStore.write_warning`."""
        return await greenlet_spawn(self._here.write_warning, connection_id, warned_at_seconds, warn_at_seconds)

    async def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None:
        """As `TokenStore.tombstone`."""
        return await greenlet_spawn(self._here.tombstone, write, revocation)

    async def queue_revocation(self, revocation: RevocationRow) -> None:
        """As `TokenStore.queue_revocation`."""
        await greenlet_spawn(self._here.queue_revocation, revocation)

    async def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]:
        """As `TokenStore.find_revocations`."""
        return await greenlet_spawn(self._here.find_revocations, now_seconds, limit)

    async def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]:
        """As `TokenStore.list_revocations`."""
        return await greenlet_spawn(self._here.list_revocations, connection_id)

    async def claim_revocation(self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float) -> bool:
        """As `TokenStore.claim_revocation`."""
        return await greenlet_spawn(
            self._here.claim_revocation, revocation_id, expected_attempt, next_attempt_at_seconds
        )

    async def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool:
        """As `TokenStore.finish_revocation`."""
        return await greenlet_spawn(self._here.finish_revocation, revocation_id, outcome, now_seconds)

    async def erase_owner(self, tenant: str, owner: str) -> int:
        """As `TokenStore.erase_owner`."""
        return await greenlet_spawn(self._here.erase_owner, tenant, owner)

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
        return await greenlet_spawn(
            self._here.find,
            tenant=tenant,
            owner=owner,
            provider=provider,
            status=status,
            after_id=after_id,
            limit=limit,
        )

    async def count_by_status(self) -> Mapping[str, int]:
        """As `TokenStore.count_by_status`."""
        return await greenlet_spawn(self._here.count_by_status)

    # browser flows

    async def put_state(self, row: StateRow, ttl_seconds: float) -> None:
        """As `StateStore.put_state`."""
        await greenlet_spawn(self._here.put_state, row, ttl_seconds)

    async def get_state(self, state_hash: bytes) -> StateRow | None:
        """As `StateStore.get_state`."""
        return await greenlet_spawn(self._here.get_state, state_hash)

    async def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None:
        """As `StateStore.claim_state`."""
        return await greenlet_spawn(
            self._here.claim_state, state_hash, tenant=tenant, owner=owner, provider=provider, binding=binding
        )

    async def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None:
        """As `StateStore.finish_state`."""
        await greenlet_spawn(
            self._here.finish_state, state_hash, connection_id=connection_id, error=error, missing_scopes=missing_scopes
        )

    async def purge_states(self, limit: int) -> int:
        """As `StateStore.purge_states`."""
        return await greenlet_spawn(self._here.purge_states, limit)

    # keys

    async def load_vault(self) -> VaultRow | None:
        """As `KeyStore.load_vault`."""
        return await greenlet_spawn(self._here.load_vault)

    async def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        """As `KeyStore.create_vault`."""
        return await greenlet_spawn(self._here.create_vault, row, vault_key)

    async def count_seals(self, key_id: str, seals: int) -> int:
        """As `KeyStore.count_seals`."""
        return await greenlet_spawn(self._here.count_seals, key_id, seals)

    async def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None:
        """As `KeyStore.key`."""
        return await greenlet_spawn(self._here.key, level, key_id)

    async def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
        """As `KeyStore.primary_key`."""
        return await greenlet_spawn(self._here.primary_key, level, tenant, owner)

    async def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Sequence[WrappedKey]:
        """As `KeyStore.keys`."""
        return await greenlet_spawn(self._here.keys, level, tenant=tenant, state=state, after_id=after_id, limit=limit)

    async def count_keys(self, level: KeyLevel) -> Mapping[str, int]:
        """As `KeyStore.count_keys`."""
        return await greenlet_spawn(self._here.count_keys, level)

    async def count_uses(self, level: KeyLevel, key_id: str) -> int:
        """As `KeyStore.count_uses`."""
        return await greenlet_spawn(self._here.count_uses, level, key_id)

    async def add_key(self, level: KeyLevel, key: WrappedKey) -> bool:
        """As `KeyStore.add_key`."""
        return await greenlet_spawn(self._here.add_key, level, key)

    async def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool:
        """As `KeyStore.replace_key`."""
        return await greenlet_spawn(self._here.replace_key, level, key, old_key_id)

    async def promote_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.promote_key`."""
        return await greenlet_spawn(self._here.promote_key, level, key_id)

    async def retire_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.retire_key`."""
        return await greenlet_spawn(self._here.retire_key, level, key_id)

    async def reinstate_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.reinstate_key`."""
        return await greenlet_spawn(self._here.reinstate_key, level, key_id)

    async def wrapped_under(self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int) -> Sequence[WrappedKey]:
        """As `KeyStore.wrapped_under`."""
        return await greenlet_spawn(self._here.wrapped_under, level, wrapping_id, after_id, limit)

    async def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> int:
        """As `KeyStore.rewrap`."""
        return await greenlet_spawn(self._here.rewrap, level, keys)

    async def reseal_canary(self, expected: bytes, canary: bytes) -> bool:
        """As `KeyStore.reseal_canary`."""
        return await greenlet_spawn(self._here.reseal_canary, expected, canary)

    async def sealed_under(self, kind: RecordKind, key_id: str, after_id: str, limit: int) -> Sequence[SealedRecord]:
        """As `KeyStore.sealed_under`."""
        return await greenlet_spawn(self._here.sealed_under, kind, key_id, after_id, limit)

    async def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> int:
        """As `KeyStore.reseal`."""
        return await greenlet_spawn(self._here.reseal, kind, records)
