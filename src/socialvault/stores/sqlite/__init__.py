"""A store in one SQLite file; needs nothing but the standard library."""

from socialvault.stores.sqlite.async_store import AsyncSQLiteStore
from socialvault.stores.sqlite.store import SQLiteStore

__all__ = ["AsyncSQLiteStore", "SQLiteStore"]
