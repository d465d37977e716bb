"""Connections as a token store keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from socialvault.model.status import Status


class AccountKey(NamedTuple):
    """The unique key among live connections. `shared_with` is the owner where accounts are shared, else ""."""

    tenant: str
    provider: str
    client_id: str
    issuer: str
    subject: str
    parent_id: str
    shared_with: str


class TokenRow(NamedTuple):
    """The narrow read behind ``token()``: one indexed look-up."""

    status: str
    generation: int
    provider: str
    issuer: str
    parent_id: str
    envelope: bytes


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """A connection as stored. Only `envelope` and `candidate` are secret, and they are sealed.

    Attributes:
        envelope: the sealed token record; empty for a sub-account that acts with its parent's token, and once revoked.
        key_id: the DEK that sealed it, hex; what a rekey job searches by.
        generation: counts token writes.
        due_at_seconds: when renewal is due. dies_at_seconds: when only a new authorisation helps. None: never.
        failing_since_seconds: since when renewals fail, None when they do not.
    """

    id: str
    account: AccountKey
    owner: str
    kind: str
    status: Status
    reason: str
    generation: int
    envelope: bytes
    key_id: str
    created_at_seconds: float
    updated_at_seconds: float
    due_at_seconds: float | None = None
    dies_at_seconds: float | None = None
    failing_since_seconds: float | None = None
    candidate: bytes = b""
    intent_digest: bytes = b""
    intent_sent_at_seconds: float | None = None
    intent_deadline_seconds: float | None = None
    intent_attempt: int = 0


@dataclass(frozen=True, slots=True)
class TokenWrite:
    """A token write, applied only while the stored generation is `expected_generation`.

    It raises the generation by one, makes the row active and closes its intent.
    """

    connection_id: str
    expected_generation: int
    envelope: bytes
    key_id: str
    updated_at_seconds: float
    due_at_seconds: float | None
    dies_at_seconds: float | None


@dataclass(frozen=True, slots=True)
class StatusWrite:
    """A status change, applied only at `expected_generation`, while the status is one of `expected`.

    The generation stays. `wipe` removes the sealed records and closes the intent: what is gone can't be served.
    """

    connection_id: str
    expected_generation: int
    expected: tuple[Status, ...]
    status: Status
    reason: str
    updated_at_seconds: float
    wipe: bool = False
