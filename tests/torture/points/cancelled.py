"""Callers that go away in the middle of a refresh: cancelled tasks, clients that hang up, servers that are stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from socialvault import AsyncVault, LocalKeyring
from socialvault.exceptions import SocialVaultError
from torture.bench import MINE, REDIRECT_URI, batches
from torture.mutations import mutation
from torture.point import ALREADY_ASYNC, Tally, point
from torture.points._judging import Case, cases, token_requests
from torture.points.kills import Flow, flow, rows_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from socialvault import Vault
    from torture.bench import Bench

_LATENCY = timedelta(milliseconds=100)
#: A caller goes away at a random moment up to here, which is about where an undisturbed refresh ends: one of many on
#: one loop, one in a server that is warm, and the first one of a process.
_LATEST_SECONDS = {"loop": 0.5, "server": 0.15, "process": 0.3}
#: Before nobody judges: a request that is on its way may still be answered, with nobody there to hear it.
_EARLIEST_SECONDS = 0.4
_WITHIN_SECONDS = 2.0
_BATCH, _CALLBACKS = 32, 8


@mutation("the work is its caller's own: it ends where the caller is cancelled")
def callers_own_work() -> None:
    """Neither share nor guard."""
    from socialvault.runtimes.asyncio import AsyncioRuntime

    async def own(_runtime, _key, factory):  # type: ignore[no-untyped-def]  # a mutation
        return await factory()

    async def unguarded(_runtime, factory, **_how):  # type: ignore[no-untyped-def]  # a mutation
        return await factory()

    AsyncioRuntime.single_flight = own  # type: ignore[method-assign]  # a mutation
    AsyncioRuntime.guarded = unguarded  # type: ignore[method-assign]  # a mutation


@mutation("closing waits for nothing: the loop's end stops what is in flight")
def no_drain() -> None:
    """Wait for nothing."""
    from socialvault.runtimes.asyncio import AsyncioRuntime

    async def at_once(_runtime, _timeout_seconds):  # type: ignore[no-untyped-def]  # a mutation
        return None

    AsyncioRuntime.drain = at_once  # type: ignore[method-assign]  # a mutation


def async_vault(bench: Bench) -> AsyncVault:
    """Make a vault for event loops over the bench's store and escrow."""
    return AsyncVault(
        providers=[bench.sandbox.provider("x")], store=bench.open_async_store(), keys=LocalKeyring([bench.keys]),
        redirect_uri=REDIRECT_URI, escrow=bench.escrow,
    )  # fmt: skip


def slow(bench: Bench) -> None:
    """Let the provider take its time, before or after it commits."""
    bench.sandbox.clear_faults()
    at = bench.random.choice(["before_commit", "after_commit"])
    bench.sandbox.fault("x", "token", times=None, latency=_LATENCY, at=at)


def judge(tally: Tally, bench: Bench, vault: Vault, given: Sequence[Case], left_at: float) -> None:
    """Once what was on its way has arrived, the store must hold the provider's current token."""
    time.sleep(max(0.0, left_at + _EARLIEST_SECONDS - time.monotonic()))
    waiting = list(given)
    while waiting and time.monotonic() < left_at + _WITHIN_SECONDS:
        waiting = [case for case in waiting if not bench.holds_newest(vault, case.connection_id)]
    for case in given:
        requests = token_requests(bench, case.grant_id)
        once = len(requests) <= 1 and all(one.outcome == "refreshed" for one in requests)
        end = "not begun" if not requests else "renewed"
        ok = once and case not in waiting and bench.holds_newest(vault, case.connection_id)
        tally.end(end if ok else "lost", ok=ok, about=f"{case}: {[one.outcome for one in requests]}")
    bench.advance(len(given))


# --- a cancelled task -----------------------------------------------------------------------------


@point(
    "A caller that is cancelled in a refresh or a code exchange does not stop it: the store holds the current token.",
    short=40, long=1000, mutations=("callers_own_work", "no_guard"), not_on={"async": ALREADY_ASYNC},
)  # fmt: skip
def caller_cancelled(bench: Bench, trials: int) -> Tally:
    """Cancel tasks after random times; every fifth one is a callback, whose code is spent once it is sent."""
    tally, vault = Tally(), bench.vault()
    vault.open()
    callbacks = trials * _CALLBACKS // (_BATCH + _CALLBACKS)
    for batch in batches(cases(bench, vault, trials - callbacks), _BATCH):
        slow(bench)
        flows = [flow(bench, vault) for _ in range(min(callbacks, _CALLBACKS))]
        callbacks -= len(flows)
        left_at = asyncio.run(_cancel(bench, batch, flows))
        judge(tally, bench, vault, batch, left_at)
        for one in flows:
            _judge_callback(tally, bench, vault, one)
        bench.advance(len(flows))
    bench.sandbox.clear_faults()
    return tally


async def _cancel(bench: Bench, batch: Sequence[Case], flows: Sequence[Flow]) -> float:
    """Cancel every caller at a moment of its own; return when the last one was."""

    async def cancelled(call: Any) -> None:
        task = asyncio.create_task(call)
        await asyncio.sleep(bench.random.uniform(0.0, _LATEST_SECONDS["loop"]))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async with async_vault(bench) as vault:
        calls = [vault.token(case.connection_id, **MINE) for case in batch]
        calls += [vault.complete(one.params, provider="x", cookies=one.cookies, **MINE) for one in flows]
        await asyncio.gather(*map(cancelled, calls))
        left_at = time.monotonic()
        await asyncio.sleep(_EARLIEST_SECONDS)  # a loop that goes on, as a server's does
    return left_at


def _judge_callback(tally: Tally, bench: Bench, vault: Vault, given: Flow) -> None:
    spent = any(one.outcome == "issued" for one in bench.sandbox.log.entries(endpoint="token", user=given.user))
    rows = rows_of(bench, vault, given.user)
    ok = len(rows) == spent and all(bench.holds_newest(vault, row.id) for row in rows)
    name = "callback finished" if spent else "callback not begun"
    tally.end(name if ok else "callback lost", ok=ok, about=f"{given.user}: {len(rows)} rows, spent: {spent}")


# --- a client that hangs up -----------------------------------------------------------------------


@point(
    "A browser that hangs up while a server refreshes for it does not stop the refresh.",
    short=10, long=200, mutations=("callers_own_work",), not_on={"async": ALREADY_ASYNC},
)  # fmt: skip
def client_disconnect(bench: Bench, trials: int) -> Tally:
    """Hang up on a server that cancels its handlers when their client is gone, as Django does."""
    tally, vault = Tally(), bench.vault()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = bench.start(_serve, listening)
        port = listening.getsockname()[1]
    for batch in batches(cases(bench, vault, trials), _BATCH):
        slow(bench)
        for case in batch:
            _hang_up(bench, port, case)
        judge(tally, bench, vault, batch, time.monotonic())
    bench.sandbox.clear_faults()
    os.kill(server.pid, signal.SIGTERM)
    server.ended()
    return tally


def _serve(bench: Bench, listening: socket.socket) -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    vault = async_vault(bench)

    async def token(request: Request) -> PlainTextResponse:
        found = await vault.token(request.path_params["id"], **MINE)
        return PlainTextResponse(str(found.generation))

    app = _cancelling(Starlette(routes=[Route("/{id}", token)]))
    config = uvicorn.Config(app, lifespan="off", log_level="critical", loop="asyncio", http="h11")
    uvicorn.Server(config).run(sockets=[listening])


def _cancelling(app: ASGIApp) -> ASGIApp:
    """Cancel the application where its client goes away."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.create_task(app(scope, _nothing, send))
        gone = asyncio.create_task(_gone(receive))
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)

    return wrapped


async def _nothing() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _hang_up(bench: Bench, port: int, case: Case) -> None:
    """Ask, and go away at a random moment; half of the time without a goodbye."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET /%s HTTP/1.1\r\nHost: here\r\n\r\n" % case.connection_id.encode())
    time.sleep(bench.random.uniform(0.0, _LATEST_SECONDS["server"]))
    if bench.random.random() < 1 / 2:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# --- a server that is stopped ---------------------------------------------------------------------


@point(
    "A server that is told to stop in the middle of a refresh finishes it first.",
    short=10, long=200, mutations=("callers_own_work", "no_drain"), not_on={"async": ALREADY_ASYNC},
)  # fmt: skip
def sigterm(bench: Bench, trials: int) -> Tally:
    """SIGTERM at random moments to processes that cancel their callers, close, and end."""
    tally, vault = Tally(), bench.vault()
    for batch in batches(cases(bench, vault, trials), 2):
        slow(bench)
        given, left_at = [], time.monotonic()
        for case in batch:
            reading, ready = os.pipe()
            given.append((case, bench.start(_stopped, ready, case)))
            os.close(ready)
            os.read(reading, 1)
            os.close(reading)
            time.sleep(bench.random.uniform(0.0, _LATEST_SECONDS["process"]))
            os.kill(given[-1][1].pid, signal.SIGTERM)
            left_at = time.monotonic()
        codes = [worker.ended() for _, worker in given]
        tally.check(not any(codes), f"a server ended with {codes}")
        judge(tally, bench, vault, batch, left_at)
    bench.sandbox.clear_faults()
    return tally


def _stopped(bench: Bench, ready: int, case: Case) -> None:
    async def serve() -> None:
        stopping = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
        vault = async_vault(bench)
        await vault.open()
        caller = asyncio.create_task(vault.token(case.connection_id, **MINE))
        os.write(ready, b"1")
        await stopping.wait()
        caller.cancel()
        with suppress(asyncio.CancelledError, SocialVaultError):
            await caller
        await vault.aclose()

    asyncio.run(serve())
