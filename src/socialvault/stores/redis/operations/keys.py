"""The vault's identity and its wrapped keys."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING

from socialvault.model.keys import VaultRow, WrappedKey
from socialvault.stores.redis.columns import KEY, VAULT, read, sealing_key_id, wrapped_key, written
from socialvault.stores.redis.layout import encoded
from socialvault.stores.redis.operations.searches import Searches
from socialvault.stores.redis.requests import Asking, counted, read_fields
from socialvault.stores.redis.scripts import KEYS, READS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socialvault.model.keys import KeyLevel, KeyState

_STATES: tuple[KeyState, ...] = ("pre_active", "primary", "decrypt_only", "retired")


class Keys(Searches):
    """Keeps them."""

    def load_vault(self) -> Asking[VaultRow | None]:
        """As `KeyStore.load_vault`."""
        values = yield read_fields(self.layout.vault, VAULT)
        return None if values[0] is None else VaultRow(*read(VAULT, values))

    def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> Asking[bool]:
        """As `KeyStore.create_vault`."""
        vault = [*written(VAULT, astuple(row)), b"canary_key_id", sealing_key_id(row.canary).encode()]
        kek = WrappedKey(vault_key.wrapped_by, "", "", b"", "", "primary", vault_key.created_at_seconds)
        first, second = written(KEY, vault_key), written(KEY, kek)
        sizes = (b"%d" % len(vault), b"%d" % len(first))
        done = yield self.call(KEYS, "create_vault", [self.layout.vault], *sizes, *vault, *first, *second)
        return bool(done)

    def count_seals(self, key_id: str, seals: int) -> Asking[int]:
        """As `KeyStore.count_seals`."""
        count: int = yield self.call(KEYS, "count_seals", [self.layout.key("data", key_id)], b"%d" % seals)
        return count

    def key(self, level: KeyLevel, key_id: str) -> Asking[WrappedKey | None]:
        """As `KeyStore.key`."""
        values = yield read_fields(self.layout.key(level, key_id), KEY)
        return None if values[0] is None else wrapped_key(values)

    def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> Asking[WrappedKey | None]:
        """As `KeyStore.primary_key`."""
        index = self.layout.index_of(f"primary:{level}", tenant, owner)
        values = yield self.call(READS, "primary", [index], *counted(KEY), level.encode())
        return None if values is None else wrapped_key(values)

    def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Asking[Sequence[WrappedKey]]:
        """As `KeyStore.keys`."""
        index = self.layout.index("keys", level) if state is None else self.layout.index("keys", level, state)
        found = yield from self.pages(level, index, KEY, {"tenant": tenant}, after_id, limit)
        return [wrapped_key(values) for values in found]

    def count_keys(self, level: KeyLevel) -> Asking[Mapping[str, int]]:
        """As `KeyStore.count_keys`."""
        sizes = yield self.sizes(f"keys:{level}:{state}" for state in _STATES)
        return {state: size for state, size in zip(_STATES, sizes, strict=True) if size}

    def count_uses(self, level: KeyLevel, key_id: str) -> Asking[int]:
        """As `KeyStore.count_uses`."""
        key = self.layout.key(level, key_id)
        count: int = yield self.call(READS, "uses", [key], b"0", level.encode(), encoded(key_id))
        return count

    def add_key(self, level: KeyLevel, key: WrappedKey) -> Asking[bool]:
        """As `KeyStore.add_key`."""
        at = self.layout.key(level, key.key_id)
        done = yield self.call(KEYS, "add_key", [at], level.encode(), *written(KEY, key))
        return bool(done)

    def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> Asking[bool]:
        """As `KeyStore.replace_key`; a key id that exists already is a `StoreError`."""
        at, pairs = self.layout.key(level, key.key_id), written(KEY, key)
        done = yield self.call(KEYS, "replace_key", [at], level.encode(), encoded(old_key_id), *pairs)
        return bool(done)
