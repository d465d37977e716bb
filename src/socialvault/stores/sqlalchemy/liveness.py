"""Telling without a round trip whether the server ended a pooled connection.

A server that shuts down says so on every connection, or at least closes it. An idle connection on which something can
be read is therefore one to part with: at worst it was a notice, and a new connection costs some milliseconds.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection


def _psycopg_is_gone(connection: Connection) -> bool:
    driver: Any = connection.connection.driver_connection
    if driver.closed:
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([driver.fileno()], [], [], 0)[0])
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _asyncpg_is_gone(connection: Connection) -> bool:
    driver: Any = connection.connection.driver_connection
    return bool(driver.is_closed())  # its loop reads whatever comes, the end included


def _never_gone(_connection: Connection) -> bool:
    return False


_PROBES: dict[str, Callable[[Connection], bool]] = {"psycopg": _psycopg_is_gone, "asyncpg": _asyncpg_is_gone}


def liveness_probe(driver: str) -> Callable[[Connection], bool]:
    """Return what tells for a driver whether a connection that was idle has ended."""
    return _PROBES.get(driver, _never_gone)
