"""What happened to a connection, told to observers once. Fields are fixed and free of secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

EventName = Literal[
    "connected",
    "reconnected",
    "imported",
    "sub_account_selected",
    # renewal
    "refreshed",
    "renewal_failing",
    "renewal_recovered",
    "reauthorization_required",
    "recovered",
    "expires_soon",
    "token_escrowed",
    # the end
    "disconnected",
    "revoked",
    "owner_erased",
    "data_deletion_requested",
    # of the application at a provider, not of one connection
    "client_rejected",
    "client_accepted",
    # keys, and reads where an observer asks for them
    "vault_created",
    "vault_key_created",
    "data_key_created",
    "data_key_replaced",
    "key_added",
    "key_promoted",
    "key_retired",
    "key_reinstated",
    "token_read",
    # security: a sealed record was not opened, and is left as it is
    "record_refused",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One transition of one connection.

    Attributes:
        connection_id, owner, provider: "" where the event is not about one.
        reason: why, in one word or number: of a dead grant, a failing renewal (the error's class), an outcome at the
            provider, the days left, what a token was read for, why a record was refused (the error's class).
        dies_at: when only a new authorisation helps, where the event is about that.
        key_id: of the key that an event is about, hex.
    """

    name: EventName
    at: datetime
    connection_id: str
    tenant: str
    owner: str
    provider: str
    generation: int
    reason: str = ""
    dies_at: datetime | None = None
    key_id: str = ""
