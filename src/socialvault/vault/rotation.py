"""Key rotation: jobs that move keys and records under the primary keys, online, and begin again wherever they ended.

Nothing is remembered between runs: what is still under an old key is what is left to do. Each row moves by
compare-and-swap on its own bytes, so a renewal that writes it meanwhile always wins.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from socialvault.crypto.rotation import reseal, rewrap
from socialvault.exceptions import ConfigurationError, EncryptionError, KeyServiceUnavailableError
from socialvault.model.bad_record import BadRecord, bad_key
from socialvault.model.keys import key_name, sealing_key_id
from socialvault.model.rotation import Rotated, RotationProgress

Moved = TypeVar("Moved")

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
    from typing import Any, Literal

    from socialvault.crypto.envelope import NamedKey
    from socialvault.crypto.keyring import Keyring
    from socialvault.model.keys import RecordKind, Resealed, Rewrapped, SealedRecord, WrappedKey
    from socialvault.model.rotation import OnProgress
    from socialvault.vault.core import Core
    from socialvault.vault.key_states import KeyStates

    #: What is to be written, and what could not be moved.
    _Batch = tuple[list[Moved], list[BadRecord]]

_BATCH = 2000
_KINDS: tuple[RecordKind, ...] = ("token", "candidate", "revocation")
_MOST_COUNTED = 1000
_MOST_BAD = 100
_KEPT_SEALERS = 1000


class Tally:
    """Counts what a job does, tells of it, and keeps it to its rate.

    Args:
        rate: rows per second at most; None for as fast as it goes.
    """

    def __init__(self, core: Core, rate: int | None, on_progress: OnProgress | None) -> None:
        if rate is not None and rate < 1:
            raise ConfigurationError("rate must be at least one row per second, or None")
        self._core = core
        self._rate = rate
        self._on_progress = on_progress
        self._counts: dict[str, int] = {"vault_keys": 0, "data_keys": 0, "records": 0}
        self._bad: dict[tuple[str, str], BadRecord] = {}
        self._refused = 0
        self.total: int | None = None
        self.batch = _BATCH if rate is None else min(_BATCH, rate)

    async def add(
        self, step: Literal["vault_keys", "data_keys", "records"], done: int, bad: Sequence[BadRecord] = ()
    ) -> None:
        """Count a batch; wait where the rate says so."""
        self._counts[step] += done
        for record in bad:
            if (record.kind, record.id) in self._bad:
                continue  # a vault key that is in the way of both steps
            self._refused += 1
            if len(self._bad) < _MOST_BAD:
                self._bad[record.kind, record.id] = record
        if self._on_progress is not None:
            self._on_progress(RotationProgress(step, self._counts[step], self.total))
        if self._rate is not None and done:
            await self._core.runtime.sleep(done / self._rate)

    def result(self) -> Rotated:
        """Return what was done."""
        return Rotated(**self._counts, refused=self._refused, bad=tuple(self._bad.values()))


class KeyRotation:
    """Re-wraps keys and reseals records."""

    def __init__(self, core: Core, states: KeyStates) -> None:
        self._core = core
        self._states = states

    async def rotate(self, rate: int | None, on_progress: OnProgress | None) -> Rotated:
        """Make this process's primary KEK the vault's, then re-wrap and reseal.

        Raises:
            ConfigurationError: another key has replaced it: this process's keys are out of date.
        """
        await self._core.ready()
        await self._make_primary(self._core.keyring.vault_keys.service.primary_id)
        wrapped = await self.rewrap(rate, on_progress)
        sealed = await self.reseal(None, rate, on_progress)
        return Rotated(
            wrapped.vault_keys, wrapped.data_keys, sealed.records, wrapped.refused + sealed.refused,
            wrapped.bad + sealed.bad,
        )  # fmt: skip

    async def _make_primary(self, kek_id: str) -> None:
        known = await self._core.store.key("kek", kek_id)
        if known is not None and known.state in ("decrypt_only", "retired"):  # going back takes an explicit promotion
            raise ConfigurationError(
                f"key {key_name(kek_id)}, the first of this process's keys, was replaced: give this process the new one"
            )
        if known is None:
            await self._states.add("kek", "", "")
        if known is None or known.state != "primary":
            await self._states.promote(kek_id)

    # --- wrapped keys ---------------------------------------------------------------------------

    async def rewrap(self, rate: int | None, on_progress: OnProgress | None) -> Rotated:
        """Wrap vault keys under the primary KEK and DEKs under their primary vault key.

        Raises:
            ConfigurationError: this process's primary KEK is not the vault's: add and promote it first.
        """
        await self._core.ready()
        kek_id = self._core.keyring.vault_keys.service.primary_id
        kek = await self._core.store.key("kek", kek_id)
        if kek is None or kek.state != "primary":
            raise ConfigurationError(
                f"key {key_name(kek_id)} of this process is not the vault's primary KEK: add and promote it first"
            )
        tally = Tally(self._core, rate, on_progress)
        await self._rewrap_vault_keys(kek_id, tally)
        await self._reseal_canary()
        await self._rewrap_data_keys(tally)
        return tally.result()

    async def _rewrap_vault_keys(self, kek_id: str, tally: Tally) -> None:
        keys = self._core.keyring.vault_keys
        rows = [row async for row in self._states.all("vault") if row.wrapped_by != kek_id]
        tally.total = len(rows)
        for row in rows:
            try:
                moved = await self._core.store.rewrap("vault", [await keys.rewrapped(row)])
            except KeyServiceUnavailableError:
                raise
            except EncryptionError as problem:
                await tally.add("vault_keys", 0, [bad_key("vault_key", row, type(problem))])
            else:
                await tally.add("vault_keys", moved)

    async def _reseal_canary(self) -> None:
        keys, store = self._core.keyring.vault_keys, self._core.store
        row = await store.load_vault()
        if row is not None and sealing_key_id(row.canary) != await keys.primary_id(""):
            await store.reseal_canary(row.canary, await keys.resealed_canary(row))

    async def _rewrap_data_keys(self, tally: Tally) -> None:
        rows = [row async for row in self._states.all("vault") if self._is_former(row)]
        tally.total = sum([await self._core.store.count_uses("vault", row.key_id) for row in rows])
        for row in rows:
            await self._rewrap_under(row, tally)

    def _is_former(self, row: WrappedKey) -> bool:
        """Whether a vault key may wrap DEKs that belong under another one."""
        own = bool(row.tenant) == self._core.keyring.vault_keys.per_tenant
        return row.state != "retired" and not (row.state == "primary" and own)

    async def _rewrap_under(self, vault_key: WrappedKey, tally: Tally) -> None:
        keys, store = self._core.keyring.vault_keys, self._core.store
        old = await _opened(keys.get(vault_key.key_id))
        if isinstance(old, type):
            await tally.add("data_keys", 0, [bad_key("vault_key", vault_key, old)])
            return
        await self._move("data_keys", self._rewrapped(old, tally.batch), partial(store.rewrap, "data"), tally)

    async def _rewrapped(self, old: NamedKey, batch: int) -> AsyncGenerator[_Batch[Rewrapped]]:
        targets: dict[str, NamedKey | type[EncryptionError]] = {}
        after_id = ""
        while rows := await self._core.store.wrapped_under("data", old.name, after_id, batch):
            after_id = rows[-1].key_id
            for tenant in {row.tenant for row in rows} - targets.keys():
                targets[tenant] = await _opened(self._primary_vault_key(tenant))
            pairs: list[tuple[WrappedKey, NamedKey]] = []
            stuck: list[BadRecord] = []
            for row in rows:
                target = targets[row.tenant]
                if isinstance(target, type):
                    stuck.append(bad_key("data_key", row, target))
                elif target.name != old.name:
                    pairs.append((row, target))
            done, refused = rewrap(pairs, old, self._core.keyring.vault_id)
            yield done, [*stuck, *refused]

    async def _primary_vault_key(self, tenant: str) -> NamedKey:
        keys = self._core.keyring.vault_keys
        return await keys.get(await keys.primary_id(tenant))

    # --- sealed records -------------------------------------------------------------------------

    async def reseal(self, tenant: str | None, rate: int | None, on_progress: OnProgress | None) -> Rotated:
        """Seal records under their owner's primary DEK, wherever they are not; `tenant`: only this one's."""
        await self._core.ready()
        tally = Tally(self._core, rate, on_progress)
        keyring = self._core.keyring.bounded(_KEPT_SEALERS)
        tally.total = await self._count_records(tenant, keyring)
        async for row in self._states.all("data", tenant=tenant):
            if keyring.is_former(row):
                await self._reseal_under(row, keyring, tally)
        return tally.result()

    async def _count_records(self, tenant: str | None, keyring: Keyring) -> int | None:
        """Count what is to be done, unless there is a DEK for each of many owners."""
        if sum((await self._core.store.count_keys("data")).values()) > _MOST_COUNTED:
            return None
        rows = [row async for row in self._states.all("data", tenant=tenant) if keyring.is_former(row)]
        return sum([await self._core.store.count_uses("data", row.key_id) for row in rows])

    async def _reseal_under(self, data_key: WrappedKey, keyring: Keyring, tally: Tally) -> None:
        old = await _opened(keyring.unwrap(data_key, data_key.tenant, data_key.owner))
        if isinstance(old, type):
            await tally.add("records", 0, [bad_key("data_key", data_key, old)])
            return
        for kind in _KINDS:
            batches = self._resealed(kind, old, keyring, tally.batch)
            await self._move("records", batches, partial(self._core.store.reseal, kind), tally)

    async def _resealed(
        self, kind: RecordKind, old: NamedKey, keyring: Keyring, batch: int
    ) -> AsyncGenerator[_Batch[Resealed]]:
        after_id = ""
        while records := await self._core.store.sealed_under(kind, old.name, after_id, batch):
            after_id = records[-1].id
            pairs: list[tuple[SealedRecord, NamedKey]] = []
            stuck: list[BadRecord] = []
            for record in records:
                target = await _opened(keyring.primary(record.tenant, record.owner))
                if isinstance(target, type):
                    place = (record.id, record.tenant, record.owner, record.provider)
                    stuck.append(BadRecord(kind, *place, old.name, target.__name__))
                else:
                    pairs.append((record, target))
            done, refused = reseal(kind, pairs, old, keyring.vault_id)
            yield done, [*stuck, *refused]

    # --- both -----------------------------------------------------------------------------------

    async def _move(
        self,
        step: Literal["data_keys", "records"],
        batches: AsyncGenerator[_Batch[Moved]],
        write: Callable[[list[Moved]], Coroutine[Any, Any, int]],
        tally: Tally,
    ) -> None:
        """Write each batch while the next one is being read and sealed."""

        async def written(done: list[Moved]) -> int:
            return await write(done) if done else 0

        async def following() -> _Batch[Moved] | None:
            return await anext(batches, None)

        batch = await following()
        while batch is not None:
            done, bad = batch
            both: list[Any] = await self._core.runtime.each([partial(written, done), following], 2)
            moved, batch = both
            await tally.add(step, moved, bad)


async def _opened(key: Awaitable[NamedKey]) -> NamedKey | type[EncryptionError]:
    """Return a key, or the class of what it was refused with; a key service that is away ends the job."""
    try:
        return await key
    except KeyServiceUnavailableError:
        raise
    except EncryptionError as problem:
        return type(problem)
