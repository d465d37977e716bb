"""A timeout that counts down."""

from __future__ import annotations

import time
from typing import Self


class Deadline(float):
    """The seconds that all steps of a call have together.

    As a number it is what there was at first, so it passes wherever a timeout does, untouched, down to the one place
    that waits on a socket and asks what is left of it. A plain timeout starts anew with each byte of a slow peer.
    """

    ends_at_seconds: float

    def __new__(cls, seconds: float) -> Self:
        self = super().__new__(cls, seconds)
        self.ends_at_seconds = time.monotonic() + seconds
        return self

    def left(self, spent: type[Exception]) -> float:
        """Return what is left, in seconds.

        Raises:
            Exception: of type `spent`, when nothing is.
        """
        seconds = self.ends_at_seconds - time.monotonic()
        if seconds <= 0:
            raise spent("the deadline has passed")
        return seconds


#: What arrived while a process was suspended is there to be read when it wakes, however late that is.
LAST_LOOK_SECONDS = 0.05


class LastLook(Deadline):
    """A deadline for reading: once it has passed, there is one more moment to take what has arrived already."""

    def left(self, spent: type[Exception]) -> float:
        """As `Deadline.left`, with the last moment after it."""
        now = time.monotonic()
        if now >= self.ends_at_seconds and not self._looking:
            self._looking = True
            self.ends_at_seconds = now + LAST_LOOK_SECONDS
        return super().left(spent)

    _looking = False


def remaining(timeout: float | None, spent: type[Exception]) -> float | None:
    """Return what is left of `timeout`: of a plain one, all of it.

    Raises:
        Exception: of type `spent`, when a deadline has passed.
    """
    return timeout.left(spent) if isinstance(timeout, Deadline) else timeout
