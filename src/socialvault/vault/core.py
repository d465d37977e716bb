"""The collaborators of one vault, and the few steps that every use case shares."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn, TypeVar

from socialvault.crypto.records import TokenRecord, open_record, seal_record
from socialvault.exceptions import (
    ConfigurationError,
    ConnectionNotFoundError,
    EncryptionError,
    KeyNotFoundError,
    OutcomeUnknownError,
    StoreUnavailableError,
    TamperedError,
)
from socialvault.model.events import Event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from socialvault.crypto.envelope import Sealer
    from socialvault.crypto.keyring import Keyring
    from socialvault.model.connection import Connection
    from socialvault.model.events import EventName
    from socialvault.model.rows import ConnectionRow
    from socialvault.ports.anchor import AsyncAnchor
    from socialvault.ports.clock import Clock
    from socialvault.ports.escrow import AsyncEscrow
    from socialvault.ports.runtime import Factory, Runtime
    from socialvault.ports.store import AsyncStore
    from socialvault.providers.base import Provider
    from socialvault.vault.conversation import Conversations
    from socialvault.vault.events import Events
    from socialvault.vault.settings import Providers, Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Core:
    """One vault's collaborators.

    Attributes:
        escrow: where a token answer waits that the store can't take; None for a vault that has none.
        anchor: remembers generations where backups of the store don't reach; None for a vault that has none.
        at_start: done once the keyring is open.
    """

    settings: Settings
    providers: Providers
    store: AsyncStore
    keyring: Keyring
    conversations: Conversations
    runtime: Runtime
    clock: Clock
    events: Events
    escrow: AsyncEscrow | None = None
    anchor: AsyncAnchor | None = None
    at_start: list[Callable[[], Awaitable[object]]] = field(default_factory=list)

    def now(self) -> datetime:
        """Return the time (aware, UTC)."""
        return datetime.fromtimestamp(self.clock.now_seconds(), UTC)

    async def ready(self) -> None:
        """Open escrow and keyring at the first use.

        Raises:
            ConfigurationError: the escrow can't be written.
            WrongKeyError: the database belongs to other keys; nothing was written.
        """
        if not self.keyring.opened:
            await self.runtime.single_flight("open", self._open)

    async def _open(self) -> None:
        if self.escrow is not None:
            await self.escrow.open()
        await self.keyring.open()
        for work in self.at_start:
            await work()

    async def guarded(
        self, work: Factory[T], *, heartbeat: Factory[None] | None = None, every: timedelta | None = None
    ) -> T:
        """Run what must not stop half-way: it ends whatever happens to the caller.

        Args:
            heartbeat: done meanwhile, `every` so often.

        Raises:
            OutcomeUnknownError: it takes longer than `Settings.exchange_deadline`, and goes on.
        """
        deadline = self.settings.exchange_deadline
        try:
            return await self.runtime.guarded(
                work,
                deadline_seconds=deadline.total_seconds(),
                heartbeat=heartbeat,
                every_seconds=(every or deadline).total_seconds(),
            )
        except TimeoutError:
            pass
        raise OutcomeUnknownError("the provider takes too long; what was begun goes on, try again later")

    async def any_row(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow:
        """Return a live connection's row, rolled back or not: for giving it a new grant.

        Raises:
            ConnectionNotFoundError: this owner has no such live connection.
        """
        row = await self.store.get(connection_id, tenant, owner)
        if row is None or not row.status.live:
            raise not_found(connection_id)
        return row

    async def row(self, connection_id: str, tenant: str, owner: str) -> ConnectionRow:
        """Return a live connection's row.

        Raises:
            ConnectionNotFoundError: this owner has no such live connection.
            TamperedError: the stored row is older than one that was stored before.
        """
        # Before the row is read: a generation is anchored once it is stored, so no row may be below it.
        floor = 0 if self.anchor is None else await self.anchor.highest(connection_id)
        row = await self.any_row(connection_id, tenant, owner)
        if self.anchor is not None and row.generation < floor:
            await self.refuse_rolled_back(row.id, tenant, owner, row.account.provider, row.generation)
        if row.generation > floor:
            await self.anchor_stored(row)
        return row

    async def refuse_rolled_back(
        self, connection_id: str, tenant: str, owner: str, provider: str, generation: int
    ) -> NoReturn:
        """Refuse a row that is older than one that was stored before; it is left as it is."""
        problem = TamperedError(
            "the stored connection was rolled back: a newer one is anchored. If you restored a backup, reset its anchor"
        )
        await self.tell_refused(problem, connection_id, tenant, owner, provider, generation)
        raise problem

    async def is_rolled_back(self, row: ConnectionRow) -> bool:
        """Whether a newer row than this one was stored before."""
        return self.anchor is not None and row.generation < await self.anchor.highest(row.id)

    async def anchor_stored(self, row: ConnectionRow) -> None:
        """Anchor what is stored. Where that fails, the next read makes up for it: a stored token is not lost for it."""
        if self.anchor is None:
            return
        try:
            await self.anchor.raise_to(row.id, row.generation)
        except StoreUnavailableError as problem:
            import logging

            logging.getLogger("socialvault").warning("a generation was not anchored: %s", problem)

    async def anchor_anew(self, row: ConnectionRow) -> None:
        """Anchor a row although a newer one was stored before: it holds a new grant."""
        if self.anchor is not None:
            await self.anchor.reset(row.id)
            await self.anchor.raise_to(row.id, row.generation)

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
        account = row.account
        try:
            sealer, envelope = await self.opener(row)
            return open_record(sealer, envelope, account.provider, account.issuer, row.id, row.generation)
        except EncryptionError as problem:
            await self.tell_refused(problem, row.id, account.tenant, row.owner, account.provider, row.generation)
            raise

    async def opener(self, row: ConnectionRow) -> tuple[Sealer, bytes]:
        """Return what opens a row's record, and that record: as it is by now, where its key was retired since.

        A key is retired once nothing needs it, so whoever read the record before then finds it under another one.
        """
        tenant, owner = row.account.tenant, row.owner
        try:
            return await self.keyring.for_opening(row.envelope, tenant, owner), row.envelope
        except KeyNotFoundError:
            current = await self.store.get(row.id, tenant, owner)
            if current is None or current.generation != row.generation or current.envelope == row.envelope:
                raise
        return await self.keyring.for_opening(current.envelope, tenant, owner), current.envelope

    async def replaceable(self, row: ConnectionRow) -> TokenRecord | None:
        """Open what a new grant takes the place of; None when it does not open, which only that new grant can mend."""
        if not row.envelope or await self.is_rolled_back(row):
            return None
        try:
            return await self.open(row)
        except EncryptionError as problem:
            if problem.action == "retry":
                raise
        return None

    async def sealers(self, row: ConnectionRow) -> Sealers:
        """Make ready what seals a token answer for `row`, so that nothing is missing once it is there."""
        tenant, owner = row.account.tenant, row.owner
        await self.keyring.drop_erased(tenant, owner)
        return Sealers(
            await self.keyring.for_sealing(tenant, owner), await self.keyring.for_escrow(None, tenant, owner)
        )

    async def fresh_sealers(self, row: ConnectionRow) -> Sealers:
        """As `sealers`, after one of them was refused because its key had been retired since."""
        self.keyring.forget(row.account.tenant, row.owner)
        return await self.sealers(row)

    async def open_kept(self, envelope: bytes, row: ConnectionRow, generation: int) -> TokenRecord:
        """Open a token answer that was sealed for escrow, or as a candidate."""
        account = row.account
        try:
            sealer = await self.keyring.for_escrow(envelope, account.tenant, row.owner)
            return open_record(sealer, envelope, account.provider, account.issuer, row.id, generation)
        except EncryptionError as problem:
            await self.tell_refused(problem, row.id, account.tenant, row.owner, account.provider, generation)
            raise

    async def tell_refused(
        self, problem: EncryptionError, connection_id: str, tenant: str, owner: str, provider: str, generation: int
    ) -> None:
        """Tell every observer that a sealed record was refused; a key service that is away refuses none."""
        if problem.action == "retry":
            return
        reason = type(problem).__name__
        event = Event("record_refused", self.now(), connection_id, tenant, owner, provider, generation, reason)
        await self.events.emit(event)

    async def emit(
        self, name: EventName, row: ConnectionRow, reason: str = "", *, dies_at: datetime | None = None
    ) -> None:
        """Tell every observer about a connection."""
        await self.events.emit(
            Event(
                name=name,
                at=self.now(),
                connection_id=row.id,
                tenant=row.account.tenant,
                owner=row.owner,
                provider=row.account.provider,
                generation=row.generation,
                reason=reason,
                dies_at=dies_at,
            )
        )

    async def describe(self, row: ConnectionRow) -> Connection:
        """Return a row as callers see it."""
        from socialvault.vault.description import describe

        record = await self.open(row) if row.envelope else None
        return describe(row, record, self.providers.by_slug.get(row.account.provider), self.now())


@dataclass(frozen=True, slots=True)
class Sealers:
    """What seals one owner's tokens: for the store, and for where they wait for it. Made before a token is sent."""

    stored: Sealer
    kept: Sealer

    def seal(self, record: TokenRecord, row: ConnectionRow, generation: int) -> bytes:
        """Seal a record for the store."""
        return seal_record(self.stored, record, row.account.provider, row.account.issuer, row.id, generation)

    def seal_kept(self, record: TokenRecord, row: ConnectionRow, generation: int) -> bytes:
        """Seal a record for the escrow, or as a candidate."""
        return seal_record(self.kept, record, row.account.provider, row.account.issuer, row.id, generation)


def not_found(connection_id: str) -> ConnectionNotFoundError:
    """Build the error for a connection that this owner does not have."""
    return ConnectionNotFoundError(f"there is no connection {connection_id!r} of this owner and tenant")


def moment(at_seconds: float | None) -> datetime | None:
    """Return stored seconds as a time (aware, UTC)."""
    return None if at_seconds is None else datetime.fromtimestamp(at_seconds, UTC)


def seconds(at: datetime | None) -> float | None:
    """Return a time as it is stored."""
    return None if at is None else at.timestamp()
