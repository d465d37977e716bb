"""asyncio: guarded work runs in tasks that the runtime holds; callers only wait, from any loop of the process."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from concurrent.futures import Future
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from socialvault.exceptions import SocialVaultError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Hashable, Sequence

    from socialvault.ports.runtime import Factory

T = TypeVar("T")

_LOOK_EVERY_SECONDS = 0.5

_logger = logging.getLogger("socialvault")


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
        waiter = asyncio.wrap_future(self.outcome)
        waiter.add_done_callback(_hear_out)
        try:
            while not (await asyncio.wait({waiter}, timeout=_LOOK_EVERY_SECONDS))[0]:
                if self.loop.is_closed():
                    raise _Abandoned
            problem = waiter.exception()
            if isinstance(problem, SocialVaultError):  # a copy each: one for all would collect every caller's frames
                raise copy(problem).with_traceback(problem.__traceback__) from problem.__cause__
            return waiter.result()
        finally:
            waiter.cancel()  # of no effect once it is done


class AsyncioRuntime:
    """The runtime of ``AsyncVault``."""

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
        """Begin with nothing in flight: at the start, and in a forked child, whose parent's loops are not here."""
        self._lock = threading.Lock()
        self._flights: dict[Hashable, _Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def single_flight(self, key: Hashable, factory: Factory[T]) -> T:
        """See `Runtime.single_flight`. When the loop that leads is torn down, a waiter takes over."""
        while True:
            mine = _Flight(asyncio.get_running_loop())
            with self._lock:
                flight = self._flights.setdefault(key, mine)
            if flight is mine:  # started outside the lock: an eager task runs at once, and may ask for another flight
                self._hold(_call(factory)).add_done_callback(partial(self._land, key, flight))
            try:
                result: T = await flight.wait()
            except _Abandoned:
                self._make_room(key, flight)
                continue
            return result

    def _land(self, key: Hashable, flight: _Flight, task: asyncio.Task[Any]) -> None:
        """Pass the outcome on. A task that was told to stop has none; a cancellation of its own making is one."""
        self._make_room(key, flight)
        if task.cancelled():
            flight.outcome.set_exception(_Abandoned() if task.cancelling() else asyncio.CancelledError())
        elif (problem := task.exception()) is not None:
            flight.outcome.set_exception(problem)
        else:
            flight.outcome.set_result(task.result())

    def _make_room(self, key: Hashable, flight: _Flight) -> None:
        """Let the next flight begin, before anybody learns of this one's end."""
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def guarded(
        self, factory: Factory[T], *, deadline_seconds: float, heartbeat: Factory[None] | None, every_seconds: float
    ) -> T:
        """See `Runtime.guarded`. Work and heartbeat are tasks of their own, until the work is done."""
        work = self._hold(_call(factory))
        if heartbeat is not None:
            self._hold(_beat(heartbeat, work, every_seconds))
        if not (await asyncio.wait({work}, timeout=deadline_seconds))[0]:
            raise TimeoutError("the work goes on, but took longer than its deadline")
        return work.result()

    async def each(self, factories: Sequence[Factory[T]], at_most: int) -> list[T]:
        """See `Runtime.each`. So many tasks take one after the other."""
        results: dict[int, T] = {}
        waiting = iter(enumerate(factories))

        async def take() -> None:
            for number, factory in waiting:
                results[number] = await factory()

        takers = [self._hold(take()) for _ in range(min(at_most, len(factories)))]
        if takers:
            await asyncio.wait(takers)
        for taker in takers:
            taker.result()
        return [results[number] for number in range(len(factories))]

    def _hold(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that outlives its caller; a failure that nobody waits for any more is not news."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_hear_out)
        return task

    async def sleep(self, seconds: float) -> None:
        """See `Runtime.sleep`."""
        await asyncio.sleep(seconds)

    async def drain(self, timeout_seconds: float) -> None:
        """See `Runtime.drain`. Only the running loop's work can be waited for."""
        loop = asyncio.get_running_loop()
        held = list(self._tasks)  # at once: other loops' threads add and remove
        mine = {task for task in held if task.get_loop() is loop and task is not asyncio.current_task()}
        if mine:
            await asyncio.wait(mine, timeout=timeout_seconds)


def _hear_out(future: asyncio.Future[Any]) -> None:
    """Take note of a failure that nobody may be waiting for any more, so that asyncio does not report it."""
    if not future.cancelled():
        future.exception()


async def _call(factory: Factory[T]) -> T:
    """Await what `factory` makes: what it raises itself is the task's error then, and not its starter's."""
    return await factory()


async def _beat(heartbeat: Factory[None], work: asyncio.Task[Any], every_seconds: float) -> None:
    """Call `heartbeat` until `work` is done. One that fails decides over nothing; the next may succeed."""
    while not (await asyncio.wait({work}, timeout=every_seconds))[0]:
        try:
            await heartbeat()
        except Exception as problem:
            _logger.warning("a heartbeat raised %s", type(problem).__name__)
