"""A database that is gone when the provider has answered, and answers that come too late."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from socialvault.exceptions import ReauthorizationRequiredError, StoreUnavailableError, TokenAtRiskError
from socialvault.runtimes.threads import run
from torture.bench import MINE, batches
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points._judging import PAST_DEADLINES_SECONDS, Ahead, Case, at_once, cases, token_requests
from torture.points.kills import BrokenError, hold

if TYPE_CHECKING:
    from socialvault import Vault
    from torture.bench import Bench

_OUTAGE_SECONDS = 5.0
#: How much longer somebody holds the database than the store itself waits for it.
_LONGER_SECONDS = 0.5
_AT_ONCE = 25
_GRACE = timedelta(minutes=5)


@mutation("no patience: a store that was away once is not asked again")
def no_patience() -> None:
    """Try once."""
    from socialvault.vault.saving import Saving

    async def once(_saving, _write):  # type: ignore[no-untyped-def]  # a mutation
        raise StoreUnavailableError("no patience")

    Saving._patiently = once  # type: ignore[method-assign]  # a mutation


@mutation("nobody looks into the escrow: not at the start, not before a token is presented, not in the tick")
def no_replay() -> None:
    """Leave it there."""
    from socialvault.vault.custody import Custody

    async def nothing(_custody):  # type: ignore[no-untyped-def]  # a mutation
        return ()

    Custody._waiting = nothing  # type: ignore[method-assign]  # a mutation


@mutation("a token that neither store nor escrow could keep is handed out as if it were durable")
def risk_unsaid() -> None:
    """Say nothing."""
    from socialvault.vault.saving import Saving

    kept = Saving._escrowed

    async def pretended(saving, arrived, *, is_new):  # type: ignore[no-untyped-def]  # a mutation
        return await kept(saving, arrived, is_new=is_new) or "pretended"

    Saving._escrowed = pretended  # type: ignore[method-assign]  # a mutation


class Outage:
    """A hook: from the provider's answer on, the parts named are away for so long."""

    def __init__(self, seconds: float, *parts: str) -> None:
        self._seconds, self._parts = seconds, parts
        self._until = 0.0

    def __call__(self, name: str) -> None:
        if name == "transport.send.after" and not self._until:
            self._until = time.monotonic() + self._seconds
        part, _, moment = name.partition(".")
        if part in self._parts and moment.endswith("before") and time.monotonic() < self._until:
            raise StoreUnavailableError(f"an outage: {name}")


def _connected(bench: Bench, vault: Vault, case: Case) -> None:
    hold([one.outcome for one in token_requests(bench, case.grant_id)] == ["refreshed"], "not one refresh")
    hold(bench.holds_newest(vault, case.connection_id), "the stored token is not the newest one")


# --- how a trial goes -----------------------------------------------------------------------------


def _waited_out(bench: Bench, vault: Vault, case: Case) -> str:
    """The store is away for a while; the caller waits, and is served."""
    token = bench.vault(hook=Outage(_OUTAGE_SECONDS, "store")).token(case.connection_id, **MINE)
    hold(token.reveal() in bench.sandbox.live_tokens("x", case.grant_id), "a dead token was served")
    _connected(bench, vault, case)
    hold(not _waiting(vault, case), "it waits in the escrow still")
    return "connected"


def _killed_meanwhile(bench: Bench, vault: Vault, case: Case) -> str:
    """The store is away, and the process was killed: only the escrow has the token."""
    bench.vault().open()
    _connected(bench, vault, case)
    return "connected from the escrow"


def _kill_with_escrow_only(bench: Bench, given: Sequence[Case]) -> None:
    """Renew in processes that are killed once the escrow has the token; any process that starts brings it home.

    No thread runs here yet: it would be forked, too.
    """
    workers = [bench.start(_kept_only, case) for case in given]
    hold(all(worker.ended() == -signal.SIGKILL for worker in workers), "one was not killed on the way")


def _kept_only(bench: Bench, case: Case) -> None:
    outage = Outage(60.0, "store")

    def killing(name: str) -> None:
        outage(name)
        if name == "escrow.keep.after":
            os.kill(os.getpid(), signal.SIGKILL)

    bench.vault(hook=killing).token(case.connection_id, **MINE)


def _kept_nowhere(bench: Bench, vault: Vault, case: Case) -> str:
    """Store and escrow are away: that has a name, and the connection another."""
    try:
        bench.vault(hook=Outage(60.0, "store", "escrow")).token(case.connection_id, **MINE)
    except TokenAtRiskError as problem:
        hold(problem.action == "report", f"its action is {problem.action}")
    else:
        raise BrokenError("a token that is kept nowhere was served")
    try:
        bench.vault(clock=Ahead(PAST_DEADLINES_SECONDS)).token(case.connection_id, **MINE)
    except ReauthorizationRequiredError as verdict:
        hold(verdict.reason == "refresh_interrupted", f"the reason is {verdict.reason}")
    else:
        raise BrokenError("a lost token came back")
    return "TokenAtRiskError, then refresh_interrupted"


def _waiting(vault: Vault, case: Case) -> bool:
    escrow = vault._cases.core.escrow
    assert escrow is not None
    return any(record.row.id == case.connection_id for record in run(escrow.records()))


Way = Callable[["Bench", "Vault", Case], str]
_WAYS: tuple[Way, ...] = (_waited_out, _killed_meanwhile, _kept_nowhere)


@point(
    "A database that is away when the provider has answered costs no token, as long as the escrow is there.",
    short=9, long=300, mutations=("no_escrow", "no_patience", "no_replay", "risk_unsaid"),
)  # fmt: skip
def database_gone(bench: Bench, trials: int) -> Tally:
    """Take the store away from under a renewal; a third each is waited out, killed meanwhile, and without an escrow."""
    tally, vault = Tally(), bench.vault()
    vault.open()
    numbered = list(enumerate(cases(bench, vault, trials)))
    for batch in batches(numbered, _AT_ONCE):
        _kill_with_escrow_only(bench, [case for number, case in batch if _way(number) is _killed_meanwhile])
        for end, broken in at_once(lambda one: _tried(bench, vault, *one), batch):
            tally.end(end, ok=not broken, about=broken)
        bench.advance(len(batch))
    return tally


def _way(number: int) -> Way:
    return _WAYS[number % len(_WAYS)]


def _tried(bench: Bench, vault: Vault, number: int, case: Case) -> tuple[str, str]:
    way = _way(number)
    try:
        return way(bench, vault, case), ""
    except Exception as problem:  # noqa: BLE001  # whatever it is, it was not to happen
        return "broken", f"{way.__name__} {case}: {type(problem).__name__}: {problem}"


# --- a real lock ----------------------------------------------------------------------------------


class Lock:
    """A hook: at the provider's answer, somebody takes the database for so long."""

    def __init__(self, bench: Bench, seconds: float) -> None:
        self._place, self._seconds = bench.place, seconds
        self._once = threading.Lock()

    def __call__(self, name: str) -> None:
        if name == "transport.send.after" and self._once.acquire(blocking=False):
            self._place.seize(self._seconds)


@point(
    "A database that somebody has locked when the provider has answered costs no token.",
    short=3, long=50, mutations=("no_escrow_no_patience",),
)  # fmt: skip
def database_locked(bench: Bench, trials: int) -> Tally:
    """Lock it for longer than the store waits by itself."""
    tally, vault = Tally(), bench.vault()
    vault.open()
    for batch in batches(cases(bench, vault, trials), _AT_ONCE):
        lock = Lock(bench, bench.place.patience_seconds + _LONGER_SECONDS)
        for case, problem in zip(batch, at_once(lambda case: _served(bench, lock, case), batch), strict=True):  # noqa: B023  # at once
            end = "connected"
            if problem.startswith("StoreUnavailableError") and not token_requests(bench, case.grant_id):
                end, problem = "away before anything was sent, then connected", _asked_again(vault, case)
            ok = not problem and bench.holds_newest(vault, case.connection_id)
            tally.end(end if ok else "lost", ok=ok, about=f"{case}: {problem}")
        bench.advance(len(batch))
    return tally


def _asked_again(vault: Vault, case: Case) -> str:
    try:
        vault.token(case.connection_id, **MINE)
    except Exception as problem:  # noqa: BLE001  # as above
        return f"{type(problem).__name__}: {problem}"
    return ""


def _served(bench: Bench, lock: Lock, case: Case) -> str:
    try:
        bench.vault(hook=lock).token(case.connection_id, **MINE)
    except Exception as problem:  # noqa: BLE001  # as above
        return f"{type(problem).__name__}: {problem}"
    return ""


@mutation("neither escrow nor patience: a store that is away once has lost the token")
def no_escrow_no_patience() -> None:
    """Give up at once."""
    from torture.mutations import MUTATIONS

    MUTATIONS["no_escrow"].apply()
    no_patience()


# --- an answer that comes too late ----------------------------------------------------------------


@point(
    "A token answer that comes after another's is kept in reserve, and used when the stored one turns out to be dead.",
    short=4, long=100, mutations=("no_candidate",),
)  # fmt: skip
def late_answer(bench: Bench, trials: int) -> Tally:
    """Let a second process renew while the first one's answer is on its way, then spend the stored token elsewhere."""
    tally, vault = Tally(), bench.vault()
    bench.sandbox.settings("x", reuse_grace=_GRACE, reuse="refused")
    given = cases(bench, vault, trials)
    for batch in batches(given, _AT_ONCE):
        late = at_once(lambda case: _late(bench, vault, case), batch)
        bench.sandbox.settings("x", reuse_grace=timedelta(0), reuse="refused")
        adopted = at_once(lambda case: _adopted(bench, vault, case), batch)
        for case, *problems in zip(batch, late, adopted, strict=True):
            broken = " ".join(problems).strip()
            tally.end("lost" if broken else "connected by the late one", ok=not broken, about=f"{case}: {broken}")
        bench.sandbox.settings("x", reuse_grace=_GRACE, reuse="refused")
        bench.advance(len(batch))
    return tally


def _late(bench: Bench, vault: Vault, case: Case) -> str:
    """Renew twice with one token; the first to ask is the last to save. Return what went wrong."""
    done = threading.Event()

    def overtaken(name: str) -> None:
        if name == "transport.send.after" and not done.is_set():
            done.set()
            bench.vault(clock=Ahead(PAST_DEADLINES_SECONDS)).token(case.connection_id, **MINE)

    bench.vault(hook=overtaken).token(case.connection_id, **MINE)
    row, requests = bench.row(vault, case.connection_id), token_requests(bench, case.grant_id)
    outcomes = [one.outcome for one in requests]
    if row is None or row.generation != 2 or outcomes != ["refreshed", "refreshed_in_grace"]:
        return f"generation {row and row.generation}, {outcomes}"
    return ""


def _adopted(bench: Bench, vault: Vault, case: Case) -> str:
    """Spend the stored token behind the vault's back, then let the vault renew. Return what went wrong."""
    core = vault._cases.core
    try:
        row = run(core.row(case.connection_id, MINE["tenant"], MINE["owner"]))
        provider, token = core.provider_of(row), run(core.open(row)).token
        run(core.conversations.run(provider.renew(provider.static_server, token, row.account.subject)))
        bench.vault(clock=Ahead(2 * PAST_DEADLINES_SECONDS)).refresh(case.connection_id, **MINE)
    except Exception as problem:  # noqa: BLE001  # as above
        return f"{type(problem).__name__}: {problem}"
    return "" if bench.holds_newest(vault, case.connection_id) else "the stored token is dead"
