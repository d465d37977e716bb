"""Threads: guarded work runs on helper threads, so that nothing that happens to the caller stops it."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Coroutine, Hashable
from concurrent.futures import Future, wait
from copy import copy
from functools import partial
from typing import Any, TypeVar

from socialvault.exceptions import SocialVaultError
from socialvault.ports.runtime import Factory

T = TypeVar("T")

_logger = logging.getLogger("socialvault")


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

        if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
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
        problem = flight.exception()
        if isinstance(problem, SocialVaultError):  # a copy each: one for all would collect every caller's frames
            raise copy(problem).with_traceback(problem.__traceback__) from problem.__cause__
        return flight.result()

    async def guarded(
        self, factory: Factory[T], *, deadline_seconds: float, heartbeat: Factory[None] | None, every_seconds: float
    ) -> T:
        """See `Runtime.guarded`. Work and heartbeat each run on their own thread, until the work is done."""
        work = self._start(factory, None)
        if heartbeat is not None:
            self._start(partial(_beat, heartbeat, work, every_seconds), None)
        if not wait([work], timeout=deadline_seconds).done:
            raise TimeoutError("the work goes on, but took longer than its deadline")
        return work.result()

    def _start(self, factory: Factory[T], key: Hashable) -> Future[T]:
        outcome: Future[T] = Future()
        outcome.set_running_or_notify_cancel()
        self._working.add(outcome)
        try:
            threading.Thread(target=self._work, args=(factory, outcome, key), name="socialvault").start()
        except RuntimeError:  # the process is out of threads
            self._working.discard(outcome)
            raise
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
            if self._flights.get(key) is outcome:
                del self._flights[key]

    async def sleep(self, seconds: float) -> None:
        """See `Runtime.sleep`."""
        time.sleep(seconds)

    async def drain(self, timeout_seconds: float) -> None:
        """See `Runtime.drain`."""
        wait(list(self._working), timeout=timeout_seconds)


async def _beat(heartbeat: Factory[None], work: Future[Any], every_seconds: float) -> None:
    """Call `heartbeat` until `work` is done. One that fails decides over nothing; the next may succeed."""
    while not wait([work], timeout=every_seconds).done:
        try:
            await heartbeat()
        except Exception as problem:
            _logger.warning("a heartbeat raised %s", type(problem).__name__)
