"""The transports: one bounded exchange at a time over pooled connections, in both colours.

They drive httpcore, the engine below httpx, because ``httpx.Client`` logs every URL and bounds neither time nor size.

Connections live in lanes, each with a pool of its own. Requests to a host that a user or a document named have theirs,
because a pool reuses a connection by the host's name alone: one that was made unchecked would bypass the address
policy. API calls of the application have theirs, so that a slow API never keeps a token from being refreshed.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict
from urllib.parse import unquote, urlsplit

import httpcore
import httpx

from socialvault.model.secret import Secret
from socialvault.transports.addresses import AddressPolicy
from socialvault.transports.deadline import LAST_LOOK_SECONDS, Deadline, LastLook
from socialvault.transports.exchange import Call
from socialvault.transports.network import AsyncCheckedNetwork, CheckedNetwork, Resolver, system_addresses
from socialvault.transports.settings import TransportSettings
from socialvault.transports.shelf import Shelf

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from socialvault.ports.clock import Clock
    from socialvault.protocol.messages import HttpRequest, HttpResponse

__all__ = ["AsyncHttpxTransport", "HttpxTransport", "TransportSettings"]

#: ``provider``: the vault's own calls. ``api``: the application's.
Use = Literal["provider", "api"]

_DEFAULT_SETTINGS = TransportSettings()


class _Lane(NamedTuple):
    """Connections for one kind of request: a pool for the application's, slots and a shelf for the vault's own."""

    pool: httpcore.ConnectionPool
    slots: threading.Semaphore
    shelf: Shelf[httpcore.ConnectionInterface]


class _AsyncLane(NamedTuple):
    pool: httpcore.AsyncConnectionPool
    slots: asyncio.Semaphore
    shelf: Shelf[httpcore.AsyncConnectionInterface]


class _LaneKey(NamedTuple):
    pid: int
    use: Use
    untrusted_host: bool


class _AsyncLaneKey(NamedTuple):
    pid: int
    loop: asyncio.AbstractEventLoop
    use: Use
    untrusted_host: bool


class HttpxTransport:
    """Sends one request and reads its answer whole, within bounds; blocking, for any number of threads.

    Follows no redirect, retries nothing, takes nothing from the environment. After a fork the child opens its own
    connections.

    Args:
        clock: tells when a request was sent.
        settings: bounds; see `TransportSettings`.
        resolve: turns names into addresses.
    """

    def __init__(
        self, *, clock: Clock, settings: TransportSettings = _DEFAULT_SETTINGS, resolve: Resolver = system_addresses
    ) -> None:
        self.settings = settings
        self.policy = _policy(settings)
        self._clock = clock
        self._resolve = resolve
        self._lanes: dict[_LaneKey, _Lane] = {}

    def send(self, request: HttpRequest) -> HttpResponse:
        """Send `request` within the transport's total deadline.

        Raises:
            ConfigurationError: the URL or a header can't be sent, or the address policy refuses the URL.
            TransportError: no complete, acceptable answer came; says whether anything was sent.
        """
        call = Call(request, self._clock)
        if call.untrusted_host:
            self.policy.check(call.target)
        outcome = self._outcome(call)
        try:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome
        finally:
            del outcome  # an exception that its own frame refers to would keep both alive

    def close(self) -> None:
        """Close every connection; a later call opens new ones."""
        for key in list(self._lanes):
            if key.pid == os.getpid():
                lane = self._lanes.pop(key)
                lane.pool.close()
                for connection in lane.shelf.clear():
                    connection.close()

    def api_pool(self, *, untrusted_host: bool) -> httpcore.ConnectionPool:
        """Return the pool that clients for API calls share."""
        return self._lane("api", untrusted_host=untrusted_host).pool

    def _outcome(self, call: Call) -> HttpResponse | BaseException:
        try:
            return self._exchange(call)
        except BaseException as error:  # noqa: BLE001  # `send` raises what may be shown of it
            return call.outcome(error)

    def _exchange(self, call: Call) -> HttpResponse:
        deadline = Deadline(self.settings.total_deadline.total_seconds())
        lane = self._lane("provider", untrusted_host=call.untrusted_host)
        if not lane.slots.acquire(timeout=deadline.left(httpcore.PoolTimeout)):
            raise httpcore.PoolTimeout
        try:
            left = deadline.left(httpcore.PoolTimeout)
            connect = Deadline(min(left, self.settings.connect_timeout.total_seconds()))
            timeouts = {"connect": connect, "write": deadline, "read": LastLook(left)}
            self._converse(lane.shelf, call.wire_request(timeouts, call.watch), call)
            return call.answer()
        finally:
            lane.slots.release()

    def _converse(self, shelf: Shelf[httpcore.ConnectionInterface], request: httpcore.Request, call: Call) -> None:
        connection, dropped = shelf.take(request.url.origin)
        try:
            for unused in dropped:
                unused.close()
            response = connection.handle_request(request)
            try:
                call.take_head(response)
                for part in response.iter_stream():
                    call.take(part)
            finally:
                response.close()
        finally:
            if not shelf.give_back(connection):
                connection.close()

    def _lane(self, use: Use, *, untrusted_host: bool) -> _Lane:
        # No lock: a fork would copy it in whatever state it is. Of two lanes made at once the first one stays.
        key = _LaneKey(os.getpid(), use, untrusted_host)
        return self._lanes.get(key) or self._lanes.setdefault(key, self._open_lane(untrusted_host=untrusted_host))

    def _open_lane(self, *, untrusted_host: bool) -> _Lane:
        self._drop_inherited_lanes()
        network = CheckedNetwork(self._resolve, _network_policy(self.policy) if untrusted_host else None)
        pool = httpcore.ConnectionPool(network_backend=network, **_pool_options(self.settings))
        limit = self.settings.max_connections
        return _Lane(pool, threading.Semaphore(limit), Shelf(pool.create_connection, limit))

    def _drop_inherited_lanes(self) -> None:
        """Close the child's copies of the parent's sockets, by which neither the parent nor its peers lose anything.

        Connections are closed one by one, as a pool's own lock may have been held while the process forked.
        """
        for key in list(self._lanes):
            if key.pid != os.getpid():
                lane = self._lanes.pop(key)
                for connection in (*lane.pool.connections, *lane.shelf.clear()):
                    connection.close()


class AsyncHttpxTransport:
    """As `HttpxTransport`, for event loops: any number of them, in any number of threads.

    Each loop has its own connections; `aclose` closes those of the loop it runs in.
    """

    def __init__(
        self, *, clock: Clock, settings: TransportSettings = _DEFAULT_SETTINGS, resolve: Resolver = system_addresses
    ) -> None:
        self.settings = settings
        self.policy = _policy(settings)
        self._clock = clock
        self._resolve = resolve
        self._lanes: dict[_AsyncLaneKey, _AsyncLane] = {}
        self._inherited: list[_AsyncLane] = []

    async def send(self, request: HttpRequest) -> HttpResponse:
        """As `HttpxTransport.send`."""
        call = Call(request, self._clock)
        if call.untrusted_host:
            self.policy.check(call.target)
        outcome = await self._outcome(call)
        try:
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome
        finally:
            del outcome  # an exception that its own frame refers to would keep both alive

    async def aclose(self) -> None:
        """Close every connection of the running loop; a later call opens new ones."""
        loop = asyncio.get_running_loop()
        for key in list(self._lanes):
            if key.loop is loop and key.pid == os.getpid():
                lane = self._lanes.pop(key)
                await lane.pool.aclose()
                await _close_all(lane.shelf.clear())

    def api_pool(self, *, untrusted_host: bool) -> httpcore.AsyncConnectionPool:
        """Return the pool that clients for API calls share in the running loop."""
        return self._lane("api", untrusted_host=untrusted_host).pool

    async def _outcome(self, call: Call) -> HttpResponse | BaseException:
        try:
            return await self._exchange(call)
        except BaseException as error:  # noqa: BLE001  # `send` raises what may be shown of it
            return call.outcome(error)

    async def _exchange(self, call: Call) -> HttpResponse:
        lane = self._lane("provider", untrusted_host=call.untrusted_host)
        async with self._deadline(call), lane.slots:
            connect = Deadline(self.settings.connect_timeout.total_seconds())
            await self._converse(lane.shelf, call.wire_request({"connect": connect}, call.watch_async), call)
            return call.answer()

    @asynccontextmanager
    async def _deadline(self, call: Call) -> AsyncIterator[None]:
        """Bound a call. What arrived while the process was suspended past the deadline is read before it counts."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as limit:

            def over() -> None:
                limit.reschedule(loop.time() + (LAST_LOOK_SECONDS if call.all_sent else 0.0))

            timer = loop.call_later(self.settings.total_deadline.total_seconds(), over)
            try:
                yield
            finally:
                timer.cancel()

    async def _converse(
        self, shelf: Shelf[httpcore.AsyncConnectionInterface], request: httpcore.Request, call: Call
    ) -> None:
        connection, dropped = shelf.take(request.url.origin)
        try:
            if dropped:
                await asyncio.shield(_close_all(dropped))
            response = await connection.handle_async_request(request)
            try:
                call.take_head(response)
                async for part in response.aiter_stream():
                    call.take(part)
            finally:
                await response.aclose()
        finally:
            if not shelf.give_back(connection):
                await asyncio.shield(_close_all([connection]))

    def _lane(self, use: Use, *, untrusted_host: bool) -> _AsyncLane:
        key = _AsyncLaneKey(os.getpid(), asyncio.get_running_loop(), use, untrusted_host)
        return self._lanes.get(key) or self._lanes.setdefault(key, self._open_lane(untrusted_host=untrusted_host))

    def _open_lane(self, *, untrusted_host: bool) -> _AsyncLane:
        self._drop_dead_lanes()
        network = AsyncCheckedNetwork(self._resolve, _network_policy(self.policy) if untrusted_host else None)
        pool = httpcore.AsyncConnectionPool(network_backend=network, **_pool_options(self.settings))
        limit = self.settings.max_connections
        return _AsyncLane(pool, asyncio.Semaphore(limit), Shelf(pool.create_connection, limit))

    def _drop_dead_lanes(self) -> None:
        """Forget the connections of closed loops; set those that a fork copied aside.

        The latter are neither closed nor freed: their loop shares its selector with the parent's.
        """
        for key in list(self._lanes):
            if key.pid != os.getpid():
                self._inherited.append(self._lanes.pop(key))
            elif key.loop.is_closed():
                self._lanes.pop(key, None)


async def _close_all(connections: list[httpcore.AsyncConnectionInterface]) -> None:
    for connection in connections:
        await connection.aclose()


class _PoolOptions(TypedDict):
    ssl_context: ssl.SSLContext
    proxy: httpcore.Proxy | None
    max_connections: int
    keepalive_expiry: float


def _pool_options(settings: TransportSettings) -> _PoolOptions:
    return _PoolOptions(
        ssl_context=settings.verify or default_context(),
        proxy=_proxy(settings.proxy),
        max_connections=settings.max_connections,
        keepalive_expiry=settings.idle_timeout.total_seconds(),
    )


@functools.cache
def default_context() -> ssl.SSLContext:
    """Return the one TLS context of all transports that were given none; it takes 27 ms to make."""
    return httpx.create_ssl_context(trust_env=False)


def _policy(settings: TransportSettings) -> AddressPolicy:
    hosts, ports = frozenset(settings.allowed_hosts), frozenset(settings.allowed_ports)
    return AddressPolicy(hosts, ports, behind_proxy=settings.proxy is not None)


def _network_policy(policy: AddressPolicy) -> AddressPolicy | None:
    """Return what holds where connections are made; behind a proxy they all go to the proxy, which is trusted."""
    return None if policy.behind_proxy else policy


def _proxy(proxy: str | Secret[str] | None) -> httpcore.Proxy | None:
    if not isinstance(proxy, Secret):
        return None
    parts = urlsplit(proxy.reveal())
    auth = None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
    return httpcore.Proxy(f"http://{parts.netloc.rpartition('@')[2]}", auth=auth)
