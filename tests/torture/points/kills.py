"""Processes that are killed: at every step that reaches outside, and anywhere at all."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from socialvault.exceptions import ReauthorizationRequiredError, StateExpiredError
from socialvault.model.status import Status
from socialvault.runtimes.threads import run
from socialvault.sandbox.failpoints import Failpoints, Kill, Record
from torture.bench import MINE, batches
from torture.changes import change_store
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points._judging import PAST_DEADLINES_SECONDS, Ahead, Case, at_once, cases, token_requests, within

if TYPE_CHECKING:
    from socialvault import Vault
    from socialvault.sandbox.failpoints import Hook
    from torture.bench import Bench

_AT_ONCE = 4
_IN_A_FUTURE = timedelta(hours=1)
_LATENCY = timedelta(milliseconds=30)
#: An interrupted flow is said to be one once `exchange_deadline` is over, which passes quickly by this clock.
_RATE = 200.0
_PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class Passage:
    """The `nth` time that a piece of work passes a failpoint."""

    work: str
    point: str
    nth: int

    def __str__(self) -> str:
        return f"{self.work} {self.point}{f' #{self.nth}' if self.nth > 1 else ''}"


@dataclass(frozen=True)
class Work:
    """Something that is killed: `prepare` makes it ready, `do` does it where it is killed, `judge` names its end."""

    prepare: Callable[[Bench, Vault], Any]
    do: Callable[[Bench, Hook, Any], None]
    judge: Callable[[Bench, Any], str]


class BrokenError(Exception):
    """The promise is broken; the text says how."""


def hold(held: object, about: str) -> None:
    """Break off unless `held`."""
    if not held:
        raise BrokenError(about)


def opened(bench: Bench, **options: Any) -> Vault:
    """Start afresh, after all deadlines of those who are gone."""
    vault = bench.vault(**{"clock": Ahead(PAST_DEADLINES_SECONDS), **options})
    vault.open()
    return vault


# --- a refresh ------------------------------------------------------------------------------------


def refreshed(bench: Bench, hook: Hook, case: Case) -> None:
    """Renew a due connection."""
    bench.vault(hook=hook).token(case.connection_id, **MINE)


def refresh_end(bench: Bench, case: Case) -> str:
    """Judge an interrupted refresh, recovered by a fresh process after all deadlines."""
    before = token_requests(bench, case.grant_id)
    vault = opened(bench, escrow=None)
    row, committed = bench.row(vault, case.connection_id), any(one.outcome == "refreshed" for one in before)
    hold(row is not None and row.status is Status.ACTIVE, "no whole row was left")
    lost = committed and row.generation == 1 and not run(_waiting(bench, case))
    first, requests = _answer(bench, case), len(token_requests(bench, case.grant_id))
    hold(len(before) <= 1 and requests <= 2, f"{len(before)}, then {requests} token requests")
    again = _answer(bench, case)
    hold(again == first, f"first {first}, then {again}")
    hold(len(token_requests(bench, case.grant_id)) == requests, "asked twice, and sent again")
    row = bench.row(vault, case.connection_id)
    if first == "connected":
        hold(not row.intent_deadline_seconds and not row.candidate, "something is left open in the row")
        hold(bench.holds_newest(vault, case.connection_id), "the stored token is not the newest one")
    else:
        hold(lost, f"{first}, although nothing was lost")
        hold(row.status is Status.REAUTHORIZATION_REQUIRED and row.reason in first, f"the row says {row.status}")
    return first


async def _waiting(bench: Bench, case: Case) -> bool:
    from socialvault.stores.escrow import FileEscrow

    return any(record.row.id == case.connection_id for record in FileEscrow(bench.escrow).records())


def _answer(bench: Bench, case: Case) -> str:
    """Ask a fresh vault for the token; name what comes."""
    try:
        token = bench.vault(clock=Ahead(PAST_DEADLINES_SECONDS)).token(case.connection_id, **MINE)
    except ReauthorizationRequiredError as verdict:
        hold(verdict.reason == "refresh_interrupted", f"the reason is {verdict.reason}")
        return f"reauthorization_required({verdict.reason})"
    hold(token.reveal() in bench.sandbox.live_tokens("x", case.grant_id), "a dead token was served")
    return "connected"


# --- a code exchange ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flow:
    """A flow up to its callback."""

    user: str
    cookies: dict[str, str]
    params: dict[str, str]


def flow(bench: Bench, vault: Vault, user: str = "") -> Flow:
    """Go through the browser."""
    user = user or f"user{bench.random.getrandbits(64):016x}"
    login = vault.begin("x", **MINE)
    params = bench.sandbox.authorize(login.url, user=user)
    return Flow(user, {login.cookie.name: login.cookie.value}, dict(params))


def completed(bench: Bench, hook: Hook, given: Flow) -> None:
    """Exchange a code."""
    bench.vault(hook=hook).complete(given.params, provider="x", cookies=given.cookies, **MINE)


def complete_end(bench: Bench, given: Flow) -> str:
    """Judge an interrupted code exchange: the same callback again, then a new flow where it is over."""
    vault = opened(bench, clock=Ahead(PAST_DEADLINES_SECONDS, _RATE))
    rows_before = rows_of(bench, vault, given.user)
    hold(all(bench.holds_newest(vault, row.id) for row in rows_before), "half a row was left")
    try:
        done = vault.complete(given.params, provider="x", cookies=given.cookies, **MINE)
        end = "connected" if done.duplicate else "connected by the same callback"
    except StateExpiredError:
        end = "begin again" + (", connected before" if rows_before else "")
        again = flow(bench, bench.vault(), given.user)
        done = bench.vault().complete(again.params, provider="x", cookies=again.cookies, **MINE)
    exchanges = bench.sandbox.log.entries(endpoint="token", user=given.user)
    hold(len(exchanges) <= 2 and all(one.outcome == "issued" for one in exchanges), "a code was sent twice")
    hold(len(rows_of(bench, vault, given.user)) == 1, "not one row for one account")
    hold(bench.holds_newest(vault, done.connection.id), "the stored token is not the newest one")
    return end


def rows_of(bench: Bench, vault: Vault, user: str) -> Sequence[Any]:
    """Return the rows of a person's account, of any status."""
    core = vault._cases.core
    provider = core.providers.get("x")
    granted = bench.sandbox.issue("x", user=user)  # tells the subject; its grant is another one
    account = (provider.slug, provider.client_id, provider.account_issuer, granted.subject)
    return run(core.store.list_for_account(*account))


# --- a disconnect ---------------------------------------------------------------------------------


def valid(bench: Bench, vault: Vault) -> Case:
    """Connect somebody whose token is valid."""
    return cases(bench, vault, 1, expires_at=vault._cases.core.now() + _IN_A_FUTURE)[0]


def due(bench: Bench, vault: Vault) -> Case:
    """Connect somebody whose token is due."""
    return cases(bench, vault, 1)[0]


def disconnected(bench: Bench, hook: Hook, case: Case) -> None:
    """Disconnect."""
    bench.vault(hook=hook).disconnect(case.connection_id, **MINE)


def disconnect_end(bench: Bench, case: Case) -> str:
    """Judge an interrupted disconnect: it did not begin and is asked for again, or it is finished by the next tick."""
    vault = opened(bench)
    row = bench.row(vault, case.connection_id)
    hold(row is not None, "the row is gone")
    if row.status is Status.ACTIVE:
        hold(bench.holds_newest(vault, case.connection_id), "active, and its token is dead")
        vault.disconnect(case.connection_id, **MINE)
    vault.renew_due()
    within(_PATIENCE_SECONDS, lambda: _settled(bench, vault, case))  # another judge's tick may be at it
    after = bench.row(vault, case.connection_id)
    hold(after is not None and after.status is Status.REVOKED, "the row is not that of a tombstone")
    hold(not after.envelope, "a tombstone holds a token")
    hold(not bench.sandbox.live_tokens("x", case.grant_id), "a token still lives at the provider")
    outcome = vault.receipt(case.connection_id, **MINE).outcome
    hold(outcome in ("revoked", "already_gone"), f"the receipt says {outcome}")
    return "disconnected when asked again" if row.status is Status.ACTIVE else "disconnected"


def _settled(bench: Bench, vault: Vault, case: Case) -> bool:
    row = bench.row(vault, case.connection_id)
    return row is not None and row.status is Status.REVOKED


# --- killed at each of them -----------------------------------------------------------------------

WORKS = {
    "refresh": Work(due, refreshed, refresh_end),
    "complete": Work(flow, completed, complete_end),
    "disconnect": Work(valid, disconnected, disconnect_end),
}


def _recorded(bench: Bench, name: str, given: Any) -> list[str]:
    record = Record()
    WORKS[name].do(bench, record, given)
    return record.passed


def passages(bench: Bench, vault: Vault, name: str) -> list[Passage]:
    """Return every passage of a failpoint when a piece of work is done undisturbed."""
    seen: Counter[str] = Counter()
    found = []
    for passed in bench.start(_recorded, name, WORKS[name].prepare(bench, vault)).result():
        seen[passed] += 1
        found.append(Passage(name, passed, seen[passed]))
    known = set(Failpoints.points())
    return [passage for passage in found if passage.point in known]


def _killed(bench: Bench, passage: Passage, given: Any) -> None:
    WORKS[passage.work].do(bench, Kill(passage.point, nth=passage.nth), given)


@mutation("disconnecting asks the provider first, and writes the tombstone when that has answered")
def revoked_before_tombstone() -> None:
    """Revoke first."""
    from socialvault.vault.revocation import Revocation

    tombstone = Revocation.tombstone

    async def late(revocation, row):  # type: ignore[no-untyped-def]  # a mutation
        core = revocation._core
        provider = core.provider_of(row)
        record, server = await core.open(row), await core.conversations.run(provider.resolve())
        await core.conversations.run(provider.revoke(server, record.token))
        return await tombstone(revocation, row)

    Revocation.tombstone = late  # type: ignore[method-assign]  # a mutation


@mutation("a pending flow is not claimed before its code is sent")
def unclaimed_flow() -> None:
    """Leave it pending."""

    async def unclaimed(store: Any, _original: Any, state_hash: bytes, **_whose: Any) -> Any:
        return replace(await store.get_state(state_hash), phase="claimed")

    change_store("claim_state", unclaimed)


@point(
    "A process killed at any step of a refresh, a code exchange or a disconnect leaves a whole state with a name.",
    short=1, long=100,
    mutations=("no_intent", "revoked_before_tombstone", "unclaimed_flow"),
)  # fmt: skip
def killed_at_each_failpoint(bench: Bench, trials: int) -> Tally:
    """SIGKILL at each passage, so many times each."""
    tally, vault = Tally(), bench.vault()
    every = [passage for name in WORKS for passage in passages(bench, vault, name)]
    ends: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for batch in batches(every * trials, _AT_ONCE):
        given = [WORKS[passage.work].prepare(bench, vault) for passage in batch]
        workers = [bench.start(_killed, *one) for one in zip(batch, given, strict=True)]
        codes = [worker.ended() for worker in workers]
        judged = at_once(lambda one: _judged(bench, *one), list(zip(batch, given, codes, strict=True)))
        for passage, (end, broken) in zip(batch, judged, strict=True):
            tally.end(f"{passage.work}: {end}", ok=not broken, about=broken)
            ends[str(passage)][end] += 1
        bench.advance(len(batch))
        bench.sandbox.log.clear()
    tally.measured["failpoints"] = len(every)
    tally.measured.update({name: ", ".join(f"{end}: {n}" for end, n in found.items()) for name, found in ends.items()})
    return tally


def _judged(bench: Bench, passage: Passage, given: Any, code: int | None) -> tuple[str, str]:
    """Return the end, and what is wrong with it."""
    try:
        hold(code == -signal.SIGKILL, f"it was not killed there: {code}")
        return WORKS[passage.work].judge(bench, given), ""
    except Exception as problem:  # noqa: BLE001  # whatever it is, it was not to happen
        return "broken", f"{passage}: {type(problem).__name__}: {problem}"


# --- killed anywhere ------------------------------------------------------------------------------


def _ready_then_refreshed(bench: Bench, ready: int, case: Case) -> None:
    vault = bench.vault()
    vault.open()
    os.write(ready, b"1")
    vault.token(case.connection_id, **MINE)


@point(
    "A process killed at any moment of a refresh leaves a connection that works, or one that says it was interrupted.",
    short=20, long=500, mutations=("no_intent",),
)  # fmt: skip
def killed_anywhere(bench: Bench, trials: int) -> Tally:
    """SIGKILL after a random time."""
    tally, vault, anywhere = Tally(), bench.vault(), Passage("refresh", "anywhere", 1)
    for batch in batches(cases(bench, vault, trials), _AT_ONCE):
        bench.sandbox.clear_faults()
        at = bench.random.choice(["before_commit", "after_commit"])
        bench.sandbox.fault("x", "token", times=None, latency=_LATENCY, at=at)
        for case in batch:
            _kill_at_random(bench, case)
        bench.sandbox.clear_faults()
        for end, broken in at_once(partial(_judged, bench, anywhere, code=-signal.SIGKILL), batch):
            tally.end(end, ok=not broken, about=broken)
        bench.advance(len(batch))
    return tally


def _kill_at_random(bench: Bench, case: Case) -> None:
    reading, ready = os.pipe()
    worker = bench.start(_ready_then_refreshed, ready, case)
    os.close(ready)
    os.read(reading, 1)
    os.close(reading)
    time.sleep(bench.random.uniform(0.0, 0.08))
    os.kill(worker.pid, signal.SIGKILL)
    worker.ended()
