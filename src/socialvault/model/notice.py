"""What a provider tells about an account, unasked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class AccountNotice:
    """A provider's signed word that a person removed this application, or wants their data deleted.

    Attributes:
        subject: the provider's id of the account, as in its connections.
        issued_at: when the provider signed it (aware, UTC).
    """

    subject: str
    issued_at: datetime
