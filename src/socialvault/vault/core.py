"""The collaborators of one vault, and the few steps that every use case shares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from inspect import isawaitable
from typing import TYPE_CHECKING

from socialvault.crypto.records import TokenRecord, open_record, seal_record
from socialvault.exceptions import ConfigurationError, ConnectionNotFoundError
from socialvault.model.connection import Connection, ConnectionRow, Status
from socialvault.model.events import Event, EventName
from socialvault.model.identity import Identity
from socialvault.vault.schedule import can_renew

if TYPE_CHECKING:
    from socialvault.crypto.keyring import Keyring
    from socialvault.ports.clock import Clock
    from socialvault.ports.runtime import Runtime
    from socialvault.ports.store import AsyncStore
    from socialvault.providers.base import Provider
    from socialvault.vault.conversation import Conversations
    from socialvault.vault.settings import Providers, Settings

#: Told about every transition; may be a coroutine function where the vault is an ``AsyncVault``.
Observer = Callable[[Event], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Core:
    """One vault's collaborators."""

    settings: Settings
    providers: Providers
    store: AsyncStore
    keyring: Keyring
    conversations: Conversations
    runtime: Runtime
    clock: Clock
    observers: Sequence[Observer] = field(default=())

    def now(self) -> datetime:
        """Return the time (aware, UTC)."""
        return datetime.fromtimestamp(self.clock.now_seconds(), UTC)

    async def ready(self) -> None:
        """Open the keyring at the first use.

        Raises:
            WrongKeyError: the database belongs to other keys; nothing was written.
        """
        if not self.keyring.opened:
            await self.runtime.single_flight("open", self.keyring.open)

    async def row(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow:
        """Return a live connection's row.

        Raises:
            ConnectionNotFoundError: this owner has no such live connection.
        """
        row = await self.store.get(connection_id, tenant, owner)
        if row is None or not row.status.live:
            raise not_found(connection_id)
        return row

    def provider_of(self, row: ConnectionRow) -> Provider:
        """Return the provider that can renew `row`.

        Raises:
            ConfigurationError: this vault has it not, or under another client id.
        """
        provider = self.providers.get(row.account.provider)
        if provider.client_id != row.account.client_id:
            raise ConfigurationError(
                f"{provider.slug}: the connection was made by client {row.account.client_id!r}, "
                f"and this vault is client {provider.client_id!r}"
            )
        return provider

    async def open(self, row: ConnectionRow) -> TokenRecord:
        """Open a row's sealed record."""
        sealer = await self.keyring.for_opening(row.envelope, row.account.tenant, row.owner)
        return open_record(sealer, row.envelope, row.account.provider, row.account.issuer, row.id, row.generation)

    async def seal(self, record: TokenRecord, row: ConnectionRow, generation: int) -> tuple[bytes, str]:
        """Seal a record for `row` at `generation`; return the envelope and its key id."""
        sealer = await self.keyring.for_sealing(row.account.tenant, row.owner)
        envelope = seal_record(sealer, record, row.account.provider, row.account.issuer, row.id, generation)
        return envelope, sealer.key_id.hex()

    async def emit(self, name: EventName, row: ConnectionRow, reason: str = "", generation: int | None = None) -> None:
        """Tell every observer; what one of them raises is logged and goes no further."""
        event = Event(
            name=name,
            at=self.now(),
            connection_id=row.id,
            tenant=row.account.tenant,
            owner=row.owner,
            provider=row.account.provider,
            generation=row.generation if generation is None else generation,
            reason=reason,
        )
        for observer in self.observers:
            try:
                told = observer(event)
                if isawaitable(told):
                    await told
            except Exception as problem:
                import logging

                logger = logging.getLogger("socialvault")
                logger.error("an observer of %s events raised %s", name, type(problem).__name__)

    async def describe(self, row: ConnectionRow) -> Connection:
        """Return a row as callers see it."""
        record = await self.open(row) if row.envelope else None
        return describe(row, record, self.providers.by_slug.get(row.account.provider), self.now())


def not_found(connection_id: str) -> ConnectionNotFoundError:
    """Build the error for a connection that this owner does not have."""
    return ConnectionNotFoundError(f"there is no connection {connection_id!r} of this owner and tenant")


def describe(row: ConnectionRow, record: TokenRecord | None, provider: Provider | None, now: datetime) -> Connection:
    """Join a row and its opened record into what callers see."""
    identity = record.identity if record else Identity(row.account.subject)
    token = record.token if record else None
    return Connection(
        id=row.id,
        owner=row.owner,
        tenant=row.account.tenant,
        provider=row.account.provider,
        client_id=row.account.client_id,
        issuer=row.account.issuer,
        subject=row.account.subject,
        parent_id=row.account.parent_id,
        kind=row.kind,
        name=identity.name,
        username=identity.username,
        picture_url=identity.picture_url,
        status=Status(row.status),
        reason=row.reason,
        scopes=(token.scopes if token else None) or frozenset(),
        expires_at=token.expires_at if token else None,
        dies_at=moment(row.dies_at_seconds),
        renewable=bool(token and provider and can_renew(token, provider.renewal, now)),
        generation=row.generation,
        created_at=datetime.fromtimestamp(row.created_at_seconds, UTC),
        updated_at=datetime.fromtimestamp(row.updated_at_seconds, UTC),
    )


def moment(seconds: float | None) -> datetime | None:
    """Return stored seconds as a time (aware, UTC)."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def seconds(at: datetime | None) -> float | None:
    """Return a time as it is stored."""
    return None if at is None else at.timestamp()
