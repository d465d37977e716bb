"""A store in PostgreSQL or SQLite, by way of SQLAlchemy; needs the extra ``sqlalchemy`` and a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socialvault.stores.sqlalchemy.async_store import AsyncSQLAlchemyStore
    from socialvault.stores.sqlalchemy.store import SQLAlchemyStore

__all__ = ["AsyncSQLAlchemyStore", "SQLAlchemyStore"]

if not TYPE_CHECKING:  # a blocking application does not load the other colour, and nobody a driver without need

    def __getattr__(name: str) -> object:
        from importlib import import_module

        from socialvault.exceptions import ConfigurationError

        module = {"AsyncSQLAlchemyStore": "async_store", "SQLAlchemyStore": "store"}.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            return getattr(import_module(f"{__name__}.{module}"), name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in ("sqlalchemy", "greenlet"):
                raise
            message = "SQLAlchemy is not installed: pip install 'socialvault[sqlalchemy]'"
            raise ConfigurationError(message, argument="store") from None
