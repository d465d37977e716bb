"""Blocking ports seen through the asynchronous protocols: each coroutine calls, and ends at its first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from socialvault.model.keys import KeyContext, VaultRow, WrappedKey
    from socialvault.model.rows import (
        ConnectionRow,
        EscrowRecord,
        FailureWrite,
        IntentWrite,
        RevocationRow,
        StatusWrite,
        TokenRow,
        TokenWrite,
    )
    from socialvault.model.state import StateRow
    from socialvault.model.status import Status
    from socialvault.ports.escrow import Escrow
    from socialvault.ports.key_service import KeyService
    from socialvault.ports.store import Store
    from socialvault.ports.transport import Transport
    from socialvault.protocol.messages import HttpRequest, HttpResponse


class BlockingTransport:
    """A `Transport` as an `AsyncTransport`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def send(self, request: HttpRequest) -> HttpResponse:
        return self._transport.send(request)

    async def aclose(self) -> None:
        self._transport.close()


class BlockingKeyService:
    """A `KeyService` as an `AsyncKeyService`."""

    def __init__(self, service: KeyService) -> None:
        self._service = service

    @property
    def primary_id(self) -> str:
        return self._service.primary_id

    @property
    def key_ids(self) -> Collection[str]:
        return self._service.key_ids

    async def wrap(self, key: bytes, context: KeyContext) -> bytes:
        return self._service.wrap(key, context)

    async def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        return self._service.unwrap(wrapped, context)


class BlockingStore:
    """A `Store` as an `AsyncStore`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # connections

    async def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        return self._store.read_token(connection_id, tenant, owner)

    async def get(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow | None:
        return self._store.get(connection_id, tenant, owner)

    async def list_for_owner(self, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        return self._store.list_for_owner(tenant, owner)

    async def list_children(self, parent_id: str, tenant: str, owner: str) -> Sequence[ConnectionRow]:
        return self._store.list_children(parent_id, tenant, owner)

    async def insert(self, row: ConnectionRow) -> ConnectionRow | None:
        return self._store.insert(row)

    async def write_token(self, write: TokenWrite) -> Status | None:
        return self._store.write_token(write)

    async def write_status(self, write: StatusWrite) -> bool:
        return self._store.write_status(write)

    async def count_grant_siblings(self, row: ConnectionRow) -> int:
        return self._store.count_grant_siblings(row)

    async def list_for_account(
        self, provider: str, client_id: str, issuer: str, subject: str
    ) -> Sequence[ConnectionRow]:
        return self._store.list_for_account(provider, client_id, issuer, subject)

    async def delete(self, connection_id: str) -> int:
        return self._store.delete(connection_id)

    async def acquire_lease(self, connection_id: str, holder: str, ttl_seconds: float) -> bool:
        return self._store.acquire_lease(connection_id, holder, ttl_seconds)

    async def release_lease(self, connection_id: str, holder: str) -> bool:
        return self._store.release_lease(connection_id, holder)

    async def open_intent(self, intent: IntentWrite) -> bool:
        return self._store.open_intent(intent)

    async def write_failure(self, write: FailureWrite) -> bool:
        return self._store.write_failure(write)

    async def put_candidate(self, connection_id: str, expected_generation: int, candidate: bytes) -> bool:
        return self._store.put_candidate(connection_id, expected_generation, candidate)

    async def find_due(self, provider: str, client_id: str, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        return self._store.find_due(provider, client_id, now_seconds, limit)

    async def find_warnings(self, now_seconds: float, limit: int) -> Sequence[ConnectionRow]:
        return self._store.find_warnings(now_seconds, limit)

    async def write_warning(self, connection_id: str, warned_at_seconds: float, warn_at_seconds: float | None) -> bool:
        return self._store.write_warning(connection_id, warned_at_seconds, warn_at_seconds)

    async def tombstone(self, write: StatusWrite, revocation: RevocationRow) -> Sequence[ConnectionRow] | None:
        return self._store.tombstone(write, revocation)

    async def queue_revocation(self, revocation: RevocationRow) -> None:
        self._store.queue_revocation(revocation)

    async def find_revocations(self, now_seconds: float, limit: int) -> Sequence[RevocationRow]:
        return self._store.find_revocations(now_seconds, limit)

    async def list_revocations(self, connection_id: str) -> Sequence[RevocationRow]:
        return self._store.list_revocations(connection_id)

    async def claim_revocation(self, revocation_id: str, expected_attempt: int, next_attempt_at_seconds: float) -> bool:
        return self._store.claim_revocation(revocation_id, expected_attempt, next_attempt_at_seconds)

    async def finish_revocation(self, revocation_id: str, outcome: str, now_seconds: float) -> bool:
        return self._store.finish_revocation(revocation_id, outcome, now_seconds)

    async def erase_owner(self, tenant: str, owner: str) -> int:
        return self._store.erase_owner(tenant, owner)

    async def find(
        self, *, tenant: str | None, owner: str | None, provider: str | None, status: str | None,
        after_id: str, limit: int,
    ) -> Sequence[ConnectionRow]:  # fmt: skip
        return self._store.find(
            tenant=tenant, owner=owner, provider=provider, status=status, after_id=after_id, limit=limit
        )

    async def count_by_status(self) -> Mapping[str, int]:
        return self._store.count_by_status()

    async def aclose(self) -> None:
        self._store.close()

    # pending flows

    async def put_state(self, row: StateRow, ttl_seconds: float) -> None:
        self._store.put_state(row, ttl_seconds)

    async def get_state(self, state_hash: bytes) -> StateRow | None:
        return self._store.get_state(state_hash)

    async def claim_state(
        self, state_hash: bytes, *, tenant: str, owner: str, provider: str, binding: bytes
    ) -> StateRow | None:
        return self._store.claim_state(state_hash, tenant=tenant, owner=owner, provider=provider, binding=binding)

    async def finish_state(self, state_hash: bytes, *, connection_id: str, error: str, missing_scopes: str) -> None:
        self._store.finish_state(state_hash, connection_id=connection_id, error=error, missing_scopes=missing_scopes)

    async def purge_states(self, limit: int) -> int:
        return self._store.purge_states(limit)

    # keys

    async def load_vault(self) -> VaultRow | None:
        return self._store.load_vault()

    async def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        return self._store.create_vault(row, vault_key)

    async def vault_keys(self) -> Sequence[WrappedKey]:
        return self._store.vault_keys()

    async def data_key(self, key_id: str) -> WrappedKey | None:
        return self._store.data_key(key_id)

    async def primary_data_key(self, tenant: str, owner: str) -> WrappedKey | None:
        return self._store.primary_data_key(tenant, owner)

    async def add_data_key(self, key: WrappedKey) -> WrappedKey:
        return self._store.add_data_key(key)

    async def replace_data_key(self, key: WrappedKey, old_key_id: str) -> bool:
        return self._store.replace_data_key(key, old_key_id)


class BlockingEscrow:
    """An `Escrow` as an `AsyncEscrow`."""

    def __init__(self, escrow: Escrow) -> None:
        self._escrow = escrow

    async def open(self) -> None:
        self._escrow.open()

    async def keep(self, record: EscrowRecord) -> str:
        return self._escrow.keep(record)

    async def records(self) -> Sequence[EscrowRecord]:
        return self._escrow.records()

    async def set_aside(self, name: str) -> None:
        self._escrow.set_aside(name)

    async def forget(self, name: str) -> None:
        self._escrow.forget(name)
