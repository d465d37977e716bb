"""``AsyncioRuntime``: one run for all callers of all loops, and nothing that happens to a caller stops it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from socialvault.exceptions import RefreshBusyError
from socialvault.runtimes import asyncio as module
from socialvault.runtimes.asyncio import AsyncioRuntime

PATIENCE = 20.0


@pytest.fixture
async def runtime() -> AsyncIterator[AsyncioRuntime]:
    """A runtime that must be left empty, on a loop that must have nothing to complain about."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    made = AsyncioRuntime()
    yield made
    await made.drain(PATIENCE)
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []
    assert (made._flights, made._tasks) == ({}, set())


class Work:
    """Counts its runs and ends when it is told to."""

    def __init__(self, outcome: object = "done") -> None:
        self.outcome = outcome
        self.runs = 0
        self.ended = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self) -> object:
        self.runs += 1
        self.begun.set()
        await asyncio.wait_for(self.go.wait(), PATIENCE)
        self.ended += 1
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


async def guard(
    runtime: AsyncioRuntime, work: Any, deadline: float = PATIENCE, beat: Any = None, every: float = 1.0
) -> Any:
    return await runtime.guarded(work, deadline_seconds=deadline, heartbeat=beat, every_seconds=every)


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  (nobody sets an event here)
            await asyncio.sleep(0.002)


# --- single flight --------------------------------------------------------------------------------


async def fly(runtime: AsyncioRuntime, work: Work, callers: int) -> list[Any]:
    pending = [asyncio.create_task(runtime.single_flight("k", work)) for _ in range(callers)]
    await work.begun.wait()
    work.go.set()
    return await asyncio.gather(*pending, return_exceptions=True)


async def test_a_hundred_tasks_share_one_run(runtime: AsyncioRuntime) -> None:
    work = Work()
    assert await fly(runtime, work, 100) == ["done"] * 100
    assert work.runs == 1


async def test_a_hundred_tasks_share_one_error_and_each_has_a_traceback_of_its_own(runtime: AsyncioRuntime) -> None:
    work = Work(RefreshBusyError("busy", retry_after=timedelta(seconds=3)))
    problems = await fly(runtime, work, 100)
    assert work.runs == 1
    assert {(type(p), str(p), p.retry_after) for p in problems} == {(RefreshBusyError, "busy", timedelta(seconds=3))}
    assert len({id(problem) for problem in problems}) == 100
    for problem in problems:
        names = [frame.name for frame in traceback.extract_tb(problem.__traceback__)]
        assert names.count("single_flight") == 1
        assert names[-1] == "__call__"  # where it really failed


async def test_the_cause_of_a_shared_error_is_kept(runtime: AsyncioRuntime) -> None:
    async def work() -> None:
        raise RefreshBusyError("busy", retry_after=timedelta(0)) from OSError("the disk")

    with pytest.raises(RefreshBusyError) as caught:
        await runtime.single_flight("k", work)
    assert isinstance(caught.value.__cause__, OSError)


async def test_an_error_of_another_kind_is_shared_as_it_is(runtime: AsyncioRuntime) -> None:
    work = Work(ZeroDivisionError("a bug"))
    assert set(map(repr, await fly(runtime, work, 10))) == {"ZeroDivisionError('a bug')"}


@pytest.mark.parametrize("outcome", ["done", None, RefreshBusyError("busy", retry_after=timedelta(0))])
async def test_the_next_call_runs_anew(runtime: AsyncioRuntime, outcome: object) -> None:
    work = Work(outcome)
    for runs in (1, 2, 3):
        await fly(runtime, work, 3)
        assert work.runs == runs


async def test_a_flight_has_landed_before_anybody_learns_of_its_end(runtime: AsyncioRuntime) -> None:
    runs = 0

    async def work() -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        return runs

    async def call() -> list[int]:
        return [await runtime.single_flight("k", work) for _ in range(50)]

    for seen in await asyncio.gather(*(call() for _ in range(4))):
        assert seen == sorted(set(seen))


async def test_other_keys_fly_at_the_same_time(runtime: AsyncioRuntime) -> None:
    slow, quick = Work("slow"), Work("quick")
    quick.go.set()
    waiting = asyncio.create_task(runtime.single_flight("slow", slow))
    await slow.begun.wait()
    assert await runtime.single_flight("quick", quick) == "quick"
    slow.go.set()
    assert await waiting == "slow"


async def test_a_flight_may_ask_for_another_one(runtime: AsyncioRuntime) -> None:
    inner = Work("inner")
    inner.go.set()
    assert await runtime.single_flight("outer", lambda: runtime.single_flight("inner", inner)) == "inner"


async def test_work_that_cannot_be_made_is_an_error_of_the_callers(runtime: AsyncioRuntime) -> None:
    def factory() -> Any:
        raise RuntimeError("no coroutine")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="no coroutine"):
            await runtime.single_flight("k", factory)
        with pytest.raises(RuntimeError, match="no coroutine"):
            await guard(runtime, factory)


async def test_tasks_are_started_without_holding_the_lock(runtime: AsyncioRuntime) -> None:
    """So that a loop with eager tasks, which run at once, does not stand still."""
    held: list[bool] = []

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        held.append(runtime._lock.locked())
        return asyncio.Task(coroutine, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(factory)
    work = Work()
    work.go.set()
    assert await runtime.single_flight("k", work) == "done"
    assert held
    assert not any(held)


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks came with Python 3.12")
async def test_a_loop_with_eager_tasks_is_served(runtime: AsyncioRuntime) -> None:
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    work, inner = Work(), Work("inner")
    work.go.set()
    inner.go.set()
    assert await runtime.single_flight("k", work) == "done"
    assert await guard(runtime, work) == "done"
    assert await runtime.single_flight("outer", lambda: runtime.single_flight("inner", inner)) == "inner"


# --- what happens to callers ----------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["done", RefreshBusyError("busy", retry_after=timedelta(0))])
@pytest.mark.parametrize("ticks", range(12))
async def test_a_caller_cancelled_at_any_time_stops_neither_the_work_nor_the_others(
    runtime: AsyncioRuntime, outcome: object, ticks: int
) -> None:
    steps = 4

    async def work() -> object:
        nonlocal runs, ended
        runs += 1
        for _ in range(steps):
            await asyncio.sleep(0)
        ended += 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    runs = ended = 0
    leader, other = [asyncio.create_task(runtime.single_flight("k", work)) for _ in range(2)]
    for _ in range(ticks):
        await asyncio.sleep(0)
    leader.cancel()
    (first,) = await asyncio.gather(leader, return_exceptions=True)
    (second,) = await asyncio.gather(other, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError) or repr(first) == repr(outcome)
    assert repr(second) == repr(outcome)
    assert runs == ended == 1


@pytest.mark.parametrize("ticks", range(10))
async def test_nothing_is_reported_when_every_caller_left_before_an_error(runtime: AsyncioRuntime, ticks: int) -> None:
    async def fail() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        raise RefreshBusyError("busy", retry_after=timedelta(0))

    callers = [asyncio.create_task(runtime.single_flight("k", fail)) for _ in range(3)]
    callers += [asyncio.create_task(guard(runtime, fail))]
    for _ in range(ticks):
        await asyncio.sleep(0)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    del callers  # the fixture collects garbage and asks the loop for complaints


async def test_a_caller_with_a_timeout_of_its_own_leaves_the_work_running(runtime: AsyncioRuntime) -> None:
    work = Work()
    for attempt in (lambda: runtime.single_flight("k", work), lambda: guard(runtime, work)):
        work.runs = work.ended = 0
        work.go.clear()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(attempt(), 0.01)
        work.go.set()
        await runtime.drain(PATIENCE)
        assert (work.runs, work.ended) == (1, 1)


async def test_a_cancellation_of_the_works_own_making_is_its_outcome_and_not_tried_again(
    runtime: AsyncioRuntime,
) -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(runtime.single_flight("k", work), PATIENCE)
    assert runs == 1


@pytest.mark.parametrize("ticks", [1, 2, 3, 5])
async def test_a_flight_whose_task_is_cancelled_is_taken_over_even_before_it_began(
    runtime: AsyncioRuntime, ticks: int
) -> None:
    work = Work()
    callers = [asyncio.create_task(runtime.single_flight("k", work)) for _ in range(3)]
    for _ in range(ticks):
        await asyncio.sleep(0)
    for task in list(runtime._tasks):
        task.cancel()
    work.go.set()
    assert await asyncio.wait_for(asyncio.gather(*callers), PATIENCE) == ["done"] * 3
    assert work.runs <= 2


# --- several loops --------------------------------------------------------------------------------


def on_a_loop(main: Callable[[], Awaitable[object]]) -> object:
    async def run() -> object:
        return await main()

    return asyncio.run(run())


def test_four_loops_in_four_threads_share_one_flight() -> None:
    runtime, runs = AsyncioRuntime(), 0
    together, go = threading.Barrier(4), threading.Event()

    async def work() -> str:
        nonlocal runs
        runs += 1
        await asyncio.to_thread(go.wait, PATIENCE)
        return "done"

    async def main() -> object:
        await asyncio.to_thread(together.wait, PATIENCE)
        callers = [asyncio.create_task(runtime.single_flight("k", work)) for _ in range(25)]
        await asyncio.sleep(0.05)
        await asyncio.to_thread(together.wait, PATIENCE)
        go.set()
        return await asyncio.gather(*callers)

    with ThreadPoolExecutor(4) as pool:
        answers = [one.result(PATIENCE) for one in [pool.submit(on_a_loop, main) for _ in range(4)]]
    assert answers == [["done"] * 25] * 4
    assert runs == 1
    assert runtime._flights == {}


def test_four_loops_in_four_threads_share_one_error() -> None:
    runtime, together = AsyncioRuntime(), threading.Barrier(4)

    async def work() -> None:
        await asyncio.sleep(0.1)
        raise RefreshBusyError("busy", retry_after=timedelta(0))

    async def main() -> object:
        await asyncio.to_thread(together.wait, PATIENCE)
        return await asyncio.gather(runtime.single_flight("k", work), return_exceptions=True)

    with ThreadPoolExecutor(4) as pool:
        answers = [one.result(PATIENCE) for one in [pool.submit(on_a_loop, main) for _ in range(4)]]
    problems = [problem for answer in answers for problem in answer]  # type: ignore[attr-defined]
    assert [type(problem) for problem in problems] == [RefreshBusyError] * 4
    assert len({id(problem) for problem in problems}) == 4


class Leader(threading.Thread):
    """Leads a flight on a loop of its own, and is torn down in the middle of it."""

    def __init__(self, runtime: AsyncioRuntime, how: str) -> None:
        super().__init__(daemon=True)
        self.runtime, self.how = runtime, how
        self.begun, self.leave = threading.Event(), threading.Event()

    async def work(self) -> str:
        self.begun.set()
        await asyncio.sleep(PATIENCE * 10)
        return "of the leader"

    async def lead(self) -> None:
        flying = asyncio.create_task(self.runtime.single_flight("k", self.work))
        await asyncio.to_thread(self.leave.wait, PATIENCE)
        if self.how == "cancelled":
            flying.cancel()
        else:
            del flying

    def run(self) -> None:
        if self.how == "cancelled":  # as asyncio.run does: every task is cancelled, then the loop is closed
            asyncio.run(self.lead())
            return
        loop = asyncio.new_event_loop()  # closed over its tasks' heads
        loop.run_until_complete(self.lead())
        loop.run_until_complete(loop.shutdown_default_executor())
        wrecks = asyncio.all_tasks(loop)
        loop.close()
        for task in wrecks:  # here, where their complaints can be caught, and not at some later collection of garbage
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with contextlib.suppress(RuntimeError):
                task.get_coro().close()


@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_f_38_when_the_leading_loop_is_torn_down_a_waiter_takes_over_and_nobody_hangs(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LOOK_EVERY_SECONDS", 0.02)
    runtime, runs = AsyncioRuntime(), 0
    leader = Leader(runtime, how)
    leader.start()
    assert leader.begun.wait(PATIENCE)

    async def work() -> str:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0.02)
        return "of a waiter"

    async def main() -> object:
        callers = [asyncio.create_task(runtime.single_flight("k", work)) for _ in range(5)]
        await asyncio.sleep(0.05)
        leader.leave.set()
        return await asyncio.wait_for(asyncio.gather(*callers), PATIENCE)

    assert on_a_loop(main) == ["of a waiter"] * 5
    assert runs == 1
    leader.join(PATIENCE)
    assert not leader.is_alive()
    assert runtime._flights == {}


# --- guarded --------------------------------------------------------------------------------------


async def test_guarded_work_gives_its_result_and_its_error(runtime: AsyncioRuntime) -> None:
    fine, bad = Work(), Work(RefreshBusyError("busy", retry_after=timedelta(0)))
    fine.go.set()
    bad.go.set()
    assert await guard(runtime, fine) == "done"
    with pytest.raises(RefreshBusyError):
        await guard(runtime, bad)


@pytest.mark.parametrize("deadline", [0.02, 0.0, -1.0])
async def test_after_its_deadline_the_caller_is_told_and_the_work_goes_on(
    runtime: AsyncioRuntime, deadline: float
) -> None:
    work = Work()
    with pytest.raises(TimeoutError, match="goes on"):
        await guard(runtime, work, deadline)
    assert work.ended == 0
    work.go.set()
    await runtime.drain(PATIENCE)
    assert work.ended == 1


async def test_the_heart_beats_until_the_work_is_done(runtime: AsyncioRuntime) -> None:
    work, beats = Work(), 0

    async def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            work.go.set()

    assert await guard(runtime, work, beat=beat, every=0.005) == "done"
    await runtime.drain(PATIENCE)
    ended_at = beats
    assert ended_at >= 3
    await asyncio.sleep(0.03)
    assert beats == ended_at


async def test_quick_work_needs_no_heartbeat(runtime: AsyncioRuntime) -> None:
    work = Work()
    work.go.set()
    assert await guard(runtime, work, beat=pytest.fail, every=60) == "done"


async def test_a_failing_heartbeat_is_logged_without_its_text_and_decides_over_nothing(
    runtime: AsyncioRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    work, beats = Work(), 0

    async def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            work.go.set()
        raise ConnectionError("canary of the database")

    with caplog.at_level(logging.DEBUG):
        assert await guard(runtime, work, beat=beat, every=0.005) == "done"
        await runtime.drain(PATIENCE)
    assert beats >= 3
    assert "a heartbeat raised ConnectionError" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize("how", ["deadline", "cancelled"])
async def test_the_heart_goes_on_beating_after_the_caller_is_gone(runtime: AsyncioRuntime, how: str) -> None:
    work, beats = Work(), 0

    async def beat() -> None:
        nonlocal beats
        beats += 1

    deadline = 0.01 if how == "deadline" else PATIENCE
    caller = asyncio.create_task(guard(runtime, work, deadline, beat=beat, every=0.005))
    await work.begun.wait()
    if how == "cancelled":
        caller.cancel()
    (problem,) = await asyncio.gather(caller, return_exceptions=True)
    assert isinstance(problem, TimeoutError if how == "deadline" else asyncio.CancelledError)
    seen = beats
    await wait_until(lambda: beats > seen + 2)
    work.go.set()
    await runtime.drain(PATIENCE)
    assert work.ended == 1


@pytest.mark.parametrize("ticks", range(6))
async def test_a_guarded_caller_cancelled_at_any_time_leaves_the_work_running(
    runtime: AsyncioRuntime, ticks: int
) -> None:
    work = Work()
    caller = asyncio.create_task(guard(runtime, work, beat=work_nothing, every=0.001))
    for _ in range(ticks):
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    work.go.set()
    await runtime.drain(PATIENCE)
    assert work.runs == work.ended == (1 if ticks else 0)  # a caller that never ran asked for nothing


async def work_nothing() -> None:
    """Beat."""


# --- drain, sleep ---------------------------------------------------------------------------------


async def test_drain_waits_for_all_work_and_not_longer_than_told(runtime: AsyncioRuntime) -> None:
    works = [Work() for _ in range(3)]
    for work in works:
        with pytest.raises(TimeoutError):
            await guard(runtime, work, 0)
    await runtime.drain(0.02)
    assert [work.ended for work in works] == [0, 0, 0]
    for work in works:
        work.go.set()
    await runtime.drain(PATIENCE)
    assert [work.ended for work in works] == [1, 1, 1]


async def test_drain_may_be_called_from_the_work_itself(runtime: AsyncioRuntime) -> None:
    async def work() -> str:
        await runtime.drain(PATIENCE)
        return "done"

    assert await guard(runtime, work, 5) == "done"


async def test_drain_waits_for_its_own_loop_only(runtime: AsyncioRuntime) -> None:
    begun, go = threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        await asyncio.to_thread(go.wait, PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        elsewhere = pool.submit(on_a_loop, lambda: guard(runtime, work))
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        await asyncio.wait_for(runtime.drain(PATIENCE), PATIENCE / 4)
        go.set()
        await asyncio.wrap_future(elsewhere)


def test_drain_bears_other_loops_work_coming_and_going() -> None:
    runtime, over = AsyncioRuntime(), threading.Event()

    async def come_and_go() -> None:
        while not over.is_set():
            await asyncio.gather(*(guard(runtime, work_nothing) for _ in range(50)))

    async def drain() -> None:
        for _ in range(300):
            await runtime.drain(PATIENCE)

    with ThreadPoolExecutor(3) as pool:
        busy = [pool.submit(on_a_loop, come_and_go) for _ in range(2)]
        pool.submit(on_a_loop, drain).result(PATIENCE)
        over.set()
        for one in busy:
            one.result(PATIENCE)


async def test_sleep_takes_its_time(runtime: AsyncioRuntime) -> None:
    before = time.monotonic()
    await runtime.sleep(0.02)
    assert time.monotonic() - before >= 0.015


# --- forks and other systems ----------------------------------------------------------------------


def in_child(act: Callable[[], object]) -> str:
    """Fork, act in the child, and return the repr of what came of it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.alarm(int(PATIENCE))  # a child that hangs dies
            answer = repr(act())
        except BaseException as problem:  # noqa: BLE001  # nothing may get out of the child
            answer = f"raised {problem!r}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # newer Pythons warn of forks beside threads
async def test_f_38_a_child_forked_in_mid_flight_starts_clean_and_is_not_blocked(runtime: AsyncioRuntime) -> None:
    work = Work()
    waiting = asyncio.create_task(runtime.single_flight("k", work))
    await work.begun.wait()

    async def quick() -> str:
        return "quick"

    async def main() -> object:
        before = (len(runtime._flights), len(runtime._tasks))
        await runtime.drain(60)
        return before, await runtime.single_flight("k", quick), await guard(runtime, quick)

    with runtime._lock:  # held by somebody who is not in the child
        answer = in_child(lambda: on_a_loop(main))
    assert answer == "((0, 0), 'quick', 'quick')"
    work.go.set()
    assert await waiting == "done"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_f_38_a_runtime_that_is_gone_is_not_missed_at_a_fork() -> None:
    runtime = AsyncioRuntime()
    del runtime
    assert in_child(lambda: "alive") == "'alive'"


async def test_a_system_that_cannot_fork_is_served_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module.os, "register_at_fork")
    work = Work()
    work.go.set()
    assert await AsyncioRuntime().single_flight("k", work) == "done"
