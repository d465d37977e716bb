"""``ThreadRuntime``: one run for all callers, and nothing that happens to a caller stops it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from socialvault.exceptions import RefreshBusyError
from socialvault.runtimes import threads
from socialvault.runtimes.threads import ThreadRuntime, run

PATIENCE = 20.0


@pytest.fixture
def runtime() -> Iterator[ThreadRuntime]:
    made = ThreadRuntime()
    yield made
    run(made.drain(PATIENCE))
    assert made._flights == {}
    assert made._working == set()


class Work:
    """Counts its runs and ends when it is told to."""

    def __init__(self, outcome: object = "done") -> None:
        self.outcome = outcome
        self.runs = 0
        self.ended = 0
        self.begun = threading.Event()
        self.go = threading.Event()

    async def __call__(self) -> object:
        self.runs += 1
        self.begun.set()
        assert self.go.wait(PATIENCE)
        self.ended += 1
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.002)


def waiting(runtime: ThreadRuntime, key: str = "k") -> int:
    """How many callers wait in a flight."""
    flight = runtime._flights.get(key)
    return 0 if flight is None else len(flight._done._cond._waiters)  # type: ignore[attr-defined]


def guard(runtime: ThreadRuntime, work: Any, deadline: float = PATIENCE, beat: Any = None, every: float = 1.0) -> Any:
    return run(runtime.guarded(work, deadline_seconds=deadline, heartbeat=beat, every_seconds=every))


# --- run ------------------------------------------------------------------------------------------


def test_run_returns_and_raises_what_the_coroutine_does() -> None:
    async def give(value: object) -> object:
        if isinstance(value, Exception):
            raise value
        return value

    assert run(give("x")) == "x"
    assert run(give(None)) is None
    with pytest.raises(KeyError):
        run(give(KeyError("x")))


def test_run_refuses_a_coroutine_that_suspends() -> None:
    closed = []

    async def wait() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError, match="waited for an event loop"):
        run(wait())
    assert closed == [True]


# --- single flight --------------------------------------------------------------------------------


def fly(runtime: ThreadRuntime, work: Any, callers: int, key: str = "k") -> list[Any]:
    """Call at once from many threads; the work goes on when all of them wait. Returns results and errors."""
    work.begun.clear()
    work.go.clear()

    def call() -> object:
        try:
            return run(runtime.single_flight(key, work))
        except BaseException as problem:  # noqa: BLE001  # the test looks at it
            return problem

    with ThreadPoolExecutor(callers) as pool:
        pending = [pool.submit(call) for _ in range(callers)]
        assert work.begun.wait(PATIENCE)
        wait_until(lambda: waiting(runtime, key) == callers)
        work.go.set()
        return [one.result(PATIENCE) for one in pending]


def test_a_hundred_threads_share_one_run(runtime: ThreadRuntime) -> None:
    work = Work()
    assert fly(runtime, work, 100) == ["done"] * 100
    assert work.runs == 1


def test_a_hundred_threads_share_one_error_and_each_has_a_traceback_of_its_own(runtime: ThreadRuntime) -> None:
    work = Work(RefreshBusyError("busy", retry_after=timedelta(seconds=3)))
    problems = fly(runtime, work, 100)
    assert work.runs == 1
    assert {(type(p), str(p), p.retry_after) for p in problems} == {(RefreshBusyError, "busy", timedelta(seconds=3))}
    assert len({id(problem) for problem in problems}) == 100
    for problem in problems:
        frames = traceback.extract_tb(problem.__traceback__)
        assert [frame.name for frame in frames].count("call") == 1  # no other caller's frames, no other's locals
        assert frames[-1].name == "__call__"  # and where it really failed


def test_the_cause_of_a_shared_error_is_kept(runtime: ThreadRuntime) -> None:
    async def work() -> None:
        raise RefreshBusyError("busy", retry_after=timedelta(0)) from OSError("the disk")

    with pytest.raises(RefreshBusyError) as caught:
        run(runtime.single_flight("k", work))
    assert isinstance(caught.value.__cause__, OSError)


def test_an_error_of_another_kind_is_shared_as_it_is(runtime: ThreadRuntime) -> None:
    work = Work(ZeroDivisionError("a bug"))
    assert set(map(repr, fly(runtime, work, 10))) == {"ZeroDivisionError('a bug')"}
    assert work.runs == 1


@pytest.mark.parametrize("outcome", ["done", RefreshBusyError("busy", retry_after=timedelta(0))])
def test_the_next_call_runs_anew(runtime: ThreadRuntime, outcome: object) -> None:
    work = Work(outcome)
    for runs in (1, 2, 3):
        fly(runtime, work, 3)
        assert work.runs == runs


def test_a_flight_has_landed_before_anybody_learns_of_its_end(runtime: ThreadRuntime) -> None:
    """A caller that calls again in the moment it is answered must not get the old answer once more."""
    runs = 0

    async def work() -> int:
        nonlocal runs
        runs += 1
        return runs

    def call() -> list[int]:
        return [run(runtime.single_flight("k", work)) for _ in range(100)]

    with ThreadPoolExecutor(4) as pool:
        for seen in [one.result(PATIENCE) for one in [pool.submit(call) for _ in range(4)]]:
            assert seen == sorted(set(seen))


def test_other_keys_fly_at_the_same_time(runtime: ThreadRuntime) -> None:
    slow, quick = Work("slow"), Work("quick")
    quick.go.set()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: run(runtime.single_flight("slow", slow)))
        assert slow.begun.wait(PATIENCE)
        assert run(runtime.single_flight("quick", quick)) == "quick"
        slow.go.set()
        assert waiting.result(PATIENCE) == "slow"


@pytest.mark.parametrize("fault", ["factory", "suspends"])
def test_work_that_cannot_be_run_is_an_error_of_the_callers(runtime: ThreadRuntime, fault: str) -> None:
    def factory() -> Any:
        if fault == "factory":
            raise RuntimeError("no coroutine")
        return asyncio.sleep(0)

    with pytest.raises(RuntimeError, match=r"no coroutine|waited for an event loop"):
        run(runtime.single_flight("k", factory))
    with pytest.raises(RuntimeError, match=r"no coroutine|waited for an event loop"):
        guard(runtime, factory)


def test_f_40_a_process_without_threads_to_spare_says_so_and_is_not_stuck(
    runtime: ThreadRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    work.go.set()

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start"):
            run(runtime.single_flight("k", work))
        with pytest.raises(RuntimeError, match="can't start"):
            guard(runtime, work)
    assert runtime._working == set()
    assert run(runtime.single_flight("k", work)) == "done"


# --- what happens to callers ----------------------------------------------------------------------


INTERRUPTED = """
import asyncio, os, signal, sys, threading, time
from socialvault.runtimes.threads import ThreadRuntime, run

runtime = ThreadRuntime()
begun = threading.Event()

async def work():
    begun.set()
    time.sleep(0.3)
    print("work ended", flush=True)
    return "done"

def interrupt():
    begun.wait()
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

async def guarded():
    return await runtime.guarded(work, deadline_seconds=9, heartbeat=None, every_seconds=9)

threading.Thread(target=interrupt).start()
try:
    run({call})
except KeyboardInterrupt:
    print("interrupted", flush=True)
{after}
"""


@pytest.mark.parametrize("call", ["runtime.single_flight('k', work)", "guarded()"], ids=["single_flight", "guarded"])
@pytest.mark.parametrize("after", ["", "run(runtime.drain(9)); print('drained', flush=True)"], ids=["exit", "drain"])
def test_a_keyboard_interrupt_reaches_the_caller_at_once_and_the_work_goes_on_to_its_end(call: str, after: str) -> None:
    script = textwrap.dedent(INTERRUPTED).format(call=call, after=after)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.stdout.split("\n")[:2] == ["interrupted", "work ended"], done.stderr
    assert done.stdout.endswith("drained\n") is bool(after)
    assert done.stderr == ""


# --- guarded --------------------------------------------------------------------------------------


def test_guarded_work_gives_its_result_and_its_error(runtime: ThreadRuntime) -> None:
    fine, bad = Work(), Work(RefreshBusyError("busy", retry_after=timedelta(0)))
    fine.go.set()
    bad.go.set()
    assert guard(runtime, fine) == "done"
    with pytest.raises(RefreshBusyError):
        guard(runtime, bad)


@pytest.mark.parametrize("deadline", [0.02, 0.0, -1.0])
def test_after_its_deadline_the_caller_is_told_and_the_work_goes_on(runtime: ThreadRuntime, deadline: float) -> None:
    work = Work()
    with pytest.raises(TimeoutError, match="goes on"):
        guard(runtime, work, deadline)
    assert work.begun.wait(PATIENCE)
    assert work.ended == 0
    work.go.set()
    run(runtime.drain(PATIENCE))
    assert work.ended == 1


def test_the_heart_beats_until_the_work_is_done(runtime: ThreadRuntime) -> None:
    work, beats = Work(), 0

    async def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            work.go.set()

    assert guard(runtime, work, beat=beat, every=0.005) == "done"
    run(runtime.drain(PATIENCE))
    ended_at = beats
    assert ended_at >= 3
    time.sleep(0.03)
    assert beats == ended_at


def test_quick_work_needs_no_heartbeat(runtime: ThreadRuntime) -> None:
    work = Work()
    work.go.set()
    assert guard(runtime, work, beat=pytest.fail, every=60) == "done"


def test_a_failing_heartbeat_is_logged_without_its_text_and_decides_over_nothing(
    runtime: ThreadRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    work, beats = Work(), 0

    async def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 3:
            work.go.set()
        raise ConnectionError("canary of the database")

    with caplog.at_level(logging.DEBUG):
        assert guard(runtime, work, beat=beat, every=0.005) == "done"
        run(runtime.drain(PATIENCE))
    assert beats >= 3
    assert "a heartbeat raised ConnectionError" in caplog.text
    assert "canary" not in caplog.text


def test_the_heart_goes_on_beating_after_the_caller_gave_up(runtime: ThreadRuntime) -> None:
    work, beats = Work(), 0

    async def beat() -> None:
        nonlocal beats
        beats += 1

    with pytest.raises(TimeoutError):
        guard(runtime, work, 0.01, beat=beat, every=0.005)
    seen = beats
    wait_until(lambda: beats > seen + 2)
    work.go.set()


# --- drain, sleep ---------------------------------------------------------------------------------


def test_drain_waits_for_all_work_and_not_longer_than_told(runtime: ThreadRuntime) -> None:
    works = [Work() for _ in range(3)]
    for work in works:
        with pytest.raises(TimeoutError):
            guard(runtime, work, 0)
    before = time.monotonic()
    run(runtime.drain(0.05))
    assert 0.04 < time.monotonic() - before < PATIENCE / 2
    assert [work.ended for work in works] == [0, 0, 0]
    for work in works:
        work.go.set()
    run(runtime.drain(PATIENCE))
    assert [work.ended for work in works] == [1, 1, 1]


def test_drain_of_nothing_returns_at_once(runtime: ThreadRuntime) -> None:
    before = time.monotonic()
    run(runtime.drain(60))
    assert time.monotonic() - before < 5


def test_sleep_takes_its_time(runtime: ThreadRuntime) -> None:
    before = time.monotonic()
    run(runtime.sleep(0.02))
    assert time.monotonic() - before >= 0.02


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
def test_f_38_a_child_forked_in_mid_flight_starts_clean_and_is_not_blocked(runtime: ThreadRuntime) -> None:
    work, quick = Work(), Work("quick")
    quick.go.set()
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(lambda: run(runtime.single_flight("k", work)))
        assert work.begun.wait(PATIENCE)

        def act() -> object:
            before = (len(runtime._flights), len(runtime._working))
            run(runtime.drain(60))
            return before, run(runtime.single_flight("k", quick)), guard(runtime, quick)

        with runtime._lock:  # held by somebody who is not in the child
            answer = in_child(act)
        assert answer == "((0, 0), 'quick', 'quick')"
        work.go.set()
        assert waiting.result(PATIENCE) == "done"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_f_38_a_runtime_that_is_gone_is_not_missed_at_a_fork() -> None:
    runtime = ThreadRuntime()
    del runtime
    assert in_child(lambda: "alive") == "'alive'"


def test_a_system_that_cannot_fork_is_served_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(threads.os, "register_at_fork")
    work = Work()
    work.go.set()
    assert run(ThreadRuntime().single_flight("k", work)) == "done"


@pytest.mark.parametrize("moment", ["before it runs", "while it runs"])
def test_an_interrupt_while_a_flight_is_started_leaves_one_flight_or_none(monkeypatch, moment):
    """The caller is told, and whoever asks next neither waits for ever nor begins a second flight beside the first."""
    runtime, calls, start = ThreadRuntime(), [], threading.Thread.start

    async def work() -> str:
        calls.append("work")
        threading.Event().wait(0.2)  # blocking, as what a `Vault` does is
        return "done"

    def interrupted(thread: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        if moment == "while it runs":
            start(thread)
            while not calls:
                time.sleep(0.001)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(runtime.single_flight("key", work))
    assert run(runtime.single_flight("key", work)) == "done"
    assert calls == ["work"]
