"""What a vault holds about an owner, to hand out: no token, no key, nothing sealed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from socialvault.model.connection import Connection
    from socialvault.model.keys import KeyState


@dataclass(frozen=True, slots=True)
class ExportedConnection:
    """A connection, ended ones included, and what its sealed record says about the person.

    Attributes:
        email: as the provider told it, "" when unknown.
        requested_scopes: asked for, whatever was granted.
        details: what else the provider said and later calls need, a user id for example.
        holds_token: whether a sealed token is kept for it.
        readable: False when the record can't be opened now: name, scopes, e-mail and details are missing then.
    """

    connection: Connection
    email: str
    requested_scopes: tuple[str, ...]
    details: Mapping[str, str]
    holds_token: bool
    readable: bool


@dataclass(frozen=True, slots=True)
class ExportedRevocation:
    """A revocation that the provider has not confirmed yet.

    Attributes:
        reach: what it ends at the provider: the ``token``, or the person's whole ``grant``.
        attempts: how often the provider was asked.
    """

    connection_id: str
    provider: str
    subject: str
    reach: str
    attempts: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ExportedKey:
    """A data key that the owner's records are sealed under; never the key itself.

    Attributes:
        shared: whether it seals records of other owners of the tenant too.
    """

    key_id: str
    state: KeyState
    shared: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class OwnerExport:
    """Everything that is held about an owner, but for tokens.

    Attributes:
        waiting: how many of the owner's tokens wait in this machine's escrow for the store.
    """

    owner: str
    tenant: str
    at: datetime
    connections: tuple[ExportedConnection, ...]
    revocations: tuple[ExportedRevocation, ...]
    keys: tuple[ExportedKey, ...]
    waiting: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as dicts, lists and texts alone; times as ISO 8601."""
        plain: dict[str, Any] = _plain(self)
        return plain

    def to_json(self) -> str:
        """Return it as one JSON document."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
