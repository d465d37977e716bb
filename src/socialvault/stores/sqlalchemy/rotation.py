"""The two jobs of a key rotation: keys under another key, records under another key; each batch in one statement."""

from __future__ import annotations

from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Integer,
    LargeBinary,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
    update,
)

from socialvault.model.keys import SealedRecord, WrappedKey, sealing_key_id
from socialvault.stores.sqlalchemy.dialects import HAS_CANDIDATE
from socialvault.stores.sqlalchemy.fence import WRAPPED_BY, raw_id, refuse_retired, sealing_id
from socialvault.stores.sqlalchemy.keys import Keys
from socialvault.stores.sqlalchemy.rows import KEY_COLUMNS, KEYS
from socialvault.stores.sqlalchemy.schema import connections, revocations, vault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Select, Update

    from socialvault.model.keys import KeyLevel, RecordKind, Resealed, Rewrapped

_AFTER = bindparam("after_id", type_=connections.c.id.type)
_LIMIT = bindparam("limit", type_=Integer())
_KEY_ID = bindparam("key_id", type_=connections.c.key_id.type)
_RAW_ID = bindparam("raw_id", type_=LargeBinary())


class _Place(NamedTuple):
    """Where something lies that is wrapped or sealed by a key, and that key's id, which a candidate has inside only."""

    id: Column[Any]
    sealed: Column[Any]
    by: Column[Any] | None


_KEYS_AT = {level: _Place(table.c.key_id, table.c.wrapped, table.c.wrapped_by) for level, table in KEYS.items()}
_RECORDS_AT: dict[RecordKind, _Place] = {
    "token": _Place(connections.c.id, connections.c.envelope, connections.c.key_id),
    "candidate": _Place(connections.c.id, connections.c.candidate, None),
    "revocation": _Place(revocations.c.id, revocations.c.envelope, revocations.c.key_id),
}

#: The fields of what replaces something, in their order; of `Rewrapped` and `Resealed` alike.
_FIELDS = ("of_id", "expected", "sealed", "by_id")


def _swap(place: _Place, of_id: Any, expected: Any, sealed: Any, by_id: Any) -> Update:
    changed = {place.sealed.name: sealed} | ({} if place.by is None else {place.by.name: by_id})
    return update(place.id.table).where(place.id == of_id, place.sealed == expected).values(changed)


def _swap_one(place: _Place) -> Update:
    """SQLite's way: one after the other, within the driver."""
    return _swap(place, *(bindparam(name) for name in _FIELDS))


def _swap_many(place: _Place) -> Update:
    """PostgreSQL's way: all at once, from one string of bytes that has each one's fields behind another.

    Where they begin and how long they are comes as arrays, written out as text: drivers take many times as long over
    each element of a list. Without the bounds on the id the planner may read the whole table for a batch.
    """
    numbers = ("starts", *(f"{name}_bytes" for name in _FIELDS))
    arrays = (cast(bindparam(name, type_=Text()), ARRAY(Integer)) for name in numbers)
    given = func.unnest(*arrays).table_valued(*(column(name, Integer) for name in numbers)).render_derived("given")
    whole = cast(bindparam("whole"), LargeBinary())

    def fields() -> Iterator[ColumnElement[bytes]]:
        start: ColumnElement[int] = given.c.starts
        for name in _FIELDS:
            length = given.c[f"{name}_bytes"]
            yield func.substr(whole, start, length, type_=LargeBinary())
            start = start + length

    of_id, expected, sealed, by_id = fields()
    swap = _swap(place, func.convert_from(of_id, "UTF8"), expected, sealed, func.convert_from(by_id, "UTF8"))
    first, last = (bindparam(name, type_=place.id.type) for name in ("first", "last"))
    return swap.where(place.id >= first, place.id <= last)


def _many(given: Sequence[Rewrapped] | Sequence[Resealed]) -> dict[str, Any]:
    """Return the values of `_swap_many`."""
    fields = [(of_id.encode(), expected, sealed, by_id.encode()) for of_id, expected, sealed, by_id in given]
    lengths = [[len(field) for field in column] for column in zip(*fields, strict=True)]
    starts = accumulate(map(sum, zip(*lengths, strict=True)), initial=1)  # and where the next one would
    ids = [each[0] for each in given]
    return {
        "first": min(ids),
        "last": max(ids),
        "whole": b"".join(chain.from_iterable(fields)),
        "starts": _array(list(starts)[:-1]),
        **{f"{name}_bytes": _array(column) for name, column in zip(_FIELDS, lengths, strict=True)},
    }


def _array(numbers: Sequence[int]) -> str:
    """Write an array out as PostgreSQL reads it."""
    return f"{{{','.join(map(str, numbers))}}}"


def _each(given: Sequence[Rewrapped] | Sequence[Resealed]) -> list[dict[str, Any]]:
    """Return the values of `_swap_one`."""
    return [dict(zip(_FIELDS, fields, strict=True)) for fields in given]


_SWAPS = {
    dialect: {place: build(place) for place in (*_KEYS_AT.values(), *_RECORDS_AT.values())}
    for dialect, build in {"postgresql": _swap_many, "sqlite": _swap_one}.items()
}

_WRAPPED_UNDER = {
    level: select(*KEY_COLUMNS[level])
    .where(table.c.wrapped_by == _KEY_ID, table.c.key_id > _AFTER)
    .order_by(table.c.key_id)
    .limit(_LIMIT)
    for level, table in KEYS.items()
}


def _sealed_under(kind: RecordKind, dialect: str) -> Select[*tuple[Any, ...]]:
    place = _RECORDS_AT[kind]
    c = place.id.table.c
    bound_to = (c.tenant, c.owner, c.provider, c.issuer, c.generation)
    connection_id = c.connection_id if kind == "revocation" else c.id.label("connection_id")
    of_key = (
        (HAS_CANDIDATE[dialect], sealing_id(place.sealed) == _RAW_ID) if place.by is None else (place.by == _KEY_ID,)
    )
    return (
        select(place.id, connection_id, *bound_to, place.sealed)
        .where(*of_key, place.id > _AFTER)
        .order_by(place.id)
        .limit(_LIMIT)
    )


_SEALED_UNDER = {dialect: {kind: _sealed_under(kind, dialect) for kind in _RECORDS_AT} for dialect in HAS_CANDIDATE}
_RESEAL_CANARY = (
    update(vault)
    .where(vault.c.canary == bindparam("expected", type_=vault.c.canary.type))
    .values(canary=bindparam("sealed", type_=vault.c.canary.type))
)


class Rotation(Keys):
    """The half of a key store that moves what is stored from key to key."""

    def wrapped_under(self, level: KeyLevel, wrapping_id: str, after_id: str, limit: int) -> Sequence[WrappedKey]:
        """As `KeyStore.wrapped_under`."""
        values = {"key_id": wrapping_id, "after_id": after_id, "limit": limit}
        return list(map(WrappedKey._make, self.database.many(_WRAPPED_UNDER[level], values)))

    def rewrap(self, level: KeyLevel, keys: Sequence[Rewrapped]) -> int:
        """As `KeyStore.rewrap`."""
        return self._swap(WRAPPED_BY[level], _KEYS_AT[level], keys)

    def reseal_canary(self, expected: bytes, canary: bytes) -> bool:
        """As `KeyStore.reseal_canary`."""

        def work(connection: Connection) -> bool:
            refuse_retired(connection, "vault", (sealing_key_id(canary),))
            return connection.execute(_RESEAL_CANARY, {"expected": expected, "sealed": canary}).rowcount == 1

        return self.database.transaction(work)

    def sealed_under(self, kind: RecordKind, key_id: str, after_id: str, limit: int) -> Sequence[SealedRecord]:
        """As `KeyStore.sealed_under`."""
        values = {"key_id": key_id, "raw_id": raw_id(key_id), "after_id": after_id, "limit": limit}
        return list(map(SealedRecord._make, self.database.many(_SEALED_UNDER[self.database.name][kind], values)))

    def reseal(self, kind: RecordKind, records: Sequence[Resealed]) -> int:
        """As `KeyStore.reseal`."""
        return self._swap("data", _RECORDS_AT[kind], records)

    def _swap(self, level: KeyLevel, place: _Place, given: Sequence[Rewrapped] | Sequence[Resealed]) -> int:
        if not given:
            return 0
        statement = _SWAPS[self.database.name][place]
        values: Any = _many(given) if self.database.name == "postgresql" else _each(given)

        def work(connection: Connection) -> int:
            refuse_retired(connection, level, (each[3] for each in given))
            return connection.execute(statement, values).rowcount

        return self.database.transaction(work)
