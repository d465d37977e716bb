"""``ManualClock``: real time that a test can push."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta


class ManualClock:
    """Follows real time, plus what it was advanced by. Safe to share between threads.

    Give the same clock to the sandbox and to the vault, and months pass in one line.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offset_seconds = 0.0
        self._frozen_seconds: float | None = None

    def now_seconds(self) -> float:
        """Return the seconds since 1970-01-01 UTC."""
        with self._lock:
            real = time.time() if self._frozen_seconds is None else self._frozen_seconds
            return real + self._offset_seconds

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        return datetime.fromtimestamp(self.now_seconds(), UTC)

    def advance(self, by: timedelta) -> None:
        """Move the time forward, or back where `by` is negative."""
        with self._lock:
            self._offset_seconds += by.total_seconds()

    def freeze(self) -> None:
        """Stop following real time; from now on only `advance` moves it."""
        with self._lock:
            if self._frozen_seconds is None:
                self._frozen_seconds = time.time()

    def reset(self) -> None:
        """Go back to real time."""
        with self._lock:
            self._offset_seconds, self._frozen_seconds = 0.0, None
