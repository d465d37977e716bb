"""Changing keys: states, re-wrapping, resealing. A batch is one script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.model.keys import SealedRecord
from socialvault.stores.redis.columns import KEY, SEALED, blob, read, sealing_key_id, wrapped_key
from socialvault.stores.redis.layout import encoded
from socialvault.stores.redis.operations.searches import Searches
from socialvault.stores.redis.scripts import KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.model.keys import KeyLevel, RecordKind, Resealed, Rewrapped, WrappedKey
    from socialvault.stores.redis.columns import Values
    from socialvault.stores.redis.requests import Asking

#: Per kind of record: the index by key, whose records they are, the sealed field, the field that names its key.
_KINDS: dict[RecordKind, tuple[str, str, str, str]] = {
    "token": ("token", "connection", "envelope", "key_id"),
    "candidate": ("candidate", "connection", "candidate", "candidate_key_id"),
    "revocation": ("sealed_revocations", "revocation", "envelope", "key_id"),
}


class Rotation(Searches):
    """From one key to the next."""

    def promote_key(self, level: KeyLevel, key_id: str) -> Asking[bool]:
        """As `KeyStore.promote_key`."""
        return self._move("promote_key", level, key_id)

    def retire_key(self, level: KeyLevel, key_id: str) -> Asking[bool]:
        """As `KeyStore.retire_key`."""
        return self._move("retire_key", level, key_id)

    def reinstate_key(self, level: KeyLevel, key_id: str) -> Asking[bool]:
        """As `KeyStore.reinstate_key`."""
        return self._move("reinstate_key", level, key_id)

    def _move(self, operation: str, level: KeyLevel, key_id: str) -> Asking[bool]:
        done = yield self.call(KEYS, operation, [self.layout.key(level, key_id)], level.encode())
        return bool(done)

    def wrapped_under(
        self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int
    ) -> Asking[Sequence[WrappedKey]]:
        """As `KeyStore.wrapped_under`."""
        index = self.layout.index("wrapped", level, wrapping_id)
        found = yield from self.pages(level, index, KEY, {}, after_id, limit)
        return [wrapped_key(values) for values in found]

    def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> Asking[int]:
        """As `KeyStore.rewrap`."""
        arguments = [
            part
            for key in keys
            for part in (encoded(key.key_id), blob(key.expected), blob(key.wrapped), encoded(key.wrapped_by))
        ]
        count: int = yield self.call(KEYS, "rewrap", [self.layout.index("keys", level)], level.encode(), *arguments)
        return count

    def reseal_canary(self, expected: bytes, canary: bytes) -> Asking[bool]:
        """As `KeyStore.reseal_canary`."""
        arguments = (blob(expected), blob(canary), sealing_key_id(canary).encode())
        done = yield self.call(KEYS, "reseal_canary", [self.layout.vault], *arguments)
        return bool(done)

    def sealed_under(self, kind: RecordKind, key_id: str, after_id: str, limit: int) -> Asking[Sequence[SealedRecord]]:
        """As `KeyStore.sealed_under`."""
        name, record, field, _ = _KINDS[kind]
        found = yield from self.pages(record, self.layout.index(name, key_id), SEALED, {}, after_id, limit)
        return [_sealed(values, field) for values in found]

    def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> Asking[int]:
        """As `KeyStore.reseal`."""
        name, record, field, key_field = _KINDS[kind]
        arguments = [field.encode(), key_field.encode()]
        for each in records:
            indexed = sealing_key_id(each.sealed) if kind == "candidate" else each.key_id
            arguments += (encoded(each.id), blob(each.expected), blob(each.sealed), encoded(each.key_id))
            arguments.append(encoded(indexed))
        count: int = yield self.call(KEYS, f"reseal_{record}s", [self.layout.index(name)], *arguments)
        return count


def _sealed(values: Values, field: str) -> SealedRecord:
    record_id, tenant, owner, provider, issuer, generation, connection_id, envelope, candidate = read(SEALED, values)
    sealed = candidate if field == "candidate" else envelope
    return SealedRecord(record_id, connection_id or record_id, tenant, owner, provider, issuer, generation, sealed)
