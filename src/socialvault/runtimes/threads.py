"""Threads: guarded work runs on helper threads, so that nothing that happens to the caller stops it."""

from __future__ import annotations

import os
import threading
import time
import weakref
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from socialvault.exceptions import SocialVaultError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Hashable, Sequence

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


class _Work(Generic[T]):
    """What runs on a helper thread, and what came of it.

    A ``concurrent.futures.Future`` would do, and load ``logging`` with it: a tenth of the time to the first token.
    """

    __slots__ = ("_claimed", "_done", "_problem", "_result")

    def __init__(self) -> None:
        self._claimed = threading.Lock()
        self._done = threading.Event()
        self._result: list[T] = []
        self._problem: BaseException | None = None

    def claim(self) -> bool:
        """Decide once: the thread does the work, or who could not start it has given it up."""
        return self._claimed.acquire(blocking=False)

    def succeed(self, result: T) -> None:
        self._result.append(result)
        self._done.set()

    def fail(self, problem: BaseException) -> None:
        self._problem = problem
        self._done.set()

    def wait(self, timeout_seconds: float | None) -> bool:
        """Wait for the end, at most so long; return whether it came."""
        return self._done.wait(timeout_seconds)

    def outcome(self) -> T:
        """Wait for the end, then return its result or raise its error."""
        self._done.wait()
        problem = self._problem
        if isinstance(problem, SocialVaultError):  # a copy each: one for all would collect every caller's frames
            raise copy(problem).with_traceback(problem.__traceback__) from problem.__cause__
        if problem is not None:
            raise problem
        return self._result[0]


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
        self._flights: dict[Hashable, _Work[Any]] = {}
        self._working: set[_Work[Any]] = set()

    async def single_flight(self, key: Hashable, factory: Factory[T]) -> T:
        """See `Runtime.single_flight`. The work runs on its own thread; all callers only wait for it."""
        with self._lock:
            flight: _Work[T] | None = self._flights.get(key)
            if flight is None:
                flight = self._start(factory, key)
        return flight.outcome()

    async def guarded(
        self, factory: Factory[T], *, deadline_seconds: float, heartbeat: Factory[None] | None, every_seconds: float
    ) -> T:
        """See `Runtime.guarded`. Work and heartbeat each run on their own thread, until the work is done."""
        work = self._start(factory, None)
        if heartbeat is not None:
            self._start(partial(_beat, heartbeat, work, every_seconds), None)
        if not work.wait(deadline_seconds):
            raise TimeoutError("the work goes on, but took longer than its deadline")
        return work.outcome()

    async def each(self, factories: Sequence[Factory[T]], at_most: int) -> list[T]:
        """See `Runtime.each`. So many threads take one after the other."""
        results: dict[int, T] = {}
        waiting, taking = iter(enumerate(factories)), threading.Lock()

        async def take() -> None:
            while True:
                with taking:
                    number, factory = next(waiting, (-1, None))
                if factory is None:
                    return
                results[number] = await factory()

        takers = [self._start(take, None) for _ in range(min(at_most, len(factories)))]
        for taker in takers:
            taker.wait(None)
        for taker in takers:
            taker.outcome()
        return [results[number] for number in range(len(factories))]

    def _start(self, factory: Factory[T], key: Hashable) -> _Work[T]:
        """Start work on a thread of its own. It is known before it runs: an interrupt may come in between."""
        work: _Work[T] = _Work()
        try:
            self._working.add(work)
            if key is not None:
                self._flights[key] = work
            threading.Thread(target=self._run, args=(factory, work, key), name="socialvault").start()
        except BaseException:  # the process is out of threads, or the caller is interrupted
            if work.claim():
                self._working.discard(work)
                if self._flights.get(key) is work:
                    del self._flights[key]
            raise
        return work

    def _run(self, factory: Factory[T], work: _Work[T], key: Hashable) -> None:
        if not work.claim():
            return
        try:
            result = run(factory())
        except BaseException as problem:
            self._land(work, key)
            work.fail(problem)
        else:
            self._land(work, key)
            work.succeed(result)

    def _land(self, work: _Work[Any], key: Hashable) -> None:
        """Make room for the next flight before anybody learns of this one's end."""
        with self._lock:
            self._working.discard(work)
            if self._flights.get(key) is work:
                del self._flights[key]

    async def sleep(self, seconds: float) -> None:
        """See `Runtime.sleep`."""
        time.sleep(seconds)

    async def drain(self, timeout_seconds: float) -> None:
        """See `Runtime.drain`."""
        until = time.monotonic() + timeout_seconds
        for work in list(self._working):
            work.wait(max(0.0, until - time.monotonic()))


async def _beat(heartbeat: Factory[None], work: _Work[Any], every_seconds: float) -> None:
    """Call `heartbeat` until `work` is done. One that fails decides over nothing; the next may succeed."""
    while not work.wait(every_seconds):
        try:
            await heartbeat()
        except Exception as problem:
            import logging

            logging.getLogger("socialvault").warning("a heartbeat raised %s", type(problem).__name__)
