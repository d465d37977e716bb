"""Single flight: however many ask at once, in however many processes, the provider is asked once."""

from __future__ import annotations

import ctypes
import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from socialvault.exceptions import SocialVaultError
from socialvault.runtimes.threads import run
from socialvault.sandbox.log import LogEntry, token_fingerprint
from torture.bench import MINE, PATIENCE_SECONDS, Bench
from torture.changes import answer, change_store
from torture.mutations import mutation
from torture.point import Tally, point

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from socialvault import Vault
    from socialvault.model.events import Event
    from socialvault.sandbox.remote import RemoteSandbox

_FORK = multiprocessing.get_context("fork")
_HOURS_3 = timedelta(hours=3)


class SharedClock:
    """The machine's clock plus an offset that forked processes share; the provider's is pushed along."""

    def __init__(self, sandbox: RemoteSandbox) -> None:
        self._sandbox = sandbox
        self._offset_seconds = _FORK.RawValue(ctypes.c_double, 0.0)

    def now_seconds(self) -> float:
        """Return the seconds since 1970-01-01 UTC."""
        return time.time() + float(self._offset_seconds.value)

    def advance(self, by: timedelta) -> None:
        """Move everybody's time forward."""
        self._offset_seconds.value += by.total_seconds()
        self._sandbox.clock.advance(by)


@dataclass(frozen=True)
class Answer:
    """What one caller got: a token's fingerprint, or an error's class and action."""

    connection_id: str
    what: str
    served: bool
    seconds: float


@dataclass
class Answers:
    """What everybody got, round by round, and the events that the vaults told, by name and connection."""

    rounds: list[list[Answer]] = field(default_factory=list)
    events: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def slowest_ms(self) -> int:
        """How long the slowest caller waited."""
        return round(1000 * max((answer.seconds for answers in self.rounds for answer in answers), default=0.0))


def ask(vault: Vault, connection_id: str) -> Answer:
    """Ask for a token."""
    began = time.monotonic()
    try:
        what, served = token_fingerprint(vault.token(connection_id, **MINE).reveal()), True
    except SocialVaultError as problem:
        what, served = f"{type(problem).__name__}/{problem.action}", False
    return Answer(connection_id, what, served, time.monotonic() - began)


def _caller_process(
    bench: Bench, _number: int, rounds: Sequence[Sequence[str]], gate: Barrier, options: dict[str, Any]
) -> Answers:
    """Ask for every connection of a round at once, on a thread each, whenever the gate opens."""
    found = Answers()

    def tell(event: Event) -> None:
        found.events[event.name, event.connection_id] += 1

    vault = bench.vault(*options.pop("providers", ()), observers=[tell], **options)
    vault.open()
    threads = max(len(asked) for asked in rounds)
    with ThreadPoolExecutor(threads) as pool:
        all_there = threading.Barrier(threads)
        list(pool.map(lambda _: all_there.wait(PATIENCE_SECONDS), range(threads)))
        for asked in rounds:
            gate.wait(PATIENCE_SECONDS)
            found.rounds.append(list(pool.map(lambda connection_id: ask(vault, connection_id), asked)))
            gate.wait(PATIENCE_SECONDS)
    vault.close()
    return found


def _nothing(_round: int) -> None:
    pass


def crowd(
    bench: Bench,
    processes: int,
    rounds: Sequence[Sequence[str]],
    *,
    before: Callable[[int], None] = _nothing,
    during: Callable[[int], None] = _nothing,
    after: Callable[[int], None] = _nothing,
    **options: Any,
) -> Answers:
    """Let each of `processes`, which live through all rounds, ask for all connections of a round at once.

    Args:
        rounds: the connections to ask for; named twice, two callers of each process ask.
        before, during, after: done in this process, told the round.
        options: of the vaults; `providers` instead of the bench's.
    """
    gate = _FORK.Barrier(processes + 1)
    workers = [bench.start(_caller_process, number, rounds, gate, options) for number in range(processes)]
    try:
        for number in range(len(rounds)):
            before(number)
            gate.wait(PATIENCE_SECONDS)
            during(number)
            gate.wait(PATIENCE_SECONDS)
            after(number)
    except threading.BrokenBarrierError:
        pass  # somebody failed, and says why
    found = [worker.result() for worker in workers]
    together = Answers([[answer for one in found for answer in one.rounds[number]] for number in range(len(rounds))])
    for one in found:
        together.events.update(one.events)
    return together


def token_requests(bench: Bench, slug: str = "x") -> list[LogEntry]:
    """Return what reached the token endpoint, in order."""
    return bench.sandbox.log.entries(provider=slug, endpoint="token")


def refresh_mark(bench: Bench, vault: Vault, connection_id: str) -> str:
    """Return the fingerprint of the stored refresh token."""
    row = bench.row(vault, connection_id)
    assert row is not None
    token = run(vault._cases.core.open(row)).token.refresh_token
    assert token is not None
    return token_fingerprint(token.reveal())


def of_grants(entries: Sequence[LogEntry], marks: dict[str, str]) -> dict[str, list[LogEntry]]:
    """Return the requests about each connection's grant, from the first presentation of a marked token on.

    Args:
        marks: of the refresh token that each connection began with.
    """
    grants = {entry.presented: entry.grant_id for entry in entries if entry.grant_id}
    return {
        connection_id: [
            entry for entry in entries if mark == entry.presented or grants.get(mark, "none") == entry.grant_id
        ]
        for connection_id, mark in marks.items()
    }


# --- the points -----------------------------------------------------------------------------------


def _once_per_round(bench: Bench, rounds: int, *, processes: int, callers: int) -> Tally:
    """Expire a token again and again before many callers; each time one request must serve all of them."""
    tally, clock = Tally(), SharedClock(bench.sandbox)
    vault = bench.vault(clock=clock)
    (connection_id,) = bench.connect(vault)
    bench.sandbox.fault("x", "token", times=None, latency=timedelta(milliseconds=500))
    seen: list[int] = []

    def count(_round: int) -> None:
        seen.append(len(token_requests(bench)))
        bench.advance(1)

    answers = crowd(
        bench, processes, [[connection_id] * callers] * rounds,
        before=lambda _round: clock.advance(_HOURS_3), after=count, clock=clock,
    )  # fmt: skip
    requests = token_requests(bench)
    for number, answered in enumerate(answers.rounds):
        sent = requests[seen[number - 1] if number else 0 : seen[number]]
        issued = sent[0].issued if sent else ()
        served = sum(answer.served and answer.what in issued for answer in answered)
        ok = [entry.outcome for entry in sent] == ["refreshed"] and served == processes * callers
        others = Counter(answer.what for answer in answered if answer.what not in issued)
        about = f"round {number}: {[entry.outcome for entry in sent]}, {served} served with its token, {dict(others)}"
        tally.end("one request, all served" if ok else "not so", ok=ok, about=about)
    tally.check(not [one for one in requests if one.outcome == "reuse_detected"], "a token was presented twice")
    tally.check(bench.holds_newest(vault, connection_id), "the stored token is not the newest one")
    tally.measured |= {"callers": processes * callers, "slowest_ms": answers.slowest_ms}
    return tally


@point(
    "8 processes of 50 callers each make one request per expiry, and all of them are served with its token",
    short=5, long=200, mutations=("no_lease_no_intent", "no_waiting"),
)  # fmt: skip
def single_flight(bench: Bench, trials: int) -> Tally:
    """Expire the token before 8 processes of 50 callers."""
    return _once_per_round(bench, trials, processes=8, callers=50)


@point(
    "1000 callers in 4 processes make one request, and all of them are served with its token",
    short=2, long=20, mutations=("no_lease_no_intent", "no_waiting"),
)  # fmt: skip
def stampede(bench: Bench, trials: int) -> Tally:
    """Expire the token before 4 processes of 250 callers."""
    return _once_per_round(bench, trials, processes=4, callers=250)


@point(
    "A renewal that fails is sent once too, and every caller gets the same error, which says to try again",
    short=4, long=100, mutations=("no_lease_no_intent", "no_failure_record"),
)  # fmt: skip
def failing_once(bench: Bench, trials: int) -> Tally:
    """Let the provider answer 503 to 4 processes of 25 callers."""
    tally, clock = Tally(), SharedClock(bench.sandbox)
    vault = bench.vault(clock=clock)
    (connection_id,) = bench.connect(vault)
    bench.sandbox.fault("x", "token", times=None, status=503, retry_after=30, latency=timedelta(milliseconds=200))
    seen: list[int] = []

    def count(_round: int) -> None:
        seen.append(len(token_requests(bench)))
        bench.advance(1)

    answers = crowd(
        bench, 4, [[connection_id] * 25] * trials,
        before=lambda _round: clock.advance(timedelta(minutes=20)), after=count, clock=clock,
        patience=timedelta(seconds=4),
    )  # fmt: skip
    for number, answered in enumerate(answers.rounds):
        sent = seen[number] - (seen[number - 1] if number else 0)
        got = Counter(answer.what for answer in answered)
        ok = sent == 1 and dict(got) == {"ProviderUnavailableError/retry": 100}
        about = f"round {number}: {sent} sent, {dict(got)}"
        tally.end("sent once, one error for all" if ok else "not so", ok=ok, about=about)
    tally.check(answers.events["renewal_failing", connection_id] == 1, f"not one event: {dict(answers.events)}")
    row = bench.row(vault, connection_id)
    tally.check(row is not None and row.status == "active", "the status changed")
    tally.measured |= {"callers": 100, "slowest_ms": answers.slowest_ms}
    return tally


# --- mutations ------------------------------------------------------------------------------------


@mutation("no lease and no intent: whoever finds the token expired presents it")
def no_lease_no_intent() -> None:
    """Let everybody in."""
    change_store("acquire_lease", answer(value=True))
    change_store("open_intent", answer(value=True))


@mutation("no waiting: who can't renew now is told so at once")
def no_waiting() -> None:
    """Look once."""
    from socialvault.vault import renewal

    renewal._pauses = lambda patience, connection_id: iter((0.0,))  # type: ignore[assignment]  # a mutation


@mutation("no record of failures: the next one can't know that a renewal has just failed")
def no_failure_record() -> None:
    """Write no failure down."""
    change_store("write_failure", answer(value=True))
