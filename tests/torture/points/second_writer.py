"""A second writer: something else renews or replaces the grant, knowing neither leases nor intents."""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from socialvault.exceptions import EncryptionError, ProviderError, ReauthorizationRequiredError
from socialvault.model.rows import TokenWrite
from socialvault.model.token import TokenSet
from socialvault.runtimes.threads import run
from socialvault.sandbox.log import token_fingerprint
from torture.bench import OWNER, PATIENCE_SECONDS, TENANT, Bench
from torture.point import Tally, point
from torture.points.single_flight import Answer, ask, of_grants, refresh_mark, token_requests

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier

    from socialvault import Vault
    from socialvault.model.events import Event
    from socialvault.model.rows import ConnectionRow
    from socialvault.sandbox.issuing import IssuedTokens

T = TypeVar("T")

_FORK = multiprocessing.get_context("fork")
_LATENCY = timedelta(milliseconds=200)
_APART_SECONDS, _AT_ONCE = 0.12, 24
#: How long the other may take to write down what it got; a refusal is believed after a second.
_LONGEST_PAUSE_SECONDS = 0.4


@dataclass(frozen=True)
class Collision:
    """One connection and its two writers.

    Attributes:
        ours_at, theirs_at: when each begins, in seconds. pause_seconds: between their answer and their write.
        renewed_grant: what their user has just consented to; None: they renew the same grant.
    """

    connection_id: str
    ours_at: float
    theirs_at: float
    pause_seconds: float
    renewed_grant: IssuedTokens | None


class _Schedule:
    """One beginning for all processes."""

    def __init__(self, processes: int) -> None:
        self._gate: Barrier = _FORK.Barrier(processes)
        self._began = _FORK.RawValue(ctypes.c_double, 0.0)

    def begin(self) -> None:
        if self._gate.wait(PATIENCE_SECONDS) == 0:
            self._began.value = time.monotonic() + 0.1
        self._gate.wait(PATIENCE_SECONDS)

    def at(self, seconds: float, work: Callable[[], T]) -> T:
        time.sleep(max(0.0, self._began.value + seconds - time.monotonic()))
        return work()


def _ours(bench: Bench, collisions: Sequence[Collision], schedule: _Schedule) -> tuple[list[Answer], list[str]]:
    """Ask for each token at its moment; return the answers, and the connections declared dead."""
    dead: list[str] = []

    def tell(event: Event) -> None:
        if event.name == "reauthorization_required":
            dead.append(event.connection_id)

    vault = bench.vault(observers=[tell])
    vault.open()
    schedule.begin()

    def one(collision: Collision) -> Answer:
        answer = schedule.at(collision.ours_at, lambda: ask(vault, collision.connection_id))
        bench.advance(1)
        return answer

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(one, collisions))
    vault.close()
    return answers, dead


def _theirs(bench: Bench, collisions: Sequence[Collision], schedule: _Schedule) -> list[str]:
    """Write each token at its moment, as a program would that knows the table and nothing else."""
    vault = bench.vault()
    vault.open()
    schedule.begin()

    def one(collision: Collision) -> str:
        work = _reconnect if collision.renewed_grant else _renew
        return schedule.at(collision.theirs_at, partial(work, bench, vault, collision))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        done = list(pool.map(one, collisions))
    vault.close()
    return done


def _renew(bench: Bench, vault: Vault, collision: Collision) -> str:
    """Renew at the provider, and write the answer down a moment later."""
    core = vault._cases.core
    row = run(core.row(collision.connection_id, TENANT, OWNER))
    record, provider = run(core.open(row)), core.provider_of(row)
    exchange = provider.renew(provider.static_server, record.token, row.account.subject)
    try:
        fresh = run(core.conversations.run(exchange))
    except ReauthorizationRequiredError:
        return "ours was first"
    except ProviderError as problem:
        return type(problem).__name__
    time.sleep(collision.pause_seconds)
    return "theirs was first" if _write(vault, row, fresh) else "theirs could not be written"


def _reconnect(bench: Bench, vault: Vault, collision: Collision) -> str:
    """Write the tokens of a new consent over the row as it is now. The old grant's end with it."""
    issued = collision.renewed_grant
    assert issued is not None
    core = vault._cases.core
    for _ in range(10):
        row = run(core.row(collision.connection_id, TENANT, OWNER))
        kept = run(core.open(row)).token
        fresh = replace(kept, access_token=issued.access_token, refresh_token=issued.refresh_token)
        if _write(vault, row, fresh):
            return "reconnected"
    return "theirs could not be written"


def _write(vault: Vault, row: ConnectionRow, fresh: TokenSet) -> bool:
    core = vault._cases.core
    written = replace(run(core.open(row)), token=fresh, due_at=None)
    envelope = run(core.sealers(row)).seal(written, row, row.generation + 1)
    write = TokenWrite(row.id, row.generation, envelope, row.key_id, row.updated_at_seconds, None, None)
    return bool(run(core.store.write_token(write)))


def _plan(bench: Bench, vault: Vault, count: int) -> list[Collision]:
    """Plan two collisions in three with somebody who renews, one with somebody who reconnects."""
    ids = bench.connect(vault, count)
    again = bench.sandbox.issue_many("x", [f"again{bench.random.getrandbits(64):016x}" for _ in ids])
    latency = _LATENCY.total_seconds()
    collisions = []
    for number, connection_id in enumerate(ids):
        reconnects, at = number % 3 == 2, number * _APART_SECONDS + latency
        away = bench.random.uniform(0.05, latency) if reconnects else bench.random.uniform(-latency, latency) / 2
        pause = bench.random.uniform(0.0, _LONGEST_PAUSE_SECONDS)
        collisions.append(Collision(connection_id, at, at + away, pause, again[number] if reconnects else None))
    return collisions


@point(
    "Something that renews or replaces the same grant without lease or intent, in the middle of a renewal, costs no "
    "connection: none is deleted, none called dead, and each ends with a token that the provider takes",
    short=50, long=1000, mutations=("no_reread", "no_compare_and_swap"),
)  # fmt: skip
def second_writer(bench: Bench, trials: int) -> Tally:
    """Let a second writer collide with renewals, before a provider that rotates and only refuses spent tokens."""
    tally, vault = Tally(), bench.vault()
    bench.sandbox.settings("x", reuse="refused")
    collisions = _plan(bench, vault, trials)
    marks = {one.connection_id: refresh_mark(bench, vault, one.connection_id) for one in collisions}
    bench.sandbox.fault("x", "token", times=None, latency=_LATENCY, at="after_commit")
    schedule = _Schedule(2)
    ours, theirs = bench.start(_ours, collisions, schedule), bench.start(_theirs, collisions, schedule)
    patience = PATIENCE_SECONDS + trials * _APART_SECONDS
    (answers, dead), ends = ours.result(patience), theirs.result(patience)
    sent = of_grants(token_requests(bench), marks)
    for collision, answer, end in zip(collisions, answers, ends, strict=True):
        row = bench.row(vault, collision.connection_id)
        outcomes = [entry.outcome for entry in sent[collision.connection_id]]
        newest = _holds_newest(bench, vault, collision)
        ok = row is not None and row.status == "active" and newest and answer.served
        ok = ok and collision.connection_id not in dead and end != "theirs could not be written"
        about = f"{collision.connection_id}: {outcomes}, ours got {answer.what}, newest stored: {newest}"
        tally.end(end, ok=ok, about=f"{about}, {row and (row.status, row.reason)}")
    presented_twice = sum(len(requests) > 1 for requests in sent.values())
    tally.check(presented_twice >= trials / 10, f"only {presented_twice} of {trials} collided at the provider")
    tally.measured["collided at the provider"] = presented_twice
    return tally


def _holds_newest(bench: Bench, vault: Vault, collision: Collision) -> bool:
    """Whether the stored token can be read and is one that the provider takes: the new consent's, if there was one."""
    try:
        if collision.renewed_grant is None or collision.renewed_grant.refresh_token is None:
            return bench.holds_newest(vault, collision.connection_id)
        newest = token_fingerprint(collision.renewed_grant.refresh_token.reveal())
        return refresh_mark(bench, vault, collision.connection_id) == newest
    except EncryptionError:
        return False
