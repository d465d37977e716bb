"""Four hundred days with each renewal model: only those reconnects that a provider's rules imply, all announced."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from socialvault.model.status import Status
from torture.bench import MINE
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points._simulated import person, simulated, stored

if TYPE_CHECKING:
    from socialvault.model.events import Event
    from socialvault.sandbox import Sandbox
    from torture.bench import Bench

DAYS = 400
DAY = timedelta(days=1)
#: How often a connection's token is asked for, half of the connections each.
USES = (DAY, 70 * DAY)
AHEAD = 7 * DAY
#: The part of a day in which `renew_due` ticks.
TICKING = timedelta(hours=20)
SAME = timedelta(hours=1)
#: Of so many connections, chance puts all on the same day once in a million runs.
ENOUGH_TO_SPREAD = 9


@dataclass(frozen=True)
class Model:
    """A provider's rules, as its documentation has them, and not as the library does.

    Attributes:
        lives: from each consent on; None: for good, as long as it is renewed.
        renewed: how long a token lives after each renewal. It ends the connection where nothing else renews it; None:
            a refresh token does.
        ticks: how many ticks a day has.
    """

    name: str
    slug: str
    lives: timedelta | None
    renewed: timedelta | None
    share: float
    ticks: int = 1
    refresh_tokens: bool | None = None

    def deaths(self) -> list[int]:
        """The days on which somebody has to authorise again: each begins after the end, and ends with a new consent."""
        return [] if self.lives is None else list(range(self.lives.days + 1, DAYS + 1, self.lives.days + 1))


#: A connection to X is renewed every day, and far dearer than the others here; `share` is how many of the latter one
#: is worth.
MODELS = (
    Model("rotating", "x", None, None, share=3),
    Model("static", "linkedin", 365 * DAY, None, share=1, refresh_tokens=True),
    Model("none", "linkedin", 60 * DAY, None, share=1, refresh_tokens=False),
    Model("exchange", "facebook", 90 * DAY, 60 * DAY, share=1),
    Model("extend", "instagram", None, 60 * DAY, share=0.4),
)


@mutation("no jitter: what was connected together is renewed together")
def no_jitter() -> None:
    from socialvault.vault import circuit, outbox, renewal, schedule

    for module in (schedule, renewal, circuit, outbox):
        module.jitter = lambda _text: 0.5  # type: ignore[attr-defined]


@mutation("no warnings: nobody is told that a connection will die")
def no_warnings() -> None:
    from socialvault.vault import sweep

    async def forgotten(_core: Any, _limit: int) -> int:
        return 0

    sweep.warn = forgotten


@mutation("no lead: a token that is renewed in place is renewed in its last minute")
def no_lead() -> None:
    from socialvault.vault import schedule

    schedule._IN_PLACE_LEAD = timedelta(minutes=1)


@mutation("the end moves: a refresh token's end is counted anew with each renewal")
def moving_end() -> None:
    from dataclasses import replace

    from socialvault.vault import grants

    merge = grants.merge

    def forgetful(stored_token: Any, fresh: Any) -> Any:
        ends = fresh.refresh_expires_at and fresh.obtained_at + 365 * DAY
        return replace(merge(stored_token, fresh), refresh_expires_at=ends)

    grants.merge = forgetful


@point(
    "In 400 days nobody has to reconnect but where the provider's rules say so, and a week before that it is announced",
    short=DAYS * 22,
    long=DAYS * 220,
    mutations=("no_merge_rule", "no_jitter", "no_warnings", "no_lead", "moving_end"),
)
def four_hundred_days(bench: Bench, trials: int) -> Tally:
    """`trials` are connections times days, over all models."""
    tally = Tally()
    weight = sum(1 / model.share for model in MODELS)  # of `trials`, in connections to the cheap ones
    for model in MODELS:
        count = max(2, round(trials / DAYS / weight / model.share))
        with simulated(bench, model.name) as inside:
            _Year(inside, tally, model, count).run()
    return tally


@dataclass
class _Connection:
    """What the rules say about one connection, beside what was met.

    Attributes:
        consented_at, dead_on: the last consent, and the days on which a reconnect was forced.
        warned_at: since the last consent.
    """

    id: str
    user: str
    use: timedelta
    consented_at: datetime
    dead_on: list[int] = field(default_factory=list)
    warned: list[Event] = field(default_factory=list)


@dataclass
class _Year:
    bench: Bench
    tally: Tally
    model: Model
    count: int
    events: list[Event] = field(default_factory=list)
    connections: dict[str, _Connection] = field(default_factory=dict)

    def run(self) -> None:
        sandbox: Any = self.bench.sandbox
        self.sandbox: Sandbox = sandbox
        self.clock = self.sandbox.clock
        self.client_id = self.sandbox.register(self.model.slug, refresh_tokens=self.model.refresh_tokens).id
        provider = self.sandbox.provider(self.model.slug, refresh_tokens=self.model.refresh_tokens)
        with self.bench.vault(provider, clock=self.clock, observers=[self.events.append]) as self.vault:
            self.began = self.clock.now()
            for number in range(self.count):
                user = person(self.bench)
                use = USES[number % len(USES)]
                connection = _Connection(self._authorise(user), user, use, self.clock.now())
                self.connections[connection.id] = connection
            for day in range(1, DAYS + 1):
                self._live(day)
            self._judge()

    def _authorise(self, user: str, connection_id: str | None = None) -> str:
        """Go through the browser."""
        login = self.vault.begin(self.model.slug, connection_id=connection_id, **MINE)
        callback = self.sandbox.authorize(login.url, user=user)
        cookies = {login.cookie.name: login.cookie.value}
        return self.vault.complete(callback, provider=self.model.slug, cookies=cookies, **MINE).connection.id

    # --- a day ----------------------------------------------------------------------------------------

    def _live(self, day: int) -> None:
        """A day: ticks, an hour in which applications use their tokens, and one in which people authorise again."""
        for _ in range(self.model.ticks):
            self.clock.advance(TICKING / self.model.ticks)
            self._answer_sparsely(day)
            while self.vault.renew_due(limit=500).due == 500:
                pass
        self.sandbox.clear_faults()
        self._take_note()
        self.clock.advance((DAY - TICKING) / 2)
        died = [connection for connection in self.connections.values() if self._is_dead(connection)]
        for connection in self.connections.values():
            if connection not in died and (day * DAY) % connection.use == timedelta(0):
                self._use(connection)
            self.tally.end(f"{self.model.name}: {'had to reconnect' if connection in died else 'lived on'}")
        self.clock.advance((DAY - TICKING) / 2)
        for connection in died:
            self._reconnect(connection, day)
        self.bench.advance(len(self.connections))

    def _answer_sparsely(self, day: int) -> None:
        """RFC 6749 lets a refresh leave out what did not change; this provider does so every other time."""
        if self.model.name == "static" and (day // 60) % 2:
            fields = {"refresh_token": None, "refresh_token_expires_in": None, "scope": None}
            self.sandbox.fault("linkedin", "token", times=None, replace=fields)

    def _take_note(self) -> None:
        for event in self.events:
            if event.name == "expires_soon":
                self.connections[event.connection_id].warned.append(event)
        self.events.clear()

    def _is_dead(self, connection: _Connection) -> bool:
        """Whether the library says so; by a status, or where the token goes on but the data don't, by `dies_at`."""
        seen = self.vault.connection(connection.id, **MINE)
        return seen.status is not Status.ACTIVE or (seen.dies_at is not None and seen.dies_at <= self.clock.now())

    def _use(self, connection: _Connection) -> None:
        token = self.vault.token(connection.id, **MINE)
        live = self.sandbox._emulator(self.model.slug).ledger
        verdict = live.verdict(live.tokens.get(token.reveal()), self.clock.now())
        self.tally.check(verdict == "live", f"{self.model.name}: the token that was served is {verdict}")
        self._judge_end(connection)

    def _judge_end(self, connection: _Connection) -> None:
        """`dies_at` is what the rules say it is: counted from the consent, or from the last renewal."""
        said = self.vault.connection(connection.id, **MINE).dies_at
        ends = []
        if self.model.lives is not None:
            ends.append(connection.consented_at + self.model.lives)
        if self.model.renewed is not None:
            ends.append(self._renewed_at(connection) + self.model.renewed)
        right = min(ends, default=None)
        held = said is right if said is None or right is None else abs(said - right) < SAME
        self.tally.check(held, f"{self.model.name}: dies_at is {said}, and by the rules it is {right}")

    def _renewed_at(self, connection: _Connection) -> datetime:
        """When the provider renewed it last, by its log."""
        _, token = stored(self.bench, self.vault, connection.id)
        about = self.sandbox.log.about(token.access_token.reveal())
        return max(entry.at for entry in about if entry.outcome in ("exchanged", "extended"))

    # --- the end of a consent -------------------------------------------------------------------------

    def _reconnect(self, connection: _Connection, day: int) -> None:
        connection.dead_on.append(day)
        self._judge_warnings(connection)
        again = self._authorise(connection.user, connection.id)
        self.tally.check(again == connection.id, f"{self.model.name}: the id did not survive")
        connection.consented_at, connection.warned = self.clock.now(), []

    def _judge_warnings(self, connection: _Connection) -> None:
        """14, 7 and 1 days ahead, each once, and of the right end."""
        days = [event.reason for event in connection.warned]
        self.tally.check(days == ["14", "7", "1"], f"{self.model.name}: warned {days} days ahead")
        now = self.clock.now()
        ahead = max((now - event.at for event in connection.warned), default=timedelta(0))
        self.tally.check(ahead >= AHEAD, f"{self.model.name}: warned {ahead} ahead")
        for event in connection.warned:
            right = event.dies_at is not None and timedelta(0) <= now - event.dies_at <= DAY + SAME
            self.tally.check(right, f"{self.model.name}: warned of {event.dies_at}, and it died at {now}")

    def _judge(self) -> None:
        forced = self.model.deaths()
        for connection in self.connections.values():
            about = f"{self.model.name}, used every {connection.use.days} days: reconnects on {connection.dead_on}"
            self.tally.check(connection.dead_on == forced, f"{about}, by the rules on {forced}")
            left = connection.consented_at + self.model.lives - self.clock.now() if self.model.lives else None
            expected = 0 if left is None else sum(left <= days * DAY for days in (14, 7, 1))
            self.tally.check(
                len(connection.warned) == expected,
                f"{self.model.name}: {len(connection.warned)} warnings since the last consent, {expected} by the rules",
            )
        self._judge_spread()
        self.tally.measured[f"{self.model.name}_reconnects"] = sum(len(c.dead_on) for c in self.connections.values())
        self.tally.measured[f"{self.model.name}_connections"] = len(self.connections)

    def _judge_spread(self) -> None:
        """What was connected together is not renewed together, where a renewal has five days to choose from."""
        if self.model.renewed is None or len(self.connections) < ENOUGH_TO_SPREAD:
            return
        renewals = self.sandbox.log.entries(provider=self.model.slug, endpoint="token")
        outcome = "extended" if self.model.name == "extend" else "exchanged"
        ages = [entry.at - self.began for entry in renewals if entry.outcome == outcome]
        per_day = Counter(age.days for age in ages if DAY < age < 60 * DAY)
        most = max(per_day.values(), default=0)
        about = f"{self.model.name}: all {most} were renewed on the same day"
        self.tally.check(most < len(self.connections), about)
        self.tally.measured[f"{self.model.name}_most_on_a_day"] = most
