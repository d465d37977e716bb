"""A database server that goes away for real: killed, stopped, frozen, or with every connection cut."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from torture.bench import MINE, batches
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points._judging import Case, at_once, cases, token_requests
from torture.points.kills import hold
from torture.points.outages import no_patience

if TYPE_CHECKING:
    from socialvault import Vault
    from torture.bench import Bench
    from torture.places import ServerPlace

#: How long a server is away; a vault waits longer before it turns to the escrow alone.
_AWAY_SECONDS = 1.5
_AT_ONCE = 8
_NO_SERVER = {"sqlite": "it has no server; `database_gone` and `database_locked` take its file away"}


def _killed(place: ServerPlace) -> Callable[[], None]:
    """Kill it as a loss of power would; return what brings it back."""
    place.server.kill()
    return place.server.daemon.start


def _stopped(place: ServerPlace) -> Callable[[], None]:
    """Stop it in good order."""
    place.server.daemon.stop()
    return place.server.daemon.start


def _frozen(place: ServerPlace) -> Callable[[], None]:
    """Let it hold its connections, and say nothing."""
    place.server.pause()
    return place.server.resume


def _cut(place: ServerPlace) -> Callable[[], None]:
    """Cut every connection, and take new ones at once."""
    place.cut_connections()
    return lambda: None


_WAYS = {"killed": _killed, "stopped": _stopped, "frozen": _frozen, "cut": _cut}


class Gone:
    """A hook: at the first answer of the provider, the server goes away, and comes back after a while."""

    def __init__(self, place: ServerPlace, way: str) -> None:
        self._place, self._way = place, way
        self._first = threading.Lock()
        self.back: threading.Timer | None = None

    def __call__(self, name: str) -> None:
        if name == "transport.send.after" and self._first.acquire(blocking=False):
            bring_back = _WAYS[self._way](self._place)
            self.back = threading.Timer(_AWAY_SECONDS, bring_back)
            self.back.start()


@point(
    "A database server that is killed, stopped, frozen or cut off when the provider has answered, and comes back, "
    "costs no token: who asked is served, and the newest token is stored",
    short=16, long=200, mutations=("no_patience_no_escrow",), not_on=_NO_SERVER,
)  # fmt: skip
def server_gone(bench: Bench, trials: int) -> Tally:
    """Take the server away from under several renewals at a time; a server of this point's own."""
    tally = Tally()
    with bench.place.own_server() as place:
        own = bench.at(place, bench.directory)
        vault = own.vault()
        vault.open()
        for number, batch in enumerate(batches(cases(own, vault, trials), max(1, min(_AT_ONCE, trials // len(_WAYS))))):
            way = list(_WAYS)[number % len(_WAYS)]
            gone = Gone(place, way)
            problems = at_once(lambda case: _served(own, gone, case), batch)  # noqa: B023  # at once
            assert gone.back is not None
            gone.back.join()
            for case, problem in zip(batch, problems, strict=True):
                end, broken = _judged(own, vault, case, problem)
                tally.end(f"{way}: {end}", ok=not broken, about=f"{case}: {broken}")
            bench.advance(len(batch))
    return tally


def _served(bench: Bench, gone: Gone, case: Case) -> Exception | None:
    try:
        bench.vault(hook=gone).token(case.connection_id, **MINE)
    except Exception as problem:  # noqa: BLE001  # it is judged
        return problem
    return None


def _judged(bench: Bench, vault: Vault, case: Case, problem: Exception | None) -> tuple[str, str]:
    """Return the end, and what is wrong with it. Who had not sent yet may be told to come again, and is served then."""
    end = "served at once"
    try:
        if problem is not None:
            sent = token_requests(bench, case.grant_id)
            hold(getattr(problem, "action", "") == "retry", f"{type(problem).__name__}: {problem}")
            end = "told to retry, then served" if sent else "away before anything was sent, then served"
            _ask_until_served(bench, case)
        outcomes = [one.outcome for one in token_requests(bench, case.grant_id)]
        hold(outcomes == ["refreshed"], f"{outcomes}")
        hold(bench.holds_newest(vault, case.connection_id), "the stored token is not the newest one")
    except Exception as broken:  # noqa: BLE001  # whatever it is, it was not to happen
        return "broken", f"{type(broken).__name__}: {broken}"
    return end, ""


def _ask_until_served(bench: Bench, case: Case) -> None:
    until = time.monotonic() + 60.0
    while True:
        try:
            bench.vault().token(case.connection_id, **MINE)
        except Exception as problem:
            if getattr(problem, "action", "") != "retry" or time.monotonic() > until:
                raise
            time.sleep(0.2)
        else:
            return


@mutation("neither patience nor escrow: a store that is away once has lost the token")
def no_patience_no_escrow() -> None:
    from torture.mutations import MUTATIONS

    MUTATIONS["no_escrow"].apply()
    no_patience()


# --- a small pool ---------------------------------------------------------------------------------

_POOL, _REFRESHES = 2, 50
_P99_SECONDS = 0.05
#: How much slower than the same query through a pool of its own a query may be, where the machine is slow.
_TIMES_SLOWER = 3.0
_LEAST_QUERIES = 20
#: As many seconds as these make `trials` last, the provider takes to answer: 3 in the short form, 10 in the long one.
_QUERIES_PER_SECOND = 50
_NOT_POSTGRES: dict[str, str] = {
    "sqlite": "its store has no pool of connections", "valkey": "its pool is the driver's, and waits"
}  # fmt: skip


class Sent:
    """A hook that counts the requests on their way, and tells when all are."""

    def __init__(self, count: int) -> None:
        self._left, self._lock = count, threading.Lock()
        self.all = threading.Event()

    def __call__(self, name: str) -> None:
        if name == "transport.send.before":
            with self._lock:
                self._left -= 1
            if not self._left:
                self.all.set()


@point(
    "With a pool of 2 connections and 50 renewals that wait for a slow provider, no call meets a pool's timeout, and "
    "an unrelated query takes less than 50 ms (99th percentile), or no longer than it would without them",
    short=150, long=500, mutations=("held_connection",), not_on=_NOT_POSTGRES,
)  # fmt: skip
def small_pool(bench: Bench, trials: int) -> Tally:
    """Renew 50 connections at once through an engine of 2 connections, and ask something else meanwhile."""
    tally, sent, latency = Tally(), Sent(_REFRESHES), trials / _QUERIES_PER_SECOND
    with bench.vault() as vault:
        due = cases(bench, vault, _REFRESHES)
    free = bench.vault()
    free.open()
    bench.place.small_pool(_POOL)
    busy = bench.vault(hook=sent)
    busy.open()
    bench.sandbox.fault("x", "token", times=None, latency=timedelta(seconds=latency))
    answered = threading.Event()
    pools: dict[str, list[float]] = {"busy": [], "free": []}
    asking = [
        threading.Thread(target=_ask, args=(vault, sent, answered, pools[name]))
        for name, vault in (("busy", busy), ("free", free))
    ]
    for thread in asking:
        thread.start()
    problems = at_once(lambda case: _problem(busy, case, answered), due)
    sent.all.set()  # where not all came so far
    for thread in asking:
        thread.join()
    bench.sandbox.clear_faults()
    for case, problem in zip(due, problems, strict=True):
        ok = not problem and bench.holds_newest(free, case.connection_id)
        tally.end("renewed" if ok else "not renewed", ok=ok, about=f"{case}: {problem}")
    _judge_queries(tally, pools["busy"], pools["free"])
    bench.advance(trials)
    return tally


def _ask(vault: Vault, sent: Sent, answered: threading.Event, seconds: list[float]) -> None:
    """Ask for somebody else's connections from when everybody has sent until the first one is answered."""
    sent.all.wait()
    while not answered.wait(1 / _QUERIES_PER_SECOND):
        began = time.monotonic()
        vault.connections(owner="somebody else", tenant="acme")
        seconds.append(time.monotonic() - began)


def _judge_queries(tally: Tally, busy: list[float], free: list[float]) -> None:
    tally.check(min(len(busy), len(free)) >= _LEAST_QUERIES, f"only {len(busy)} and {len(free)} queries in time")
    slow, usual = (
        sorted(seconds)[int(len(seconds) * 0.99) - 1] if seconds else float("inf") for seconds in (busy, free)
    )
    about = f"the 99th percentile of {len(busy)} queries is {1000 * slow:.0f} ms, and {1000 * usual:.0f} ms elsewhere"
    tally.check(slow < max(_P99_SECONDS, _TIMES_SLOWER * usual), about)
    tally.measured |= {
        "queries": len(busy),
        "p99_ms": round(1000 * slow, 1),
        "p99_of_a_free_pool_ms": round(1000 * usual, 1),
    }


def _problem(vault: Vault, case: Case, answered: threading.Event) -> str:
    try:
        vault.token(case.connection_id, **MINE)
    except Exception as problem:  # noqa: BLE001  # it is judged
        return f"{type(problem).__name__}: {problem}"
    finally:
        answered.set()
    return ""


@mutation("a connection of the pool is held while the provider thinks")
def held_connection() -> None:
    """Let each renewal hold one."""
    from socialvault.vault.conversation import Conversations
    from torture.places import SMALL_POOLS

    talk = Conversations.run

    async def holding(conversations: Any, exchange: Any) -> Any:
        held = [place.engine.connect() for place in SMALL_POOLS]
        try:
            return await talk(conversations, exchange)
        finally:
            for one in held:
                one.close()

    Conversations.run = holding  # type: ignore[method-assign]  # a mutation
