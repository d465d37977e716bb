"""Threads: guarded work runs on helper threads, so that nothing that happens to the caller stops it."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Coroutine, Hashable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from socialvault.ports.runtime import Factory

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine over blocking ports: it must end at the first step.

    Raises:
        RuntimeError: it suspended, so something in it waits for an event loop.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking call waited for an event loop; use the Async class with asynchronous parts")


class ThreadRuntime:
    """The runtime of ``Vault``."""

    def __init__(self) -> None:
        self._reset()
        itself = weakref.ref(self)

        def forked() -> None:
            alive = itself()
            if alive is not None:
                alive._reset()

        os.register_at_fork(after_in_child=forked)

    def _reset(self) -> None:
        """Begin with nothing in flight: at the start, and in a forked child, whose parent's threads are not here."""
        self._lock = threading.Lock()
        self._flights: dict[Hashable, Future[Any]] = {}
        self._working: set[Future[Any]] = set()

    async def single_flight(self, key: Hashable, factory: Factory[T]) -> T:
        """See `Runtime.single_flight`. The work runs on its own thread; all callers only wait for it."""
        with self._lock:
            flight: Future[T] | None = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = self._start(factory, key)
        return flight.result()

    async def guarded(
        self, factory: Factory[T], *, deadline_seconds: float, heartbeat: Factory[None] | None, every_seconds: float
    ) -> T:
        """See `Runtime.guarded`."""
        until = time.monotonic() + deadline_seconds
        work = self._start(factory, None)
        while True:
            left = until - time.monotonic()
            if wait([work], timeout=max(0.0, min(every_seconds, left))).done:
                return work.result()
            if left <= 0:
                raise TimeoutError("the work goes on, but took longer than its deadline")
            if heartbeat is not None:
                await heartbeat()

    def _start(self, factory: Factory[T], key: Hashable) -> Future[T]:
        outcome: Future[T] = Future()
        outcome.set_running_or_notify_cancel()
        self._working.add(outcome)
        threading.Thread(target=self._work, args=(factory, outcome, key), name="socialvault").start()
        return outcome

    def _work(self, factory: Factory[T], outcome: Future[T], key: Hashable) -> None:
        try:
            result = run(factory())
        except BaseException as problem:
            self._land(outcome, key)
            outcome.set_exception(problem)
        else:
            self._land(outcome, key)
            outcome.set_result(result)

    def _land(self, outcome: Future[Any], key: Hashable) -> None:
        """Make room for the next flight before anybody learns of this one's end."""
        with self._lock:
            self._working.discard(outcome)
            if key is not None:
                self._flights.pop(key, None)

    async def sleep(self, seconds: float) -> None:
        """See `Runtime.sleep`."""
        time.sleep(seconds)

    async def drain(self, timeout_seconds: float) -> None:
        """See `Runtime.drain`."""
        wait(list(self._working), timeout=timeout_seconds)
