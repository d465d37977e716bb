"""A lost answer: the provider renewed the token, and its reply never came."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from torture.bench import Bench
from torture.changes import change_store
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points.single_flight import SharedClock, ask, crowd, of_grants, refresh_mark, token_requests

_GRACE = timedelta(seconds=30)
_DEADLINE = timedelta(seconds=45)
_LONGEST_RECOVERY_SECONDS = 5.0
#: When to ask again, each after the one before: twice before the intent's deadline, twice after it.
_LATER = (timedelta(0), _DEADLINE - timedelta(seconds=15), timedelta(minutes=5), timedelta(hours=1))


@point(
    "Where the provider grants 30 s of grace, a reply lost after the commit costs exactly one replay and less than "
    "5 s, and every caller is served",
    short=20, long=500, mutations=("grace_unused",),
)  # fmt: skip
def lost_answer_in_grace(bench: Bench, trials: int) -> Tally:
    """Drop each connection's first reply, before callers of two processes."""
    tally = Tally()
    bench.sandbox.settings("x", reuse_grace=_GRACE)
    provider = bench.sandbox.provider("x", replay_grace=_GRACE)
    vault = bench.vault(provider)
    ids = bench.connect(vault, trials)
    marks = {connection_id: refresh_mark(bench, vault, connection_id) for connection_id in ids}

    def lose(_round: int) -> None:
        bench.sandbox.clear_faults()
        bench.sandbox.fault("x", "token", drop="after_commit", latency=timedelta(milliseconds=20))

    answers = crowd(
        bench, 2, [[connection_id] * 2 for connection_id in ids], before=lose, after=lambda _: bench.advance(1),
        providers=(provider,),
    )  # fmt: skip
    sent = of_grants(token_requests(bench), marks)
    for connection_id, answered in zip(ids, answers.rounds, strict=True):
        outcomes = [entry.outcome for entry in sent[connection_id]]
        slowest = max(answer.seconds for answer in answered)
        ok = outcomes == ["refreshed", "refreshed_in_grace"] and all(answer.served for answer in answered)
        ok = ok and slowest < _LONGEST_RECOVERY_SECONDS and bench.holds_newest(vault, connection_id)
        about = f"{connection_id}: {outcomes}, callers {[answer.what for answer in answered]}, {slowest:.1f} s"
        tally.end("recovered by one replay" if ok else "not so", ok=ok, about=about)
    tally.measured["slowest_ms"] = answers.slowest_ms
    return tally


@point(
    "Without grace, a lost reply is followed by exactly one more request ever, after the intent's deadline, and ends "
    "in reauthorization_required(refresh_interrupted) with one event",
    short=20, long=500, mutations=("no_intent", "failure_ends_intent", "uncertainty_forgotten"),
)  # fmt: skip
def lost_answer(bench: Bench, trials: int) -> Tally:
    """Drop each connection's first reply; ask again before the deadline, after it, and once more."""
    tally, clock = Tally(), SharedClock(bench.sandbox)
    store = bench.open_store(clock)
    vault = bench.vault(clock=clock, store=store)
    ids = bench.connect(vault, trials)
    marks = {connection_id: refresh_mark(bench, vault, connection_id) for connection_id in ids}
    bench.sandbox.fault("x", "token", drop="after_commit", times=trials)
    # A vault each: the circuit of one would soon leave a provider alone that answers nothing.
    first = {connection_id: ask(bench.vault(clock=clock, store=store), connection_id).what for connection_id in ids}
    bench.sandbox.clear_faults()
    counts = [len(token_requests(bench))]

    def later(number: int) -> None:
        clock.advance(_LATER[number])

    def count(_round: int) -> None:
        counts.append(len(token_requests(bench)))

    answers = crowd(
        bench, 2, [ids] * len(_LATER), before=later, after=count, clock=clock, patience=timedelta(0)
    )  # fmt: skip
    sent = of_grants(token_requests(bench), marks)
    for connection_id in ids:
        outcomes = [entry.outcome for entry in sent[connection_id]]
        said = [{one.what for one in round_ if one.connection_id == connection_id} for round_ in answers.rounds]
        row = bench.row(vault, connection_id)
        state = (row.status.value, row.reason) if row else ()
        events = answers.events["reauthorization_required", connection_id]
        unknown, dead = {"OutcomeUnknownError/retry"}, {"ReauthorizationRequiredError/reauthorize"}
        ok = outcomes == ["refreshed", "reuse_detected"] and first[connection_id] in unknown
        ok = ok and said[:2] == [unknown, unknown] and said[3] == dead
        ok = ok and state == ("reauthorization_required", "refresh_interrupted") and events == 1
        about = f"{connection_id}: {outcomes}, callers {[first[connection_id], *said]}, {state}, {events} events"
        tally.end("one settling request, then refresh_interrupted" if ok else "not so", ok=ok, about=about)
        bench.advance(1)
    tally.check(counts[1] == counts[2] == trials, f"requests before the deadline: {counts}")
    tally.measured["requests per lost reply"] = sum(map(len, sent.values())) / max(trials, 1)
    return tally


# --- mutations ------------------------------------------------------------------------------------


@mutation("grace unused: a lost reply is never asked for again at once")
def grace_unused() -> None:
    """Take no answer for a lost one."""
    from socialvault.vault import attempt

    attempt._is_lost = lambda problem: False


@mutation("uncertainty forgotten: after a failure nobody knows that the token may have been spent")
def uncertainty_forgotten() -> None:
    """Write every failure down as one that can't have spent the token."""

    async def certain(_store: Any, original: Any, failure: Any) -> Any:
        return await original(replace(failure, uncertain=False))

    change_store("write_failure", certain)


@mutation("a failure ends its intent: the token may be presented again as soon as anybody asks")
def failure_ends_intent() -> None:
    """Write every failure down as one that nothing need wait for."""

    async def at_once(_store: Any, original: Any, failure: Any) -> Any:
        return await original(replace(failure, open=False, retry_at_seconds=failure.at_seconds))

    change_store("write_failure", at_once)
