"""What happened to a connection, told to observers once. Fields are fixed and free of secrets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

EventName = Literal[
    "connected",
    "reconnected",
    "refreshed",
    "reauthorization_required",
    "sub_account_selected",
    "disconnected",
    "revoked",
    "imported",
    "data_deletion_requested",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One transition of one connection."""

    name: EventName
    at: datetime
    connection_id: str
    tenant: str
    owner: str
    provider: str
    generation: int
    reason: str = ""
