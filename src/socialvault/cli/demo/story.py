"""The story: each step plays one promise and judges it by what the providers' own log says."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from socialvault.api.vault import Vault
from socialvault.cli.demo import crowd
from socialvault.cli.demo.judging import Answers, Finding, count, judge_renewals, tally, told
from socialvault.cli.demo.sealed import find_row, hits
from socialvault.cli.demo.stage import OWNER, PROVIDERS, RETURN_TO, TENANT, Delivery, Stage
from socialvault.exceptions import ConfigurationError, ConnectionNotFoundError, SocialVaultError
from socialvault.keys.local import LocalKeyring
from socialvault.model.login import Completed
from socialvault.sandbox import token_fingerprint
from socialvault.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NEIGHBOUR, STRANGER = "user-7", "user-666"
DELIVERIES = 5
_CODE = "authorization_code"


@dataclass(frozen=True, slots=True)
class Step:
    """One promise, and the step that shows it."""

    id: str
    promise: str
    play: Callable[[Stage], Finding]


@dataclass(frozen=True, slots=True)
class Round:
    """Many callers ask at once after some time has passed.

    Attributes:
        requests: what each provider's rules call for. X: two hours of access, so one refresh each time. LinkedIn: 60
            days. Facebook: an exchange that is due ten days and a bit before the 60 are over.
    """

    after: timedelta
    who: str
    ask: Callable[[Stage], Mapping[str, Answers]]
    requests: Mapping[str, int]

    def play(self, stage: Stage) -> Finding:
        """Let the time pass, and ask."""
        stage.sandbox.clock.advance(self.after)
        mark = len(stage.sandbox.log)
        answers = self.ask(stage)
        return judge_renewals(stage.log_since(mark), answers, self.requests, callers=stage.callers, who=self.who)


# --- connecting ----------------------------------------------------------------------------------


def connect(stage: Stage) -> Finding:
    """Connect one account at each provider."""
    mark = len(stage.sandbox.log)
    for provider in PROVIDERS:
        done = complete(stage, stage.sign_in(provider))
        stage.connections[provider] = done.connection.id
    log = stage.log_since(mark)
    consents = tally(log, PROVIDERS, endpoint="authorize", outcome="granted")
    exchanges = tally(log, PROVIDERS, endpoint="token", grant_type=_CODE)
    ours = stage.vault.connections(owner=OWNER, tenant=TENANT)
    once = dict.fromkeys(PROVIDERS, 1)
    return Finding(
        f"{len(ours)} accounts connected",
        f"consents: {told(consents)}; code exchanges: {told(exchanges)}",
        len(ours) == len(PROVIDERS) and consents == once and exchanges == once,
    )


def complete(stage: Stage, delivery: Delivery, *, owner: str = OWNER) -> Completed:
    """Deliver a callback."""
    return stage.vault.complete(
        delivery.params, provider=delivery.provider, owner=owner, tenant=TENANT, cookies=delivery.cookies
    )


def select_page(stage: Stage) -> Finding:
    """Select one of the person's Facebook Pages."""
    mark = len(stage.sandbox.log)
    parent = stage.connections["facebook"]
    pages = stage.vault.sub_accounts(parent, owner=OWNER, tenant=TENANT)
    [page] = stage.vault.select_sub_accounts(parent, [pages[0].id], owner=OWNER, tenant=TENANT)
    stage.connections["facebook page"] = page.id
    token = token_fingerprint(stage.vault.token(page.id, owner=OWNER, tenant=TENANT).reveal())
    issued = [entry for entry in stage.log_since(mark) if entry.endpoint == "accounts" and token in entry.issued]
    return Finding(
        f"{page.name}, one of {len(pages)} Pages, became a connection",
        f"answers to the person's token that listed the Page's: {len(issued)}",
        bool(issued) and page.parent_id == parent,
    )


def refuse_strangers(stage: Stage) -> Finding:
    """Deliver a callback for somebody else, and from another browser."""
    delivery = stage.sign_in("x", owner=NEIGHBOUR, user="katherine")
    mark = len(stage.sandbox.log)
    elsewhere = Delivery("x", delivery.params, {})
    refusals = [
        refusal(lambda: complete(stage, delivery, owner=STRANGER)),
        refusal(lambda: complete(stage, elsewhere, owner=NEIGHBOUR)),
    ]
    requests = len(stage.log_since(mark))
    return Finding(
        f"another owner: {refusals[0]}; another browser: {refusals[1]}",
        f"requests after the callbacks: {requests}",
        refusals == ["OwnerMismatchError", "StateMismatchError"] and requests == 0,
    )


def refusal(call: Callable[[], object]) -> str:
    """Return the name of the error that `call` ends in."""
    try:
        call()
    except SocialVaultError as problem:
        return type(problem).__name__
    return "none"


def deliver_twice(stage: Stage) -> Finding:
    """Deliver one callback several times at once, as browsers do."""
    delivery = stage.sign_in("x", owner=NEIGHBOUR, user="grace")
    mark = len(stage.sandbox.log)
    outcomes = crowd.at_once(DELIVERIES, lambda: complete(stage, delivery, owner=NEIGHBOUR))
    done = [outcome for outcome in outcomes if isinstance(outcome, Completed)]
    first = [outcome for outcome in done if not outcome.duplicate]
    exchanges = count(stage.log_since(mark), endpoint="token", grant_type=_CODE)
    same = len({outcome.connection.id for outcome in done}) == 1 and {one.return_to for one in done} == {RETURN_TO}
    return Finding(
        f"delivered {DELIVERIES} times at once: {len(first)} did it, {len(done) - len(first)} got the same outcome",
        f"code exchanges: {exchanges}",
        len(done) == DELIVERIES and len(first) == 1 and same and exchanges == 1,
    )


# --- keeping -------------------------------------------------------------------------------------


def refuse_wrong_key(stage: Stage) -> Finding:
    """Start another vault over the same file, with another key."""
    before = stage.contents()
    keys = LocalKeyring([LocalKeyring.generate()])
    with_other_key = Vault(**{**stage.vault_options(), "keys": keys})
    name = refusal(with_other_key.open)
    same = stage.contents() == before
    with_other_key.close()
    return Finding(
        f"refused to start: {name}; the files are {'unchanged' if same else 'CHANGED'}",
        "not asked",
        name == "WrongKeyError" and same,
    )


def survive_outage(stage: Stage) -> Finding:
    """Let X be down while a token expires."""
    stage.sandbox.clock.advance(timedelta(hours=3))
    stage.sandbox.fault("x", "token", status=503)
    mark = len(stage.sandbox.log)
    connection_id = stage.connections["x"]
    name = refusal(lambda: stage.vault.token(connection_id, owner=OWNER, tenant=TENANT))
    status = stage.vault.connection(connection_id, owner=OWNER, tenant=TENANT).status
    requests = count(stage.log_since(mark), provider="x", endpoint="token")
    return Finding(
        f"X answered 503: {name}, to be retried; the connection is {status.value}",
        f"token requests: x {requests}, answered 503",
        name == "ProviderUnavailableError" and status.value == "active" and requests == 1,
    )


def sign_own_requests(stage: Stage) -> Finding:
    """Call X's API with a client, and try to let it call somebody else."""
    mark = len(stage.sandbox.log)
    with stage.vault.client(stage.connections["x"], owner=OWNER, tenant=TENANT) as http:
        status = http.get(stage.sandbox.url("x", "/2/users/me")).status_code
        name = refusal(lambda: http.get(stage.sandbox.base_url.replace("127.0.0.1", "localhost") + "/x/2/users/me"))
    log = stage.log_since(mark)
    accepted = count(log, provider="x", endpoint="userinfo", outcome="answered")
    return Finding(
        f"X's API answered {status}; for another host: {name}, before anything was sent",
        f"API calls: {len(log)}, accepted: {accepted}",
        status == 200 and name == ConfigurationError.__name__ and len(log) == accepted == 1,
    )


def search_files(stage: Stage) -> Finding:
    """Search the database's files for everything that was ever issued, and for the key."""
    secrets = [*stage.sandbox.issued_tokens(), stage.key.reveal()]
    files = stage.files()
    connection_id = stage.connections["x"]
    found, control = hits(secrets, files), hits([connection_id], files)
    with closing(SQLiteStore(stage.folder / "vault.db", clock=stage.sandbox.clock)) as store:
        row = store.get(connection_id, TENANT, OWNER)
    exhibit = find_row(row, files) if row else None
    return Finding(
        f"searched {', '.join(file.name for file in files)} for {len(secrets)} secrets, raw, base64, hex and "
        f"URL-encoded: {found} hits (for a connection's id: {control})",
        f"secrets issued: {len(secrets) - 1}",
        found == 0 and control > 0 and exhibit is not None,
        exhibit,
    )


# --- ending --------------------------------------------------------------------------------------


def disconnect_all(stage: Stage) -> Finding:
    """Disconnect everything, and ask the providers what still lives."""
    mark, before = len(stage.sandbox.log), _living(stage)
    parents = [one for one in stage.vault.admin.find(status="active", tenant=TENANT) if not one.parent_id]
    outcomes = [stage.vault.disconnect(one.id, owner=one.owner, tenant=TENANT).outcome for one in parents]
    served = [one.id for one in parents if refusal(_asks(stage, one.id, one.owner)) != ConnectionNotFoundError.__name__]
    living = _living(stage)
    revoked = tally(stage.log_since(mark), PROVIDERS, endpoint="revoke", outcome="revoked")
    return Finding(
        f"{outcomes.count('revoked')} of {len(parents)} revoked; asking for a token now is an error for "
        f"{len(parents) - len(served)}",
        f"revoked: {told(revoked)}; tokens that live: {before} before, {living} after",
        before > 0 and living == 0 and not served and set(outcomes) == {"revoked"} and all(revoked.values()),
    )


def _living(stage: Stage) -> int:
    return sum(len(stage.sandbox.live_tokens(provider)) for provider in PROVIDERS)


def _asks(stage: Stage, connection_id: str, owner: str) -> Callable[[], object]:
    return lambda: stage.vault.token(connection_id, owner=owner, tenant=TENANT)


STORY = (
    Step("connect", "An account is connected once, by its owner's consent", connect),
    Step("sub-account", "A Page has a token of its own", select_page),
    Step("strangers", "A callback serves the owner and the browser that began it", refuse_strangers),
    Step("duplicates", "A callback that comes several times is one exchange", deliver_twice),
    Step("wrong-key", "A wrong key opens nothing and writes nothing", refuse_wrong_key),
    Step(
        "threads",
        "However many threads ask, a token is renewed once, when it is due",
        Round(timedelta(days=51), "threads", crowd.ask_in_threads, {"linkedin": 0, "x": 1, "facebook": 1}).play,
    ),
    Step("outage", "Nobody is logged out by an outage", survive_outage),
    Step(
        "tasks",
        "However many tasks ask, a token is renewed once, when it is due",
        Round(timedelta(days=10), "tasks", crowd.ask_in_tasks, {"linkedin": 1, "x": 1, "facebook": 0}).play,
    ),
    Step("hosts", "Tokens go to the provider's own hosts only", sign_own_requests),
    Step("sealed", "Nothing readable at rest", search_files),
    Step("disconnect", "Disconnecting ends the grant at the provider", disconnect_all),
)
