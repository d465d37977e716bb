"""The key hierarchy of one vault: KEK → vault key → DEK per owner → sealers, loaded once and cached."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from os import urandom
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from socialvault.crypto.envelope import KEY_BYTES, Purpose, Sealer, key_id_of, parse_key_id, text
from socialvault.exceptions import KeyNotFoundError, TamperedError, WrongKeyError
from socialvault.model.keys import KeyContext, VaultRow, WrappedKey
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from socialvault.model.events import EventName
    from socialvault.ports.clock import Clock
    from socialvault.ports.key_service import AsyncKeyService
    from socialvault.ports.key_store import AsyncKeyStore

DAY_SECONDS = 86_400.0

#: Told of a key that was made: the event's name, tenant, owner, key id.
KeyObserver = Callable[["EventName", str, str, str], Awaitable[None]]

_CANARY: Final = b"socialvault canary"

K = TypeVar("K")
V = TypeVar("V")


class Keyring:
    """Gives out sealers; reads keys from the key store and never writes a record.

    Args:
        store: where wrapped keys are kept. service: who holds the KEK.
        cache_seconds: how long an unwrapped DEK is used without asking the store again.
        cache_size: how many sealers are kept, the oldest go first.
        cryptoperiod_seconds: after this age a DEK is replaced at the next write; it stays for reading.
        told: is told of every key that is made: the event's name, tenant, owner and the key's id.
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
        told: KeyObserver | None = None,
    ) -> None:
        self._store = store
        self._service = service
        self._clock = clock
        self._cache_seconds = cache_seconds
        self._cache_size = cache_size
        self._cryptoperiod_seconds = cryptoperiod_seconds
        self._told = told
        self._vault_id = b""
        self._vault_keys: dict[str, AESGCM] = {}
        self._primary_vault_key = ""
        self._sealers: OrderedDict[tuple[bytes, str, str], tuple[Sealer, float]] = OrderedDict()
        self._primaries: OrderedDict[tuple[str, str], tuple[AESGCM, bytes, float]] = OrderedDict()

    @property
    def opened(self) -> bool:
        """Whether `open` has succeeded."""
        return bool(self._primary_vault_key)

    @property
    def vault_id(self) -> bytes:
        """The vault's 128 random bits; empty before `open`."""
        return self._vault_id

    async def open(self) -> None:
        """Load the vault's identity and keys, or write them at the first start.

        Raises:
            WrongKeyError: this database was sealed under a key that is not at hand. Nothing was written.
            EncryptionError: its keys were altered. Nothing was written.
        """
        row = await self._store.load_vault()
        if row is None:
            await self._create()
            row = await self._store.load_vault()
            if row is None:
                raise KeyNotFoundError("the store did not keep the vault's identity")
        vault_keys = await self._store.vault_keys()
        loaded = {key.key_id: await self._unwrap_vault_key(row.vault_id, key) for key in vault_keys}
        self._check_canary(row, loaded)
        primary = next((key.key_id for key in vault_keys if key.state == "primary"), "")
        if not primary:
            raise KeyNotFoundError("the store holds no primary vault key")
        self._vault_id, self._vault_keys, self._primary_vault_key = row.vault_id, loaded, primary

    async def _create(self) -> None:
        vault_id, key = urandom(16), Secret(urandom(KEY_BYTES))  # wrapped, since service and store may raise
        key_id = key_id_of(key.reveal())
        wrapped = await self._service.wrap(key.reveal(), KeyContext(vault_id, "vault-key", "", key_id.hex()))
        canary = Sealer(AESGCM(key.reveal()), key_id, vault_id, "canary", "", "").seal(_CANARY, "", "", b"", 0)
        now = self._clock.now_seconds()
        vault_key = WrappedKey(key_id.hex(), "", "", wrapped, self._service.primary_id, "primary", now)
        if await self._store.create_vault(VaultRow(vault_id, canary, now), vault_key):
            await self._tell("vault_created", vault_key)

    async def _unwrap_vault_key(self, vault_id: bytes, row: WrappedKey) -> AESGCM:
        if self._service.key_ids and row.wrapped_by not in self._service.key_ids:
            raise WrongKeyError(
                f"this database was sealed under key {row.wrapped_by[:12]}…, and the keyring holds "
                f"{', '.join(key_id[:12] + '…' for key_id in self._service.key_ids)}"
            )
        context = KeyContext(vault_id, "vault-key", row.tenant, row.key_id)
        return _committed(await self._service.unwrap(row.wrapped, context), row.key_id)  # no local: it may raise

    def _check_canary(self, row: VaultRow, loaded: dict[str, AESGCM]) -> None:
        key_id = parse_key_id(row.canary)
        cipher = loaded.get(key_id.hex())
        if cipher is None:
            raise WrongKeyError("the vault's canary was sealed under a vault key that is not stored")
        sealer = Sealer(cipher, key_id, row.vault_id, "canary", "", "")
        if sealer.open(row.canary, "", "", b"", 0) != _CANARY:
            raise TamperedError("the vault's canary is not the canary")

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
            KeyNotFoundError: its key is not stored.
            TamperedError: its key is another owner's.
        """
        key_id = parse_key_id(envelope)
        found = self.cached(envelope, tenant, owner, self._clock.now_seconds())
        if found is not None:
            return found
        row = await self._store.data_key(key_id.hex())
        if row is None:
            raise KeyNotFoundError(f"the record's key {key_id.hex()[:12]}… is not stored")
        until = self._clock.now_seconds() + self._cache_seconds
        return self._remember(self._unwrap_data_key(row, tenant, owner), key_id, tenant, owner, until)

    async def for_sealing(self, tenant: str, owner: str) -> Sealer:
        """Return the sealer for new token records of this owner; its DEK is made at the first call."""
        cipher, key_id, until = await self._primary(tenant, owner)
        return self._remember(cipher, key_id, tenant, owner, until)

    async def for_flow(self, sealed: bytes | None, tenant: str, owner: str) -> Sealer:
        """Return the sealer for pending flows, under the vault's own DEK; `sealed` is what it must open, if any."""
        cipher, key_id = await self._data_key(sealed, "", "")
        return Sealer(cipher, key_id, self._vault_id, "state", tenant, owner)

    async def for_escrow(self, sealed: bytes | None, tenant: str, owner: str) -> Sealer:
        """Return the sealer for token answers that the store could not take as they came, candidates included.

        Args:
            sealed: what it must open; None to seal.
        """
        cipher, key_id = await self._data_key(sealed, tenant, owner)
        return Sealer(cipher, key_id, self._vault_id, "escrow", tenant, owner)

    async def _data_key(self, sealed: bytes | None, tenant: str, owner: str) -> tuple[AESGCM, bytes]:
        """Return the DEK that `sealed` names, or the primary one."""
        if sealed is None:
            cipher, key_id, _ = await self._primary(tenant, owner)
            return cipher, key_id
        wanted = parse_key_id(sealed)
        entry = self._primaries.get((tenant, owner))
        if entry is not None and entry[1] == wanted:
            return entry[0], wanted
        row = await self._store.data_key(wanted.hex())
        if row is None:
            raise KeyNotFoundError(f"the record's key {wanted.hex()[:12]}… is not stored")
        return self._unwrap_data_key(row, tenant, owner), wanted

    def forget(self, tenant: str, owner: str) -> None:
        """Drop an owner's keys from memory."""
        self._primaries.pop((tenant, owner), None)
        for entry in [entry for entry in self._sealers if entry[1:] == (tenant, owner)]:
            self._sealers.pop(entry, None)

    def _remember(self, cipher: AESGCM, key_id: bytes, tenant: str, owner: str, until: float) -> Sealer:
        sealer = Sealer(cipher, key_id, self._vault_id, "token", tenant, owner)
        _keep(self._sealers, self._cache_size, (key_id, tenant, owner), (sealer, until))
        return sealer

    # --- DEKs -----------------------------------------------------------------------------------

    async def _primary(self, tenant: str, owner: str) -> tuple[AESGCM, bytes, float]:
        """Return the DEK for new records, its id, and until when it is used without asking the store again."""
        entry = self._primaries.get((tenant, owner))
        now = self._clock.now_seconds()
        if entry is not None and entry[2] >= now:
            return entry
        row = await self._store.primary_data_key(tenant, owner)
        if row is None:
            made = self._new_data_key(tenant, owner)
            row = await self._store.add_data_key(made)
            if row.key_id == made.key_id:
                await self._tell("data_key_created", made)
        elif row.created_at_seconds + self._cryptoperiod_seconds < now:
            made = self._new_data_key(tenant, owner)
            if await self._store.replace_data_key(made, row.key_id):
                await self._tell("data_key_replaced", made)
            row = await self._store.primary_data_key(tenant, owner) or row
        cipher = self._unwrap_data_key(row, tenant, owner)
        entry = (cipher, bytes.fromhex(row.key_id), now + self._cache_seconds)
        _keep(self._primaries, self._cache_size, (tenant, owner), entry)
        return entry

    async def _tell(self, name: EventName, key: WrappedKey) -> None:
        if self._told is not None:
            await self._told(name, key.tenant, key.owner, key.key_id)

    def _new_data_key(self, tenant: str, owner: str) -> WrappedKey:
        sealer = self._wrapping_sealer(self._primary_vault_key, tenant, owner)
        key = urandom(KEY_BYTES)  # from here on nothing raises
        key_id = key_id_of(key).hex()
        wrapped = sealer.seal(key, "", "", key_id.encode(), 0)
        now = self._clock.now_seconds()
        return WrappedKey(key_id, tenant, owner, wrapped, self._primary_vault_key, "primary", now)

    def _unwrap_data_key(self, row: WrappedKey, tenant: str, owner: str) -> AESGCM:
        """Unwrap a DEK for the owner who asks, whomever the row names."""
        sealer = self._wrapping_sealer(row.wrapped_by, tenant, owner)
        return _committed(sealer.open(row.wrapped, "", "", row.key_id.encode(), 0), row.key_id)

    def _wrapping_sealer(self, vault_key_id: str, tenant: str, owner: str) -> Sealer:
        cipher = self._vault_keys.get(vault_key_id)
        if cipher is None:
            raise KeyNotFoundError(f"vault key {vault_key_id[:12]}… is not loaded")
        purpose: Purpose = "data-key"
        return Sealer(cipher, bytes.fromhex(vault_key_id), self._vault_id, purpose, tenant, owner)


def _keep(cache: OrderedDict[K, V], size: int, key: K, value: V) -> None:
    """Put `value` last in `cache`; the first ones leave when there are more than `size`."""
    cache.pop(key, None)
    cache[key] = value
    while len(cache) > size:
        cache.popitem(last=False)


def _committed(key: bytes, key_id: str) -> AESGCM:
    """Return the cipher of a key that is the one its id commits to.

    Raises:
        WrongKeyError: it is another key.
    """
    right = len(key) == KEY_BYTES and hmac.compare_digest(key_id_of(key).hex().encode(), text(key_id))
    cipher = AESGCM(key) if right else None
    del key
    if cipher is None:
        raise WrongKeyError(f"the key stored as {key_id[:12]}… is another key")
    return cipher
