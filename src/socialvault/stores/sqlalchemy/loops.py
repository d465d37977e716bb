"""An engine for every event loop, as a connection belongs to the loop that opened it."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, NamedTuple

from socialvault.stores.sqlalchemy.database import Database
from socialvault.stores.sqlalchemy.engines import open_async_engine
from socialvault.stores.sqlalchemy.forks import AsyncFileEngine, ServerEngine
from socialvault.stores.sqlalchemy.rotation import Rotation

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

    from socialvault.ports.clock import Clock
    from socialvault.stores.sqlalchemy.forks import OwnEngine


class _Loop(NamedTuple):
    engine: AsyncEngine
    store: Rotation
    in_forks: OwnEngine


class EnginePerLoop:
    """Makes an engine when a loop first asks. What a loop leaves open that was torn down goes with it."""

    def __init__(self, url: URL, clock: Clock | None) -> None:
        self._url = url
        self._clock = clock
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = weakref.WeakKeyDictionary()
        open_async_engine(url)  # connects to nothing, and fails here rather than later

    def store(self) -> Rotation:
        """Return what the running loop uses."""
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is None:
            found = self._loops[loop] = self._open()
        return found.store

    def _open(self) -> _Loop:
        engine = open_async_engine(self._url)
        inner = engine.sync_engine
        in_forks = AsyncFileEngine(inner) if inner.dialect.name == "sqlite" else ServerEngine(inner)
        return _Loop(engine, Rotation(Database(inner, self._clock)), in_forks)

    async def aclose(self) -> None:
        """Close the connections of every loop that still runs."""
        here = asyncio.get_running_loop()
        for loop, (engine, store, _) in list(self._loops.items()):
            store.database.close()
            if loop is here:
                await engine.dispose()
            elif loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(engine.dispose(), loop))
