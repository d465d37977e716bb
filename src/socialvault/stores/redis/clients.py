"""Which clients a store takes, and how it makes its own from a URL; the same for both colours.

A client that the store makes waits for a free connection rather than fail, speaks RESP2, where a connection that the
server has closed is noticed before anything is sent on it, and tries twice to connect.
"""

from __future__ import annotations

from typing import Any, TypeVar

from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

from socialvault.exceptions import ConfigurationError

PoolT = TypeVar("PoolT")

#: Of this process, or of one of its event loops; more callers wait for their turn.
MAX_CONNECTIONS = 50
#: For a free connection, for a new one, and for an answer.
TIMEOUT_SECONDS = 5.0
#: A second attempt after a pause; but nobody waits twice for a server that does not answer.
RETRIES = (ConstantBackoff(0.05), 1, (RedisConnectionError,))

_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}


def make_pool(pool: type[PoolT], url: str, retry: object) -> PoolT:
    """Make a connection pool; what the URL's query says counts more than what is chosen here.

    Raises:
        ConfigurationError: the URL can't be used; the message does not show it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ConfigurationError(
            f"the database URL must begin with one of {', '.join(_SCHEMES)}", argument="client_or_url"
        )
    options: dict[str, Any] = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}
    options |= {"timeout": TIMEOUT_SECONDS, "max_connections": MAX_CONNECTIONS, "protocol": 2, "retry": retry}
    try:
        made: PoolT = pool.from_url(f"{_SCHEMES[scheme]}://{rest}", **options)  # type: ignore[attr-defined]  # both colours' pools have it, and no base in common
    except (TypeError, ValueError):
        raise ConfigurationError("the database URL can't be read", argument="client_or_url") from None
    return made


def admit(client: Any) -> None:
    """Make sure that a client of either colour can be used.

    Raises:
        ConfigurationError: it decodes or caches what it reads, reads from replicas, or is no pool of connections.
    """
    if client.get_encoder().decode_responses:
        raise ConfigurationError(
            "the client decodes responses: make it with decode_responses=False", argument="client_or_url"
        )
    if getattr(client, "read_from_replicas", False) or getattr(client, "load_balancing_strategy", None):
        raise ConfigurationError(
            "the client reads from replicas, which may be behind: make it without", argument="client_or_url"
        )
    pool = getattr(client, "connection_pool", None)
    if getattr(pool, "cache", None) is not None:
        raise ConfigurationError(
            "the client caches what it reads, which may be behind: make it without", argument="client_or_url"
        )
    if not getattr(pool, "is_master", True):
        raise ConfigurationError(
            "the client is a replica's: give the primary's, master_for(…)", argument="client_or_url"
        )
    if getattr(client, "connection", None) is not None or getattr(client, "single_connection_client", False):
        raise ConfigurationError("the client has a single connection: give one with a pool", argument="client_or_url")
