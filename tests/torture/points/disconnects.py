"""Disconnects that race with refreshes, and revocations that must not hit who is still connected."""

from __future__ import annotations

import multiprocessing
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from socialvault.exceptions import ConnectionNotFoundError, SocialVaultError
from socialvault.model.status import Status
from socialvault.runtimes.threads import run
from torture.bench import MINE, OWNER, TENANT, batches
from torture.changes import answer, change_store
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points._judging import PAST_DEADLINES_SECONDS, Ahead, Case, cases
from torture.points.kills import hold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault import Vault
    from socialvault.sandbox.issuing import IssuedTokens
    from torture.bench import Bench

_LATENCY = timedelta(milliseconds=60)
_LATEST_SECONDS = 0.12
_REACHES = ("token", "single")
#: What an access token lives that the race does not get to: nobody has it any more once it is replaced.
_FORGOTTEN = timedelta(seconds=1)
_LIFETIME = timedelta(hours=2)
_BATCH = 50
_TICKS = 3


@mutation("late tokens are dropped: what comes after a disconnect is not revoked")
def late_tokens_not_revoked() -> None:
    """Drop them."""
    from socialvault.vault.outbox import Outbox

    async def dropped(_outbox, *_late):  # type: ignore[no-untyped-def]  # a mutation
        return None

    Outbox.revoke_late = dropped  # type: ignore[method-assign]  # a mutation


@mutation("no tombstone: a token that comes after a disconnect counts as written")
def resurrecting_store() -> None:
    """Take tombstones for live rows."""

    async def write_token(store: Any, original: Any, write: Any) -> Any:
        return await original(write) or Status.ACTIVE

    change_store("write_token", write_token)


@mutation("siblings are ignored: a revocation that ends the whole grant is sent whoever shares it")
def siblings_ignored() -> None:
    """See none."""
    change_store("count_grant_siblings", answer(0))


@mutation("a reconnect cancels no pending revocation, and none is held back for it")
def reconnect_cancels_nothing() -> None:
    """Cancel nothing: queue again what inserting a connection cancelled."""
    siblings_ignored()

    async def insert(store: Any, original: Any, row: Any) -> Any:
        account = row.account
        former = await store.list_for_account(account.provider, account.client_id, account.issuer, account.subject)
        pending = [one for each in former for one in await store.list_revocations(each.id)]
        written = await original(row)
        for revocation in pending:
            await store.queue_revocation(revocation)
        return written

    change_store("insert", insert)


# --- two processes --------------------------------------------------------------------------------


@point(
    "A disconnect wins over a refresh in flight: nothing comes back, and no token lives on at the provider.",
    short=30, long=500, mutations=("late_tokens_not_revoked", "resurrecting_store"),
)  # fmt: skip
def disconnect_race(bench: Bench, trials: int) -> Tally:
    """Refresh in one process and disconnect in another, at providers whose revocations reach differently far."""
    tally, vault = Tally(), bench.vault()
    vault.open()
    sizes = [len(part) for part in batches(range(trials), max(1, min(_BATCH, (trials + 1) // len(_REACHES))))]
    for number, size in enumerate(sizes):
        reach = _REACHES[number % len(_REACHES)]
        given = _due(bench, vault, size, reach)
        barrier = multiprocessing.get_context("fork").Barrier(2)
        offsets = [bench.random.uniform(0.0, _LATEST_SECONDS) for _ in given]
        workers = [bench.start(_refresher, barrier, given), bench.start(_disconnecter, barrier, given, offsets)]
        ends = [worker.result() for worker in workers]
        bench.sandbox.clear_faults()
        for _ in range(_TICKS):
            bench.vault(clock=Ahead(PAST_DEADLINES_SECONDS)).renew_due()
        for case, refresh, disconnect in zip(given, *ends, strict=True):
            _judge(tally, bench, vault, case, f"{reach}: refresh {refresh}, receipt {disconnect}")
        bench.advance(size)
    return tally


def _due(bench: Bench, vault: Vault, count: int, reach: str) -> Sequence[Case]:
    bench.sandbox.settings("x", revocation_reach=reach, access_token_lifetime=_FORGOTTEN)
    given = cases(bench, vault, count)
    time.sleep(_FORGOTTEN.total_seconds())
    bench.sandbox.settings("x", access_token_lifetime=_LIFETIME)
    at = bench.random.choice(["before_commit", "after_commit"])
    bench.sandbox.fault("x", "token", times=None, latency=_LATENCY, at=at)
    return given


def _refresher(bench: Bench, barrier: Any, given: Sequence[Case]) -> list[str]:
    vault, ends = bench.vault(), []
    vault.open()
    for case in given:
        barrier.wait()
        try:
            vault.token(case.connection_id, **MINE)
            ends.append("served")
        except SocialVaultError as problem:
            ends.append(type(problem).__name__)
        barrier.wait()
    return ends


def _disconnecter(bench: Bench, barrier: Any, given: Sequence[Case], offsets: Sequence[float]) -> list[str]:
    vault, ends = bench.vault(), []
    vault.open()
    for case, offset in zip(given, offsets, strict=True):
        barrier.wait()
        time.sleep(offset)
        try:
            ends.append(vault.disconnect(case.connection_id, **MINE).outcome)
        except SocialVaultError as problem:
            ends.append(type(problem).__name__)
        barrier.wait()
    return ends


def _judge(tally: Tally, bench: Bench, vault: Vault, case: Case, end: str) -> None:
    try:
        row, live = bench.row(vault, case.connection_id), bench.sandbox.live_tokens("x", case.grant_id)
        hold(row is not None and row.status is Status.REVOKED, f"the row says {row and row.status}")
        hold(not row.envelope, "a tombstone holds a token")
        hold(not live, f"{len(live)} tokens live on: {sorted(token[:4] for token in live)}")
        with suppress(ConnectionNotFoundError):
            vault.token(case.connection_id, **MINE)
            hold(False, "it is served again")
        hold("Error" not in end.replace("ConnectionNotFoundError", ""), "an error with another name")
        tally.end(end)
    except Exception as problem:  # noqa: BLE001  # whatever it is, it was not to happen
        tally.end(end, ok=False, about=f"{case}: {type(problem).__name__}: {problem}")


# --- one grant, several connections ---------------------------------------------------------------


@point(
    "A revocation that ends a person's whole grant never hits a live sibling, nor who has connected again.",
    short=12, long=300, mutations=("siblings_ignored", "reconnect_cancels_nothing"),
)  # fmt: skip
def sibling_spared(bench: Bench, trials: int) -> Tally:
    """Disconnect one of two owners, or connect again while the provider can't be told to revoke."""
    tally = Tally()
    vault = bench.vault(bench.sandbox.provider("facebook"), on_shared_account="separate")
    ways = (_one_of_two, _both, _connected_again)
    for number in range(trials):
        way = ways[number % len(ways)]
        user = f"user{bench.random.getrandbits(64):016x}"
        try:
            tally.end(way(bench, vault, user))
        except Exception as problem:  # noqa: BLE001  # as above
            tally.end("broken", ok=False, about=f"{way.__name__} {user}: {type(problem).__name__}: {problem}")
        bench.sandbox.clear_faults()
        bench.advance(1)
    return tally


def _import(vault: Vault, issued: IssuedTokens, owner: str = OWNER) -> str:
    return vault.import_tokens(
        "facebook", owner=owner, tenant=TENANT, access_token=issued.access_token, expires_at=issued.expires_at,
        scopes=issued.scopes, subject=issued.subject,
    ).id  # fmt: skip


def _lives(bench: Bench, vault: Vault, connection_id: str, owner: str = OWNER) -> bool:
    token = vault.token(connection_id, owner=owner, tenant=TENANT)
    return token.reveal() in bench.sandbox.live_tokens("facebook")


def _one_of_two(bench: Bench, vault: Vault, user: str) -> str:
    """Two owners share an account; one of them leaves."""
    mine, theirs = (_import(vault, bench.sandbox.issue("facebook", user=user), owner) for owner in (OWNER, "other"))
    outcome = vault.disconnect(mine, **MINE).outcome
    hold(outcome == "kept_for_sibling", f"the receipt says {outcome}")
    hold(_lives(bench, vault, theirs, "other"), "the sibling's token is dead")
    return "kept for the sibling"


def _both(bench: Bench, vault: Vault, user: str) -> str:
    """Two owners share an account; both leave, so the grant ends."""
    issued = [bench.sandbox.issue("facebook", user=user) for _ in range(2)]
    mine, theirs = (_import(vault, one, owner) for one, owner in zip(issued, (OWNER, "other"), strict=True))
    vault.disconnect(mine, **MINE)
    outcome = vault.disconnect(theirs, owner="other", tenant=TENANT).outcome
    hold(outcome == "revoked", f"the receipt says {outcome}")
    hold(not any(bench.sandbox.live_tokens("facebook", one.grant_id) for one in issued), "the grant lives on")
    return "revoked by the last one"


def _connected_again(bench: Bench, vault: Vault, user: str) -> str:
    """The revocation is pending, as the provider is down; the person comes back; the provider does, too."""
    left = _import(vault, bench.sandbox.issue("facebook", user=user))
    bench.sandbox.fault("facebook", "revoke", times=None, status=503)
    outcome = vault.disconnect(left, **MINE).outcome
    hold(outcome == "pending", f"the receipt says {outcome}")
    again = _import(vault, bench.sandbox.issue("facebook", user=user))
    bench.sandbox.clear_faults()
    later = bench.vault(
        bench.sandbox.provider("facebook"), on_shared_account="separate", clock=Ahead(PAST_DEADLINES_SECONDS)
    )
    later.renew_due()
    hold(_lives(bench, vault, again), "the new connection's token is dead")
    outcome = vault.receipt(left, **MINE).outcome
    hold(outcome == "kept_for_sibling", f"the receipt says {outcome}")
    hold(not run(vault._cases.core.store.list_revocations(left)), "a revocation is still queued")
    return "kept for who came back"
