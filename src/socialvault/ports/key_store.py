"""The key store port: the vault's identity and its wrapped keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.model.keys import VaultRow, WrappedKey


class KeyStore(Protocol):
    """Keeps wrapped keys; blocking."""

    def load_vault(self) -> VaultRow | None:
        """Return the vault's identity, or None before the first start."""
        ...

    def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        """Write both in one step unless there is an identity already; return whether this call wrote."""
        ...

    def vault_keys(self) -> Sequence[WrappedKey]:
        """Return every vault key, the primary first."""
        ...

    def data_key(self, key_id: str) -> WrappedKey | None:
        """Return a DEK by its id."""
        ...

    def primary_data_key(self, tenant: str, owner: str) -> WrappedKey | None:
        """Return the DEK that new records of this owner are sealed under."""
        ...

    def add_data_key(self, key: WrappedKey) -> WrappedKey:
        """Make `key` its owner's primary unless there is one; return the primary that holds now."""
        ...

    def replace_data_key(self, key: WrappedKey, old_key_id: str) -> bool:
        """Make `key` primary in place of `old_key_id`, which stays for reading; False when that was not primary."""
        ...


class AsyncKeyStore(Protocol):
    """As `KeyStore`, for event loops; each method means the same."""

    async def load_vault(self) -> VaultRow | None: ...

    async def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool: ...

    async def vault_keys(self) -> Sequence[WrappedKey]: ...

    async def data_key(self, key_id: str) -> WrappedKey | None: ...

    async def primary_data_key(self, tenant: str, owner: str) -> WrappedKey | None: ...

    async def add_data_key(self, key: WrappedKey) -> WrappedKey: ...

    async def replace_data_key(self, key: WrappedKey, old_key_id: str) -> bool: ...
