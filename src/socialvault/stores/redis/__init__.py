"""A store in Valkey or Redis, 7 or newer. Needs ``pip install 'socialvault[redis]'``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socialvault.stores.redis.async_store import AsyncRedisStore
    from socialvault.stores.redis.store import RedisStore

__all__ = ["AsyncRedisStore", "RedisStore"]

if not TYPE_CHECKING:  # a blocking application does not load the other colour

    def __getattr__(name: str) -> object:
        from importlib import import_module
        from importlib.util import find_spec

        from socialvault.exceptions import ConfigurationError

        module = {"AsyncRedisStore": "async_store", "RedisStore": "store"}.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if find_spec("redis") is None:
            raise ConfigurationError("redis-py is missing: pip install 'socialvault[redis]'")
        return getattr(import_module(f"{__name__}.{module}"), name)
