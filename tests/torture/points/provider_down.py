"""A provider that is down for a day costs nobody their connection, and is not beaten while it is down."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from socialvault.exceptions import SocialVaultError
from socialvault.model.status import Status
from torture.bench import MINE
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points._simulated import CountingTransport, bring_in, person, simulated, stored, works

if TYPE_CHECKING:
    from socialvault.model.events import Event
    from socialvault.sandbox import Sandbox
    from socialvault.sandbox.issuing import IssuedTokens
    from torture.bench import Bench

Manner = Literal["503", "refused", "silent"]

OUTAGE = timedelta(hours=24)
#: `renew_due` ticks every minute in the outage's first hour and once the provider is back; in between every 10 minutes.
TICK, COARSE_TICK, FIRST_PART = timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1)
CALLERS_PER_TICK = 2
#: The shortest pause that an open circuit may make, after its first ones.
SHORTEST_PAUSE_SECONDS = 0.75 * 60
#: How many failures open a circuit, and how many pauses it takes until they are at their longest.
FIRST_REQUESTS = 5 + 7
#: One of so many requests may come too early: two threads may find a circuit's pause over in the same instant.
MOST_EARLY = 50
RECOVERY_TICKS = 20
ENOUGH = 20


@mutation("no single probe: once a circuit's pause is over everybody may try")
def no_single_probe() -> None:
    from socialvault.vault.circuit import Circuits

    refusal = Circuits.refusal

    def to_everybody(circuits: Circuits, provider: str) -> Any:
        circuits.unused(provider)
        found = refusal(circuits, provider)
        circuits.unused(provider)
        return found

    most = Circuits.most
    Circuits.refusal = to_everybody  # type: ignore[method-assign]
    Circuits.most = lambda circuits, provider, wanted: wanted if most(circuits, provider, 1) else 0  # type: ignore[method-assign]


@mutation("transient is terminal: a provider that is down has its connections flagged as dead")
def transient_is_terminal() -> None:
    from socialvault.vault.attempt import Attempts
    from socialvault.vault.verdict import mark_dead

    async def blamed(attempts, presentation, problem):  # type: ignore[no-untyped-def]
        await mark_dead(attempts._core, presentation.row, type(problem).__name__)

    Attempts._record_failure = blamed  # type: ignore[method-assign]


@mutation("a valid token is not served while it can't be renewed")
def no_serving_while_valid() -> None:
    from socialvault.vault.renewal import Renewal

    Renewal._usable = lambda renewal, row, record, stale_generation: False  # type: ignore[method-assign]


@mutation("no budget: whoever is due is renewed at once when a provider is back")
def no_budget() -> None:
    from socialvault.vault import sweep

    sweep._most = lambda budget, provider, limit: limit  # type: ignore[assignment]


@point(
    "A provider that is down for a day costs nobody their connection, is hardly asked meanwhile, and not overrun after",
    short=150,
    long=30_000,
    mutations=("no_circuit", "no_single_probe", "transient_is_terminal", "no_serving_while_valid", "no_budget"),
)
def provider_down_for_a_day(bench: Bench, trials: int) -> Tally:
    """Tokens expire all day long, once for each way of being down; `trials` connections for all three together."""
    tally = Tally()
    manners: tuple[Manner, ...] = ("503", "refused", "silent")
    for manner in manners:
        with simulated(bench, manner) as inside:
            _Outage(inside, tally, manner, max(trials // len(manners), 1)).run()
        bench.advance(trials // len(manners))
    return tally


@dataclass
class _Outage:
    bench: Bench
    tally: Tally
    manner: Manner
    count: int
    events: list[Event] = field(default_factory=list)
    issued: dict[str, IssuedTokens] = field(default_factory=dict)
    judged: int = 1
    early: int = 0

    def run(self) -> None:
        sandbox: Any = self.bench.sandbox
        self.sandbox: Sandbox = sandbox
        self.transport = CountingTransport(self.sandbox.clock)
        provider = self.sandbox.provider("x")
        with self.bench.vault(
            provider, clock=self.sandbox.clock, transport=self.transport, observers=[self.events.append],
            patience=timedelta(seconds=0.2), leeway=timedelta(minutes=30),
        ) as self.vault:  # fmt: skip
            self._connect()
            self._go_down()
            self._sit_out()
            if len(self.tally.broken) < ENOUGH:
                self._come_back()
                self._recover()
                self._judge()
        self.transport.close()

    def _connect(self) -> None:
        for _ in range(self.count):
            minutes = self.bench.random.uniform(20, OUTAGE.total_seconds() / 60 - 20)
            self.sandbox.settings("x", access_token_lifetime=timedelta(minutes=minutes))
            issued = self.sandbox.issue("x", user=person(self.bench))
            self.issued[bring_in(self.bench, self.vault, "x", issued)] = issued
        self.sandbox.settings("x", access_token_lifetime=timedelta(hours=2))

    # --- the outage -----------------------------------------------------------------------------------

    def _go_down(self) -> None:
        if self.manner == "503":
            self.sandbox.fault("x", "token", times=None, status=503)
        elif self.manner == "silent":
            self.sandbox.fault("x", "token", times=None, hang="before_commit")
            self.transport.be_patient(False)
        else:
            self.sandbox.stop()

    def _come_back(self) -> None:
        self.sandbox.clear_faults()
        self.transport.be_patient(True)
        if self.manner == "refused":
            self.sandbox.start()

    def _sit_out(self) -> None:
        began = self.sandbox.clock.now()
        while (passed := self.sandbox.clock.now() - began) < OUTAGE and len(self.tally.broken) < ENOUGH:
            part = (TICK if passed < FIRST_PART else COARSE_TICK) / (CALLERS_PER_TICK + 1)
            for connection_id in self.bench.random.choices(list(self.issued), k=CALLERS_PER_TICK):
                self.sandbox.clock.advance(part)
                self._call(connection_id)
            self.sandbox.clock.advance(part)
            self.vault.renew_due(budget=self._budget)
            self._judge_pauses()
            self.bench.advance(0)
        self.requests = len(self.transport.sent_at)
        most = OUTAGE.total_seconds() / SHORTEST_PAUSE_SECONDS + FIRST_REQUESTS
        self.tally.check(self.requests <= most, f"{self.manner}: {self.requests} requests in the outage")
        self.tally.measured[f"requests_{self.manner}"] = self.requests
        if self.manner != "refused":
            arrived = self.sandbox.log.count(provider="x", endpoint="token")
            self.tally.check(arrived <= self.requests, f"{self.manner}: {arrived} requests arrived")

    def _call(self, connection_id: str) -> None:
        """A caller gets the token while the provider takes it, and is told to come again when it does not."""
        issued = self.issued[connection_id]
        assert issued.expires_at is not None
        valid = self.sandbox.clock.now() < issued.expires_at
        try:
            token = self.vault.token(connection_id, **MINE)
        except SocialVaultError as problem:
            about = f"{self.manner}: {type(problem).__name__} {problem}"
            self.tally.end("called, told to retry", ok=not valid and problem.action == "retry", about=about)
        else:
            served = token.reveal() == issued.access_token.reveal()
            self.tally.end("called, served", ok=valid and served, about=f"{self.manner}: an expired token was served")

    def _judge_pauses(self) -> None:
        """Once the circuit has opened, one request at a time finds out, and each pause is longer until a minute."""
        sent = self.transport.sent_at
        while self.judged < len(sent):
            gap = sent[self.judged] - sent[self.judged - 1]
            self.early += self.judged >= FIRST_REQUESTS and gap < SHORTEST_PAUSE_SECONDS - 1e-3
            self.judged += 1
        most = max(2, len(sent) // MOST_EARLY)
        self.tally.check(self.early <= most, f"{self.manner}: {self.early} of {len(sent)} requests came too early")

    # --- afterwards -----------------------------------------------------------------------------------

    @property
    def _budget(self) -> int:
        return max(self.count // RECOVERY_TICKS, 2)

    def _recover(self) -> None:
        self.back_at = self.sandbox.clock.now()
        self.before = len(self.sandbox.log)
        for _ in range(4 * RECOVERY_TICKS):
            self.sandbox.clock.advance(TICK)
            self.vault.renew_due(budget=self._budget)
            self.bench.advance(0)

    def _judge(self) -> None:
        after = [entry for entry in self.sandbox.log[self.before :] if entry.endpoint == "token"]
        faults = [entry for entry in after if entry.outcome != "refreshed"]
        self.tally.check(not faults, f"{self.manner}: {len(faults)} requests failed after the recovery: {faults[:1]}")
        per_tick = Counter(entry.at for entry in after)
        if per_tick:
            ticks = (max(per_tick) - self.back_at) / TICK
            mean, peak = len(after) / ticks, max(per_tick.values())
            self.tally.check(peak <= 2 * mean, f"{self.manner}: {peak} renewals in a tick, {mean:.1f} in the mean")
            self.tally.measured[f"peak_to_mean_{self.manner}"] = round(peak / mean, 2)
            self.tally.measured[f"recovery_minutes_{self.manner}"] = int(ticks)
        flagged = [event for event in self.events if event.name == "reauthorization_required"]
        self.tally.check(not flagged, f"{self.manner}: {len(flagged)} connections were flagged as dead")
        failing = Counter(event.name for event in self.events)
        self.tally.check(
            failing["renewal_failing"] == failing["renewal_recovered"], f"{self.manner}: events {dict(failing)}"
        )
        for connection_id, issued in self.issued.items():
            self._judge_connection(connection_id, issued)

    def _judge_connection(self, connection_id: str, issued: IssuedTokens) -> None:
        status, token = stored(self.bench, self.vault, connection_id)
        renewed = token.access_token.reveal() != issued.access_token.reveal()
        taken = works(self.bench, "x", token)
        self.tally.end(
            f"{self.manner}: renewed after the outage",
            ok=status is Status.ACTIVE and renewed and taken,
            about=f"{connection_id} is {status.value}, renewed: {renewed}, what it holds is taken: {taken}",
        )
