"""DEKs and sealers over the vault keys: loaded once, cached, replaced in time."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from copy import copy
from os import urandom
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

from socialvault.crypto.commitment import committed
from socialvault.crypto.envelope import KEY_BYTES, NamedKey, Sealer, key_id_of, parse_key_id
from socialvault.crypto.seal_counts import SealCounts
from socialvault.crypto.vault_keys import VaultKeys
from socialvault.exceptions import KeyNotFoundError, StoreError
from socialvault.model.keys import KeyState, WrappedKey, key_name
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from socialvault.crypto.vault_keys import KeyObserver, Once
    from socialvault.model.events import EventName
    from socialvault.ports.clock import Clock
    from socialvault.ports.key_service import AsyncKeyService
    from socialvault.ports.key_store import AsyncKeyStore

DAY_SECONDS = 86_400.0

#: Whose records one DEK seals. Owners can be shredded one by one only with the first.
KeyScope = Literal["owner", "tenant"]
#: Whose DEKs one vault key wraps.
VaultKeyScope = Literal["vault", "tenant"]

K = TypeVar("K")
V = TypeVar("V")


class _Primary(NamedTuple):
    """A scope's DEK for new records, and until when the store is not asked again."""

    key: NamedKey
    until: float


class Keyring:
    """Gives out sealers; reads keys from the key store and never writes a record.

    Args:
        store: where wrapped keys are kept. service: who holds the KEK.
        cache_seconds: how long an unwrapped DEK is used without asking the store again.
        cache_size: how many sealers are kept, the oldest go first.
        cryptoperiod_seconds: after this age a DEK is replaced at the next write; it stays for reading.
        seal_limit: a DEK of many owners is replaced once it has sealed so many records.
        dek_scope: whose records one DEK seals. vault_key_scope: whether tenants have vault keys of their own.
        vault_key_cache_seconds: how long an unwrapped vault key is used without asking the key service again.
        told: is told of every key that is made: the event's name, tenant, owner and the key's id.
        once: shares one call of the key service among all who wait for it.
    """

    def __init__(
        self,
        store: AsyncKeyStore,
        service: AsyncKeyService,
        clock: Clock,
        *,
        cache_seconds: float = 300.0,
        cache_size: int = 200_000,
        cryptoperiod_seconds: float = 90 * DAY_SECONDS,
        seal_limit: int = 2**30,
        dek_scope: KeyScope = "owner",
        vault_key_scope: VaultKeyScope = "vault",
        vault_key_cache_seconds: float = 3600.0,
        told: KeyObserver | None = None,
        once: Once | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._cache_size = cache_size
        self._cryptoperiod_seconds = cryptoperiod_seconds
        self._per_owner = dek_scope == "owner"
        self._told = told
        self.vault_keys = VaultKeys(
            store, service, clock, cache_seconds=vault_key_cache_seconds, per_tenant=vault_key_scope == "tenant",
            told=told, once=once,
        )  # fmt: skip
        self._seals = SealCounts(store, seal_limit)
        self._sealers: OrderedDict[tuple[bytes, str, str], tuple[Sealer, float]] = OrderedDict()
        self._primaries: OrderedDict[tuple[str, str], _Primary] = OrderedDict()

    @property
    def opened(self) -> bool:
        """Whether `open` has succeeded."""
        return bool(self.vault_keys.vault_id)

    @property
    def vault_id(self) -> bytes:
        """The vault's 128 random bits; empty before `open`."""
        return self.vault_keys.vault_id

    async def open(self) -> None:
        """Load the vault's identity and key, or write them at the first start; see `VaultKeys.open`."""
        await self.vault_keys.open()

    def forked(self) -> None:
        """Forget DEKs, and what this process may still seal under them: a forked child counts its own."""
        self._sealers.clear()
        self._primaries.clear()
        self._seals.clear()

    def forget(self, tenant: str, owner: str) -> None:
        """Drop an owner's keys from memory."""
        self._primaries.pop(self.scope_of(tenant, owner), None)
        for entry in list(self._sealers):  # a copy, since other threads go on adding to it
            if entry[1:] == (tenant, owner):
                self._sealers.pop(entry, None)

    def scope_of(self, tenant: str, owner: str) -> tuple[str, str]:
        """Return the scope whose DEK seals what is new for an owner."""
        return (tenant, owner if self._per_owner else "")

    def is_former(self, row: WrappedKey) -> bool:
        """Whether records may be sealed under a DEK that belong under another one."""
        return row.state == "decrypt_only" or (row.state == "primary" and bool(row.owner) != self._per_owner)

    def bounded(self, cache_size: int) -> Keyring:
        """Return this keyring with small caches of its own, for jobs that meet every owner once."""
        keyring = copy(self)
        keyring._cache_size, keyring._sealers, keyring._primaries = cache_size, OrderedDict(), OrderedDict()
        return keyring

    # --- sealers --------------------------------------------------------------------------------

    def cached(self, envelope: bytes, tenant: str, owner: str, now_seconds: float) -> Sealer | None:
        """Return the sealer that opens a token record, if its key was loaded lately. No I/O."""
        entry = self._sealers.get((envelope[4:36], tenant, owner))
        if entry is None or entry[1] < now_seconds:
            return None
        return entry[0]

    async def for_opening(self, envelope: bytes, tenant: str, owner: str) -> Sealer:
        """Return the sealer that opens a token record of this owner.

        Raises:
            MalformedEnvelopeError: it is no envelope.
            KeyNotFoundError: its key is not stored, or is retired.
            TamperedError: its key is another owner's.
        """
        key_id = parse_key_id(envelope)
        found = self.cached(envelope, tenant, owner, self._clock.now_seconds())
        if found is not None:
            return found
        key = await self._stored(key_id, tenant, owner)
        return self._remember(key, tenant, owner, self._clock.now_seconds() + self._cache_seconds)

    async def for_sealing(self, tenant: str, owner: str) -> Sealer:
        """Return the sealer for new token records of this owner; its DEK is made at the first call."""
        key, until = await self._primary(*self.scope_of(tenant, owner))
        return self._remember(key, tenant, owner, until)

    async def for_flow(self, sealed: bytes | None, tenant: str, owner: str) -> Sealer:
        """Return the sealer for pending flows, under the vault's own DEK; `sealed` is what it must open, if any."""
        key = await self._data_key(sealed, "", "")
        return Sealer(key.cipher, key.key_id, self.vault_id, "state", tenant, owner)

    async def for_escrow(self, sealed: bytes | None, tenant: str, owner: str) -> Sealer:
        """Return the sealer for token answers that the store could not take as they came, candidates included.

        Args:
            sealed: what it must open; None to seal.
        """
        key = await self._data_key(sealed, tenant, owner)
        return Sealer(key.cipher, key.key_id, self.vault_id, "escrow", tenant, owner)

    async def _data_key(self, sealed: bytes | None, tenant: str, owner: str) -> NamedKey:
        """Return the DEK that `sealed` names, or the primary one."""
        if sealed is None:
            return await self.primary(tenant, owner)
        wanted = parse_key_id(sealed)
        entry = self._primaries.get(self.scope_of(tenant, owner))
        if entry is not None and entry.key.key_id == wanted:
            return entry.key
        return await self._stored(wanted, tenant, owner)

    def _remember(self, key: NamedKey, tenant: str, owner: str, until: float) -> Sealer:
        sealer = Sealer(key.cipher, key.key_id, self.vault_id, "token", tenant, owner)
        _keep(self._sealers, self._cache_size, (key.key_id, tenant, owner), (sealer, until))
        return sealer

    # --- DEKs -----------------------------------------------------------------------------------

    async def primary(self, tenant: str, owner: str) -> NamedKey:
        """Return the DEK for one new record of an owner; it is made at the first call."""
        return (await self._primary(*self.scope_of(tenant, owner))).key

    async def _stored(self, key_id: bytes, tenant: str, owner: str) -> NamedKey:
        """Return a DEK by its id, for the owner who asks."""
        row = await self._store.key("data", key_id.hex())
        if row is None:
            raise KeyNotFoundError(f"the record's key {key_name(key_id.hex())} is not stored")
        return await self.unwrap(row, tenant, owner)

    async def unwrap(self, row: WrappedKey, tenant: str, owner: str) -> NamedKey:
        """Unwrap a DEK for the owner who asks, whomever the row names: its own one, or its tenant's.

        Raises:
            KeyNotFoundError: it is retired.
            TamperedError: it is another owner's.
        """
        return await self._unwrap(row, tenant, owner if row.owner else "")

    async def _unwrap(self, row: WrappedKey, tenant: str, owner: str) -> NamedKey:
        """Unwrap a DEK of exactly this scope, whatever the row says."""
        if row.state == "retired":
            raise KeyNotFoundError(f"key {key_name(row.key_id)} is retired, and opens nothing until it is reinstated")
        try:
            sealer = await self._wrapping(row.wrapped_by, tenant, owner)
        except KeyNotFoundError:  # the row may be older than the end of a re-wrap, after which that key was retired
            current = await self._store.key("data", row.key_id)
            if current is None or current.wrapped_by == row.wrapped_by:
                raise
            return await self._unwrap(current, tenant, owner)
        return committed(Secret(sealer.open(row.wrapped, "", "", row.key_id.encode(), 0)), row.key_id)

    async def _wrapping(self, vault_key_id: str, tenant: str, owner: str) -> Sealer:
        key = await self.vault_keys.get(vault_key_id)
        return Sealer(key.cipher, key.key_id, self.vault_id, "data-key", tenant, owner)

    async def _primary(self, tenant: str, owner: str) -> _Primary:
        """Return a scope's DEK for one new record."""
        entry = self._primaries.get((tenant, owner))
        now = self._clock.now_seconds()
        if entry is None or entry.until < now:
            entry = await self._load_primary(tenant, owner, now)
        if not owner and not await self._seals.may_seal(entry.key.name):
            await self._replace(tenant, owner, entry.key.name)
            entry = await self._load_primary(tenant, owner, now)
            await self._seals.may_seal(entry.key.name)
        return entry

    async def drop_erased(self, tenant: str, owner: str) -> None:
        """Forget an owner's DEK if another process has erased it: nobody else could open what it seals."""
        entry = self._primaries.get((tenant, owner))  # one of many owners is never erased
        if entry is None:
            return
        with suppress(StoreError):  # away: what is sealed now waits for it in the escrow
            if await self._store.key("data", entry.key.name) is None:
                self.forget(tenant, owner)

    async def _load_primary(self, tenant: str, owner: str, now: float) -> _Primary:
        row = await self._store.primary_key("data", tenant, owner)
        if row is None:
            await self.add(tenant, owner, "primary")
        elif row.created_at_seconds + self._cryptoperiod_seconds < now:
            await self._replace(tenant, owner, row.key_id)
        else:
            return await self._keep_primary(row, tenant, owner, now)
        row = await self._store.primary_key("data", tenant, owner)
        if row is None:
            raise KeyNotFoundError("the store did not keep a data key")
        return await self._keep_primary(row, tenant, owner, now)

    async def _keep_primary(self, row: WrappedKey, tenant: str, owner: str, now: float) -> _Primary:
        entry = _Primary(await self._unwrap(row, tenant, owner), now + self._cache_seconds)
        _keep(self._primaries, self._cache_size, (tenant, owner), entry)
        return entry

    # --- making them ----------------------------------------------------------------------------

    async def add(self, tenant: str, owner: str, state: KeyState) -> WrappedKey:
        """Make a DEK and keep it, unless it is to be primary and its scope has one by now."""
        made = await self._new(tenant, owner, state)
        if await self._store.add_key("data", made):
            await self._tell("data_key_created", made)
        return made

    async def _replace(self, tenant: str, owner: str, old_key_id: str) -> None:
        made = await self._new(tenant, owner, "primary")
        if await self._store.replace_key("data", made, old_key_id):
            await self._tell("data_key_replaced", made)

    async def _new(self, tenant: str, owner: str, state: KeyState) -> WrappedKey:
        vault_key_id = await self.vault_keys.primary_id(tenant)
        sealer = await self._wrapping(vault_key_id, tenant, owner)
        key = urandom(KEY_BYTES)  # from here on nothing raises
        key_id = key_id_of(key).hex()
        wrapped = sealer.seal(key, "", "", key_id.encode(), 0)
        return WrappedKey(key_id, tenant, owner, wrapped, vault_key_id, state, self._clock.now_seconds())

    async def _tell(self, name: EventName, key: WrappedKey) -> None:
        if self._told is not None:
            await self._told(name, key.tenant, key.owner, key.key_id)


def _keep(cache: OrderedDict[K, V], size: int, key: K, value: V) -> None:
    """Put `value` last in `cache`; the first ones leave when there are more than `size`."""
    cache.pop(key, None)
    cache[key] = value
    while len(cache) > size:
        cache.popitem(last=False)
