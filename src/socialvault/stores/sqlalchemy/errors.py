"""What drivers and SQLAlchemy raise, told as the store's own errors: SQLSTATE or SQLite's code, and never a value.

Drivers put values and even whole rows into their messages, so none of these messages goes any further.
"""

from __future__ import annotations

import sqlite3

from sqlalchemy import exc

from socialvault.exceptions import StoreError, StoreUnavailableError

#: Everything that a statement or a connection attempt can end in.
DRIVER_ERRORS = (exc.SQLAlchemyError, OSError, UnicodeError, OverflowError)

#: A transaction that lost against others and may be run again, as nothing of it was done.
LOST_RACE = frozenset({"40001", "40P01"})
UNIQUE_VIOLATION = "23505"
_NOT_PERMITTED = "42501"
_IF_IT_LASTS = "If that lasts, look at the host, database, account and password in its URL"

# Connection, resources, intervention of an operator, system error; then single codes of other classes: another
# holds the lock, read-only, no such database, lost races, and a login that is refused.
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58", "28")
_UNAVAILABLE_STATES = frozenset({"55P03", "25006", "3D000", *LOST_RACE})
_SQLITE_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOLFS,
    }
)


def sqlstate(error: Exception) -> str:
    """Return the SQLSTATE that the server gave, "" when the error is not the server's."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def is_disconnect(error: Exception) -> bool:
    """Return whether a connection that once worked turned out to be gone."""
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def refusal(error: Exception) -> StoreError:
    """Translate what was raised into an error that says what to do and shows no value."""
    if isinstance(error, exc.TimeoutError):
        return StoreUnavailableError("every pooled connection to the database is in use: raise the pool's size")
    if isinstance(error, OSError):
        return StoreUnavailableError(f"the database can't be reached: {type(error).__name__}")
    if not isinstance(error, exc.DBAPIError):
        return StoreError(f"a value can't be stored, or a statement not be run: {type(error).__name__}")
    if isinstance(error.orig, sqlite3.Error):
        return _sqlite_refusal(error.orig)
    return _server_refusal(error)


def _sqlite_refusal(error: sqlite3.Error) -> StoreError:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE)
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    if code & 0xFF in _SQLITE_UNAVAILABLE:
        return StoreUnavailableError(f"the database is not available: {name}")
    return StoreError(f"the database refused: {name}")


def _server_refusal(error: exc.DBAPIError) -> StoreError:
    state = sqlstate(error)
    name = type(error).__name__
    if state.startswith(_UNAVAILABLE_CLASSES) or state in _UNAVAILABLE_STATES or error.connection_invalidated:
        return StoreUnavailableError(f"the database is not available: {name}, SQLSTATE {state or 'unknown'}")
    if state == _NOT_PERMITTED:
        return StoreError("the database does not permit this account to use its tables: GRANT what it needs")
    if state:
        return StoreError(f"the database refused: {name}, SQLSTATE {state}")
    if isinstance(error, (exc.OperationalError, exc.InterfaceError)):  # psycopg gives no SQLSTATE while it connects
        return StoreUnavailableError(f"the database is not available: {name}. {_IF_IT_LASTS}")
    # The driver's own refusal, before anything was sent: PostgreSQL has no text with a NUL in it.
    return StoreError(f"a value can't be stored, such as a text that has a NUL or is no Unicode: {name}")
