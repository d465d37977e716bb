"""Keys and their states, and the two jobs of a key rotation: keys under another key, records under another key."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from operator import attrgetter
from typing import TYPE_CHECKING

from socialvault.exceptions import StoreError
from socialvault.model.keys import SealedRecord, WrappedKey, sealing_key_id
from socialvault.stores.memory.contents import Contents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from socialvault.model.keys import KeyLevel, KeyState, RecordKind, Resealed, Rewrapped, VaultRow

#: The level of the keys that wrap those of a level.
_WRAPPING: dict[KeyLevel, KeyLevel] = {"vault": "kek", "data": "vault"}
_KINDS: tuple[RecordKind, ...] = ("token", "candidate", "revocation")


class Keys(Contents):
    """The half of a store that keeps keys."""

    def load_vault(self) -> VaultRow | None:
        """As `KeyStore.load_vault`."""
        with self._open:
            return self._vault

    def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        """As `KeyStore.create_vault`."""
        kek = WrappedKey(vault_key.wrapped_by, "", "", b"", "", "primary", vault_key.created_at_seconds)
        with self._open:
            if self._vault is not None:
                return False
            self._vault = row
            self._keep("vault", vault_key)
            self.add_key("kek", kek)
            return True

    def count_seals(self, key_id: str, seals: int) -> int:
        """As `KeyStore.count_seals`."""
        with self._open:
            if key_id not in self._keys["data"]:
                return 0
            self._seals[key_id] = self._seals.get(key_id, 0) + seals
            return self._seals[key_id]

    def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None:
        """As `KeyStore.key`."""
        with self._open:
            return self._keys[level].get(key_id)

    def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
        """As `KeyStore.primary_key`."""
        with self._open:
            key_id = self._primaries.get((level, tenant, owner))
            return None if key_id is None else self._keys[level][key_id]

    def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Sequence[WrappedKey]:
        """As `KeyStore.keys`."""
        with self._open:
            found = [
                key
                for key in self._keys[level].values()
                if key.key_id > after_id and tenant in (None, key.tenant) and state in (None, key.state)
            ]
        return sorted(found, key=attrgetter("key_id"))[:limit]

    def count_keys(self, level: KeyLevel) -> Mapping[str, int]:
        """As `KeyStore.count_keys`."""
        with self._open:
            return dict(Counter(key.state for key in self._keys[level].values()))

    def count_uses(self, level: KeyLevel, key_id: str) -> int:
        """As `KeyStore.count_uses`."""
        with self._open:
            if level == "data":
                return sum(1 for kind in _KINDS for _ in self._sealed(kind, key_id)) + self._count_flows(key_id)
            wrapped = sum(
                key.wrapped_by == key_id for key in self._keys["vault" if level == "kek" else "data"].values()
            )
            canary = self._vault.canary if level == "vault" and self._vault is not None else b""
            return wrapped + (sealing_key_id(canary) == key_id)

    def add_key(self, level: KeyLevel, key: WrappedKey) -> bool:
        """As `KeyStore.add_key`."""
        with self._open:
            self._require_wrapping(level, key.wrapped_by)
            if key.key_id in self._keys[level]:
                return False
            if key.state == "primary" and (level, key.tenant, key.owner) in self._primaries:
                return False
            self._keep(level, key)
            return True

    def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool:
        """As `KeyStore.replace_key`; a key id that is known already is a `StoreError`."""
        with self._open:
            self._require_wrapping(level, key.wrapped_by)
            old = self.primary_key(level, key.tenant, key.owner)
            if old is None or old.key_id != old_key_id:
                return False
            if key.key_id in self._keys[level]:
                raise StoreError("there is a key of this id")
            self._keep(level, old._replace(state="decrypt_only"))
            self._keep(level, key._replace(state="primary"))
            return True

    # key rotation

    def promote_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.promote_key`."""
        with self._open:
            key = self._keys[level].get(key_id)
            if key is None or key.state == "retired":
                return False
            former = self.primary_key(level, key.tenant, key.owner)
            if former is not None:
                self._keep(level, former._replace(state="decrypt_only"))
            self._keep(level, key._replace(state="primary"))
            return True

    def retire_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.retire_key`."""
        with self._open:
            key = self._keys[level].get(key_id)
            if key is None or key.state == "primary":
                return False
            if key.state != "retired" and self.count_uses(level, key_id):
                return False
            self._keep(level, key._replace(state="retired"))
            return True

    def reinstate_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.reinstate_key`."""
        with self._open:
            key = self._keys[level].get(key_id)
            if key is None or key.state != "retired":
                return False
            self._keep(level, key._replace(state="decrypt_only"))
            return True

    def wrapped_under(self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int) -> Sequence[WrappedKey]:
        """As `KeyStore.wrapped_under`."""
        with self._open:
            found = [k for k in self._keys[level].values() if k.wrapped_by == wrapping_id and k.key_id > after_id]
        return sorted(found, key=attrgetter("key_id"))[:limit]

    def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> int:
        """As `KeyStore.rewrap`."""
        with self._open:
            for each in keys:
                self._require_wrapping(level, each.wrapped_by)
            return sum(self._rewrap(level, each) for each in keys)

    def reseal_canary(self, expected: bytes, canary: bytes) -> bool:
        """As `KeyStore.reseal_canary`."""
        with self._open:
            self._require_not_retired("vault", sealing_key_id(canary))
            if self._vault is None or self._vault.canary != expected:
                return False
            self._vault = replace(self._vault, canary=canary)
            return True

    def sealed_under(self, kind: RecordKind, key_id: str, after_id: str, limit: int) -> Sequence[SealedRecord]:
        """As `KeyStore.sealed_under`."""
        with self._open:
            found = [record for record in self._sealed(kind, key_id) if record.id > after_id]
        return sorted(found, key=attrgetter("id"))[:limit]

    def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> int:
        """As `KeyStore.reseal`."""
        with self._open:
            for record in records:
                self._require_not_retired("data", record.key_id)
            return sum(self._reseal(kind, record) for record in records)

    # within the lock

    def _require_wrapping(self, level: KeyLevel, wrapping_id: str) -> None:
        if level in _WRAPPING:
            self._require_not_retired(_WRAPPING[level], wrapping_id)

    def _keep(self, level: KeyLevel, key: WrappedKey) -> None:
        """Keep `key`, and that it is primary for as long as it is."""
        self._keys[level][key.key_id] = key
        scope = (level, key.tenant, key.owner)
        if key.state == "primary":
            self._primaries[scope] = key.key_id
        elif self._primaries.get(scope) == key.key_id:
            del self._primaries[scope]

    def _forget_keys(self, tenant: str, owner: str) -> None:
        """Delete an owner's DEKs."""
        deks = self._keys["data"]
        for key in [key for key in deks.values() if (key.tenant, key.owner) == (tenant, owner)]:
            del deks[key.key_id]
            self._seals.pop(key.key_id, None)
        self._primaries.pop(("data", tenant, owner), None)

    def _rewrap(self, level: KeyLevel, under: Rewrapped) -> bool:
        key = self._keys[level].get(under.key_id)
        if key is None or key.wrapped != under.expected:
            return False
        self._keep(level, key._replace(wrapped=under.wrapped, wrapped_by=under.wrapped_by))
        return True

    def _sealed(self, kind: RecordKind, key_id: str) -> Iterator[SealedRecord]:
        """Return every record of a kind that a DEK seals."""
        if kind == "revocation":
            for each in self._revocations.values():
                if each.key_id == key_id:
                    belongs = (each.tenant, each.owner, each.provider, each.issuer)
                    yield SealedRecord(each.id, each.connection_id, *belongs, each.generation, each.envelope)
            return
        for row in self._rows.values():
            sealed, sealed_by = row.envelope, row.key_id
            if kind == "candidate":
                sealed, sealed_by = row.candidate, sealing_key_id(row.candidate)
            if sealed_by == key_id:
                belongs = (row.account.tenant, row.owner, row.account.provider, row.account.issuer)
                yield SealedRecord(row.id, row.id, *belongs, row.generation, sealed)

    def _count_flows(self, key_id: str) -> int:
        now_seconds = self._now()
        return sum(
            row.phase == "pending" and row.expires_at_seconds > now_seconds and sealing_key_id(row.sealed) == key_id
            for row in self._states.values()
        )

    def _reseal(self, kind: RecordKind, record: Resealed) -> bool:
        if kind == "revocation":
            pending = self._revocations.get(record.id)
            if pending is None or pending.envelope != record.expected:
                return False
            self._revocations[record.id] = replace(pending, envelope=record.sealed, key_id=record.key_id)
            return True
        row = self._rows.get(record.id)
        if row is None or record.expected != (row.envelope if kind == "token" else row.candidate):
            return False
        self._rows[row.id] = (
            replace(row, envelope=record.sealed, key_id=record.key_id)
            if kind == "token"
            else replace(row, candidate=record.sealed)
        )
        return True
