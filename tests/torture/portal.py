"""A blocking face for an asynchronous store: its calls run in an event loop on a thread of its own.

So the points that drive threads and processes try the asynchronous adapters too.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, TypeVar

T = TypeVar("T")


class Portal:
    """The loop of this process. A forked process has none of its parent's threads, so it begins with a new one."""

    def __init__(self) -> None:
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """Call a coroutine function in the loop and wait for its end."""
        return self.begin(work, *args, **kwargs).result()

    def begin(self, work: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> Future[T]:
        """Call a coroutine function in the loop and go on."""
        return asyncio.run_coroutine_threadsafe(work(*args, **kwargs), self._running())

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="portal", daemon=True).start()
            return self._loop


PORTAL = Portal()


class BlockingFace:
    """An asynchronous store seen as a blocking one.

    Args:
        open_store: makes the store; called in the loop.
    """

    def __init__(self, open_store: Callable[[], Any]) -> None:
        async def make() -> Any:
            return open_store()

        self._store = PORTAL.run(make)

    def close(self) -> None:
        """As `Store.close`."""
        PORTAL.run(self._store.aclose)

    def close_soon(self) -> None:
        """As `close`, without waiting for it: the loop's own thread may be the one that asks."""
        PORTAL.begin(self._store.aclose)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not iscoroutinefunction(found):
            return found

        @wraps(found)
        def blocking(*args: Any, **kwargs: Any) -> Any:
            return PORTAL.run(found, *args, **kwargs)

        setattr(self, name, blocking)
        return self.__dict__[name]
