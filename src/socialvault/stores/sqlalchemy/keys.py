"""The vault's identity, its wrapped keys and their states."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Integer, bindparam, func, insert, literal_column, select, update

from socialvault.model.keys import VaultRow, WrappedKey
from socialvault.stores.sqlalchemy.dialects import HAS_CANDIDATE, NOW, for_each
from socialvault.stores.sqlalchemy.errors import LOST_RACE, UNIQUE_VIOLATION
from socialvault.stores.sqlalchemy.fence import WRAPPED_BY, raw_id, refuse_retired, sealing_id
from socialvault.stores.sqlalchemy.rows import KEY_COLUMNS, KEYS, at, new, new_values
from socialvault.stores.sqlalchemy.schema import connections, data_keys, revocations, states, vault
from socialvault.stores.sqlalchemy.states import States

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Select

    from socialvault.model.keys import KeyLevel, KeyState
    from socialvault.stores.sqlalchemy.rows import Values

_PRIMARY: ColumnElement[str] = literal_column("'primary'")
_RAW_ID = bindparam("raw_id", type_=vault.c.canary.type)
_KEY_ID = bindparam("key_id", type_=data_keys.c.key_id.type)

_VAULT_COLUMNS = (vault.c.vault_id, vault.c.canary, vault.c.created_at_seconds)
_VAULT = select(*_VAULT_COLUMNS)
_CREATE_VAULT = for_each(
    lambda insert: (
        insert(vault)
        .values({"one": 1} | {column.name: new(column) for column in _VAULT_COLUMNS})
        .on_conflict_do_nothing()
        .execution_options(preserve_rowcount=True)
    )
)
_COUNT_SEALS = (
    update(data_keys)
    .where(at(data_keys.c.key_id))
    .values(seals=data_keys.c.seals + bindparam("more", type_=data_keys.c.seals.type))
    .returning(data_keys.c.seals)
)

_SELECT = {level: select(*columns) for level, columns in KEY_COLUMNS.items()}
_KEY = {level: _SELECT[level].where(at(table.c.key_id)) for level, table in KEYS.items()}
_PRIMARY_KEY = {
    level: _SELECT[level].where(at(table.c.tenant), at(table.c.owner), table.c.state == _PRIMARY)
    for level, table in KEYS.items()
}
_AFTER = bindparam("after_id", type_=data_keys.c.key_id.type)
_LIMIT = bindparam("limit", type_=Integer())
_PAGE = {
    level: _SELECT[level].where(table.c.key_id > _AFTER).order_by(table.c.key_id).limit(_LIMIT)
    for level, table in KEYS.items()
}
_COUNTS = {level: select(table.c.state, func.count()).group_by(table.c.state) for level, table in KEYS.items()}

_ADD = {
    level: insert(table).values({column.name: new(column) for column in KEY_COLUMNS[level]})
    for level, table in KEYS.items()
}


def _add_once(level: KeyLevel) -> dict[str, Any]:
    return for_each(
        lambda insert: (
            insert(KEYS[level])
            .values({column.name: new(column) for column in KEY_COLUMNS[level]})
            .on_conflict_do_nothing()
            .execution_options(preserve_rowcount=True)
        )
    )


_ADD_ONCE = {level: _add_once(level) for level in KEYS}
_LOCK = {
    level: select(t.c.state, t.c.tenant, t.c.owner).where(at(t.c.key_id)).with_for_update() for level, t in KEYS.items()
}
_DEMOTE_PRIMARY = {
    level: update(table)
    .where(at(table.c.tenant), at(table.c.owner), table.c.state == _PRIMARY)
    .values(state="decrypt_only")
    for level, table in KEYS.items()
}
_DEMOTE = {level: _DEMOTE_PRIMARY[level].where(at(table.c.key_id)) for level, table in KEYS.items()}
_SET_STATE = {
    level: update(table).where(at(table.c.key_id)).values(state=new(table.c.state)) for level, table in KEYS.items()
}
_REINSTATE = {
    level: update(table)
    .where(at(table.c.key_id), table.c.state == literal_column("'retired'"))
    .values(state="decrypt_only")
    for level, table in KEYS.items()
}


def _count(*conditions: Any) -> Select[Any]:
    return select(func.count()).where(*conditions)


def _uses(dialect: str) -> dict[KeyLevel, Sequence[Select[Any]]]:
    c, s = connections.c, states.c
    return {
        "kek": [_count(KEYS["vault"].c.wrapped_by == _KEY_ID)],
        "vault": [_count(data_keys.c.wrapped_by == _KEY_ID), _count(sealing_id(vault.c.canary) == _RAW_ID)],
        # Pending flows are few, and gone in minutes by themselves: it reads them all.
        "data": [
            _count(c.key_id == _KEY_ID),
            _count(HAS_CANDIDATE[dialect], sealing_id(c.candidate) == _RAW_ID),
            _count(revocations.c.key_id == _KEY_ID),
            _count(s.phase == literal_column("'pending'"), s.expires_at_seconds > NOW, sealing_id(s.sealed) == _RAW_ID),
        ],
    }


def _sum(counts: Sequence[Select[Any]]) -> Select[Any]:
    first, *others = (count.scalar_subquery() for count in counts)
    total: Any = first
    for other in others:
        total = total + other
    return select(total)


_USES = {dialect: {level: _sum(counts) for level, counts in _uses(dialect).items()} for dialect in HAS_CANDIDATE}


class Keys(States):
    """The key store, but for the two jobs of a key rotation."""

    def load_vault(self) -> VaultRow | None:
        """As `KeyStore.load_vault`."""
        row = self.database.row(_VAULT, {})
        return None if row is None else VaultRow(*row)

    def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        """As `KeyStore.create_vault`."""
        kek = WrappedKey(vault_key.wrapped_by, "", "", b"", "", "primary", vault_key.created_at_seconds)

        def work(connection: Connection) -> bool:
            values = new_values(_VAULT_COLUMNS, astuple(row))
            if not connection.execute(_CREATE_VAULT[self.database.name], values).rowcount:
                return False
            connection.execute(_ADD["vault"], _key_values("vault", vault_key))
            connection.execute(_ADD_ONCE["kek"][self.database.name], _key_values("kek", kek))
            return True

        return self.database.transaction(work)

    def count_seals(self, key_id: str, seals: int) -> int:
        """As `KeyStore.count_seals`."""
        values = {"at_key_id": key_id, "more": seals}
        counted = self.database.transaction(lambda connection: connection.execute(_COUNT_SEALS, values).scalar())
        return counted or 0

    def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None:
        """As `KeyStore.key`."""
        row = self.database.row(_KEY[level], {"at_key_id": key_id})
        return None if row is None else WrappedKey(*row)

    def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
        """As `KeyStore.primary_key`."""
        row = self.database.row(_PRIMARY_KEY[level], {"at_tenant": tenant, "at_owner": owner})
        return None if row is None else WrappedKey(*row)

    def keys(
        self, level: KeyLevel, *, tenant: str | None, state: KeyState | None, after_id: str, limit: int
    ) -> Sequence[WrappedKey]:
        """As `KeyStore.keys`."""
        given = {name: value for name, value in {"tenant": tenant, "state": state}.items() if value is not None}
        statement = _PAGE[level].where(*(at(KEYS[level].c[name]) for name in given))
        values = {f"at_{name}": value for name, value in given.items()}
        rows = self.database.rows(statement, {**values, "after_id": after_id, "limit": limit})
        return list(map(WrappedKey._make, rows))

    def count_keys(self, level: KeyLevel) -> Mapping[str, int]:
        """As `KeyStore.count_keys`."""
        return {row[0]: row[1] for row in self.database.rows(_COUNTS[level], {})}

    def count_uses(self, level: KeyLevel, key_id: str) -> int:
        """As `KeyStore.count_uses`."""
        uses: int = self.database.rows(_USES[self.database.name][level], self._use_values(key_id))[0][0]
        return uses

    def add_key(self, level: KeyLevel, key: WrappedKey) -> bool:
        """As `KeyStore.add_key`."""

        def work(connection: Connection) -> bool:
            _refuse_retired_wrapping(connection, level, key)
            return connection.execute(_ADD_ONCE[level][self.database.name], _key_values(level, key)).rowcount == 1

        return self.database.transaction(work)

    def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool:
        """As `KeyStore.replace_key`; a key id that is known already is a `StoreError`."""
        old = {"at_tenant": key.tenant, "at_owner": key.owner, "at_key_id": old_key_id}

        def work(connection: Connection) -> bool:
            _refuse_retired_wrapping(connection, level, key)
            if not connection.execute(_DEMOTE[level], old).rowcount:
                return False
            connection.execute(_ADD[level], _key_values(level, key._replace(state="primary")))
            return True

        return self.database.transaction(work)

    def promote_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.promote_key`."""

        def work(connection: Connection) -> bool:
            found = connection.execute(_LOCK[level], {"at_key_id": key_id}).first()
            if found is None or found.state == "retired":
                return False
            connection.execute(_DEMOTE_PRIMARY[level], {"at_tenant": found.tenant, "at_owner": found.owner})
            connection.execute(_SET_STATE[level], {"at_key_id": key_id, "new_state": "primary"})
            return True

        # Another that was promoted meanwhile was not yet to be seen when the former primary was looked for.
        return self.database.transaction(work, lost={*LOST_RACE, UNIQUE_VIOLATION})

    def retire_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.retire_key`. See ``fence``: it locks, then counts in a statement of its own, then writes."""

        def work(connection: Connection) -> bool:
            found = connection.execute(_LOCK[level], {"at_key_id": key_id}).first()
            if found is None or found.state == "primary":
                return False
            if found.state == "retired":
                return True
            if connection.execute(_USES[self.database.name][level], self._use_values(key_id)).scalar():
                return False
            connection.execute(_SET_STATE[level], {"at_key_id": key_id, "new_state": "retired"})
            return True

        return self.database.transaction(work)

    def reinstate_key(self, level: KeyLevel, key_id: str) -> bool:
        """As `KeyStore.reinstate_key`."""
        return self.database.change(_REINSTATE[level], {"at_key_id": key_id}) == 1

    def _use_values(self, key_id: str) -> Values:
        return {"key_id": key_id, "raw_id": raw_id(key_id)} | self.database.time()


def _key_values(level: KeyLevel, key: WrappedKey) -> Values:
    return new_values(KEY_COLUMNS[level], key)


def _refuse_retired_wrapping(connection: Connection, level: KeyLevel, key: WrappedKey) -> None:
    if level in WRAPPED_BY:
        refuse_retired(connection, WRAPPED_BY[level], (key.wrapped_by,))
