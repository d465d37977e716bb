"""From a URL to a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from socialvault.ports.clock import Clock
    from socialvault.ports.store import AsyncStore, Store

REDIS = ("redis", "rediss", "valkey", "valkeys", "unix")
#: A plain ``sqlite`` is served by the standard library.
SQLALCHEMY = ("postgresql", "sqlite+")
_SERVED = "sqlite:///FILE, postgresql://…, redis://…, :memory: or an object"


def open_store(url: str, clock: Clock | None) -> Store:
    """Open the store that a URL names, blocking.

    Args:
        clock: None for the store's own: a database server's, where there is one.

    Raises:
        ConfigurationError: nothing in this installation serves the URL.
    """
    if url == ":memory:":
        from socialvault.stores.memory import MemoryStore

        return MemoryStore(clock=clock)
    if is_sqlalchemy(url):
        from socialvault.stores.sqlalchemy import SQLAlchemyStore

        return SQLAlchemyStore(url, clock=clock)
    if is_redis(url):
        from socialvault.stores.redis import RedisStore

        return RedisStore(url, clock=clock)
    from socialvault.stores.sqlite import SQLiteStore

    return SQLiteStore(sqlite_path(url), clock=clock)


def open_async_store(url: str, clock: Clock | None) -> AsyncStore:
    """As `open_store`, for event loops."""
    if url == ":memory:":
        from socialvault.stores.memory import AsyncMemoryStore

        return AsyncMemoryStore(clock=clock)
    if is_sqlalchemy(url):
        from socialvault.stores.sqlalchemy import AsyncSQLAlchemyStore

        return AsyncSQLAlchemyStore(url, clock=clock)
    if is_redis(url):
        from socialvault.stores.redis import AsyncRedisStore

        return AsyncRedisStore(url, clock=clock)
    from socialvault.stores.sqlite import AsyncSQLiteStore

    return AsyncSQLiteStore(sqlite_path(url), clock=clock)


def is_sqlalchemy(url: str) -> bool:
    """Whether SQLAlchemy serves a URL."""
    return url.startswith(SQLALCHEMY)


def is_redis(url: str) -> bool:
    """Whether Redis or Valkey serves a URL."""
    return url.partition(":")[0] in REDIS


def sqlite_path(url: str) -> str:
    """Return the file of a ``sqlite:///`` URL: three slashes and a relative path, four and an absolute one.

    Raises:
        ConfigurationError: it is no such URL.
    """
    scheme, separator, rest = url.partition(":///")
    if scheme == "sqlite" and separator and rest:
        return rest
    shown = scheme if separator else url.partition(":")[0]
    raise ConfigurationError(f"store: {shown!r} is not served here; give {_SERVED}")
