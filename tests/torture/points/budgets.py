"""How fast a sweep is, held against what the network allows. Being over budget is reported, and breaks nothing."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from socialvault import AsyncVault, LocalKeyring
from socialvault.api.assembly import SystemClock
from socialvault.transports.httpx import AsyncHttpxTransport
from torture.bench import REDIRECT_URI, Bench
from torture.mutations import mutation
from torture.point import ALREADY_ASYNC, Tally, point

if TYPE_CHECKING:
    from socialvault.model.sweep import Sweep
    from socialvault.protocol.messages import HttpRequest, HttpResponse
    from socialvault.providers import Provider

IN_FLIGHT = 50
LATENCY = timedelta(milliseconds=50)
BUDGET = 1.5


@mutation("one at a time: a sweep waits for each renewal before it begins the next")
def one_at_a_time() -> None:
    from socialvault.vault import sweep

    sweep.IN_FLIGHT = 1


@mutation("one after the other lasts too long, and some tokens are left out of a sweep")
def half_a_sweep() -> None:
    from socialvault.vault.sweep import Sweeps

    due = Sweeps._due

    async def half(sweeps, limit, budget):  # type: ignore[no-untyped-def]  # a mutation
        rows, deferred = await due(sweeps, limit, budget)
        return rows[::2], deferred

    Sweeps._due = half  # type: ignore[method-assign]  # a mutation


@point(
    "A sweep renews everything that is due in one tick, with 50 requests in flight; its time is reported against 1.5x "
    "the network's limit",
    short=300,
    long=1_000,
    mutations=("one_at_a_time", "half_a_sweep"),
    not_on={"async": ALREADY_ASYNC},
)
def sweep_budget(bench: Bench, trials: int) -> Tally:
    """One sweep of `trials` due tokens by an ``AsyncVault``, between two raw loops over as many."""
    tally = Tally()
    provider = bench.sandbox.provider("x")
    with bench.vault(provider) as vault:
        ids = bench.connect(vault, trials)
        bench.sandbox.fault("x", "token", times=None, latency=LATENCY)
        limit_seconds = trials / IN_FLIGHT * LATENCY.total_seconds()
        raw = [asyncio.run(_raw_seconds(bench, provider, trials))]
        sweep_seconds, sweep, most = asyncio.run(_sweep_seconds(bench, provider, trials))
        raw.append(asyncio.run(_raw_seconds(bench, provider, trials)))
        bench.sandbox.clear_faults()
        live = bench.sandbox.live_tokens("x")
        for connection_id in ids:
            tally.end("renewed in one sweep", ok=_holds(bench, vault, connection_id, live))
    tally.check(sweep.renewed == sweep.due == trials, f"{sweep}")
    tally.check(IN_FLIGHT / 2 <= most <= IN_FLIGHT, f"{most} requests were in flight at most")
    ratio = sweep_seconds / limit_seconds
    tally.measured = {
        "sweep_seconds": round(sweep_seconds, 2),
        "limit_seconds": round(limit_seconds, 2),
        "ratio_to_limit": round(ratio, 2),
        "raw_loop_ratio": round(min(raw) / limit_seconds, 2),
        "ratio_to_raw_loop": round(sweep_seconds / min(raw), 2),
        "budget": BUDGET,
        "within_budget": "yes" if ratio <= BUDGET else "no",
    }
    return tally


def _holds(bench: Bench, vault: object, connection_id: str, live: frozenset[str]) -> bool:
    from torture.points._simulated import stored

    _, token = stored(bench, vault, connection_id)  # type: ignore[arg-type]  # one bench, one colour
    return token.refresh_token is not None and {token.access_token.reveal(), token.refresh_token.reveal()} <= live


class _InFlight:
    """A transport that counts.

    Attributes:
        most: requests that were on their way at the same time.
    """

    def __init__(self) -> None:
        self._transport = AsyncHttpxTransport(clock=SystemClock())
        self._now = self.most = 0

    async def send(self, request: HttpRequest) -> HttpResponse:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self._transport.send(request)
        finally:
            self._now -= 1

    async def aclose(self) -> None:
        await self._transport.aclose()


async def _sweep_seconds(bench: Bench, provider: Provider, count: int) -> tuple[float, Sweep, int]:
    """Return how long a sweep takes, what it says, and how many requests were in flight."""
    transport = _InFlight()
    async with AsyncVault(
        providers=[provider], store=bench.open_async_store(), keys=LocalKeyring([bench.keys]),
        redirect_uri=REDIRECT_URI, escrow=bench.escrow, transport=transport,
    ) as vault:  # fmt: skip
        began = time.perf_counter()
        sweep = await vault.renew_due(limit=count)
        return time.perf_counter() - began, sweep, transport.most


async def _raw_seconds(bench: Bench, provider: Provider, count: int) -> float:
    """Send as many refreshes over as many bare connections, and do nothing with the answers."""
    users = [f"raw{bench.random.getrandbits(64):016x}" for _ in range(count)]
    issued = bench.sandbox.issue_many("x", users)
    tokens = iter([one.refresh_token.reveal() for one in issued if one.refresh_token is not None])
    url = urlsplit(provider.token_url)
    secret = provider.credentials.client_secret
    assert secret is not None
    pair = base64.b64encode(f"{provider.client_id}:{secret.reveal()}".encode()).decode()
    head = f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Basic {pair}\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n"

    async def work() -> None:
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        for token in tokens:
            body = urlencode({"grant_type": "refresh_token", "refresh_token": token})
            writer.write((head.format(len(body)) + body).encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.split(b"content-length:")[1].split(b"\r\n")[0])
            json.loads(await reader.readexactly(length))["access_token"]
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began
