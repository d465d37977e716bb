"""Tokens that wait outside their place: in the escrow until the store is back, as candidates until they are needed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from socialvault.exceptions import (
    ConnectionNotFoundError,
    EncryptionError,
    GenerationConflictError,
    KeyNotFoundError,
    SocialVaultError,
    StoreError,
    StoreUnavailableError,
    WrongKeyError,
)
from socialvault.model.keys import sealing_key_id
from socialvault.model.status import Status
from socialvault.protocol.token import merge
from socialvault.vault.saving import Arrived, InEscrowError
from socialvault.vault.schedule import due_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.crypto.records import TokenRecord
    from socialvault.model.rows import ConnectionRow, EscrowRecord
    from socialvault.providers.base import Provider
    from socialvault.vault.core import Core
    from socialvault.vault.saving import Saving


#: What nobody can open for so long (its owner was erased from another host, say) is nobody's any more.
_SET_ASIDE_AFTER = timedelta(days=1)


class Custody:
    """Brings waiting tokens home."""

    def __init__(self, core: Core, saving: Saving) -> None:
        self._core = core
        self._saving = saving

    async def replay(self) -> int:
        """Put what waits in the escrow into the store; return how much. The rest stays for another try."""
        return sum([await self._bring_home(record) for record in await self._waiting()])

    async def replay_connection(self, connection_id: str) -> bool:
        """As `replay` for one connection, whose stored token is worth nothing while a newer one waits.

        Raises:
            StoreUnavailableError: one waits and can't be stored now.
        """
        mine = [record for record in await self._waiting() if record.row.id == connection_id]
        if not all([await self._bring_home(record) for record in mine]):
            raise StoreUnavailableError("a newer token of this connection waits in the escrow, and can't be stored now")
        return bool(mine)

    async def held(self, row: ConnectionRow) -> tuple[TokenRecord, int] | None:
        """Return the newest token of a connection that waits, and the generation that it will have."""
        mine = [record for record in await self._waiting() if record.row.id == row.id]
        if not mine or mine[-1].generation < row.generation:
            return None
        newest = mine[-1]
        return await self._core.open_kept(newest.envelope, row, newest.generation), newest.generation + 1

    async def _waiting(self) -> Sequence[EscrowRecord]:
        return () if self._core.escrow is None else await self._core.escrow.records()

    async def _bring_home(self, record: EscrowRecord) -> bool:
        escrow = self._core.escrow
        if escrow is None:
            return False
        try:
            await self._put(record)
            await escrow.forget(record.name)
        except SocialVaultError as problem:
            import logging

            logger = logging.getLogger("socialvault")
            logger.warning("a token stays in the escrow for now: %s: %s", type(problem).__name__, problem)
            age = timedelta(seconds=self._core.clock.now_seconds() - record.at_seconds)
            refused = isinstance(problem, EncryptionError) and problem.action != "retry"
            if refused and age > _SET_ASIDE_AFTER and not await self._may_open_later(record, problem):
                await escrow.set_aside(record.name)
            return False
        return True

    async def _may_open_later(self, record: EscrowRecord, problem: SocialVaultError) -> bool:
        """Whether its DEK is still stored: retired, say, or under a key that this process was not given."""
        if not isinstance(problem, KeyNotFoundError | WrongKeyError):
            return False
        try:
            return await self._core.store.key("data", sealing_key_id(record.envelope)) is not None
        except StoreError:
            return True

    async def _put(self, record: EscrowRecord) -> None:
        """Store what the provider once answered, unless the store has it or a later one; then it is a candidate."""
        row = record.row
        kept = await self._core.open_kept(record.envelope, row, record.generation)
        sealers = await self._core.sealers(row)
        arrived = Arrived(row, kept, self._core.provider_of(row), sealers, in_escrow=True)
        current = await self._core.store.get(row.id, row.account.tenant, row.owner)
        if current is None and record.is_new:
            filled = replace(row, envelope=sealers.seal(kept, row, row.generation), key_id=sealers.stored.key_id.hex())
            existing = await self._saving.insert(replace(arrived, row=filled))
            if existing is None:
                await self._core.emit("connected", row, "escrow")
            elif existing.owner == row.owner and _is_older(existing, record):
                await self._put_over(existing, arrived)
        elif current is not None and current.envelope and await self._is_stored(current, arrived):
            return
        elif current is not None and current.status.live and current.generation == record.generation:
            written = await self._saving.write(replace(arrived, row=current))
            await (self._saving.announce(written, "escrow") if written else self._keep_candidate(arrived))
        else:
            await self._keep_candidate(arrived)

    async def _put_over(self, existing: ConnectionRow, arrived: Arrived) -> None:
        """Put a grant that was to renew the owner's own connection in its place; what it leaves out is kept."""
        rolled_back, provider = await self._core.is_rolled_back(existing), arrived.provider
        stored = await self._core.replaceable(existing)
        token = merge(stored.token, arrived.record.token) if stored else arrived.record.token
        due = due_at(token, provider, self._core.settings.leeway, existing.id)
        again = replace(arrived.record, token=token, due_at=due)
        written = await self._saving.write(replace(arrived, row=existing, record=again))
        if written is None:
            raise GenerationConflictError(f"{provider.slug}: the connection is being written by others; try again")
        if rolled_back:
            await self._core.anchor_anew(written.row)
        await self._core.emit("reconnected", written.row, "escrow")

    async def _keep_candidate(self, arrived: Arrived) -> None:
        with suppress(ConnectionNotFoundError):  # disconnected, and its revocation is queued
            await self._saving.keep_candidate(arrived)

    async def _is_stored(self, current: ConnectionRow, arrived: Arrived) -> bool:
        stored = (await self._core.open(current)).token
        return stored.access_token == arrived.record.token.access_token

    async def discard(self, tenant: str, owner: str) -> None:
        """Bring an owner's waiting tokens home, where tombstones have them revoked; remove what can't be."""
        for record in await self._waiting():
            mine = (record.row.account.tenant, record.row.owner) == (tenant, owner)
            if mine and not await self._bring_home(record) and self._core.escrow is not None:
                await self._core.escrow.forget(record.name)

    async def adopt_candidate(self, current: ConnectionRow, provider: Provider) -> ConnectionRow | None:
        """Put a late token in the place of the stored one, which is dead; None when there is none that opens."""
        if not current.candidate:
            return None
        try:
            late = await self._core.open_kept(current.candidate, current, current.generation)
        except EncryptionError as problem:
            if problem.action == "retry":  # it may open yet, so nothing is dead
                raise
            return None
        try:
            written = await self._saving.write(Arrived(current, late, provider, await self._core.sealers(current)))
        except InEscrowError:
            written = None
        if written is not None:
            await self._saving.announce(written, "candidate")
        return await self._core.row(current.id, current.account.tenant, current.owner)


def _is_older(existing: ConnectionRow, record: EscrowRecord) -> bool:
    """Whether a connection still is what it was before a grant for it came to wait; one that has died is, anyway."""
    return existing.status is not Status.ACTIVE or existing.updated_at_seconds <= record.at_seconds
