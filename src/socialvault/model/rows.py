"""Connections as a token store keeps them, and what is written to them."""

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


class DueRow(NamedTuple):
    """What a sweep needs to know of a connection that is due; everything else is read when its turn comes."""

    id: str
    tenant: str
    owner: str
    generation: int
    due_at_seconds: float


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """A connection as stored. Only `envelope` and `candidate` are secret, and they are sealed.

    Attributes:
        envelope: the sealed token record; empty for a sub-account that acts with its parent's token, and once revoked.
        key_id: the DEK that sealed it, hex; what a rekey job searches by.
        generation: counts token writes.
        due_at_seconds: when renewal is due, or may be tried again after a failure.
        dies_at_seconds: when only a new authorisation helps. warn_at_seconds: when to say so next. None: never.
        failing_since_seconds: since when renewals fail, None when they do not. failing_with: the last error's class.
        failures: renewals that failed in a row. refusals: those of them that nobody can interpret.
        candidate: a sealed token answer that lost the compare-and-swap.
        intent_digest: SHA-256 of a presented token whose fate is or was uncertain; empty when there is none.
        intent_deadline_seconds: until then nobody but its sender presents that token; None: it was answered.
        intent_attempt: how often a token of this generation was presented.
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
    warn_at_seconds: float | None = None
    failing_since_seconds: float | None = None
    failing_with: str = ""
    failures: int = 0
    refusals: int = 0
    candidate: bytes = b""
    intent_digest: bytes = b""
    intent_sent_at_seconds: float | None = None
    intent_deadline_seconds: float | None = None
    intent_attempt: int = 0


@dataclass(frozen=True, slots=True)
class TokenWrite:
    """A token write, applied only while the stored generation is `expected_generation`.

    It raises the generation by one, makes the row active, closes its intent, ends its failures and drops its candidate.
    """

    connection_id: str
    expected_generation: int
    envelope: bytes
    key_id: str
    updated_at_seconds: float
    due_at_seconds: float | None
    dies_at_seconds: float | None
    warn_at_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class IntentWrite:
    """What is recorded before a refresh token is presented, if generation and attempt are as expected.

    It raises the attempt by one. While an earlier intent is open, only its own sender may go on: `replay`.

    Attributes:
        digest: SHA-256 of what is presented.
        lifetime_seconds: for how long, by the store's clock, nobody else may present it.
    """

    connection_id: str
    expected_generation: int
    expected_attempt: int
    digest: bytes
    lifetime_seconds: float
    replay: bool = False


@dataclass(frozen=True, slots=True)
class FailureWrite:
    """What an attempt leaves that brought no token, if generation and attempt are still its own.

    It counts one more failure, keeps since when there are any, and puts the next attempt off. Neither the status nor
    `updated_at_seconds` changes.

    Attributes:
        expected_attempt: the attempt's own number.
        uncertain: the presented token may have been spent, now or by an attempt before: its digest stays.
        open: there was no answer, so the intent stays until its deadline.
        refusals: the new count of them.
    """

    connection_id: str
    expected_generation: int
    expected_attempt: int
    uncertain: bool
    open: bool
    failing_with: str
    refusals: int
    retry_at_seconds: float
    at_seconds: float


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


@dataclass(frozen=True, slots=True)
class RevocationRow:
    """A revocation that the provider has not confirmed yet.

    Attributes:
        id: of this entry; a connection may have several.
        reach: what it ends at the provider: the ``token``, or the person's whole ``grant``.
        generation: of the sealed record.
        envelope: a token that arrived late, sealed for escrow; empty for the connection's own record.
        key_id: the DEK that sealed the envelope, hex.
        attempt: how often the provider was asked.
    """

    id: str
    connection_id: str
    tenant: str
    owner: str
    provider: str
    client_id: str
    issuer: str
    subject: str
    reach: str
    generation: int
    envelope: bytes
    key_id: str
    attempt: int
    next_attempt_at_seconds: float
    created_at_seconds: float


@dataclass(frozen=True, slots=True)
class EscrowRecord:
    """A token answer that the store could not take, kept on this machine until it can.

    Attributes:
        name: of this record in the escrow; "" before it is kept.
        row: the connection it belongs to, as it was when the token was presented; a new one where `is_new`.
        generation: of the sealed answer, which is the presented token's.
        envelope: the sealed answer.
    """

    name: str
    row: ConnectionRow
    is_new: bool
    generation: int
    envelope: bytes
    at_seconds: float
