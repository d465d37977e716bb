"""Keys and their states, and the two jobs of a key rotation: keys under another key, records under another key."""

from __future__ import annotations

from dataclasses import astuple
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from socialvault.model.keys import SealedRecord, VaultRow, WrappedKey, sealing_key_id
from socialvault.stores.sqlite.reads import KEY_COLUMNS
from socialvault.stores.sqlite.schema import KEY_TABLES
from socialvault.stores.sqlite.writes import Writes, require_not_retired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socialvault.model.keys import KeyLevel, KeyState, RecordKind, Resealed, Rewrapped
    from socialvault.stores.sqlite.connections import Execute

#: The level of the keys that wrap those of a level.
_WRAPPING: dict[KeyLevel, KeyLevel] = {"vault": "kek", "data": "vault"}

_CREATE_VAULT = (
    "INSERT INTO vault (one, vault_id, canary, created_at_seconds) VALUES (1, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_RESEAL_CANARY = "UPDATE vault SET canary = ? WHERE one = 1 AND canary = ?"
_COUNT_SEALS = "UPDATE data_keys SET seals = seals + ? WHERE key_id = ?"
_SEALS = "SELECT seals FROM data_keys WHERE key_id = ?"

_ADD = {
    level: f"INSERT INTO {table} ({KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)" for level, table in KEY_TABLES.items()
}
_ADD_ONCE = {level: f"{statement} ON CONFLICT DO NOTHING" for level, statement in _ADD.items()}
_SCOPE = {level: f"SELECT state, tenant, owner FROM {table} WHERE key_id = ?" for level, table in KEY_TABLES.items()}
_SET_STATE = {level: f"UPDATE {table} SET state = ? WHERE key_id = ?" for level, table in KEY_TABLES.items()}
_DEMOTE_PRIMARY = {
    level: f"UPDATE {table} SET state = 'decrypt_only' WHERE tenant = ? AND owner = ? AND state = 'primary'"
    for level, table in KEY_TABLES.items()
}
_DEMOTE = {level: f"{statement} AND key_id = ?" for level, statement in _DEMOTE_PRIMARY.items()}
_REINSTATE = {
    level: f"UPDATE {table} SET state = 'decrypt_only' WHERE key_id = ? AND state = 'retired'"
    for level, table in KEY_TABLES.items()
}
_COUNTS = {level: f"SELECT state, count(*) FROM {table} GROUP BY state" for level, table in KEY_TABLES.items()}
_WRAPPED_UNDER = {
    level: f"SELECT {KEY_COLUMNS} FROM {table} WHERE wrapped_by = ? AND key_id > ? ORDER BY key_id LIMIT ?"
    for level, table in KEY_TABLES.items()
}
_REWRAP = {
    level: f"UPDATE {table} SET wrapped = ?, wrapped_by = ? WHERE key_id = ? AND wrapped = ?"
    for level, table in KEY_TABLES.items()
}

# Pending flows are few, and gone in minutes by themselves: it reads them all.
_USES: dict[KeyLevel, str] = {
    "kek": "SELECT count(*) FROM vault_keys WHERE wrapped_by = :key_id",
    "vault": """
        SELECT (SELECT count(*) FROM data_keys WHERE wrapped_by = :key_id)
            + (SELECT count(*) FROM vault WHERE lower(hex(substr(canary, 5, 32))) = :key_id)
    """,
    "data": """
        SELECT (SELECT count(*) FROM connections INDEXED BY connections_sealed_under WHERE key_id = :key_id)
            + (
                SELECT count(*) FROM connections INDEXED BY connections_candidates
                WHERE candidate <> x'' AND lower(hex(substr(candidate, 5, 32))) = :key_id
            )
            + (SELECT count(*) FROM revocations WHERE key_id = :key_id)
            + (
                SELECT count(*) FROM states
                WHERE phase = 'pending' AND expires_at_seconds > :now_seconds
                AND lower(hex(substr(sealed, 5, 32))) = :key_id
            )
    """,
}

_SEALED_UNDER: dict[RecordKind, str] = {
    "token": """
        SELECT id, id, tenant, owner, provider, issuer, generation, envelope
        FROM connections INDEXED BY connections_sealed_under WHERE key_id = ? AND id > ? ORDER BY id LIMIT ?
    """,
    "candidate": """
        SELECT id, id, tenant, owner, provider, issuer, generation, candidate
        FROM connections INDEXED BY connections_candidates
        WHERE candidate <> x'' AND lower(hex(substr(candidate, 5, 32))) = ? AND id > ? ORDER BY id LIMIT ?
    """,
    "revocation": """
        SELECT id, connection_id, tenant, owner, provider, issuer, generation, envelope
        FROM revocations WHERE key_id = ? AND id > ? ORDER BY id LIMIT ?
    """,
}
_RESEALED = attrgetter("sealed", "key_id", "id", "expected")
#: Each with what fills its places; what sealed a candidate is inside it only.
_RESEAL: dict[RecordKind, tuple[str, attrgetter[tuple[Any, ...]]]] = {
    "token": ("UPDATE connections SET envelope = ?, key_id = ? WHERE id = ? AND envelope = ?", _RESEALED),
    "candidate": (
        "UPDATE connections SET candidate = ? WHERE id = ? AND candidate = ?",
        attrgetter("sealed", "id", "expected"),
    ),
    "revocation": ("UPDATE revocations SET envelope = ?, key_id = ? WHERE id = ? AND envelope = ?", _RESEALED),
}


class Keys(Writes):
    """The half of a store that keeps keys. Each of its writes is synced."""

    def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        """As `KeyStore.create_vault`."""
        kek = WrappedKey(vault_key.wrapped_by, "", "", b"", "", "primary", vault_key.created_at_seconds)
        with self._durable.transaction() as execute:
            if not execute(_CREATE_VAULT, astuple(row)).rowcount:
                return False
            execute(_ADD["vault"], vault_key)
            execute(_ADD_ONCE["kek"], kek)
        return True

    def count_seals(self, key_id: str, seals: int) -> int:
        """As `KeyStore.count_seals`."""
        with self._durable.transaction() as execute:
            if not execute(_COUNT_SEALS, (seals, key_id)).rowcount:
                return 0
            counted: int = execute(_SEALS, (key_id,)).fetchone()[0]
        return counted

    def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Sequence[WrappedKey]:
        """As `KeyStore.keys`."""
        given = {column: value for column, value in {"tenant": tenant, "state": state}.items() if value is not None}
        conditions = "".join(f" AND {column} = ?" for column in given)
        found = self._rows(
            f"SELECT {KEY_COLUMNS} FROM {KEY_TABLES[level]} WHERE key_id > ?{conditions} ORDER BY key_id LIMIT ?",
            (after_id, *given.values(), limit),
        )
        return list(map(WrappedKey._make, found))

    def count_keys(self, level: KeyLevel) -> Mapping[str, int]:
        """As `KeyStore.count_keys`."""
        return dict(self._rows(_COUNTS[level], ()))

    def count_uses(self, level: KeyLevel, key_id: str) -> int:
        """As `KeyStore.count_uses`."""
        with self._readers.handle as execute:
            return self._count_uses(execute, level, key_id)

    def add_key(self, level: KeyLevel, key: WrappedKey) -> bool:
        """As `KeyStore.add_key`."""
        with self._durable.transaction() as execute:
            _require_wrapping(execute, level, key.wrapped_by)
            return execute(_ADD_ONCE[level], key).rowcount == 1

    def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool:
        """As `KeyStore.replace_key`; a key id that is known already is a `StoreError`."""
        with self._durable.transaction() as execute:
            _require_wrapping(execute, level, key.wrapped_by)
            if not execute(_DEMOTE[level], (key.tenant, key.owner, old_key_id)).rowcount:
                return False
            execute(_ADD[level], key._replace(state="primary"))
        return True

    # key rotation

    def promote_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.promote_key`."""
        with self._durable.transaction() as execute:
            state, *scope = execute(_SCOPE[level], (key_id,)).fetchone() or ("retired",)
            if state == "retired":
                return False
            execute(_DEMOTE_PRIMARY[level], tuple(scope))
            execute(_SET_STATE[level], ("primary", key_id))
        return True

    def retire_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.retire_key`."""
        with self._durable.transaction() as execute:
            state, *_ = execute(_SCOPE[level], (key_id,)).fetchone() or ("primary",)
            if state == "primary" or (state != "retired" and self._count_uses(execute, level, key_id)):
                return False
            execute(_SET_STATE[level], ("retired", key_id))
        return True

    def reinstate_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.reinstate_key`."""
        return self._durable.change(_REINSTATE[level], (key_id,)) == 1

    def wrapped_under(self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int) -> Sequence[WrappedKey]:
        """As `KeyStore.wrapped_under`."""
        found = self._rows(_WRAPPED_UNDER[level], (wrapping_id, after_id, limit))
        return list(map(WrappedKey._make, found))

    def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> int:
        """As `KeyStore.rewrap`."""
        with self._durable.transaction() as execute:
            for wrapping_id in {key.wrapped_by for key in keys}:
                _require_wrapping(execute, level, wrapping_id)
            return self._durable.change_each(
                _REWRAP[level], ((key.wrapped, key.wrapped_by, key.key_id, key.expected) for key in keys)
            )

    def reseal_canary(self, expected: bytes, canary: bytes) -> bool:
        """As `KeyStore.reseal_canary`."""
        with self._durable.transaction() as execute:
            require_not_retired(execute, "vault", sealing_key_id(canary))
            return execute(_RESEAL_CANARY, (canary, expected)).rowcount == 1

    def sealed_under(self, kind: RecordKind, key_id: str, after_id: str, limit: int) -> Sequence[SealedRecord]:
        """As `KeyStore.sealed_under`."""
        return list(map(SealedRecord._make, self._rows(_SEALED_UNDER[kind], (key_id, after_id, limit))))

    def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> int:
        """As `KeyStore.reseal`."""
        with self._durable.transaction() as execute:
            for key_id in {record.key_id for record in records}:
                require_not_retired(execute, "data", key_id)
            sql, places = _RESEAL[kind]
            return self._durable.change_each(sql, map(places, records))

    def _count_uses(self, execute: Execute, level: KeyLevel, key_id: str) -> int:
        uses: int = execute(_USES[level], {"key_id": key_id, "now_seconds": self.now()}).fetchone()[0]
        return uses


def _require_wrapping(execute: Execute, level: KeyLevel, wrapping_id: str) -> None:
    if level in _WRAPPING:
        require_not_retired(execute, _WRAPPING[level], wrapping_id)
