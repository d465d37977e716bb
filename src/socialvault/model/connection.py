"""Connections, as callers see them and as a token store keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.model.scopes import Scopes
    from socialvault.model.secret import Secret


class Status(StrEnum):
    """The stored life of a connection."""

    ACTIVE = "active"
    REAUTHORIZATION_REQUIRED = "reauthorization_required"
    REVOCATION_PENDING = "revocation_pending"
    REVOKED = "revoked"

    @property
    def live(self) -> bool:
        """Whether the owner still has this connection."""
        return self in (Status.ACTIVE, Status.REAUTHORIZATION_REQUIRED)


@dataclass(frozen=True, slots=True)
class Connection:
    """One provider account that one owner has authorised; holds no token.

    Attributes:
        id: survives reconnects.
        provider, client_id, issuer, subject, parent_id: with the tenant, the unique key of the account.
        kind: what a sub-account is (``page``, ``organization``), "" for the account itself.
        name, username, picture_url: for display, "" when unknown.
        status, reason: where it stands, and why when it is not active.
        scopes: granted.
        expires_at: of the access token. dies_at: when only a new authorisation helps; None when nothing says so.
        renewable: whether the library can keep it alive by itself.
    """

    id: str
    owner: str
    tenant: str
    provider: str
    client_id: str
    issuer: str
    subject: str
    parent_id: str
    kind: str
    name: str
    username: str
    picture_url: str
    status: Status
    reason: str
    scopes: Scopes
    expires_at: datetime | None
    dies_at: datetime | None
    renewable: bool
    generation: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SubAccount:
    """Something a connection can act for: a Page, an organization, a channel.

    Attributes:
        id: the provider's id.
        granted: False when the provider lists it but the person did not grant it; it can't be selected then.
        connection_id: the child connection once selected, else "".
    """

    id: str
    name: str
    kind: str
    granted: bool = True
    roles: tuple[str, ...] = ()
    connection_id: str = ""


@dataclass(frozen=True, slots=True)
class SubAccountGrant:
    """A sub-account with its own token, or None where it acts with the parent's."""

    account: SubAccount
    access_token: Secret[str] | None = None


RevocationOutcome = Literal["revoked", "unsupported", "already_gone", "kept_for_sibling", "pending"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a disconnect reached.

    Attributes:
        outcome: at the provider. ``pending``: it could not be reached yet; disconnect again to retry.
            Here the connection is unusable whatever the outcome.
    """

    connection_id: str
    provider: str
    outcome: RevocationOutcome
    at: datetime
    children: tuple[Receipt, ...] = ()


# --- what a token store keeps --------------------------------------------------------------------


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
    reason: str
    generation: int
    provider: str
    issuer: str
    client_id: str
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
