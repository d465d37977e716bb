"""A link to the server, for event loops; see `links` for what is sent once and what again."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from socialvault.exceptions import ConfigurationError, StoreUnavailableError
from socialvault.stores.redis.clients import RETRIES, admit, make_pool
from socialvault.stores.redis.refusals import BROKEN, DRIVER_ERRORS, check_schema, refusal
from socialvault.stores.redis.server import SETTINGS, ServerFacts, server_facts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from socialvault.stores.redis.layout import Layout
    from socialvault.stores.redis.requests import Asking, Request

T = TypeVar("T")

Client = Redis | RedisCluster
Here = tuple[int, asyncio.AbstractEventLoop]


class Line(NamedTuple):
    """The client of one loop.

    Attributes:
        pool: its connections; None for a cluster's.
        end: closes a client that a link made, at the latest when its loop is run to its end: loops close every
            generator that has begun in them.
    """

    client: Any  # most of the driver's methods have no types
    pool: Any
    end: AsyncGenerator[None, None]


class AsyncLink:
    """As `Link`. A connection belongs to the loop that opened it, so a URL gives each loop a client of its own.

    A client that was given serves one loop. After a fork, the child opens connections of its own.

    Args:
        client_or_url, layout: as for `Link`.

    Raises:
        ConfigurationError: as for `Link`.
    """

    def __init__(self, client_or_url: Client | str, layout: Layout) -> None:
        self._layout = layout
        self._closed = False
        self._lines: dict[Here, Line] = {}
        self._url = client_or_url if isinstance(client_or_url, str) else ""
        self._given = None if isinstance(client_or_url, str) else client_or_url
        self._given_to: Here | None = None
        admit(self._given or self._make_client())  # a wrong URL is known at once; nothing is connected yet

    async def ask(self, *arguments: bytes | int | str) -> Any:
        """Send one command that only reads."""
        line = self._lines.get((os.getpid(), asyncio.get_running_loop())) or await self._open()
        if line.pool is None:
            return await line.client.execute_command(*arguments)
        connection = await line.pool.get_connection()
        try:
            return await self._over(line.pool, connection, arguments)
        except BROKEN:
            return await line.client.execute_command(*arguments)

    async def run(self, asking: Asking[T]) -> T:
        """As `Link.run`."""
        try:
            request = next(asking)
            while True:
                request = asking.send(await self._answer(request))
        except StopIteration as end:
            result: T = end.value
            return result
        except DRIVER_ERRORS as error:
            raise refusal(error) from None

    async def server_facts(self) -> ServerFacts:
        """As `Link.server_facts`."""
        try:
            client: Any = (await self._line()).client
            where = {"target_nodes": self._node(client)} if isinstance(client, RedisCluster) else {}
            information = await client.execute_command("INFO", **where)
            try:
                settings = await client.execute_command("CONFIG GET", *SETTINGS, **where)
            except ResponseError:  # managed servers keep it to themselves
                settings = {}
        except DRIVER_ERRORS as error:
            raise refusal(error) from None
        return server_facts(information, settings)

    async def aclose(self) -> None:
        """As `Link.close`."""
        self._closed = True
        lines, self._lines = self._lines, {}
        for (pid, loop), line in lines.items():
            if pid != os.getpid():
                continue
            if loop is asyncio.get_running_loop():
                await line.end.aclose()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(line.end.aclose(), loop)  # nobody waits: it may be stopping

    async def _answer(self, request: Request) -> Any:
        script = request.script
        if script is None:
            return await self.ask(*request.arguments)
        send = self._once if script.writes else self.ask
        try:
            return await send("EVALSHA", script.sha, *request.arguments)
        except NoScriptError:  # it has not run
            return await send("EVAL", script.source, *request.arguments)

    async def _once(self, *arguments: bytes | int | str) -> Any:
        client, pool, _ = await self._line()
        if pool is None:  # a named node is not tried again, but redirections are followed
            return await client.execute_command(*arguments, target_nodes=self._node(client))
        return await self._over(pool, await pool.get_connection(), arguments)

    async def _over(self, pool: Any, connection: Any, arguments: tuple[bytes | int | str, ...]) -> Any:
        try:
            await connection.send_command(*arguments)
            return await connection.read_response()
        except BaseException as error:
            # After a failover the address may lead to the new primary; a refusal leaves the connection as it was.
            if not isinstance(error, ResponseError) or isinstance(error, ReadOnlyError):
                await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)

    def _node(self, client: RedisCluster) -> Any:
        return client.get_node_from_key(self._layout.schema.decode())

    async def _line(self) -> Line:
        return self._lines.get((os.getpid(), asyncio.get_running_loop())) or await self._open()

    async def _open(self) -> Line:
        """Make a line for the running loop, and look at the layout's version."""
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        here = (os.getpid(), asyncio.get_running_loop())
        client = self._make_client() if self._given is None else self._take_given(self._given, here)
        end = _open_until_the_end(client, owned=self._given is None)
        line = Line(client, getattr(client, "connection_pool", None), end)
        await anext(line.end)
        try:
            check_schema(await client.execute_command("GET", self._layout.schema))
        except BaseException:
            await line.end.aclose()
            raise
        if here in self._lines:  # another task was faster
            await line.end.aclose()
            return self._lines[here]
        # Step by step, as loops in other threads do the same: whoever replaced the whole would drop another's line.
        self._lines[here] = line
        for place in [place for place in list(self._lines) if place[1].is_closed()]:
            self._lines.pop(place, None)
        return line

    def _make_client(self) -> Redis:
        retry = Retry(*RETRIES)
        return Redis.from_pool(make_pool(BlockingConnectionPool, self._url, retry))

    def _take_given(self, client: Any, here: Here) -> Any:
        before, self._given_to = self._given_to or here, here
        if before[0] != here[0]:
            if isinstance(client, RedisCluster):
                raise ConfigurationError("a cluster's client does not survive a fork: make the store in the child")
            client.connection_pool.reset()
        elif before[1] is not here[1]:
            self._given_to = before
            raise ConfigurationError("a client belongs to one event loop: give a URL, or a store per loop")
        return client


async def _open_until_the_end(client: Client, *, owned: bool) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if owned:
            await client.aclose()
