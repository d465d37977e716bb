"""Records as the fields of a hash, and back. What is empty or None is not stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from socialvault.exceptions import StoreError
from socialvault.model import keys
from socialvault.model.keys import WrappedKey
from socialvault.model.rows import AccountKey, ConnectionRow, DueRow, RevocationRow, TokenRow
from socialvault.model.state import StateRow
from socialvault.model.status import Status
from socialvault.stores.redis.layout import encoded

Values = Sequence[bytes | None]


class Kind(NamedTuple):
    """How a column's values are written and read; a field that is not stored reads as None."""

    write: Callable[[Any], bytes]
    read: Callable[[bytes | None], Any]


def blob(value: object) -> bytes:
    """Return sealed bytes as they are.

    Raises:
        StoreError: they are none.
    """
    if not isinstance(value, bytes | bytearray | memoryview):
        raise StoreError("sealed records are bytes")
    return bytes(value)


def seconds(value: float) -> bytes:
    """Return a time exactly."""
    return repr(float(value)).encode()


def optional_seconds(value: float | None) -> bytes:
    """Return a time exactly, or nothing."""
    return b"" if value is None else seconds(value)


_TEXT = Kind(encoded, lambda value: "" if value is None else value.decode())
_BLOB = Kind(blob, lambda value: b"" if value is None else value)
_INTEGER = Kind(lambda value: b"%d" % value, lambda value: 0 if value is None else int(value))
_SECONDS = Kind(seconds, lambda value: 0.0 if value is None else float(value))
_OPTIONAL_SECONDS = Kind(optional_seconds, lambda value: None if value is None else float(value))

Columns = dict[str, Kind]


def _texts(*names: str) -> Columns:
    return dict.fromkeys(names, _TEXT)


CONNECTION: Columns = {
    **_texts("id", *AccountKey._fields, "owner", "kind", "status", "reason"),
    "generation": _INTEGER,
    "envelope": _BLOB,
    "key_id": _TEXT,
    "created_at_seconds": _SECONDS,
    "updated_at_seconds": _SECONDS,
    "due_at_seconds": _OPTIONAL_SECONDS,
    "dies_at_seconds": _OPTIONAL_SECONDS,
    "warn_at_seconds": _OPTIONAL_SECONDS,
    "failing_since_seconds": _OPTIONAL_SECONDS,
    "failing_with": _TEXT,
    "failures": _INTEGER,
    "refusals": _INTEGER,
    "candidate": _BLOB,
    "intent_digest": _BLOB,
    "intent_sent_at_seconds": _OPTIONAL_SECONDS,
    "intent_deadline_seconds": _OPTIONAL_SECONDS,
    "intent_attempt": _INTEGER,
}
REVOCATION: Columns = {
    **_texts("id", "connection_id", "tenant", "owner", "provider", "client_id", "issuer", "subject", "reach"),
    "generation": _INTEGER,
    "envelope": _BLOB,
    "key_id": _TEXT,
    "attempt": _INTEGER,
    "next_attempt_at_seconds": _SECONDS,
    "created_at_seconds": _SECONDS,
}
STATE: Columns = {
    "state_hash": _BLOB,
    **_texts("tenant", "owner", "provider"),
    "binding": _BLOB,
    "sealed": _BLOB,
    **_texts("return_to", "phase"),
    "expires_at_seconds": _SECONDS,
    **_texts("connection_id", "error", "missing_scopes"),
}
KEY: Columns = {
    **_texts("key_id", "tenant", "owner"),
    "wrapped": _BLOB,
    **_texts("wrapped_by", "state"),
    "created_at_seconds": _SECONDS,
}
VAULT: Columns = {"vault_id": _BLOB, "canary": _BLOB, "created_at_seconds": _SECONDS}
SEALED: Columns = {
    **_texts("id", "tenant", "owner", "provider", "issuer"),
    "generation": _INTEGER,
    "connection_id": _TEXT,
    "envelope": _BLOB,
    "candidate": _BLOB,
}
DUE: Columns = {name: CONNECTION[name] for name in DueRow._fields}
TOKEN = ("tenant", "owner", "status", "generation", "provider", "issuer", "parent_id", "envelope")


def written(columns: Columns, values: Sequence[object]) -> list[bytes]:
    """Return names and values for a hash, one after the other.

    Raises:
        StoreError: a value can't be stored.
    """
    pairs: list[bytes] = []
    for (name, kind), value in zip(columns.items(), values, strict=True):
        raw = kind.write(value)
        if raw:
            pairs += (name.encode(), raw)
    return pairs


def read(columns: Columns, values: Values) -> list[Any]:
    """Return what a hash has in `columns`."""
    return [kind.read(value) for kind, value in zip(columns.values(), values, strict=True)]


def sealing_key_id(sealed: bytes) -> str:
    """As the model's, of bytes that a server may take."""
    return keys.sealing_key_id(blob(sealed))


def connection_values(row: ConnectionRow) -> list[object]:
    """Return what `CONNECTION` names."""
    rest = [getattr(row, name) for name in list(CONNECTION)[8:]]
    return [row.id, *row.account, *rest]


def connection_row(values: Values) -> ConnectionRow:
    """Build a row from `CONNECTION`."""
    columns = read(CONNECTION, values)
    account, (owner, kind, status) = AccountKey._make(columns[1:8]), columns[8:11]
    return ConnectionRow(columns[0], account, owner, kind, Status(status), *columns[11:])


def due_row(values: Values) -> DueRow:
    """Build a row from `DUE`."""
    return DueRow(*read(DUE, values))


def token_row(values: Values, tenant: str, owner: str) -> TokenRow | None:
    """Build a row from `TOKEN`, if it is this owner's. It is on the way of every token, so it is laid out for speed."""
    row_tenant, row_owner, status, generation, provider, issuer, parent_id, envelope = values
    if status is None or generation is None:
        return None
    if (row_tenant or b"").decode() != tenant or (row_owner or b"").decode() != owner:
        return None
    return TokenRow(
        status.decode(),
        int(generation),
        (provider or b"").decode(),
        (issuer or b"").decode(),
        (parent_id or b"").decode(),
        envelope or b"",
    )


def revocation_row(values: Values) -> RevocationRow:
    """Build a row from `REVOCATION`."""
    return RevocationRow(*read(REVOCATION, values))


def state_row(values: Values) -> StateRow:
    """Build a row from `STATE`."""
    return StateRow(*read(STATE, values))


def wrapped_key(values: Values) -> WrappedKey:
    """Build a key from `KEY`."""
    return WrappedKey(*read(KEY, values))
