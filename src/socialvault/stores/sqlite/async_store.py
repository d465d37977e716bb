"""`AsyncSQLiteStore`: reads in the event loop's own thread, everything else in another."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

from socialvault.exceptions import StoreUnavailableError
from socialvault.model.connection import ConnectionRow, StatusWrite, TokenRow, TokenWrite
from socialvault.model.keys import VaultRow, WrappedKey
from socialvault.model.state import StateRow
from socialvault.ports.clock import Clock
from socialvault.stores.sqlite.reads import Reads
from socialvault.stores.sqlite.store import SQLiteStore

P = ParamSpec("P")
R = TypeVar("R")


async def _in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    import asyncio  # only here: programs without an event loop never load it

    return await asyncio.to_thread(function, *args, **kwargs)


class AsyncSQLiteStore:
    """As `SQLiteStore`, for event loops; one store serves any number of loops, each in its own thread.

    A look-up takes some ten microseconds, far less than the way to another thread and back, so it happens in the loop;
    only when the database is busy it goes to a thread, where it may wait. Writes and searches always do. A write whose
    caller is cancelled is still carried out. Opening the store reads the file once, in the calling thread.

    Args:
        path, clock: as for `SQLiteStore`, and the same errors.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Clock | None = None) -> None:
        self._store = SQLiteStore(path, clock=clock)
        self._here = self._store.reads_without_waiting()

    async def aclose(self) -> None:
        """As `SQLiteStore.close`."""
        await _in_thread(self._store.close)

    # look-ups: here first

    async def read_token(self, connection_id: str, tenant: str, owner: str) -> TokenRow | None:
        """As `TokenStore.read_token`."""
        try:
            return self._here.read_token(connection_id, tenant, owner)
        except StoreUnavailableError:
            pass
        return await _in_thread(self._store.read_token, connection_id, tenant, owner)
