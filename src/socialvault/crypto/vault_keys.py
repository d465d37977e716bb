"""The vault's identity and its vault keys: unwrapped by the key service, then kept for their cache lifetime."""

from __future__ import annotations

from os import urandom
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from socialvault.crypto.commitment import committed, require_commitment
from socialvault.crypto.envelope import KEY_BYTES, NamedKey, Sealer, key_id_of, parse_key_id
from socialvault.exceptions import KeyNotFoundError, TamperedError, WrongKeyError
from socialvault.model.keys import KeyContext, KeyState, Rewrapped, VaultRow, WrappedKey, key_name
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Hashable

    from socialvault.model.events import EventName
    from socialvault.ports.clock import Clock
    from socialvault.ports.key_service import AsyncKeyService
    from socialvault.ports.key_store import AsyncKeyStore

    #: Told of a key that was made: the event's name, tenant, owner, key id.
    KeyObserver = Callable[[EventName, str, str, str], Awaitable[None]]
    #: Runs a factory once for all who ask for a key at the same time; see ``Runtime.single_flight``.
    Once = Callable[[Hashable, Callable[[], Coroutine[Any, Any, NamedKey]]], Coroutine[Any, Any, NamedKey]]

_CANARY: Final = b"socialvault canary"


class _Loaded(NamedTuple):
    """An unwrapped vault key, and until when the key service is not asked again."""

    key: NamedKey
    until: float


async def _at_once(_key: Hashable, factory: Callable[[], Coroutine[Any, Any, NamedKey]]) -> NamedKey:
    return await factory()


class VaultKeys:
    """Gives out vault keys; whoever has one can open DEKs.

    Args:
        store: where wrapped keys are kept. service: who holds the KEK; asked once per vault key and cache lifetime.
        cache_seconds: that lifetime.
        per_tenant: whether each tenant gets a vault key of its own, made when it is first needed.
        told: is told of every key that is made. once: shares one call of the service among all who wait for it.
    """

    def __init__(
        self,
        store: AsyncKeyStore,
        service: AsyncKeyService,
        clock: Clock,
        *,
        cache_seconds: float,
        per_tenant: bool,
        told: KeyObserver | None,
        once: Once | None,
    ) -> None:
        self._store = store
        self._service = service
        self._clock = clock
        self._cache_seconds = cache_seconds
        self.per_tenant = per_tenant
        self._told = told
        self._once = once or _at_once
        self._loaded: dict[str, _Loaded] = {}
        self.vault_id = b""
        #: Vault keys in use that the key service can't unwrap any more: a restart would fail.
        self.stale: set[str] = set()

    @property
    def service(self) -> AsyncKeyService:
        """Who holds the KEK."""
        return self._service

    async def open(self) -> None:
        """Load the vault's identity and the key of its canary, or write both at the first start.

        Raises:
            WrongKeyError: this database was sealed under a key that is not at hand. Nothing was written.
            TamperedError, MalformedEnvelopeError: its keys were altered. Nothing was written.
            KeyNotFoundError: the store lost what was just written.
            KeyServiceUnavailableError: the key service is away. Nothing was written.
        """
        row = await self._store.load_vault()
        if row is None:
            await self._create()
            row = await self._store.load_vault()
            if row is None:
                raise KeyNotFoundError("the store did not keep the vault's identity")
        key = await self._store.key("vault", parse_key_id(row.canary).hex())
        if key is None:
            raise WrongKeyError("the vault's canary was sealed under a vault key that is not stored")
        loaded = await self._unwrap(row.vault_id, key)
        if _canary_sealer(loaded, row.vault_id).open(row.canary, "", "", b"", 0) != _CANARY:
            raise TamperedError("the vault's canary is not the canary")
        self._keep(loaded)
        self.vault_id = row.vault_id

    async def _create(self) -> None:
        vault_id, key = urandom(16), Secret(urandom(KEY_BYTES))  # wrapped, since service and store may raise
        row = await self._wrapped(key, vault_id, "", "primary")
        canary = _canary_sealer(committed(key, row.key_id), vault_id).seal(_CANARY, "", "", b"", 0)
        if await self._store.create_vault(VaultRow(vault_id, canary, row.created_at_seconds), row):
            await self._tell("vault_created", row)

    # --- giving them out ------------------------------------------------------------------------

    async def get(self, key_id: str) -> NamedKey:
        """Return a vault key, asking the key service if that was long ago.

        Raises:
            KeyNotFoundError: it is not stored, is retired, or the key that wraps it is not at hand.
            KeyServiceUnavailableError: the service is away, and the cache lifetime is over.
        """
        loaded = self._loaded.get(key_id)
        if loaded is not None and loaded.until >= self._clock.now_seconds():
            return loaded.key
        return await self._once(("vault-key", key_id), lambda: self._load(key_id))

    async def _load(self, key_id: str) -> NamedKey:
        loaded = self._loaded.get(key_id)
        if loaded is not None and loaded.until >= self._clock.now_seconds():
            return loaded.key  # another call ended between the look of `get` and this one
        row = await self._store.key("vault", key_id)
        if row is None or row.state == "retired":
            self._loaded.pop(key_id, None)
            raise KeyNotFoundError(f"vault key {key_name(key_id)} is {'not stored' if row is None else 'retired'}")
        try:
            key = await self._unwrap(self.vault_id, row)
            self.stale.discard(key_id)
        except (WrongKeyError, KeyNotFoundError):
            # It was wrapped again, under a KEK that this process was not given. What it has still opens everything.
            known = self._loaded.get(key_id)
            if known is None:
                raise
            self.stale.add(key_id)
            key = known.key
        return self._keep(key)

    def _keep(self, key: NamedKey) -> NamedKey:
        self._loaded[key.name] = _Loaded(key, self._clock.now_seconds() + self._cache_seconds)
        return key

    async def primary_id(self, tenant: str) -> str:
        """Return the id of the vault key that a tenant's DEKs are wrapped under; its own one is made when needed."""
        scope = tenant if self.per_tenant else ""
        row = await self._store.primary_key("vault", scope, "")
        if row is None and scope and self.vault_id:
            return (await self._once(("first-vault-key", scope), lambda: self._first(scope))).name
        if row is None:
            raise KeyNotFoundError("the store holds no primary vault key")
        return row.key_id

    async def _first(self, tenant: str) -> NamedKey:
        """Return a tenant's primary vault key, made now unless there is one by now."""
        row = await self._store.primary_key("vault", tenant, "")
        if row is None:
            await self.add(tenant, "primary")
            row = await self._store.primary_key("vault", tenant, "")
        if row is None:
            raise KeyNotFoundError("the store did not keep a tenant's vault key")
        return await self.get(row.key_id)

    # --- making and wrapping them ---------------------------------------------------------------

    async def add(self, tenant: str, state: KeyState) -> WrappedKey:
        """Make a vault key and keep it, unless it is to be primary and there is one by now."""
        row = await self._wrapped(Secret(urandom(KEY_BYTES)), self.vault_id, tenant, state)
        if await self._store.add_key("vault", row):
            await self._tell("vault_key_created", row)
        return row

    async def _wrapped(self, key: Secret[bytes], vault_id: bytes, tenant: str, state: KeyState) -> WrappedKey:
        key_id = key_id_of(key.reveal()).hex()
        wrapped = await self._service.wrap(key.reveal(), KeyContext(vault_id, "vault-key", tenant, key_id))
        now = self._clock.now_seconds()
        return WrappedKey(key_id, tenant, "", wrapped, self._service.primary_id, state, now)

    async def rewrapped(self, row: WrappedKey) -> Rewrapped:
        """Return a vault key under the service's primary KEK."""
        context = KeyContext(self.vault_id, "vault-key", row.tenant, row.key_id)
        key = Secret(await self._service.unwrap(row.wrapped, context))
        require_commitment(key, row.key_id)
        wrapped = await self._service.wrap(key.reveal(), context)
        return Rewrapped(row.key_id, row.wrapped, wrapped, self._service.primary_id)

    async def resealed_canary(self, row: VaultRow) -> bytes:
        """Return the canary under the primary vault key."""
        key = await self.get(await self.primary_id(""))
        return _canary_sealer(key, row.vault_id).seal(_CANARY, "", "", b"", 0)

    async def _unwrap(self, vault_id: bytes, row: WrappedKey) -> NamedKey:
        if self._service.key_ids and row.wrapped_by not in self._service.key_ids:
            raise WrongKeyError(
                f"this database was sealed under key {key_name(row.wrapped_by)}, and the keyring holds "
                f"{', '.join(map(key_name, self._service.key_ids))}"
            )
        context = KeyContext(vault_id, "vault-key", row.tenant, row.key_id)
        return committed(Secret(await self._service.unwrap(row.wrapped, context)), row.key_id)

    async def _tell(self, name: EventName, key: WrappedKey) -> None:
        if self._told is not None:
            await self._told(name, key.tenant, key.owner, key.key_id)


def _canary_sealer(key: NamedKey, vault_id: bytes) -> Sealer:
    return Sealer(key.cipher, key.key_id, vault_id, "canary", "", "")
