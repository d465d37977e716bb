"""Processes that fork with threads in flight, as servers that load the application first do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from torture.bench import MINE, OWNER, REDIRECT_URI, TENANT
from torture.changes import answer, change_store
from torture.mutations import mutation
from torture.point import Tally, point
from torture.points._judging import Case, cases, token_requests, within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault import Vault
    from torture.bench import Bench

_CONNECTIONS, _CHILDREN = 4, 2
_LATENCY = timedelta(milliseconds=30)
_LATEST_SECONDS = 0.08
_PATIENCE_SECONDS = 8.0
_SERVED = 0


@mutation("a child keeps the flights of its parent's threads, which nobody lands there")
def inherited_flights() -> None:
    """Begin with what was in flight."""
    from socialvault.runtimes.threads import ThreadRuntime

    reset = ThreadRuntime._reset

    def once(runtime):  # type: ignore[no-untyped-def]  # a mutation
        if not hasattr(runtime, "_lock"):
            reset(runtime)

    ThreadRuntime._reset = once  # type: ignore[method-assign]  # a mutation


@mutation("neither lease nor intent: every process renews for itself")
def everybody_renews() -> None:
    """Keep nobody away."""
    change_store("acquire_lease", answer(value=True))
    change_store("open_intent", answer(value=True))


@mutation("open() loads nothing ahead: a fork may come in the middle of a module's first import")
def nothing_prepared() -> None:
    """Load everything at its first use."""
    from socialvault.api.assembly import UseCases
    from socialvault.api.transport import LazyTransport

    UseCases.prepare = lambda cases: None  # type: ignore[method-assign]  # a mutation
    LazyTransport.prepare = lambda transport: None  # type: ignore[method-assign]  # a mutation


@point(
    "A process that forks while its threads renew: parent and children are served, by one refresh per connection.",
    short=5, long=100, mutations=("inherited_flights", "everybody_renews"),
)  # fmt: skip
def forked(bench: Bench, trials: int) -> Tally:
    """Fork at a random moment of several renewals; everybody asks for every token."""
    tally, vault = Tally(), bench.vault()
    vault.open()
    bench.sandbox.fault("x", "token", times=None, latency=_LATENCY)
    for _ in range(trials):
        given = cases(bench, vault, _CONNECTIONS)
        ends = bench.start(_forking, given, bench.random.uniform(0.0, _LATEST_SECONDS)).result()
        outcomes = [[one.outcome for one in token_requests(bench, case.grant_id)] for case in given]
        newest = all(bench.holds_newest(vault, case.connection_id) for case in given)
        ok = ends == [_SERVED] * (1 + _CHILDREN) and newest and outcomes == [["refreshed"]] * _CONNECTIONS
        tally.end("all served" if ok else "not all served", ok=ok, about=f"{ends}, {outcomes}, newest: {newest}")
        bench.advance(1)
    bench.sandbox.clear_faults()
    return tally


def _forking(bench: Bench, given: Sequence[Case], after_seconds: float) -> list[int | str]:
    """Return how it ended for the parent, and for each child."""
    vault = bench.vault()
    vault.open()
    ends: list[int | str] = []
    parent = threading.Thread(target=lambda: ends.append(_ask_all(bench, vault, given)))
    parent.start()
    time.sleep(after_seconds)
    children = [_fork(bench, vault, given) for _ in range(_CHILDREN)]
    parent.join(_PATIENCE_SECONDS)
    return [*(ends or ["hangs"]), *map(_waited, children)]


def _fork(bench: Bench, vault: Vault, given: Sequence[Case]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os._exit(_ask_all(bench, vault, given))
    finally:
        os._exit(1)  # whatever was raised: nothing of the parent's may go on here


def _ask_all(bench: Bench, vault: Vault, given: Sequence[Case]) -> int:
    """Ask for every token at once; return how many did not come."""
    served: list[bool] = []

    def ask(case: Case) -> None:
        token = vault.token(case.connection_id, **MINE)
        served.append(token.reveal() in bench.sandbox.live_tokens("x", case.grant_id))

    threads = [threading.Thread(target=ask, args=[case]) for case in given]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(given) - sum(served)


def _waited(pid: int) -> int | str:
    """Wait for a child; kill one that hangs."""
    status: list[int] = []

    def gone() -> bool:
        done, code = os.waitpid(pid, os.WNOHANG)
        if done:
            status.append(os.waitstatus_to_exitcode(code))
        return bool(done)

    if within(_PATIENCE_SECONDS, gone):
        return status[0]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hangs"


# --- before everything is loaded ------------------------------------------------------------------

#: Forks while another thread, in its first renewal, is inside the import of the n-th module that it needs.
_PROGRAM = """
    import importlib.abc, json, os, sys, threading, time
    given = json.loads(sys.stdin.readline())
    from socialvault import LocalKeyring, Vault
    from socialvault.sandbox.remote import RemoteSandbox

    sandbox = RemoteSandbox.at(tuple(given["address"]), bytes.fromhex(given["authkey"]))
    vault = Vault(
        providers=[sandbox.provider("x")], store=given["store"], keys=LocalKeyring([given["keys"]]),
        redirect_uri=given["redirect_uri"], escrow=given["escrow"],
    )
    if given["mutation"]:
        from socialvault.api.assembly import UseCases
        from socialvault.api.transport import LazyTransport
        UseCases.prepare = LazyTransport.prepare = lambda _part: None
    vault.open()
    inside = threading.Event()
    seen = []

    class Slow(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if threading.current_thread() is not threading.main_thread():
                seen.append(name)
                if len(seen) == given["nth"]:
                    inside.set()
                    time.sleep(0.2)
            return None

    sys.meta_path.insert(0, Slow())
    ask = lambda: vault.token(given["id"], owner=given["owner"], tenant=given["tenant"])
    thread = threading.Thread(target=ask)
    thread.start()
    while not inside.is_set() and thread.is_alive():
        time.sleep(0.001)
    pid = os.fork()
    if not pid:
        try:
            ask()
            os._exit(0)
        except BaseException as problem:
            print(type(problem).__name__, problem, file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    thread.join()
    until, code = time.monotonic() + given["patience"], "hangs"
    while time.monotonic() < until and code == "hangs":
        done, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if done else code
        time.sleep(0.01)
    if code == "hangs":
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    print(json.dumps([code, len(seen), seen[given["nth"] - 1] if inside.is_set() else ""]))
"""


@point(
    "A process that forks while a thread loads what its first renewal needs: the child is served.",
    short=3, long=100, mutations=("nothing_prepared",),
    not_on={"async": "the fresh interpreter has a blocking vault, which opens a blocking store"},
)  # fmt: skip
def forked_at_first_use(bench: Bench, trials: int) -> Tally:
    """Fork inside the imports of a fresh interpreter, each trial in another one."""
    tally, vault, modules = Tally(), bench.vault(), 1
    for number, case in enumerate(cases(bench, vault, trials)):
        nth = 1 + (number * 7) % modules
        order = {
            "address": bench.sandbox.address, "authkey": bench.sandbox.authkey.hex(), "store": bench.store_url,
            "keys": bench.keys, "redirect_uri": REDIRECT_URI, "escrow": str(bench.escrow), "id": case.connection_id,
            "owner": OWNER, "tenant": TENANT, "nth": nth, "patience": _PATIENCE_SECONDS,
            "mutation": bench.mutation,
        }  # fmt: skip
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(_PROGRAM)], input=json.dumps(order) + "\n", capture_output=True,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        code, modules, name = json.loads(ran.stdout) if ran.returncode == 0 else (ran.returncode, modules, "")
        ok, modules = code == _SERVED, max(modules, 1)
        outcomes = [one.outcome for one in token_requests(bench, case.grant_id)]
        ok = ok and outcomes == ["refreshed"]
        about = f"import {nth}, {name}: {code} {ran.stderr[-300:]} {outcomes}"
        tally.end("served" if ok else "not served", ok=ok, about=about)
        bench.advance(1)
    tally.measured["modules"] = modules
    return tally
