"""What all emulated providers of one sandbox share."""

from __future__ import annotations

import itertools
import threading

from socialvault.sandbox.clock import ManualClock
from socialvault.sandbox.faults import FaultPlan
from socialvault.sandbox.log import Log


class World:
    """Clock, log, faults, and the lock under which every request is worked on.

    Args:
        base_url: where the server is reached, without a slash at the end.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.clock = ManualClock()
        self.log = Log()
        self.faults = FaultPlan()
        self.lock = threading.RLock()
        self._grants = itertools.count(1)

    def next_grant_id(self) -> str:
        """Return an id that no other grant of this sandbox has."""
        return f"g{next(self._grants)}"
