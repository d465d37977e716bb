"""``python -m torture``: run the points, tell whether they held, and write a report."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from socialvault.sandbox.remote import RemoteSandbox
from torture.bench import discard, make_bench
from torture.mutations import MUTATIONS
from torture.places import KINDS
from torture.point import Point, Tally, load_points
from torture.report import Report, noticed, plain, result_of
from torture.servers import Servers
from torture.store import STORES, Store

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from rich.progress import TaskID

_FORK = multiprocessing.get_context("fork")
#: How long a point may say nothing, neither that trials were made nor that it is done, before it is called hung.
_SILENCE_SECONDS = 180.0
_ENDING_SECONDS = 10.0
#: Topics that CI tries on every store in one colour: processes that end or stop, servers that go, months gone through.
_IN_ONE_COLOUR = ("fork", "kills", "provider_down", "renewal_models", "rotations", "servers", "suspended")


@dataclass(frozen=True)
class Task:
    """One point on one store, as it is or under a mutation."""

    point: Point
    store: Store
    trials: int
    mutation: str = ""

    @property
    def title(self) -> str:
        """What the progress bar calls it."""
        return f"{self.point.name} ({self.store})" + (f", {self.mutation}" if self.mutation else "")


def arguments(argv: Sequence[str] | None, names: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("--long", action="store_true", help="make the long form's trials")
    parser.add_argument("--percent", type=int, default=100, metavar="P", help="or so many percent of them")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help="run these points")
    parser.add_argument("--store", choices=(*KINDS, "all"), help="on these stores; default: sqlite, for CI all")
    parser.add_argument(
        "--colour", choices=("sync", "async", "both"), help="with these adapters of them; default: sync, for CI both"
    )
    parser.add_argument("--skip", nargs="+", metavar="NAME", choices=names, default=(), help="leave these points out")
    parser.add_argument(
        "--ci", action="store_true", help="leave out the second colour where processes end or servers go"
    )
    parser.add_argument("--seed", type=int, help="what chance is made from; default: any, printed")
    parser.add_argument("--report", type=Path, metavar="FOLDER", help="add to the report in this folder")
    parser.add_argument(
        "--mutations", action="store_true", help="break the library in each way that a point names, and see it notice"
    )
    chosen = parser.parse_args(argv)
    if chosen.mutations and chosen.long:
        parser.error("a mutation is tried in the short form")
    chosen.store = chosen.store or ("all" if chosen.ci else "sqlite")
    chosen.colour = chosen.colour or ("both" if chosen.ci else "sync")
    return chosen


def tasks(points: dict[str, Point], chosen: argparse.Namespace) -> Iterator[Task]:
    """Yield what is to be run."""
    for store in STORES:
        if chosen.store not in ("all", store.kind) or chosen.colour not in ("both", store.colour):
            continue
        for name in chosen.only or sorted(set(points) - set(chosen.skip)):
            point = points[name]
            if point.excuse(store) or (chosen.ci and store.colour == "async" and point.topic in _IN_ONE_COLOUR):
                continue
            if chosen.mutations:
                yield from (Task(point, store, point.short, mutation) for mutation in point.mutations)
            else:
                long = max(point.short, point.long * chosen.percent // 100)
                yield Task(point, store, long if chosen.long else point.short)


def _form(chosen: argparse.Namespace) -> str:
    """What the report calls the run."""
    if not chosen.long:
        return "short"
    return "long" if chosen.percent == 100 else f"{chosen.percent} % of long"


# --- one point, in a process of its own -----------------------------------------------------------


def _work(sending: Connection, sandbox: RemoteSandbox, servers: Servers, task: Task, seed: int) -> None:
    """Run a point: in a process of its own, since nothing takes a mutation back, and of its own session."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        bench = make_bench(task.store, seed, servers=servers, mutation=task.mutation, sandbox=sandbox)
    except Exception as problem:  # noqa: BLE001  # whatever it is, it is reported
        sending.send(Tally(broken=[f"the bench raised {type(problem).__name__}: {problem}"]))
        return
    bench.advance = sending.send
    try:
        sending.send(task.point.tried(bench, task.trials))
    finally:
        discard(bench)


def attempt(sandbox: RemoteSandbox, servers: Servers, task: Task, seed: int, progress: Progress, bar: TaskID) -> Tally:
    """Run a point and move its bar; whatever it started ends with it."""
    receiving, sending = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_work, args=(sending, sandbox, servers, task, seed))
    began = time.monotonic()
    process.start()
    sending.close()
    try:
        tally = _followed(receiving, progress, bar)
        process.join(_ENDING_SECONDS)
    finally:
        _end(process.pid)
        process.kill()
        process.join()
        receiving.close()
    tally.seconds = tally.seconds or time.monotonic() - began
    return tally


def _followed(receiving: Connection, progress: Progress, bar: TaskID) -> Tally:
    while receiving.poll(_SILENCE_SECONDS):
        try:
            said = receiving.recv()
        except EOFError:
            return Tally(broken=["the point's process ended without a word"])
        if isinstance(said, Tally):
            return said
        progress.advance(bar, said)
    return Tally(broken=[f"the point hangs: nothing for {_SILENCE_SECONDS:g} s"])


def _end(pid: int | None) -> None:
    """End a point's process and all that it started and left behind: they are a process group."""
    if pid:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


# --- all of them ----------------------------------------------------------------------------------


def run(planned: Sequence[Task], seed: int, form: str, report: Report, console: Console) -> bool:
    """Run every task; return whether each ended as it must."""
    good = True
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        RemoteSandbox() as sandbox,
        Servers() as servers,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        overall = progress.add_task("all", total=len(planned))
        for task in planned:
            bar = progress.add_task(task.title, total=task.trials)
            servers.start(task.store.kind)
            tally = attempt(sandbox, servers, task, seed, progress, bar)
            progress.remove_task(bar)
            progress.advance(overall)
            result = result_of(tally, seed=seed, form=form)
            if task.mutation:
                report.add_mutation(task.point, task.store, task.mutation, result)
            else:
                report.add_result(task.point, task.store, result)
            as_it_must = noticed(result) if task.mutation else tally.held
            good = good and as_it_must
            _tell(console, task, tally, as_it_must=as_it_must)
            report.save()  # a long run that is cut off has not been for nothing
    return good


def _tell(console: Console, task: Task, tally: Tally, *, as_it_must: bool) -> None:
    verdict = ("noticed" if as_it_must else "NOT NOTICED") if task.mutation else ("held" if as_it_must else "BROKEN")
    colour = "green" if as_it_must else "red"
    ends = ", ".join(f"{count} x {name}" for name, count in sorted(tally.ends.items()))
    console.print(f"[{colour}]{verdict:>11}[/] {tally.seconds:6.1f} s  [bold]{task.title}[/]  ", end="")
    console.print(ends or "no trial", markup=False, highlight=False, soft_wrap=True)
    if tally.broken and (task.mutation == "" or not as_it_must):
        for text in tally.broken[:5]:
            console.print(f"{'':14}{plain(text)}", markup=False, highlight=False, soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return 1 when a point did not hold, or did not notice a mutation."""
    points = load_points()
    chosen = arguments(argv, sorted(points))
    console = Console()
    unknown = [
        f"{point.name}: {name}" for point in points.values() for name in point.mutations if name not in MUTATIONS
    ]
    planned = list(tasks(points, chosen))
    if unknown or not planned:
        console.print(f"no such mutation: {', '.join(unknown)}" if unknown else "nothing to run", markup=False)
        return 1
    seed = random.SystemRandom().getrandbits(32) if chosen.seed is None else chosen.seed
    console.print(f"seed {seed}", highlight=False)
    report = Report(chosen.report, points.values())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers end with the run, however that ends
    try:
        good = run(planned, seed, _form(chosen), report, console)
    finally:
        missing = report.write()
    for what in missing:
        console.print(f"not written: {what}", markup=False)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
