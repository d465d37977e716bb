"""asyncio: guarded work runs in tasks that the runtime holds; callers only wait, from any loop of the process."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

from socialvault.ports.runtime import Factory

T = TypeVar("T")

_LOOK_EVERY_SECONDS = 0.5


class _Abandoned(Exception):
    """The loop that did the work was torn down."""


class _Flight:
    """Work in progress on one loop, awaited from any."""

    __slots__ = ("loop", "outcome")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.outcome: Future[Any] = Future()
        self.outcome.set_running_or_notify_cancel()  # so that no waiter can cancel it

    async def wait(self) -> Any:
        """Wait for the outcome; notice when its loop is gone."""
        while True:
            waiter = asyncio.wrap_future(self.outcome)
            try:
                done, _ = await asyncio.wait({waiter}, timeout=_LOOK_EVERY_SECONDS)
            finally:
                waiter.cancel()  # of no effect once it is done
            if done:
                return waiter.result()
            if self.loop.is_closed():
                raise _Abandoned


class AsyncioRuntime:
    """The runtime of ``AsyncVault``."""

    def __init__(self) -> None:
        self._reset()
        itself = weakref.ref(self)

        def forked() -> None:
            alive = itself()
            if alive is not None:
                alive._reset()

        os.register_at_fork(after_in_child=forked)

    def _reset(self) -> None:
        """Begin with nothing in flight: at the start, and in a forked child, whose parent's loops are not here."""
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def single_flight(self, key: Hashable, factory: Factory[T]) -> T:
        """See `Runtime.single_flight`. When the loop that leads is torn down, a waiter takes over."""
        while True:
            with self._lock:
                flight = self._flights.get(key)
                if flight is None:
                    flight = self._flights[key] = _Flight(asyncio.get_running_loop())
                    self._hold(self._fly(key, flight, factory))
            try:
                result: T = await flight.wait()
            except _Abandoned:
                self._land(key, flight)
                continue
            return result

    async def _fly(self, key: Hashable, flight: _Flight, factory: Factory[T]) -> None:
        try:
            result = await factory()
        except asyncio.CancelledError:
            self._land(key, flight)
            flight.outcome.set_exception(_Abandoned())
            raise
        except BaseException as problem:
            self._land(key, flight)
            flight.outcome.set_exception(problem)
        else:
            self._land(key, flight)
            flight.outcome.set_result(result)

    def _land(self, key: Hashable, flight: _Flight) -> None:
        """Make room for the next flight before anybody learns of this one's end."""
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def guarded(
        self, factory: Factory[T], *, deadline_seconds: float, heartbeat: Factory[None] | None, every_seconds: float
    ) -> T:
        """See `Runtime.guarded`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_seconds
        work = self._hold(factory())
        while True:
            left = until - loop.time()
            done, _ = await asyncio.wait({work}, timeout=max(0.0, min(every_seconds, left)))
            if done:
                return work.result()
            if left <= 0:
                raise TimeoutError("the work goes on, but took longer than its deadline")
            if heartbeat is not None:
                await heartbeat()

    def _hold(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that outlives its caller; a failure that nobody waits for any more is not news."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._let_go)
        return task

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def sleep(self, seconds: float) -> None:
        """See `Runtime.sleep`."""
        await asyncio.sleep(seconds)

    async def drain(self, timeout_seconds: float) -> None:
        """See `Runtime.drain`. Only the running loop's work can be waited for."""
        loop = asyncio.get_running_loop()
        mine = {task for task in self._tasks if task.get_loop() is loop and task is not asyncio.current_task()}
        if mine:
            await asyncio.wait(mine, timeout=timeout_seconds)
