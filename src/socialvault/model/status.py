"""Where a connection stands."""

from __future__ import annotations

from enum import StrEnum


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
