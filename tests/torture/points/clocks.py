"""A host whose clock is wrong, or is put right in the middle of something."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from socialvault.exceptions import SocialVaultError
from socialvault.model.status import Status
from socialvault.transports.httpx import HttpxTransport
from torture.bench import MINE
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points._simulated import bring_in, person, simulated, stored

if TYPE_CHECKING:
    from socialvault import Vault
    from socialvault.model.token import AccessToken
    from socialvault.ports.clock import Clock
    from socialvault.sandbox import Sandbox
    from torture.bench import Bench

OFF = timedelta(minutes=10)
LIFE = timedelta(hours=2)
LATENCY = timedelta(milliseconds=40)


class HostClock:
    """The true time, and what this host adds to it."""

    def __init__(self, true: Clock, off: timedelta = timedelta(0)) -> None:
        self._true = true
        self.off = off

    def now_seconds(self) -> float:
        """Return the seconds since 1970-01-01 UTC, as this host has them."""
        return self._true.now_seconds() + self.off.total_seconds()


@mutation("expiries are believed for ever: a token counts as valid an hour longer than it is")
def an_hour_too_long() -> None:
    from socialvault.protocol import token

    read = token.read_expiry

    def later(value: object, sent_at: Any) -> Any:
        ends = read(value, sent_at)
        return ends and ends + timedelta(hours=1)

    token.read_expiry = later


@point(
    "A host clock that is 10 minutes off, or is put right meanwhile, crashes nothing and spends no token twice",
    short=100,
    long=4_000,
    mutations=("an_hour_too_long", "no_intent"),
)
def clock_off(bench: Bench, trials: int) -> Tally:
    """Two hosts with clocks of their own, whose store and provider have the true time; 5 ways to get at it in turn."""
    tally = Tally()
    with simulated(bench, "clocks") as inside:
        hosts = _Hosts(inside, tally)
        try:
            for number in range(trials):
                hosts.try_once(number)
                bench.advance(1)
        finally:
            hosts.close()
        hosts.judge_ledger()
    return tally


@dataclass
class _Hosts:
    """Attributes: obtained_off: by token, how far off the clock was of the host that obtained it."""

    bench: Bench
    tally: Tally
    obtained_off: dict[str, timedelta] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sandbox: Any = self.bench.sandbox
        self.sandbox: Sandbox = sandbox
        self.store = self.bench.open_store(self.sandbox.clock)
        self.clocks = [HostClock(self.sandbox.clock), HostClock(self.sandbox.clock)]
        self.provider = self.sandbox.provider("x")
        self.vaults = [self._vault(clock) for clock in self.clocks]

    def _vault(self, clock: HostClock) -> Vault:
        return self.bench.vault(
            self.provider, self.sandbox.provider("oidc"), store=self.store, clock=clock,
            transport=HttpxTransport(clock=clock), lease=timedelta(0), patience=timedelta(seconds=2),
        )  # fmt: skip

    def close(self) -> None:
        for vault in self.vaults:
            vault.close()
        self.store.close()

    # --- a trial --------------------------------------------------------------------------------------

    def try_once(self, number: int) -> None:
        """One connection in the hands of both hosts for a while."""
        ways = (self._constantly_off, self._stepped_while_idle, self._stepped_mid_renewal, self._at_once, self._flow)
        way = ways[number % len(ways)]
        try:
            name = way()
        except Exception as problem:  # noqa: BLE001  # a crash is what this looks for
            passes = isinstance(problem, SocialVaultError) and problem.action == "retry"
            about = f"{type(problem).__name__}: {problem}"
            self.tally.end(f"{way.__name__[1:]}: {type(problem).__name__}", ok=passes, about=about)
        else:
            self.tally.end(name)

    def _constantly_off(self) -> str:
        """One host is ahead, the other behind: of both, every 40 minutes for some lives of the token."""
        self._set(OFF, -OFF)
        connection_id = self._connect()
        for _ in range(8):
            self.sandbox.clock.advance(timedelta(minutes=40) + self._some(timedelta(minutes=5)))
            for host in self.bench.random.sample(range(2), 2):
                self._use(host, connection_id)
            self.vaults[self.bench.random.randrange(2)].renew_due()
        return self._ended("constantly off", connection_id)

    def _stepped_while_idle(self) -> str:
        """The clock is put forward or back by 10 minutes between two uses, at any time of a token's life."""
        self._set(timedelta(0), timedelta(0))
        connection_id = self._connect()
        for _ in range(8):
            self.sandbox.clock.advance(self._some(LIFE))
            self._use(0, connection_id)
            self._step(0)
            self._use(0, connection_id)
            self._call_api(0, connection_id)
        return self._ended("stepped while idle", connection_id)

    def _stepped_mid_renewal(self) -> str:
        """The clock is put forward or back while the provider thinks."""
        self._set(timedelta(0), timedelta(0))
        connection_id = self._connect()
        self.sandbox.clock.advance(LIFE)
        self.sandbox.fault("x", "token", latency=LATENCY)
        step = threading.Timer(LATENCY.total_seconds() / 2, lambda: self._step(0))
        step.start()
        self._use(0, connection_id)
        step.join()
        for host in (0, 1, 0):
            self.sandbox.clock.advance(self._some(LIFE))
            self._use(host, connection_id)
        return self._ended("stepped mid-renewal", connection_id)

    def _at_once(self) -> str:
        """Both hosts, one ahead and one behind, find the token due at the same time; no lease keeps them apart."""
        self._set(OFF, -OFF)
        connection_id = self._connect()
        self.sandbox.clock.advance(LIFE + OFF)
        self.sandbox.fault("x", "token", latency=LATENCY)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda host: self._use(host, connection_id), (0, 1)))
        return self._ended("at once", connection_id)

    def _flow(self) -> str:
        """Somebody connects while the clock is off, or is put right between the two halves of the flow."""
        slug = self.bench.random.choice(("x", "oidc"))
        self._set(self._either(), self._either())
        begun = self.vaults[0].begin(slug, **MINE)
        if self.bench.random.random() < 0.5:
            self._step(0)
        callback = self.sandbox.authorize(begun.url, user=person(self.bench))
        off = self._off_by(0)
        try:
            done = self.vaults[self.bench.random.choice((0, 0, 1))].complete(
                callback, provider=slug, cookies={begun.cookie.name: begun.cookie.value}, **MINE
            )
        except SocialVaultError as problem:
            allowed = slug == "oidc"  # whose ID token says when it was issued
            self.tally.check(allowed, f"a flow at {slug} with a clock {off} off: {type(problem).__name__} {problem}")
            return f"flow at {slug}: refused with {type(problem).__name__}"
        self.vaults[0].disconnect(done.connection.id, **MINE)
        return f"flow at {slug}: connected"

    # --- its parts ------------------------------------------------------------------------------------

    def _some(self, most: timedelta) -> timedelta:
        return most * self.bench.random.random()

    def _either(self) -> timedelta:
        return self.bench.random.choice((OFF, -OFF))

    def _set(self, *off: timedelta) -> None:
        for clock, by in zip(self.clocks, off, strict=True):
            clock.off = by

    def _step(self, host: int) -> None:
        """Put a clock wrong by 10 minutes, or right again."""
        clock = self.clocks[host]
        clock.off = timedelta(0) if clock.off else self._either()

    def _off_by(self, host: int) -> timedelta:
        return self.clocks[host].off

    def _connect(self) -> str:
        issued = self.sandbox.issue("x", user=person(self.bench))
        self.obtained_off[issued.access_token.reveal()] = timedelta(0)  # its end is the provider's word
        return bring_in(self.bench, self.vaults[0], "x", issued)

    def _use(self, host: int, connection_id: str) -> None:
        """Ask for a token, and hold it against what the provider knows of it."""
        before = self._off_by(host)
        token = self.vaults[host].token(connection_id, **MINE)
        after = self._off_by(host)
        self.obtained_off.setdefault(token.reveal(), max(before, after))
        self._judge(token, min(before, after))

    def _call_api(self, host: int, connection_id: str) -> None:
        """Whatever the clock says: what the API refuses is renewed once, and then it answers."""
        before = len(self.sandbox.log)
        with self.vaults[host].client(connection_id, **MINE) as http:
            answer = http.get(self.sandbox.url("x", "/2/users/me"))
        refreshed = sum(entry.grant_type == "refresh_token" for entry in self.sandbox.log[before:])
        self.tally.check(answer.status_code == 200, f"the API answered {answer.status_code}")
        self.tally.check(refreshed <= 1, f"{refreshed} refreshes for one call")
        self.tally.measured["renewed_by_401"] = int(self.tally.measured.get("renewed_by_401", 0)) + refreshed
        self.obtained_off.setdefault(self.vaults[host].token(connection_id, **MINE).reveal(), self._off_by(host))

    def _judge(self, token: AccessToken, off: timedelta) -> None:
        """A token may be served too long by no more than the clock went back since it was obtained."""
        ledger = self.sandbox._emulator("x").ledger
        known = ledger.tokens[token.reveal()]
        assert known.expires_at is not None
        overdue = self.sandbox.clock.now() - known.expires_at
        allowed = max(self.obtained_off[token.reveal()] - off, timedelta(0))
        worst = float(self.tally.measured.get("served_past_expiry_seconds", 0.0))
        self.tally.measured["served_past_expiry_seconds"] = max(worst, round(overdue.total_seconds(), 1))
        about = f"served {overdue} after it had expired, {allowed} allowed"
        self.tally.check(overdue < max(allowed, timedelta(microseconds=1)), about)

    def _ended(self, name: str, connection_id: str) -> str:
        """Whatever was served: the store holds what the provider takes."""
        self._set(timedelta(0), timedelta(0))
        status, token = stored(self.bench, self.vaults[0], connection_id)
        ledger = self.sandbox._emulator("x").ledger
        presented = ledger.tokens.get(token.refresh_token.reveal()) if token.refresh_token else None
        taken = ledger.verdict(presented, self.sandbox.clock.now()) == "live"
        self.tally.check(status is Status.ACTIVE and taken, f"{name}: {status.value}, taken: {taken}")
        self.vaults[0].disconnect(connection_id, **MINE)
        return name

    def judge_ledger(self) -> None:
        """At most one refresh per generation: each refresh token was presented once."""
        refreshes = self.sandbox.log.entries(provider="x", endpoint="token", grant_type="refresh_token")
        presented = Counter(entry.presented for entry in refreshes)
        twice = [mark for mark, times in presented.items() if times > 1]
        self.tally.check(not twice, f"{len(twice)} refresh tokens were presented more than once")
        self.tally.check(refreshes, "nothing was refreshed")
        self.tally.measured["refreshes"] = len(refreshes)
