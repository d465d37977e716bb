"""A store in this process's memory, for tests and for programs of a single process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socialvault.stores.memory.async_store import AsyncMemoryStore
    from socialvault.stores.memory.store import MemoryStore

__all__ = ["AsyncMemoryStore", "MemoryStore"]

if not TYPE_CHECKING:  # a blocking application does not load the other colour

    def __getattr__(name: str) -> object:
        from importlib import import_module

        module = {"AsyncMemoryStore": "async_store", "MemoryStore": "store"}.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{module}"), name)
