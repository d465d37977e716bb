"""Stores that are closed once nobody has their vault any more: a bench makes hundreds, and a server takes so many."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from typing import Any

_MOST_AT_ONCE = 24


class _Lifetimes:
    """Those of this process. A forked process leaves its parent's alone."""

    def __init__(self) -> None:
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.RLock()  # collecting garbage may close others on the way
        self._live = 0

    def end_with(self, user: object, store: Any) -> None:
        """Close `store` when `user` is gone."""
        with self._lock:
            self._live += 1
            crowded = self._live > _MOST_AT_ONCE
        weakref.finalize(user, self._close, store, os.getpid()).atexit = False
        if crowded:
            gc.collect()

    def _close(self, store: Any, maker: int) -> None:
        if os.getpid() == maker:
            with self._lock:
                self._live -= 1
            getattr(store, "close_soon", store.close)()


LIFETIMES = _Lifetimes()
