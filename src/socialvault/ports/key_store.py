"""The key store port: the vault's identity, its wrapped keys and their states.

Keys are of three levels, `KeyLevel`. A scope (tenant, owner) has at most one primary per level. Whatever is written
under a key, in any port, is written by a statement that also makes sure that this key is not retired:
`KeyNotFoundError` says that it is, and nothing was written then. A key that the store does not know is not retired.
Bytes 4 to 36 of what is sealed or wrapped by a key of the vault are that key's id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socialvault.model.keys import (
        KeyLevel,
        KeyState,
        RecordKind,
        Resealed,
        Rewrapped,
        SealedRecord,
        VaultRow,
        WrappedKey,
    )


class KeyStore(Protocol):
    """Keeps wrapped keys; blocking."""

    def load_vault(self) -> VaultRow | None:
        """Return the vault's identity, or None before the first start."""
        ...

    def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        """Write both in one step unless there is an identity already; return whether this call wrote.

        The KEK that wraps the vault key becomes known in the same step, as primary.
        """
        ...

    def count_seals(self, key_id: str, seals: int) -> int:
        """Add `seals` to what a DEK has sealed; return the sum, 0 for a DEK that is not stored."""
        ...

    def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None:
        """Return a key by its id."""
        ...

    def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
        """Return the primary key of a scope."""
        ...

    def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Sequence[WrappedKey]:
        """Return keys that match every given filter, by id, after `after_id`."""
        ...

    def count_keys(self, level: KeyLevel) -> Mapping[str, int]:
        """Count keys per state."""
        ...

    def count_uses(self, level: KeyLevel, key_id: str) -> int:
        """Count what needs a key.

        For a KEK the vault keys, for a vault key the DEKs that it wraps and the canary if that is sealed under it, for
        a DEK the tokens, candidates, revocations and unexpired pending flows that it seals.
        """
        ...

    def add_key(self, level: KeyLevel, key: WrappedKey) -> bool:
        """Keep `key` as it is; False when its id is known, or it is to be primary and its scope has a primary.

        Raises:
            KeyNotFoundError: the key that wraps it is retired.
        """
        ...

    def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool:
        """Keep `key` as its scope's primary in place of `old_key_id`, which stays for reading.

        False when that was not this scope's primary.

        Raises:
            KeyNotFoundError: the key that wraps it is retired.
        """
        ...

    # key rotation

    def promote_key(self, level: KeyLevel, key_id: str) -> bool:
        """Make a key primary, and its scope's former primary decrypt-only; False when it is unknown or retired."""
        ...

    def retire_key(self, level: KeyLevel, key_id: str) -> bool:
        """Retire a key that is neither primary nor needed by anything, in one step; False when it is, or is unknown.

        True also for one that is retired already. From then on nothing can be written under it.
        """
        ...

    def reinstate_key(self, level: KeyLevel, key_id: str) -> bool:
        """Make a retired key decrypt-only again; False when it is not retired."""
        ...

    def wrapped_under(self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int) -> Sequence[WrappedKey]:
        """Return the keys of `level` that a key wraps, of every state, by id, after `after_id`."""
        ...

    def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> int:
        """Apply every one of `keys` whose expected bytes are still stored, in one step; return how many.

        Raises:
            KeyNotFoundError: a key that is to wrap them is retired; nothing was written.
        """
        ...

    def reseal_canary(self, expected: bytes, canary: bytes) -> bool:
        """Replace the vault's canary; False when `expected` is not what is stored.

        Raises:
            KeyNotFoundError: the vault key that seals it is retired.
        """
        ...

    def sealed_under(self, kind: RecordKind, key_id: str, after_id: str, limit: int) -> Sequence[SealedRecord]:
        """Return the records of a kind that a DEK seals, by id, after `after_id`."""
        ...

    def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> int:
        """Apply every one of `records` whose expected bytes are still stored, in one step; return how many.

        A record that was written since is left alone. Nothing else of its row changes.

        Raises:
            KeyNotFoundError: a DEK that is to seal them is retired; nothing was written.
        """
        ...


class AsyncKeyStore(Protocol):
    """As `KeyStore`, for event loops; each method means the same."""

    async def load_vault(self) -> VaultRow | None: ...

    async def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool: ...

    async def count_seals(self, key_id: str, seals: int) -> int: ...

    async def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None: ...

    async def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None: ...

    async def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Sequence[WrappedKey]: ...

    async def count_keys(self, level: KeyLevel) -> Mapping[str, int]: ...

    async def count_uses(self, level: KeyLevel, key_id: str) -> int: ...

    async def add_key(self, level: KeyLevel, key: WrappedKey) -> bool: ...

    async def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool: ...

    async def promote_key(self, level: KeyLevel, key_id: str) -> bool: ...

    async def retire_key(self, level: KeyLevel, key_id: str) -> bool: ...

    async def reinstate_key(self, level: KeyLevel, key_id: str) -> bool: ...

    async def wrapped_under(
        self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int
    ) -> Sequence[WrappedKey]: ...

    async def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> int: ...

    async def reseal_canary(self, expected: bytes, canary: bytes) -> bool: ...

    async def sealed_under(
        self, kind: RecordKind, key_id: str, after_id: str, limit: int
    ) -> Sequence[SealedRecord]: ...

    async def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> int: ...
