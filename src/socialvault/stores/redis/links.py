"""A link to the server, blocking.

What only reads is asked again when its connection breaks, and then by the client, as often as that likes. What may
write is sent once, whatever the client's own settings: a script that was sent and got no answer may have run, and sent
again it would report its own effect as somebody else's. Each write is conditional, so nothing would be applied twice;
but a caller that hears "unknown" looks, and one that hears "another was first" gives up what it had.

A pool notices a fork by itself: the child opens connections of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from redis import BlockingConnectionPool, Redis, RedisCluster
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError
from redis.retry import Retry

from socialvault.exceptions import StoreUnavailableError
from socialvault.stores.redis.clients import RETRIES, admit, make_pool
from socialvault.stores.redis.refusals import BROKEN, DRIVER_ERRORS, check_schema, refusal
from socialvault.stores.redis.server import SETTINGS, ServerFacts, server_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from socialvault.stores.redis.layout import Layout
    from socialvault.stores.redis.requests import Asking, Request

T = TypeVar("T")


class Link:
    """Carries operations out.

    Attributes:
        ask: sends one command that only reads, as its name and arguments. The first one looks at the layout's version.

    Args:
        client_or_url: a client, which stays its maker's to close, or where to connect to.
        layout: the names of the keys.

    Raises:
        ConfigurationError: the client or the URL can't be used.
    """

    def __init__(self, client_or_url: Redis | RedisCluster | str, layout: Layout) -> None:
        self._layout = layout
        self._closed = False
        self._owned = isinstance(client_or_url, str)
        if isinstance(client_or_url, str):
            retry = Retry(*RETRIES)
            client_or_url = Redis.from_pool(make_pool(BlockingConnectionPool, client_or_url, retry))
        admit(client_or_url)
        self._client: Any = client_or_url  # most of the driver's methods have no types
        self._clustered = isinstance(client_or_url, RedisCluster)
        self.ask: Callable[..., Any] = self._check_and_ask

    def run(self, asking: Asking[T]) -> T:
        """Carry an operation out.

        Raises:
            StoreError: the server refused, or can't be reached.
        """
        try:
            request = next(asking)
            while True:
                request = asking.send(self._answer(request))
        except StopIteration as end:
            result: T = end.value
            return result
        except DRIVER_ERRORS as error:
            raise refusal(error) from None

    def server_facts(self) -> ServerFacts:
        """Ask the server about itself.

        Raises:
            StoreError: it does not say, or can't be reached.
        """
        try:
            information = self._of_server("INFO")
            try:
                settings = self._of_server("CONFIG GET", *SETTINGS)
            except ResponseError:  # managed servers keep it to themselves
                settings = {}
        except DRIVER_ERRORS as error:
            raise refusal(error) from None
        return server_facts(information, settings)

    def close(self) -> None:
        """Close every connection, of a client that this made; refuse every call from now on."""
        self._closed = True
        self.ask = self._once = self._refuse  # type: ignore[method-assign]  # nobody reaches the client from now on
        if self._owned:
            self._client.close()

    def _answer(self, request: Request) -> Any:
        script = request.script
        if script is None:
            return self.ask(*request.arguments)
        send = self._once if script.writes else self.ask
        try:
            return send("EVALSHA", script.sha, *request.arguments)
        except NoScriptError:  # it has not run
            return send("EVAL", script.source, *request.arguments)

    def _check_and_ask(self, *arguments: bytes | int | str) -> Any:
        check_schema(self._client.execute_command("GET", self._layout.schema))
        self.ask = self._client.execute_command if self._clustered else self._ask
        return self.ask(*arguments)

    def _ask(self, *arguments: bytes | int | str) -> Any:
        """Ask on a connection of the pool: by the client itself, a look-up takes half as long again."""
        connection = self._client.connection_pool.get_connection()
        try:
            return self._over(connection, arguments)
        except BROKEN:
            return self._client.execute_command(*arguments)

    def _of_server(self, *arguments: str) -> Any:
        if self._closed:
            self._refuse()
        if self._clustered:
            return self._client.execute_command(*arguments, target_nodes=self._node())
        return self._client.execute_command(*arguments)

    def _node(self) -> Any:
        return self._client.get_node_from_key(self._layout.schema)

    def _once(self, *arguments: bytes | int | str) -> Any:
        client = self._client
        if self._clustered:  # a named node is not tried again, but redirections are followed
            return client.execute_command(*arguments, target_nodes=self._node())
        return self._over(client.connection_pool.get_connection(), arguments)

    def _over(self, connection: Any, arguments: tuple[bytes | int | str, ...]) -> Any:
        try:
            connection.send_command(*arguments)
            return connection.read_response()
        except BaseException as error:
            # After a failover the address may lead to the new primary; a refusal leaves the connection as it was.
            if not isinstance(error, ResponseError) or isinstance(error, ReadOnlyError):
                connection.disconnect()
            raise
        finally:
            self._client.connection_pool.release(connection)

    def _refuse(self, *_arguments: object) -> Any:
        raise StoreUnavailableError("the store is closed")
