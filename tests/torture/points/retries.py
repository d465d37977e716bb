"""How often a provider is asked again: what nobody understands, what blames the application, what asks to wait."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from socialvault.exceptions import ClientRejectedError, ReauthorizationRequiredError, SocialVaultError
from socialvault.model.status import Status
from torture.bench import MINE, Bench, batches
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points._simulated import bring_in, person, simulated, stored, works

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault import Vault
    from socialvault.model.events import Event
    from socialvault.providers import Provider
    from socialvault.sandbox import Sandbox
    from socialvault.sandbox.log import LogEntry

LIFE = timedelta(hours=2)
MINUTE = timedelta(minutes=1)
#: How often an unknown refusal is tried at the most, and how soon again at the earliest: half of 1, 4, 16, 60 minutes.
MOST_TRIES = 5
PAUSES = tuple(timedelta(minutes=minutes) / 2 for minutes in (1, 4, 16, 60))
UNKNOWN = ("weird_thing", "policy_violation", "E_4711", "contact_support", "consent_pending")
#: How long an application stays rejected before one connection tries again.
REJECTED_PAUSE = timedelta(minutes=5)
MOST_AT_ONCE = 3


@mutation("no backoff: whatever failed is tried again at once")
def no_backoff() -> None:
    from socialvault.vault import attempt

    attempt.pause_after = lambda failures, connection_id, *, refused: timedelta(0)  # type: ignore[assignment]


@mutation("no bound: what nobody understands is tried for ever")
def no_bound() -> None:
    from socialvault.vault import attempt

    attempt._MOST_REFUSALS = 10**9  # type: ignore[misc]


@mutation("the first unknown refusal counts as a dead grant")
def first_refusal_counts() -> None:
    from socialvault.vault import attempt

    attempt._MOST_REFUSALS = 1  # type: ignore[misc]


@mutation("a rejected application is its users' fault: their connections are flagged as dead")
def rejection_blames_users() -> None:
    from socialvault.vault.attempt import Attempts
    from socialvault.vault.verdict import mark_dead

    record = Attempts._record_failure

    async def blamed(attempts, presentation, problem):  # type: ignore[no-untyped-def]
        if isinstance(problem, ClientRejectedError):
            await mark_dead(attempts._core, presentation.row, "invalid_client")
        await record(attempts, presentation, problem)

    Attempts._record_failure = blamed  # type: ignore[method-assign]


@mutation("no previous secret: what is rejected with the current one is not tried with the one before")
def no_previous_secret() -> None:
    from socialvault.providers.base import Provider

    def once(provider, request):  # type: ignore[no-untyped-def]
        return (yield request)

    Provider.authenticated = once  # type: ignore[method-assign]


@mutation("Retry-After is not read")
def no_retry_after() -> None:
    from socialvault.protocol import errors

    errors.retry_after = lambda headers, sent_at: None


@dataclass
class _Desk:
    """One provider, a vault, and what the provider's log says."""

    bench: Bench
    tally: Tally
    events: list[Event] = field(default_factory=list)
    mark: int = 0

    def __post_init__(self) -> None:
        sandbox: Any = self.bench.sandbox
        self.sandbox: Sandbox = sandbox
        self.clock = self.sandbox.clock

    def vault(self, provider: Provider | None = None) -> Vault:
        """Make a vault over the same store: another process's, as far as circuits go."""
        self.events.clear()
        return self.bench.vault(
            provider or self.sandbox.provider("x"), clock=self.clock, observers=[self.events.append],
            patience=timedelta(seconds=0.2),
        )  # fmt: skip

    def connect(self, vault: Vault, count: int = 1) -> list[str]:
        """Bring in connections whose tokens have just expired; what the log says from here on counts."""
        self.mark = len(self.sandbox.log)
        issued = self.sandbox.issue_many("x", [person(self.bench) for _ in range(count)])
        ids = [bring_in(self.bench, vault, "x", one) for one in issued]
        self.clock.advance(LIFE)
        return ids

    def requests(self) -> list[LogEntry]:
        """Return what has reached the token endpoint since `connect`."""
        return [entry for entry in self.sandbox.log[self.mark :] if entry.endpoint == "token"]

    def told(self, name: str) -> int:
        """Count the events of that name."""
        return Counter(event.name for event in self.events)[name]  # type: ignore[index]

    def status(self, vault: Vault, connection_id: str) -> tuple[Status, str]:
        """Read status and reason from the store."""
        row = self.bench.row(vault, connection_id)
        assert row is not None
        return row.status, row.reason

    def renewed(self, vault: Vault, ids: list[str]) -> int:
        """Count those that are active and hold what the provider takes."""
        found = [stored(self.bench, vault, connection_id) for connection_id in ids]
        return sum(status is Status.ACTIVE and works(self.bench, "x", token) for status, token in found)

    def let_go(self, vault: Vault, ids: list[str]) -> None:
        """Disconnect what would be due in the next trial, too."""
        for connection_id in ids:
            vault.disconnect(connection_id, **MINE)

    def ask(self, vault: Vault, connection_id: str) -> SocialVaultError | None:
        """Ask for a token as a caller does; return what went wrong."""
        try:
            vault.token(connection_id, **MINE)
        except SocialVaultError as problem:
            return problem
        return None


# --- what nobody understands ----------------------------------------------------------------------------


@point(
    "A refusal that nobody understands is tried five times with growing pauses, then the connection's owner is asked",
    short=40,
    long=1_000,
    mutations=("no_backoff", "no_bound", "first_refusal_counts"),
)
def unclassified(bench: Bench, trials: int) -> Tally:
    """Half of the connections are refused for good, the others up to four times."""
    tally = Tally()
    with simulated(bench, "unclassified") as inside:
        desk = _Desk(inside, tally)
        with desk.vault() as vault:
            for number in range(trials):
                _refuse(desk, vault, 0 if number % 2 else bench.random.randrange(1, MOST_TRIES))
                bench.advance(1)
    return tally


def _refuse(desk: _Desk, vault: Vault, mends_after: int) -> None:
    """Refuse one connection for five hours, in which it is ticked every two minutes and asked for now and then."""
    connection_id = desk.connect(vault)[0]
    error, status = desk.bench.random.choice(UNKNOWN), desk.bench.random.choice((400, 403, 404, 409, 422))
    desk.sandbox.fault("x", "token", times=mends_after or None, status=status, error=error)
    desk.events.clear()
    problems = []
    for minute in range(150):
        vault.renew_due()
        if minute % 5 == 0:
            problems.append(desk.ask(vault, connection_id))
        desk.clock.advance(2 * MINUTE)
        if mends_after and desk.told("refreshed"):
            break
    desk.sandbox.clear_faults()
    requests = desk.requests()
    gaps = [after.at - before.at for before, after in pairwise(requests)]
    for gap, least in zip(gaps, PAUSES, strict=False):
        desk.tally.check(gap >= least, f"tried again after {gap}, and not before {least} was right")
    flagged, status_now = desk.told("reauthorization_required"), desk.status(vault, connection_id)
    if mends_after:
        good = len(requests) == mends_after + 1 and not flagged and desk.renewed(vault, [connection_id]) == 1
        about = f"{len(requests)} requests, {flagged} flagged, {status_now}"
        desk.tally.end("mended in time, renewed", ok=good, about=about)
    else:
        dead = (Status.REAUTHORIZATION_REQUIRED, "unclassified")
        last = problems[-1]
        said = isinstance(last, ReauthorizationRequiredError) and last.reason == "unclassified"
        good = len(requests) == MOST_TRIES and flagged == 1 and status_now == dead and said
        about = f"{len(requests)} requests, {flagged} flagged, {status_now}, {type(last).__name__}"
        desk.tally.end("refused for good, flagged", ok=good, about=about)
    vault.disconnect(connection_id, **MINE)


# --- what blames the application ------------------------------------------------------------------------


@point(
    "A rejected application freezes its provider and flags nobody; a new secret works at once, and with an overlap "
    "nobody notices",
    short=20,
    long=1_000,
    mutations=("rejection_blames_users", "no_circuit", "no_previous_secret"),
)
def client_rejected(bench: Bench, trials: int) -> Tally:
    """`trials` are connections, ten in each round of three changes of the secret."""
    tally = Tally()
    with simulated(bench, "client_rejected") as inside:
        desk = _Desk(inside, tally)
        for round_ in batches(range(trials), 10):
            _secret_gone(desk, len(round_))
            _rejected_for_a_while(desk, len(round_))
            _secret_overlaps(desk)
            bench.advance(len(round_))
    return tally


def _judge_frozen(desk: _Desk, vault: Vault, ids: list[str], since: datetime) -> None:
    """Somebody ticks and asks for half an hour, and hardly anything is sent."""
    for _ in range(10):
        vault.renew_due()
        problem = desk.ask(vault, desk.bench.random.choice(ids))
        blamed = isinstance(problem, ClientRejectedError) and problem.action == "fix_configuration"
        desk.tally.check(blamed, f"a caller was told {type(problem).__name__}")
        desk.clock.advance(3 * MINUTE)
    requests = desk.requests()
    per_moment = Counter(f"{entry.at - since}" for entry in requests)
    moments = sorted({entry.at for entry in requests})
    gaps = [after - before for before, after in pairwise(moments)]
    desk.tally.check(all(gap >= REJECTED_PAUSE for gap in gaps), f"asked again after {min(gaps, default=None)}")
    # before the first answer came, some were under way already
    most = len(ids) + len(moments) + MOST_AT_ONCE
    about = f"{len(requests)} requests in half an hour of being rejected: {dict(per_moment)}"
    desk.tally.check(len(requests) <= most, about)
    desk.tally.measured["requests_while_rejected"] = len(requests)
    desk.tally.check(desk.told("client_rejected") == 1, f"{desk.told('client_rejected')} events client_rejected")
    desk.tally.check(not desk.told("reauthorization_required"), "somebody was flagged")
    for connection_id in ids:
        status, reason = desk.status(vault, connection_id)
        desk.tally.check(status is Status.ACTIVE, f"flagged as {status.value}({reason})")


def _secret_gone(desk: _Desk, count: int) -> None:
    """The secret is changed at the provider without an overlap; then this application learns the new one."""
    with desk.vault() as vault:
        ids, began = desk.connect(vault, count), desk.clock.now()
        desk.sandbox.change_secret("x", overlap=False)
        _judge_frozen(desk, vault, ids, began)
    with desk.vault() as vault:  # the next release, with the new secret
        vault.renew_due()
        renewed = desk.renewed(vault, ids)
        for number in range(count):
            desk.tally.end("new secret, renewed at once", ok=number < renewed, about=f"{renewed} of {count}")
        desk.let_go(vault, ids)


def _rejected_for_a_while(desk: _Desk, count: int) -> None:
    """The provider rejects the application, and then it does not: the same vault finds out."""
    with desk.vault() as vault:
        ids, began = desk.connect(vault, count), desk.clock.now()
        desk.sandbox.fault("x", "token", times=None, status=401, error="invalid_client")
        _judge_frozen(desk, vault, ids, began)
        desk.sandbox.clear_faults()
        for _ in range(4):
            desk.clock.advance(2 * MINUTE)
            vault.renew_due()
        renewed = desk.renewed(vault, ids)
        for number in range(count):
            desk.tally.end("accepted again, renewed", ok=number < renewed, about=f"{renewed} of {count}")
        accepted = desk.told("client_accepted")
        desk.tally.check(accepted == 1, f"{accepted} events client_accepted")
        desk.let_go(vault, ids)


def _secret_overlaps(desk: _Desk) -> None:
    """The secret is changed with an overlap, by the book: at no time anything is rejected, whichever a process has."""
    old = desk.sandbox.provider("x")
    new_secret = desk.sandbox.change_secret("x", overlap=True).secret
    new = desk.sandbox.provider("x", previous_client_secret=old.credentials.client_secret)
    for provider, words in ((old, "old"), (new, "new")):
        with desk.vault(provider) as vault:
            ids = desk.connect(vault, 2)
            vault.renew_due()
            unnoticed = desk.renewed(vault, ids) == 2 and not desk.told("client_rejected")
            desk.tally.end(f"overlap, {words} secret", ok=unnoticed)
            desk.let_go(vault, ids)
    # a release with the next secret that comes before the provider knows it falls back to the one before
    early = desk.sandbox.provider("x")
    early = type(early)(
        early.client_id, "not-yet-known", previous_client_secret=new_secret, scopes=early.scopes,
        token_url=early.token_url, authorize_url=early.authorize_url, userinfo_url=early.userinfo_url,
        revoke_url=early.revoke_url, api_hosts=early.api_hosts, allow_loopback_http=True,
    )  # fmt: skip
    with desk.vault(early) as vault:
        ids = desk.connect(vault, 2)
        vault.renew_due()
        desk.tally.end("too early a secret, the one before helps", ok=desk.renewed(vault, ids) == 2)
        desk.let_go(vault, ids)


# --- what asks to wait ----------------------------------------------------------------------------------


@point(
    "Who is asked to wait waits: no request goes to the provider before Retry-After is over, from any caller",
    short=40,
    long=1_000,
    mutations=("no_retry_after", "no_circuit"),
)
def retry_after_honoured(bench: Bench, trials: int) -> Tally:
    """Seconds and dates, with a 429 or a 503, from a second to an hour; three connections each."""
    tally = Tally()
    with simulated(bench, "retry_after") as inside:
        desk = _Desk(inside, tally)
        with desk.vault() as vault:
            for _ in range(trials):
                _wait(desk, vault)
                bench.advance(1)
    return tally


def _wait(desk: _Desk, vault: Vault) -> None:
    random = desk.bench.random
    ids = desk.connect(vault, 3)
    asked = timedelta(seconds=int(60 ** random.uniform(0, 2)))
    as_date = random.random() < 0.5
    began = desk.clock.now()
    header: int | str = int(asked.total_seconds())
    if as_date:
        header = (began + asked + timedelta(seconds=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    desk.sandbox.fault("x", "token", times=1, status=random.choice((429, 503)), retry_after=header)
    desk.ask(vault, ids[0])
    for part in sorted(random.random() for _ in range(6)):
        desk.clock.advance(began + asked * part * 0.999 - desk.clock.now())
        desk.ask(vault, random.choice(ids))
        vault.renew_due()
    early = len(desk.requests()) - 1
    desk.clock.advance(began + asked + timedelta(seconds=2) - desk.clock.now())
    for _ in range(4):
        vault.renew_due()
        desk.clock.advance(MINUTE)
    renewed = desk.renewed(vault, ids)
    good = early == 0 and renewed == len(ids)
    about = f"{early} requests before {asked} were over, {renewed} renewed soon after"
    desk.tally.end(f"waited, said as {'date' if as_date else 'seconds'}", ok=good, about=about)
    desk.let_go(vault, ids)
