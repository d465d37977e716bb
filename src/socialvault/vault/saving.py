"""A token that arrived, on its way into the store: nothing that happens there may lose it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from socialvault.exceptions import (
    ConfigurationError,
    ConnectionNotFoundError,
    EncryptionError,
    GenerationConflictError,
    KeyNotFoundError,
    StoreError,
    TokenAtRiskError,
)
from socialvault.model.keys import Resealed
from socialvault.model.rows import ConnectionRow, EscrowRecord, TokenWrite
from socialvault.model.status import Status
from socialvault.vault.core import Core, Sealers, moment, not_found, seconds
from socialvault.vault.schedule import dies_at, first_warning, same_deadline

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from socialvault.crypto.records import TokenRecord
    from socialvault.providers.base import Provider
    from socialvault.vault.outbox import Outbox

T = TypeVar("T")

_WRITE_ATTEMPTS = 8
_WRITE_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_CANDIDATE_ATTEMPTS = 5
_AT_RISK = "the provider answered, and neither the store nor an escrow could keep it"


@dataclass(frozen=True, slots=True)
class Arrived:
    """A token that a provider answered with, and all that it takes to keep it.

    Attributes:
        row: the connection as it was when the old token was presented.
        record: what is to be stored. sealers: made before the request was sent.
        in_escrow: it waits there already, and stays there if the store is away.
    """

    row: ConnectionRow
    record: TokenRecord
    provider: Provider
    sealers: Sealers
    in_escrow: bool = False

    def sealed(self, sealers: Sealers) -> Arrived:
        """Return it with its row's record sealed by `sealers`."""
        row = self.row
        envelope = sealers.seal(self.record, row, row.generation)
        return replace(self, sealers=sealers, row=replace(row, envelope=envelope, key_id=sealers.stored.key_id.hex()))


@dataclass(frozen=True, slots=True)
class Written:
    """A token that was stored.

    Attributes:
        before: the status that it found. failing: whether renewals had failed.
    """

    row: ConnectionRow
    before: Status
    failing: bool


class InEscrowError(Exception):
    """The store stayed away, and the token waits in the escrow."""


class Saving:
    """Keeps what arrived: in the store, else in the escrow, else as a candidate, else it is revoked."""

    def __init__(self, core: Core, outbox: Outbox) -> None:
        self._core = core
        self._outbox = outbox

    async def save(self, arrived: Arrived) -> ConnectionRow:
        """Store a renewed token; return the row that holds the newest one, which may be another's.

        Raises:
            ConnectionNotFoundError: the connection was disconnected meanwhile; the late token is being revoked.
            TokenAtRiskError: neither store nor escrow could keep it.
        """
        try:
            written = await self.write(arrived)
            if written is None:
                return await self._after_conflict(arrived)
        except InEscrowError:  # durable, so it may be used
            await self._core.emit("token_escrowed", arrived.row)
            return self._following(arrived)
        await self.announce(written)
        return written.row

    async def write(self, arrived: Arrived) -> Written | None:
        """Write a token over its connection's row; return None when that had been written since.

        Raises:
            InEscrowError, TokenAtRiskError: the store stayed away.
        """
        row = self._following(arrived)

        async def put() -> Status | None:
            nonlocal row
            try:
                return await self._core.store.write_token(_write_of(row))
            except KeyNotFoundError:  # it was sealed under a key that was retired since
                pass
            row = self._following(replace(arrived, sealers=await self._core.fresh_sealers(arrived.row)))
            return await self._core.store.write_token(_write_of(row))

        before = await self._kept(put, arrived, is_new=False)
        if before is not None:
            await self._core.anchor_stored(row)
            return Written(row, before, arrived.row.failing_since_seconds is not None)
        try:
            current = await self._current(arrived.row)
        except StoreError:
            return None  # not known to be stored, so it is kept elsewhere, too
        if current is None or current.envelope != row.envelope:
            return None
        await self._core.anchor_stored(row)
        return Written(row, arrived.row.status, arrived.row.failing_since_seconds is not None)  # an earlier try did it

    async def announce(self, written: Written, reason: str = "") -> None:
        """Tell observers of a renewed token, and of what it mended."""
        await self._core.emit("refreshed", written.row, reason)
        if written.before is Status.REAUTHORIZATION_REQUIRED:
            await self._core.emit("recovered", written.row)
        if written.failing:
            await self._core.emit("renewal_recovered", written.row)

    async def insert(self, arrived: Arrived) -> ConnectionRow | None:
        """Insert a new connection's row, or return the live row that has its account.

        Raises:
            InEscrowError, TokenAtRiskError: the store stayed away.
        """
        existing = await self._kept(partial(self._insert, arrived), arrived, is_new=True)
        if existing is not None and existing.id != arrived.row.id:
            return existing
        await self._core.anchor_stored(arrived.row)  # an earlier try may have inserted it
        return None

    async def _insert(self, arrived: Arrived) -> ConnectionRow | None:
        try:
            existing = await self._core.store.insert(arrived.row)
        except KeyNotFoundError:
            arrived = arrived.sealed(await self._core.fresh_sealers(arrived.row))
            existing = await self._core.store.insert(arrived.row)
        if existing is None or existing.id == arrived.row.id:  # by an earlier try
            await self._outlive_erasure(arrived)
        return existing

    async def _outlive_erasure(self, arrived: Arrived) -> None:
        """Seal again what was inserted just after its owner was erased, and with them the key that sealed it."""
        row = arrived.row
        if await self._core.store.key("data", row.key_id) is None:
            again = arrived.sealed(await self._core.fresh_sealers(row)).row
            await self._core.store.reseal("token", [Resealed(row.id, row.envelope, again.envelope, again.key_id)])

    async def hold(self, arrived: Arrived) -> bool:
        """Keep a new grant in the escrow, as long as nobody can say what it takes the place of; False without one."""
        return bool(await self._escrowed(arrived, is_new=True))

    async def keep_candidate(self, arrived: Arrived) -> ConnectionRow:
        """Keep a late token beside the stored one; return the row.

        Raises:
            ConnectionNotFoundError: there is no such connection any more; the token is being revoked.
        """
        row = arrived.row
        for _ in range(_CANDIDATE_ATTEMPTS):
            current = await self._current(row)
            if current is None or not current.status.live:
                await self._outbox.revoke_late(row, arrived.record, arrived.provider, arrived.sealers)
                raise not_found(row.id)
            candidate = arrived.sealers.seal_kept(arrived.record, row, current.generation)
            try:
                if await self._core.store.put_candidate(row.id, current.generation, candidate):
                    return current
            except KeyNotFoundError:
                arrived = replace(arrived, sealers=await self._core.fresh_sealers(row))
        raise GenerationConflictError(f"{row.account.provider}: the connection is being written by others; try again")

    async def _after_conflict(self, arrived: Arrived) -> ConnectionRow:
        try:
            return await self.keep_candidate(arrived)
        except ConnectionNotFoundError:  # disconnected, and the token is being revoked
            raise
        except (StoreError, EncryptionError):
            if not await self._escrowed(arrived, is_new=False):
                raise
        raise InEscrowError

    async def _current(self, row: ConnectionRow) -> ConnectionRow | None:
        return await self._core.store.get(row.id, row.account.tenant, row.owner)

    def _following(self, arrived: Arrived) -> ConnectionRow:
        """Return the row as it is once `arrived` is stored as its next generation."""
        row = arrived.row
        dies = dies_at(arrived.record.token, arrived.provider.renewal)
        return replace(
            row,
            status=Status.ACTIVE,
            reason="",
            generation=row.generation + 1,
            envelope=arrived.sealers.seal(arrived.record, row, row.generation + 1),
            key_id=arrived.sealers.stored.key_id.hex(),
            updated_at_seconds=self._core.clock.now_seconds(),
            due_at_seconds=seconds(arrived.record.due_at),
            dies_at_seconds=seconds(dies),
            warn_at_seconds=self._warn_at_seconds(row, dies),
            failing_since_seconds=None,
            failing_with="",
            failures=0,
            refusals=0,
            candidate=b"",
            intent_digest=b"",
            intent_sent_at_seconds=None,
            intent_deadline_seconds=None,
            intent_attempt=0,
        )

    def _warn_at_seconds(self, row: ConnectionRow, dies: datetime | None) -> float | None:
        """A deadline that was known before goes on from where its warnings are; a new one begins with its first."""
        if row.envelope and same_deadline(moment(row.dies_at_seconds), dies):
            return row.warn_at_seconds
        return seconds(first_warning(dies, self._core.now()))

    # --- while the store is away ------------------------------------------------------------------

    async def _kept(self, write: Callable[[], Awaitable[T]], arrived: Arrived, *, is_new: bool) -> T:
        """Write; while the store is away, keep the token in the escrow and try again."""
        try:
            return await write()
        except (StoreError, EncryptionError):
            if arrived.in_escrow:
                raise
        name = await self._escrowed(arrived, is_new=is_new)
        try:
            result = await self._patiently(write)
        except (StoreError, EncryptionError):
            pass
        else:
            await self._forget(name)
            return result
        raise InEscrowError if name else TokenAtRiskError(_AT_RISK)

    async def _forget(self, name: str) -> None:
        """Remove what the store has taken; where that fails, a replay will find that out."""
        if self._core.escrow is None or not name:
            return
        with suppress(StoreError):
            await self._core.escrow.forget(name)

    async def _escrowed(self, arrived: Arrived, *, is_new: bool) -> str:
        """Keep a token in the escrow; return its name there, "" when that failed or there is none."""
        if self._core.escrow is None:
            return ""
        row = arrived.row
        envelope = arrived.sealers.seal_kept(arrived.record, row, row.generation)
        record = EscrowRecord("", row, is_new, row.generation, envelope, self._core.clock.now_seconds())
        try:
            return await self._core.escrow.keep(record)
        except (StoreError, ConfigurationError):  # its folder may have been changed since the start
            return ""

    async def _patiently(self, write: Callable[[], Awaitable[T]]) -> T:
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

        patience = AsyncRetrying(
            retry=retry_if_exception_type((StoreError, EncryptionError)),
            stop=stop_after_attempt(_WRITE_ATTEMPTS),
            wait=wait_exponential(_WRITE_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS),
            sleep=self._core.runtime.sleep,
            reraise=True,
        )

        async def again() -> T:  # tenacity awaits coroutine functions alone
            return await write()

        return await patience(again)


def _write_of(written: ConnectionRow) -> TokenWrite:
    return TokenWrite(
        connection_id=written.id,
        expected_generation=written.generation - 1,
        envelope=written.envelope,
        key_id=written.key_id,
        updated_at_seconds=written.updated_at_seconds,
        due_at_seconds=written.due_at_seconds,
        dies_at_seconds=written.dies_at_seconds,
        warn_at_seconds=written.warn_at_seconds,
    )
