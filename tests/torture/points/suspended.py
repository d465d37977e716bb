"""Suspended: a process that stops in the middle of a renewal and goes on later, when others took over or not yet."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from socialvault import AsyncVault, LocalKeyring
from socialvault.exceptions import ReauthorizationRequiredError, SocialVaultError
from socialvault.sandbox.log import token_fingerprint
from torture.bench import MINE, OWNER, PATIENCE_SECONDS, REDIRECT_URI, TENANT, Bench, Worker, batches
from torture.changes import change_store
from torture.mutations import mutation
from torture.point import ALREADY_ASYNC, Tally, point
from torture.points.single_flight import Answer, ask, of_grants, refresh_mark, token_requests

if TYPE_CHECKING:
    from socialvault import Vault
    from socialvault.sandbox.log import LogEntry
    from socialvault.transports.httpx import TransportSettings

_FORK = multiprocessing.get_context("fork")
#: Much shorter than by default, in the same order of lengths.
_LEASE, _LATENCY, _DEADLINE = timedelta(seconds=0.2), timedelta(seconds=0.6), timedelta(seconds=2)
_TRANSPORT_DEADLINE = timedelta(seconds=1.8)
#: Trials of a batch, and how far apart their holders begin.
_AT_ONCE, _APART_SECONDS = 16, 0.08
_PATIENCE_SECONDS = 20.0
_SLACK_SECONDS = 0.3
_NEWEST = "active with the newest token"
_INTERRUPTED = "reauthorization_required(refresh_interrupted)"
#: When a holder is woken, in seconds after it began. A sibling presents the token soon after the deadline, and looks
#: for a second before it believes a refusal.
_WAKINGS = {
    "woken before the deadline": (0.0, 2.0), "woken after the deadline": (2.0, 4.0), "woken long after it": (4.5, 5.5)
}  # fmt: skip


@dataclass
class Trial:
    """One holder that is stopped, with a database of its own, as it may stop in the middle of a transaction.

    Attributes:
        bench: with its own rows and escrow. woken: when, in words.
        begins_at, stopped_at, woken_at: seconds after the batch began. signalled: when that was really done.
        warm_id: of a connection that the holder renews before, so that what it loads once is there.
    """

    bench: Bench
    woken: str
    begins_at: float
    stopped_at: float
    woken_at: float
    vault: Vault
    connection_id: str
    warm_id: str
    mark: str
    holder: Worker | None = None
    signalled: list[float] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)


class Start:
    """When a batch begins, told to processes that are ready for it."""

    def __init__(self, parties: int) -> None:
        self._ready = _FORK.Barrier(parties)
        self._at_seconds = _FORK.RawValue(ctypes.c_double, 0.0)

    def until_all_are_ready(self, workers: list[Worker]) -> None:
        """Wait for everybody else. One that ended instead says why, which is raised here."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while self._ready.n_waiting < self._ready.parties - 1 and time.monotonic() < until:
            for worker in workers:
                if not worker.process.is_alive():
                    self._ready.abort()
                    worker.result()
            time.sleep(0.005)

    def announce(self) -> None:
        """Let it begin, soon."""
        self._at_seconds.value = time.monotonic() + 0.1
        self._ready.wait(PATIENCE_SECONDS)

    def wait(self) -> None:
        """Be ready, and wait until it is announced."""
        self._ready.wait(PATIENCE_SECONDS)

    def sleep_until(self, seconds: float) -> None:
        """Sleep until so long after the beginning."""
        time.sleep(max(0.0, self._at_seconds.value + seconds - time.monotonic()))


def _vault(bench: Bench) -> Vault:
    """Open a vault on a trial's own rows and escrow, with everything scaled down."""
    from socialvault.api.assembly import SystemClock
    from socialvault.transports.httpx import HttpxTransport

    return bench.vault(
        transport=HttpxTransport(clock=SystemClock(), settings=_transport_settings()), lease=_LEASE,
        exchange_deadline=_DEADLINE,
    )  # fmt: skip


def _transport_settings() -> TransportSettings:
    from socialvault.transports.httpx import TransportSettings

    return TransportSettings(total_deadline=_TRANSPORT_DEADLINE, connect_timeout=_TRANSPORT_DEADLINE)


def _hold(_bench: Bench, own: Bench, ids: tuple[str, str], begins_at: float, start: Start) -> Answer:
    """Renew. The process lives until the guarded work is done, whatever its caller was told meanwhile."""
    connection_id, warm_id = ids
    vault = _vault(own)
    ask(vault, warm_id)
    start.wait()
    start.sleep_until(begins_at)
    answer = ask(vault, connection_id)
    vault.close()
    return answer


def _hold_async(_bench: Bench, own: Bench, ids: tuple[str, str], begins_at: float, start: Start) -> Answer:
    """As `_hold`, in an event loop."""
    return asyncio.run(_renewed(_async_vault(own), *ids, begins_at, start))


async def _renewed(vault: AsyncVault, connection_id: str, warm_id: str, begins_at: float, start: Start) -> Answer:
    with suppress(SocialVaultError):  # it is only there to have everything loaded
        await vault.token(warm_id, **MINE)
    start.wait()
    start.sleep_until(begins_at)
    began = time.monotonic()
    try:
        what, served = token_fingerprint((await vault.token(connection_id, **MINE)).reveal()), True
    except SocialVaultError as problem:
        what, served = f"{type(problem).__name__}/{problem.action}", False
    answer = Answer(connection_id, what, served, time.monotonic() - began)
    await vault.aclose()
    return answer


def _async_vault(bench: Bench) -> AsyncVault:
    from socialvault.api.assembly import SystemClock
    from socialvault.stores.escrow import AsyncFileEscrow
    from socialvault.transports.httpx import AsyncHttpxTransport

    return AsyncVault(
        providers=[bench.sandbox.provider("x")], store=bench.open_async_store(),
        keys=LocalKeyring([bench.keys]), redirect_uri=REDIRECT_URI, escrow=AsyncFileEscrow(bench.escrow),
        transport=AsyncHttpxTransport(clock=SystemClock(), settings=_transport_settings()), lease=_LEASE,
        exchange_deadline=_DEADLINE,
    )  # fmt: skip


def _wait_beside(_bench: Bench, waiting: list[tuple[Bench, str, float]], start: Start) -> list[Answer]:
    """Ask for the same tokens from another process, as long as it says to try again."""
    vaults = [_vault(own) for own, *_ in waiting]
    for vault in vaults:
        vault.open()
    start.wait()

    def one(vault: Vault, connection_id: str, begins_at: float) -> Answer:
        start.sleep_until(begins_at + _LEASE.total_seconds() / 2)
        until = time.monotonic() + _PATIENCE_SECONDS
        answer = ask(vault, connection_id)
        while not answer.served and "/retry" in answer.what and time.monotonic() < until:
            time.sleep(0.1)
            answer = ask(vault, connection_id)
        return answer

    with ThreadPoolExecutor(len(waiting)) as pool:
        answers = list(pool.map(one, vaults, [asked for _, asked, _ in waiting], [at for *_, at in waiting]))
    for vault in vaults:
        vault.close()
    return answers


def _prepare(bench: Bench, number: int, begins_at: float, woken: str) -> Trial:
    directory = bench.directory / f"trial-{number}"
    directory.mkdir()
    own = bench.at(bench.place.of_trial(directory), directory)
    vault = _vault(own)
    connection_id, warm_id = bench.connect(vault, 2)
    own.place.watch_intents()
    stopped_at = bench.random.uniform(0.0, _LATENCY.total_seconds() + 0.1)
    woken_at = max(stopped_at, bench.random.uniform(*_WAKINGS[woken]))
    return Trial(
        own, woken, begins_at, begins_at + stopped_at, begins_at + woken_at, vault, connection_id, warm_id,
        refresh_mark(bench, vault, connection_id),
    )  # fmt: skip


def _play(bench: Bench, trials: list[Trial], hold: Callable[..., Answer]) -> None:
    """Start holders and siblings, stop and wake each holder at its moments, and wait for the ends."""
    start, holders = Start(len(trials) + 2), []
    for trial in trials:
        ids = (trial.connection_id, trial.warm_id)
        holders.append(bench.start(hold, trial.bench, ids, trial.begins_at, start))
        trial.holder = holders[-1]
    waiting = [(trial.bench, trial.connection_id, trial.begins_at) for trial in trials]
    beside = bench.start(_wait_beside, waiting, start)
    start.until_all_are_ready([*holders, beside])
    bench.sandbox.fault("x", "token", times=None, latency=_LATENCY, at="after_commit")
    start.announce()
    for at, which, trial in sorted(_signals(trials), key=itemgetter(0)):
        start.sleep_until(at)
        assert trial.holder is not None
        if trial.holder.process.is_alive():
            os.kill(trial.holder.pid, which)
            trial.signalled.append(time.time())
    siblings = beside.result(2 * _PATIENCE_SECONDS)
    for trial, sibling in zip(trials, siblings, strict=True):
        assert trial.holder is not None
        trial.answers = [trial.holder.result(_PATIENCE_SECONDS), sibling]


def _signals(trials: list[Trial]) -> Iterator[tuple[float, signal.Signals, Trial]]:
    for trial in trials:
        yield trial.stopped_at, signal.SIGSTOP, trial
        yield trial.woken_at, signal.SIGCONT, trial


# --- the judge ------------------------------------------------------------------------------------


def _first_sent(trial: Trial) -> dict[str, float]:
    """Return when each token was first about to be presented, by fingerprint: so the database says."""
    return trial.bench.place.intents(trial.connection_id)


def _too_early(trial: Trial, sent: list[LogEntry]) -> str:
    """Say which token was presented again before the first intent to present it was over; "" for none."""
    first, seen = _first_sent(trial), set[str]()
    for entry in sent:
        over = first.get(entry.presented, float("inf")) + _DEADLINE.total_seconds()
        if entry.presented in seen and entry.at.timestamp() < over:
            return f"presented again {over - entry.at.timestamp():.3f} s before the deadline"
        seen.add(entry.presented)
    return ""


def _answered_too_late(trial: Trial, sent: list[LogEntry]) -> bool:
    """Whether the holder was stopped before it sent, so that the transport's deadline came before the answer."""
    if not sent:
        return False
    arrived_after = sent[0].at.timestamp() - _first_sent(trial).get(sent[0].presented, 0.0)
    return arrived_after + _LATENCY.total_seconds() > _TRANSPORT_DEADLINE.total_seconds() - _SLACK_SECONDS


def _stopped_under_way(trial: Trial, sent: list[LogEntry]) -> bool:
    """Whether the holder was stopped between the provider's commit and its answer."""
    after = trial.signalled[0] - sent[0].at.timestamp() if sent and trial.signalled else -1.0
    return 0.0 < after < _LATENCY.total_seconds()


def _state(bench: Bench, trial: Trial) -> str:
    """Name how the connection ended: by its row, and by what the provider takes."""
    row = bench.row(trial.vault, trial.connection_id)
    if row is None or not row.envelope:
        return "lost"
    newest = bench.holds_newest(trial.vault, trial.connection_id)
    if row.status == "active":
        return _NEWEST if newest else _asked_again(trial)
    return f"{row.status}({row.reason})" + (" with the newest token" if newest else "")


def _asked_again(trial: Trial) -> str:
    """The row says active and the grant is dead: the next renewal must say so, at the latest once it may be tried."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            trial.vault.refresh(trial.connection_id, **MINE)
        except ReauthorizationRequiredError as verdict:
            return f"active with a dead token, then reauthorization_required({verdict.reason})"
        except SocialVaultError as problem:
            if problem.action != "retry" or time.monotonic() > until:
                return f"active with a dead token, then {type(problem).__name__}"
            time.sleep(0.1)
        else:
            return "active with a dead token, then renewed"


def _judge(tally: Tally, trial: Trial, sent: list[LogEntry], state: str, named: tuple[str, ...]) -> None:
    early = _too_early(trial, sent)
    if state == _INTERRUPTED and _answered_too_late(trial, sent):
        state = f"{_INTERRUPTED}, sent so late that the transport gave up before the answer"
        named = (*named, state)
    presented = [entry.outcome for entry in sent]
    about = f"{trial.connection_id}: {presented}, callers {[answer.what for answer in trial.answers]} {early}"
    tally.end(f"{trial.woken}: {state}", ok=state in named and not early, about=about)


def _run(
    bench: Bench, trials: int, named: tuple[str, ...] = (_NEWEST,), *, hold: Callable[..., Answer] = _hold
) -> Tally:
    tally, under_way = Tally(), 0
    number = len(list(bench.directory.iterdir()))
    for batch in batches(range(number, number + trials), _AT_ONCE):
        wakings = itertools.cycle(_WAKINGS)
        played = [_prepare(bench, one, place * _APART_SECONDS, next(wakings)) for place, one in enumerate(batch)]
        _play(bench, played, hold)
        sent = of_grants(token_requests(bench), {trial.connection_id: trial.mark for trial in played})
        bench.sandbox.clear_faults()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            states = list(pool.map(partial(_state, bench), played))
        for trial, state in zip(played, states, strict=True):
            _judge(tally, trial, sent[trial.connection_id], state, named)
            under_way += _stopped_under_way(trial, sent[trial.connection_id])
            trial.vault.close()
        bench.sandbox.log.clear()
        bench.advance(len(batch))
    tally.check(under_way >= trials / 4, f"only {under_way} holders of {trials} were stopped while an answer was due")
    tally.measured["stopped while an answer was due"] = under_way
    return tally


@point(
    "A holder stopped at any moment, and woken before or after its intent's deadline, leaves the newest token stored "
    "(a provider that only refuses spent tokens), wherever its answer comes within the transport's deadline",
    short=9, long=500, mutations=("no_late_winner",),
)  # fmt: skip
def holder_stopped(bench: Bench, trials: int) -> Tally:
    """Stop holders before a provider that rotates plainly."""
    bench.sandbox.settings("x", reuse="refused")
    return _run(bench, trials)


@point(
    "A holder in an event loop, stopped and woken in the same way, leaves the newest token stored too",
    short=9, long=500, mutations=("no_late_winner",), not_on={"async": ALREADY_ASYNC},
)  # fmt: skip
def holder_stopped_async(bench: Bench, trials: int) -> Tally:
    """Stop holders that renew in an event loop."""
    bench.sandbox.settings("x", reuse="refused")
    return _run(bench, trials, hold=_hold_async)


@point(
    "Before a provider that ends a grant on reuse, nobody replays a stopped holder's token before the intent's "
    "deadline, and what comes after it ends in a named state",
    short=9, long=500, mutations=("no_intent", "no_intent_deadline"),
)  # fmt: skip
def holder_stopped_reuse(bench: Bench, trials: int) -> Tally:
    """Stop holders before a provider that detects reuse."""
    return _run(
        bench, trials,
        (
            _NEWEST,
            _INTERRUPTED,
            "reauthorization_required(invalid_grant)",
            "active with a dead token, then reauthorization_required(invalid_grant)",
            "active with a dead token, then reauthorization_required(refresh_interrupted)",
        ),
    )  # fmt: skip


@mutation("no late winner: a token that arrives after the verdict does not undo it")
def no_late_winner() -> None:
    """Write tokens over active connections alone."""

    async def strict(store: Any, original: Any, write: Any) -> Any:
        row = await store.get(write.connection_id, TENANT, OWNER)
        return await original(write) if row.status == "active" else None

    change_store("write_token", strict)
