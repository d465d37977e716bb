"""Leases only save time: taken away in the middle, or never taken, nothing is lost and nothing presented twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torture.bench import Bench, batches
from torture.point import Tally, point
from torture.points.single_flight import crowd, of_grants, refresh_mark, token_requests

_LATENCY = timedelta(milliseconds=250)
#: Longer where a lease is watched for: a busy machine sees it late.
_WATCHED_LATENCY = timedelta(milliseconds=700)
#: A lease is deleted up to so long after it was seen; a little before its renewal ends.
_LATEST_SECONDS = 0.5
_PROCESSES, _CALLERS, _PER_ROUND = 4, 2, 10
_PATIENCE_SECONDS = 3.0


def _contended(
    bench: Bench,
    connections: int,
    during: Callable[[list[str]], None],
    *,
    latency: timedelta = _LATENCY,
    **options: Any,
) -> Tally:
    """Let several callers of several processes ask for expired connections, and judge each of these."""
    tally, vault = Tally(), bench.vault()
    ids = bench.connect(vault, connections)
    marks = {connection_id: refresh_mark(bench, vault, connection_id) for connection_id in ids}
    bench.sandbox.fault("x", "token", times=None, latency=latency)
    rounds = list(batches(ids, _PER_ROUND))
    answers = crowd(
        bench, _PROCESSES, [list(asked) * _CALLERS for asked in rounds],
        during=lambda number: during(list(rounds[number])),
        after=lambda number: bench.advance(len(rounds[number])), **options,
    )  # fmt: skip
    sent = of_grants(token_requests(bench), marks)
    answered: dict[str, Counter[str]] = {connection_id: Counter() for connection_id in ids}
    for answer in (answer for round_ in answers.rounds for answer in round_):
        answered[answer.connection_id]["served" if answer.served else answer.what] += 1
    for connection_id in ids:
        outcomes, got = [entry.outcome for entry in sent[connection_id]], dict(answered[connection_id])
        ok = set(outcomes) == {"refreshed"} and got == {"served": _PROCESSES * _CALLERS}
        ok = ok and bench.holds_newest(vault, connection_id)
        end = f"all served, {len(outcomes)} request{'s' * (len(outcomes) != 1)}"
        tally.end(
            end if ok else "lost, refused or not served",
            ok=ok,
            about=f"{connection_id}: requests {outcomes}, callers {got}",
        )
    tally.measured |= {"callers per connection": _PROCESSES * _CALLERS, "slowest_ms": answers.slowest_ms}
    return tally


@point(
    "A lease that vanishes at any moment of a renewal costs extra requests at most: nothing is lost or presented twice",
    short=40, long=600, mutations=("no_intent", "no_intent_deadline"),
)  # fmt: skip
def lease_deleted(bench: Bench, trials: int) -> Tally:
    """Delete every lease out of the database, at a random moment of the renewal that it is for."""
    taken: Counter[str] = Counter()

    def take_away(ids: list[str]) -> None:
        planned: dict[tuple[str, str], float] = {}
        until = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < until and not all(taken[connection_id] for connection_id in ids):
            for held in bench.place.held_leases():
                planned.setdefault(held, time.monotonic() + bench.random.uniform(0.0, _LATEST_SECONDS))
            for held in [held for held, at in planned.items() if at <= time.monotonic()]:
                taken[held[0]] += bench.place.take_lease_away(*held)
                planned[held] = until
            time.sleep(0.005)

    tally = _contended(bench, trials, take_away, latency=_WATCHED_LATENCY)
    missed = trials - sum(1 for connection_id in taken if taken[connection_id])
    tally.check(missed <= trials / 4, f"{missed} renewals of {trials} were over before their lease was deleted")
    tally.measured["leases deleted"] = taken.total()
    return tally


@point(
    "Without leases, processes that want the same renewal still never present a token twice, and all are served",
    short=20, long=300, mutations=("no_intent", "no_intent_deadline"),
)  # fmt: skip
def no_lease(bench: Bench, trials: int) -> Tally:
    """Give every vault a lease of no time."""
    return _contended(bench, trials, lambda ids: None, lease=timedelta(0))
