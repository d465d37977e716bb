"""The collaborators of one vault, and the few steps that every use case shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from inspect import isawaitable
from typing import TYPE_CHECKING, TypeVar

from socialvault.crypto.records import TokenRecord, open_record, seal_record
from socialvault.exceptions import ConfigurationError, ConnectionNotFoundError, OutcomeUnknownError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from socialvault.crypto.keyring import Keyring
    from socialvault.model.connection import Connection
    from socialvault.model.events import Event, EventName
    from socialvault.model.rows import ConnectionRow
    from socialvault.ports.clock import Clock
    from socialvault.ports.runtime import Factory, Runtime
    from socialvault.ports.store import AsyncStore
    from socialvault.providers.base import Provider
    from socialvault.vault.conversation import Conversations
    from socialvault.vault.settings import Providers, Settings

    #: Told about every transition; may be a coroutine function where the vault is an ``AsyncVault``.
    Observer = Callable[[Event], Awaitable[None] | None]

T = TypeVar("T")


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

    async def guarded(self, work: Factory[T]) -> T:
        """Run what must not stop half-way: it ends whatever happens to the caller.

        Raises:
            OutcomeUnknownError: it takes longer than `Settings.exchange_deadline`, and goes on.
        """
        deadline = self.settings.exchange_deadline.total_seconds()
        try:
            return await self.runtime.guarded(work, deadline_seconds=deadline, heartbeat=None, every_seconds=deadline)
        except TimeoutError:
            pass
        raise OutcomeUnknownError("the provider takes too long; what was begun goes on, try again later")

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
        provider = self.providers.by_slug.get(row.account.provider)
        if provider is None:
            raise ConfigurationError(self.providers.missing(row.account.provider))
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
        if not self.observers:
            return
        from socialvault.model.events import Event

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
        from socialvault.vault.description import describe

        record = await self.open(row) if row.envelope else None
        return describe(row, record, self.providers.by_slug.get(row.account.provider), self.now())


def not_found(connection_id: str) -> ConnectionNotFoundError:
    """Build the error for a connection that this owner does not have."""
    return ConnectionNotFoundError(f"there is no connection {connection_id!r} of this owner and tenant")


def seconds(at: datetime | None) -> float | None:
    """Return a time as it is stored."""
    return None if at is None else at.timestamp()
