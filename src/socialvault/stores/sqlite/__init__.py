"""A store in one SQLite file; needs nothing but the standard library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socialvault.stores.sqlite.async_store import AsyncSQLiteStore
    from socialvault.stores.sqlite.store import SQLiteStore

__all__ = ["AsyncSQLiteStore", "SQLiteStore"]

if not TYPE_CHECKING:  # a blocking application does not load the other colour

    def __getattr__(name: str) -> object:
        from importlib import import_module

        module = {"AsyncSQLiteStore": "async_store", "SQLiteStore": "store"}.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{module}"), name)
