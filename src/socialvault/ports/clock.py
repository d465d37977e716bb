"""The clock port."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now_seconds(self) -> float:
        """Return the seconds since 1970-01-01 UTC."""
        ...
