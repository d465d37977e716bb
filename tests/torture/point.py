"""What a point is, and what it finds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from torture.store import STORES, Store

if TYPE_CHECKING:
    from torture.bench import Bench

Measured = dict[str, float | int | str]


@dataclass
class Tally:
    """What a point found.

    Attributes:
        trials: how many were made and judged; none at all is a failure.
        ends: how they ended, by name: each named state, and how often.
        broken: what broke the promise, each with enough to find it again. Empty: it held.
        measured: figures for the report.
    """

    trials: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    measured: Measured = field(default_factory=dict)
    seconds: float = 0.0

    def end(self, name: str, *, ok: bool = True, about: str = "") -> None:
        """Count one judged trial."""
        self.trials += 1
        self.ends[name] += 1
        if not ok:
            self.broken.append(f"{name}: {about}" if about else name)

    def check(self, held: object, about: str) -> None:
        """Note a broken promise unless it held."""
        if not held:
            self.broken.append(about)

    @property
    def held(self) -> bool:
        """Whether the promise held, in at least one trial."""
        return self.trials > 0 and not self.broken


#: Why a point is not tried twice on a kind of store.
ALREADY_ASYNC = "it uses an AsyncVault, and with it the asynchronous store, in any case"

Run = Callable[["Bench", int], Tally]


@dataclass(frozen=True)
class Point:
    """One promise and how it is tried.

    Attributes:
        name: on the command line. promise: in the report, one sentence.
        short, long: how many trials in each form.
        mutations: each of them, applied to the library, must make this point fail; names from `mutations`.
        not_on: what it can't be tried on, and why: a kind of store, or ``async`` for the portal's colour.
        run: called with the bench and the number of trials.
    """

    name: str
    promise: str
    short: int
    long: int
    mutations: tuple[str, ...]
    not_on: Mapping[str, str]
    run: Run

    @property
    def topic(self) -> str:
        """The module that it is in."""
        return self.run.__module__.rpartition(".")[2]

    def excuse(self, store: Store) -> str:
        """Why it is not tried on a store; "" where it is."""
        return self.not_on.get(store.kind) or self.not_on.get(store.colour, "")

    @property
    def stores(self) -> tuple[Store, ...]:
        """Those that it is tried on."""
        return tuple(store for store in STORES if not self.excuse(store))

    def tried(self, bench: Bench, trials: int) -> Tally:
        """Run it; whatever it raises breaks it."""
        began = time.monotonic()
        try:
            tally = self.run(bench, trials)
        except Exception as problem:  # noqa: BLE001  # a point that can't be run has not held
            tally = Tally(broken=[f"the point raised {type(problem).__name__}: {problem}"])
        tally.seconds = time.monotonic() - began
        return tally


POINTS: dict[str, Point] = {}


def point(
    promise: str, *, short: int, long: int, mutations: tuple[str, ...] = (), not_on: Mapping[str, str] = {}
) -> Callable[[Run], Run]:
    """Register a function as a point under its own name."""

    def register(run: Run) -> Run:
        name = run.__name__
        assert name not in POINTS, f"two points are called {name}"
        POINTS[name] = Point(name, promise, short, long, mutations, not_on, run)
        return run

    return register


def load_points() -> dict[str, Point]:
    """Import every module of `points`; return all points by name."""
    for module in sorted(Path(__file__).with_name("points").glob("[a-z]*.py")):
        import_module(f"torture.points.{module.stem}")
    return POINTS
