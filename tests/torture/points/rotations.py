"""Key rotation: while everybody works, with processes of every configuration, and killed at every step."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from socialvault import LocalKeyring
from socialvault.exceptions import ConfigurationError
from socialvault.sandbox.failpoints import Failpoints, Kill, Record
from torture.bench import MINE, OWNER, TENANT, batches
from torture.changes import change_store
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points._judging import at_once
from torture.points.kills import hold

if TYPE_CHECKING:
    from socialvault import Vault
    from socialvault.sandbox.failpoints import Hook
    from torture.bench import Bench

_FORK = multiprocessing.get_context("fork")
_IN_A_FUTURE = timedelta(hours=1)
_AT_ONCE = 4


# --- a whole rotation -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Former:
    """The keys that a rotation is to get rid of."""

    kek: str
    vault_key: str
    data_key: str


def former_keys(bench: Bench, vault: Vault) -> Former:
    """Return the keys that are primary now."""
    status = vault.keys.status()
    [kek] = [one.key_id for one in status.keks if one.state == "primary"]
    [vault_key] = [one.key_id for one in status.vault_keys if one.state == "primary"]
    [data_key] = [one.key_id for one in _data_keys(vault) if one.state == "primary"]
    return Former(kek, vault_key, data_key)


def _data_keys(vault: Vault, tenant: str = TENANT) -> list[Any]:
    return [one for one in vault.keys.data_keys(tenant=tenant, limit=1000) if one.owner]


def _next(vault: Vault, level: Any, former: str, known: Sequence[Any]) -> None:
    """Promote a new key in place of `former`, unless that is done: one that was made before is not made again."""
    if not any(one.key_id == former and one.state == "primary" for one in known):
        return
    waiting = [one.key_id for one in known if one.state == "pre_active"]
    scope = {"tenant": TENANT, "owner": OWNER} if level == "data" else {}
    vault.keys.promote(waiting[0] if waiting else vault.keys.add(level, **scope).key_id)


def rotate_everything(vault: Vault, former: Former) -> None:
    """Replace a KEK, a vault key and a DEK, move what is under them, and retire them; as often as it takes."""
    vault.keys.promote(vault.keys.add("kek").key_id)
    _next(vault, "vault", former.vault_key, vault.keys.status().vault_keys)
    vault.keys.rewrap()
    vault.keys.retire(former.kek)
    vault.keys.retire(former.vault_key)
    _next(vault, "data", former.data_key, _data_keys(vault))
    vault.keys.reseal()
    vault.keys.retire(former.data_key)


# --- killed at every step -------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """A vault of its own, whose keys are to be rotated.

    Attributes:
        bench: with rows and escrow of its own. ids: of its connections. fresh: the KEK that is to come.
    """

    bench: Bench
    ids: list[str]
    former: Former
    fresh: str


def _prepared(bench: Bench, number: int) -> Prepared:
    directory = bench.directory / f"rotation-{number}"
    directory.mkdir(mode=0o700)
    own = bench.at(bench.place.beside(directory), directory)
    with own.vault() as vault:
        ids = own.connect(vault, 2, expires_at=vault._cases.core.now() + _IN_A_FUTURE)
        return Prepared(own, ids, former_keys(own, vault), LocalKeyring.generate())


def _operator(given: Prepared, hook: Hook | None = None) -> Vault:
    return given.bench.vault(hook=hook, keys=LocalKeyring([given.fresh, given.bench.keys]))


def _recorded(_bench: Bench, given: Prepared) -> list[str]:
    record = Record()
    rotate_everything(_operator(given, record), given.former)
    return record.passed


def _killed(_bench: Bench, given: Prepared, passed: str, nth: int) -> None:
    rotate_everything(_operator(given, Kill(passed, nth=nth)), given.former)


def _resumed(given: Prepared) -> str:
    """Begin again, and hold that nothing is left under a former key and nothing is lost."""
    with _operator(given) as vault:
        unfinished = [one.key_id for one in vault.keys.status().keks if one.state == "primary"] == [given.former.kek]
        for connection_id in given.ids:
            vault.token(connection_id, **MINE)  # half a rotation keeps nobody from reading
        rotate_everything(vault, given.former)
        for key_id in (given.former.kek, given.former.vault_key, given.former.data_key):
            key = vault.keys.key(key_id)
            hold(key.state == "retired" and not key.uses, f"{key.level} key: {key.state}, {key.uses} uses")
    with given.bench.vault(keys=LocalKeyring([given.fresh])) as vault:
        for connection_id in given.ids:
            vault.token(connection_id, **MINE)
            vault.refresh(connection_id, **MINE)
            hold(given.bench.holds_newest(vault, connection_id), "the stored token is not the newest one")
        primaries = [one for one in vault.keys.status().vault_keys if one.state == "primary"]
        hold(len(primaries) == 1, f"{len(primaries)} primary vault keys")
        left = [one.state for one in _data_keys(vault) if one.key_id != given.former.data_key]
        hold(left == ["primary"], f"data keys are left: {left}")
    return "killed before the KEK was promoted, finished later" if unfinished else "killed later, finished later"


@point(
    "A key rotation killed at any step of adding, promoting, re-wrapping, resealing and retiring is finished by "
    "beginning it again: nothing is left under a former key, and every token opens and renews",
    short=1, long=10, mutations=("forgetful_reseal",),
)  # fmt: skip
def rotation_killed_at_each_failpoint(bench: Bench, trials: int) -> Tally:
    """SIGKILL at each passage of a failpoint, so many times each; C-18."""
    tally, seen, every = Tally(), Counter[str](), []
    try:
        undisturbed = bench.start(_recorded, _prepared(bench, 0)).result()
    except RuntimeError as problem:
        tally.end("not even finished undisturbed", ok=False, about=str(problem)[-300:])
        return tally
    for passed in undisturbed:
        seen[passed] += 1
        if passed in Failpoints.points():
            every.append((passed, seen[passed]))
    steps = [one for one in every if trials > 1 or one[1] == 1]  # the short form takes the first passage of each
    numbered = list(enumerate(steps * trials, start=1))
    for batch in batches(numbered, _AT_ONCE):
        given = [_prepared(bench, number) for number, _ in batch]
        workers = [bench.start(_killed, one, *step) for one, (_, step) in zip(given, batch, strict=True)]
        codes = [worker.ended() for worker in workers]
        for (_, step), (end, broken) in zip(
            batch, at_once(lambda one: _judged(*one), list(zip(given, codes, strict=True))), strict=True
        ):
            tally.end(end, ok=not broken, about=f"{step[0]} #{step[1]}: {broken}")
        bench.advance(len(batch))
    tally.measured["failpoints"] = len(every)
    return tally


def _judged(given: Prepared, code: int | None) -> tuple[str, str]:
    try:
        hold(code == -signal.SIGKILL, f"it was not killed there: {code}")
        return _resumed(given), ""
    except Exception as problem:  # noqa: BLE001  # whatever it is, it was not to happen
        return "broken", f"{type(problem).__name__}: {problem}"
    finally:
        given.bench.place.discard()


# --- under load -----------------------------------------------------------------------------------

_CALLERS, _CALLS_PER_SECOND = 4, 50
#: The keyrings of one release after the other, by the numbers of their keys; each process has this one or that before.
_RELEASES = ((1,), (1, 2), (2, 1), (2,), (2, 3), (3, 2), (3,))
_PATIENCE_SECONDS = 30.0
#: After so long a caller looks which DEK is its owner's; until then it seals under the one that it has.
_KEY_CACHE = timedelta(seconds=1)


class _Rollout:
    """Which release each caller is to run, and which it runs, told between processes."""

    def __init__(self) -> None:
        self._wanted = _FORK.RawArray(ctypes.c_int, [0] * _CALLERS)
        self._running = _FORK.RawArray(ctypes.c_int, [-1] * _CALLERS)
        self._ended = _FORK.RawValue(ctypes.c_bool, False)

    def deploy(self, release: int, *callers: int) -> None:
        """Have a release everywhere, or at these callers; wait until it runs there."""
        reached = callers or tuple(range(_CALLERS))
        for caller in reached:
            self._wanted[caller] = release
        until = time.monotonic() + _PATIENCE_SECONDS
        while any(self._running[caller] != release for caller in reached):
            assert time.monotonic() < until, f"release {release} does not start everywhere"
            time.sleep(0.01)

    def end(self) -> None:
        self._ended.value = True

    @property
    def ended(self) -> bool:
        return bool(self._ended.value)

    def wanted(self, caller: int) -> int:
        return int(self._wanted[caller])

    def runs(self, caller: int, release: int) -> None:
        self._running[caller] = release


def _call(bench: Bench, number: int, ids: Sequence[str], keys: Sequence[str], rollout: _Rollout) -> Counter[str]:
    """Read, renew and connect, as often as a caller's share says; return how the calls ended."""
    ends, random, calls, release = Counter[str](), bench.random, 0, -1
    random.seed(bench.seed + number)
    vault: Any = None
    began = time.monotonic()
    while not rollout.ended:
        if rollout.wanted(number) != release:
            release = rollout.wanted(number)
            if vault is not None:
                vault.close()
            keyring = LocalKeyring([keys[one] for one in _RELEASES[release]])
            vault = bench.vault(keys=keyring, key_cache=_KEY_CACHE)
            vault.open()
            vault.token(ids[0], **MINE)
            rollout.runs(number, release)
        ends[_one_call(bench, vault, random.choice(ids), random.random())] += 1
        calls += 1
        time.sleep(max(0.0, began + calls * _CALLERS / _CALLS_PER_SECOND - time.monotonic()))
    vault.close()
    return ends


def _one_call(bench: Bench, vault: Vault, connection_id: str, chance: float) -> str:
    try:
        if chance < 0.6:
            vault.token(connection_id, **MINE)
        elif chance < 0.9:
            vault.refresh(connection_id, **MINE)
        else:
            bench.connect(vault, expires_at=vault._cases.core.now() + _IN_A_FUTURE)
    except Exception as problem:  # noqa: BLE001  # no call may fail
        return f"{type(problem).__name__}: {problem}"
    return "ok"


def _job(bench: Bench, keys: Sequence[str], name: str, rate: int) -> None:
    """Re-wrap or reseal, slowly."""
    vault = bench.vault(keys=LocalKeyring(list(keys)))
    getattr(vault.keys, name)(rate=rate)


def _killed_and_resumed(bench: Bench, vault: Vault, keys: Sequence[str], name: str, rows: int) -> None:
    """Kill a job somewhere in the middle, then do it."""
    worker = bench.start(_job, keys, name, max(rows // 2, 1))
    time.sleep(bench.random.uniform(0.2, 1.2))
    with_pid = worker.pid
    if worker.process.is_alive():
        os.kill(with_pid, signal.SIGKILL)
    worker.ended()
    getattr(vault.keys, name)()


def _refuses(retire: Callable[[], Any]) -> bool:
    try:
        retire()
    except ConfigurationError:
        return True
    return False


def _retired_at_last(vault: Vault, key_id: str) -> int:
    """Move what others still write under a key, until it can be retired; return how often that took."""
    until = time.monotonic() + _PATIENCE_SECONDS
    for tries in range(1, 10_000):
        vault.keys.reseal()
        if not _refuses(lambda: vault.keys.retire(key_id)):
            return tries
        assert time.monotonic() < until, "somebody goes on writing under a key that is to be retired"
        time.sleep(0.1)
    raise AssertionError


@point(
    "Two key rotations under load, with processes of every configuration and one whose keyring is stale: no call "
    "fails, nothing is left under a former key, and a key that one row needs is not retired",
    short=100, long=1000, mutations=("forgetful_reseal", "retired_in_use"),
)  # fmt: skip
def rotations_under_load(bench: Bench, trials: int) -> Tally:
    """`trials` connections, 50 calls a second from 4 processes; each job is killed and done again; C-17."""
    tally, rollout = Tally(), _Rollout()
    keys = ["", bench.keys, LocalKeyring.generate(), LocalKeyring.generate()]
    with bench.vault() as vault:
        ids = bench.connect(vault, trials)
        _one_row_is_enough(bench, vault, tally)
        former = [former_keys(bench, vault)]
    callers = [bench.start(_call, number, ids, keys, rollout) for number in range(_CALLERS)]
    try:
        rollout.deploy(0)
        _first_rotation(bench, tally, rollout, keys, former[0], trials)
        with bench.vault(keys=LocalKeyring([keys[2]])) as vault:
            former.append(former_keys(bench, vault))
        _second_rotation(bench, tally, rollout, keys, former[1], trials)
    except Exception as problem:  # noqa: BLE001  # whatever it is, it was not to happen
        tally.check(held=False, about=f"{type(problem).__name__}: {problem}")
    rollout.end()
    ends = sum((caller.result() for caller in callers), Counter[str]())
    last = LocalKeyring([keys[3]] if not tally.broken else [keys[3], keys[2], keys[1]])
    with bench.vault(keys=last) as vault:
        _judge(bench, tally, vault, ids, former)
    failed = {end: count for end, count in ends.items() if end != "ok"}
    tally.check(not failed, f"{sum(failed.values())} calls failed: {dict(list(failed.items())[:5])}")
    tally.measured["calls"] = ends.total()
    return tally


def _one_row_is_enough(bench: Bench, vault: Vault, tally: Tally) -> None:
    """One row under a DEK keeps it from being retired."""
    issued = bench.sandbox.issue("x", user=f"user{bench.random.getrandbits(64):016x}")
    other = {"tenant": "other", "owner": "somebody"}
    vault.import_tokens(
        "x", access_token=issued.access_token, refresh_token=issued.refresh_token, expires_at=issued.expires_at,
        scopes=issued.scopes, subject=issued.subject, **other,
    )  # fmt: skip
    [old] = _data_keys(vault, "other")
    vault.keys.promote(vault.keys.add("data", **other).key_id)
    tally.check(vault.keys.key(old.key_id).uses == 1, "not one row needs the key")
    tally.check(_refuses(lambda: vault.keys.retire(old.key_id)), "a key that a row needs was retired")
    vault.keys.reseal(tenant="other")
    tally.check(not _refuses(lambda: vault.keys.retire(old.key_id)), "a key that nothing needs was not retired")


def _first_rotation(
    bench: Bench, tally: Tally, rollout: _Rollout, keys: Sequence[str], former: Former, rows: int
) -> None:
    """A new KEK and a new DEK; one process never learns the new KEK, and goes on with what it has loaded."""
    rollout.deploy(1, 0, 1, 2)
    with bench.vault(keys=LocalKeyring([keys[2], keys[1]])) as vault:
        vault.keys.promote(vault.keys.add("kek").key_id)
        rollout.deploy(2, 0, 1)
        tally.check(_refuses(lambda: vault.keys.retire(former.kek)), "a KEK that wraps the vault key was retired")
        _killed_and_resumed(bench, vault, [keys[2], keys[1]], "rewrap", rows)
        vault.keys.retire(former.kek)
        vault.keys.promote(vault.keys.add("data", **MINE).key_id)
        tally.check(_refuses(lambda: vault.keys.retire(former.data_key)), "a DEK that seals rows was retired")
        _killed_and_resumed(bench, vault, [keys[2], keys[1]], "reseal", rows)
        tally.measured["reseals until the first DEK was retired"] = _retired_at_last(vault, former.data_key)
    rollout.deploy(2)
    rollout.deploy(3)


def _second_rotation(
    bench: Bench, tally: Tally, rollout: _Rollout, keys: Sequence[str], former: Former, rows: int
) -> None:
    """A new KEK, a new vault key and a new DEK; every process knows both KEKs."""
    rollout.deploy(4)
    with bench.vault(keys=LocalKeyring([keys[3], keys[2]])) as vault:
        vault.keys.promote(vault.keys.add("kek").key_id)
        rollout.deploy(5, 0, 1)
        vault.keys.promote(vault.keys.add("vault").key_id)
        _killed_and_resumed(bench, vault, [keys[3], keys[2]], "rewrap", rows)
        vault.keys.retire(former.kek)
        vault.keys.promote(vault.keys.add("data", **MINE).key_id)
        _killed_and_resumed(bench, vault, [keys[3], keys[2]], "reseal", rows)
        tally.measured["reseals until the second DEK was retired"] = _retired_at_last(vault, former.data_key)
        until = time.monotonic() + _PATIENCE_SECONDS
        while _refuses(lambda: vault.keys.retire(former.vault_key)):  # who had it loaded wraps a new DEK under it
            vault.keys.rewrap()
            assert time.monotonic() < until, "the vault key can't be retired"
    rollout.deploy(5)
    rollout.deploy(6)


def _judge(bench: Bench, tally: Tally, vault: Vault, ids: Sequence[str], former: Sequence[Former]) -> None:
    for keys in former:
        for key_id in (keys.kek, keys.data_key):
            key = vault.keys.key(key_id)
            about = f"{key.level} key is {key.state}, {key.uses} rows need it"
            tally.check(key.state == "retired" and not key.uses, about)
    moved = vault.keys.key(former[-1].vault_key)
    tally.check(moved.state == "retired" and not moved.uses, f"vault key: {moved.state}, {moved.uses} uses")
    tokens = {connection_id: vault.token(connection_id, **MINE) for connection_id in ids}
    live = bench.sandbox.live_tokens("x")
    for connection_id, token in tokens.items():
        tally.end("opens, and the provider takes it", ok=token.reveal() in live, about=connection_id)
        bench.advance(1)


# --- mutations ------------------------------------------------------------------------------------


@mutation("a job that moves every second record and says that it has moved all")
def forgetful_reseal() -> None:
    """Leave half of them."""

    async def half(_store: Any, original: Any, kind: str, records: Any) -> Any:
        return await original(kind, records[: len(records) // 2]) + len(records) - len(records) // 2

    change_store("reseal", half)


@mutation("a key is retired whatever needs it, and what is written under it later is written")
def retired_in_use() -> None:
    """Say that nothing needs a key, and that it is retired."""

    async def blind(_store: Any, original: Any, level: str, key_id: str) -> Any:
        await original(level, key_id)
        return True

    change_store("retire_key", blind)
