"""From what a store is given to an engine: a URL, or the application's own engine."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event, exc, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from socialvault.exceptions import ConfigurationError, StoreUnavailableError

if TYPE_CHECKING:
    from sqlalchemy import URL

Drivers = Mapping[str, tuple[str, ...]]

#: Which drivers serve which database, the one for a URL without a driver first.
BLOCKING: Drivers = {"postgresql": ("psycopg",), "sqlite": ("pysqlite",)}
ASYNCHRONOUS: Drivers = {"postgresql": ("asyncpg", "psycopg"), "sqlite": ("aiosqlite",)}

_INSTALL = {"psycopg": "'psycopg[binary]'", "asyncpg": "asyncpg", "aiosqlite": "aiosqlite"}
#: What libpq reads from a URL and asyncpg refuses with a `TypeError`, at each connection.
_ASYNCPG_LACKS = {
    "sslmode": "write ssl=… instead",
    "options": "take postgresql+psycopg, or set it for the role, as ALTER ROLE … SET search_path does",
}
#: For one connection attempt. Without it a server that does not answer is waited for as long as the system likes.
_CONNECT_SECONDS = 10
_CONNECT_OPTION = {"psycopg": "connect_timeout", "asyncpg": "timeout"}

# Deleted bytes are overwritten, sorting never spills to disk, a schema can't call functions, and what is committed
# survives a power cut.
_PRAGMAS = ("secure_delete=ON", "temp_store=MEMORY", "trusted_schema=OFF", "synchronous=FULL")


def parse(url: str | URL, drivers: Drivers) -> URL:
    """Return the URL with its driver, which is one of `drivers`.

    Raises:
        ConfigurationError: it can't be read, or nothing here serves it, or the driver is of the other colour or is not
            installed. The URL itself, which may hold a password, is not shown.
    """
    try:
        parsed = make_url(url)
    except exc.ArgumentError:
        parsed = None
    if parsed is None:
        raise _refused("the store's URL can't be read: give postgresql://… or sqlite+pysqlite:///FILE")
    backend, _, driver = parsed.drivername.partition("+")
    if backend not in drivers:
        raise _refused(f"{backend!r} is not served here: give postgresql://… or sqlite+pysqlite:///FILE")
    known = drivers[backend]
    if driver and driver not in known:
        other = BLOCKING[backend] if drivers is ASYNCHRONOUS else ASYNCHRONOUS[backend]
        why = "is for the other colour of the vault" if driver in other else "is not served"
        raise _refused(f"the driver {driver!r} {why}: use {' or '.join(f'{backend}+{name}' for name in known)}")
    installed = [name for name in ([driver] if driver else known) if name == "pysqlite" or find_spec(name)]
    if not installed:
        name = driver or known[0]
        raise _refused(f"the driver {name!r} is missing: pip install 'socialvault[sqlalchemy]' {_INSTALL[name]}")
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise _refused("SQLAlchemy's pool would give every thread a database of its own: use ':memory:' as the store")
    if installed[0] == "asyncpg":
        _check_options(parsed)
    return parsed.set(drivername=f"{backend}+{installed[0]}")


def _check_options(url: URL) -> None:
    for name, instead in _ASYNCPG_LACKS.items():
        if name in url.query:
            raise _refused(f"asyncpg takes no {name!r} from a URL: {instead}")


def open_engine(url: URL) -> Engine:
    """Make an engine for `url`, which commits each statement."""
    return _prepared(create_engine(url, **_options(url)))


def open_async_engine(url: URL) -> AsyncEngine:
    """As `open_engine`, for event loops."""
    engine = create_async_engine(url, **_options(url))
    _prepared(engine.sync_engine)
    return engine


def admit(engine: Engine, drivers: Drivers) -> None:
    """Make sure that an application's own engine serves a store and keeps its secrets.

    Raises:
        ConfigurationError: it does not.
    """
    known = drivers.get(engine.dialect.name)
    if known is None or engine.dialect.driver not in known:
        served = " or ".join(f"{backend}+{name}" for backend, names in drivers.items() for name in names)
        raise _refused(f"the engine's driver {engine.dialect.name}+{engine.dialect.driver} is not served: use {served}")
    if not engine.hide_parameters:
        raise _refused("the engine would write values into logs and errors: create it with hide_parameters=True")
    if engine.dialect.name == "sqlite" and engine.dialect.skip_autocommit_rollback:
        raise _refused("the engine would leave failed transactions open: create it without skip_autocommit_rollback")


def _options(url: URL) -> dict[str, Any]:
    options: dict[str, Any] = {"hide_parameters": True, "isolation_level": "AUTOCOMMIT", "connect_args": {}}
    name = _CONNECT_OPTION.get(url.get_driver_name())
    if name is not None and name not in url.query:
        options["connect_args"][name] = _CONNECT_SECONDS
    return options


def _prepared(engine: Engine) -> Engine:
    if engine.dialect.name == "sqlite":
        path = str(engine.url.database)
        event.listen(engine, "do_connect", lambda *_: admit_file(path))
        event.listen(engine, "connect", _set_pragmas)
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def admit_file(path: str) -> None:
    """Create an SQLite file when it is missing, for its owner alone, and refuse one that is not private.

    Raises:
        ConfigurationError: it is a link or no file, or other users may open it.
        StoreUnavailableError: it can't be reached.
    """
    try:
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600))
            found = os.lstat(path)
    except FileExistsError:
        return  # another process was faster, and made it as private
    except OSError as error:
        raise StoreUnavailableError(f"the database file can't be reached: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise _refused("the database path is a symbolic link or no file: give the path of a regular file")
    if os.name == "posix" and found.st_mode & stat.S_IRWXO:
        raise _refused("the database file is open to every user of this machine: chmod it to 600")


def _refused(message: str) -> ConfigurationError:
    return ConfigurationError(message, argument="store")
