"""What all contract suites share: opening the store, moving the clock, and letting callers race."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from socialvault.model.keys import KeyLevel, WrappedKey
    from socialvault.model.rows import ConnectionRow
    from socialvault.ports.store import AsyncStore

T = TypeVar("T")

OpenStore = Callable[[], Any]
Act = Callable[[int], Awaitable[T]]
Advance = Callable[[float], None]

LEVELS: tuple[KeyLevel, ...] = ("kek", "vault", "data")
RACERS = 16
ROUNDS = 40


class ManualClock:
    """A clock that stands until it is moved."""

    def __init__(self, seconds: float = 1_900_000_000.0) -> None:
        self._seconds = seconds

    def now_seconds(self) -> float:
        """As `Clock.now_seconds`."""
        return self._seconds

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self._seconds += seconds


class Awaited:
    """Lets a blocking store be awaited: every call is done at once, in the caller's thread."""

    def __init__(self, store: object) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self.store, "close" if name == "aclose" else name)

        async def call(*args: object, **kwargs: object) -> Any:
            return method(*args, **kwargs)

        return call


async def race_in_threads(racers: int, act: Act[T]) -> list[T]:
    """Run ``act(0)``, ``act(1)``, … at the same moment, each in its own thread and event loop.

    Python changes threads at nearly every step meanwhile, so that a missing lock shows.
    """
    start = threading.Barrier(racers)

    def run(number: int) -> T:
        async def main() -> T:
            start.wait(timeout=30)
            return await act(number)

        return asyncio.run(main())

    loop, interval_seconds = asyncio.get_running_loop(), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(racers) as threads:
            return await asyncio.gather(*(loop.run_in_executor(threads, run, number) for number in range(racers)))
    finally:
        sys.setswitchinterval(interval_seconds)


async def race_in_loop(racers: int, act: Act[T]) -> list[T]:
    """Run ``act(0)``, ``act(1)``, … concurrently in this event loop."""
    return list(await asyncio.gather(*(act(number) for number in range(racers))))


async def opened(open_store: OpenStore) -> AsyncStore:
    """Call what the adapter's test gave as `open_store`."""
    store = open_store()
    return cast("AsyncStore", await store if inspect.isawaitable(store) else store)


async def stored(store: AsyncStore, row: ConnectionRow) -> ConnectionRow | None:
    """Read `row` back as its owner."""
    return await store.get(row.id, row.account.tenant, row.owner)


async def kept(store: AsyncStore, row: ConnectionRow) -> ConnectionRow:
    """Read `row` back, which must be there."""
    read = await stored(store, row)
    assert read is not None
    return read


async def everything(store: AsyncStore) -> list[ConnectionRow]:
    """Return every row there is."""
    return list(await store.find(tenant=None, owner=None, provider=None, status=None, after_id="", limit=1000))


async def every_key(store: AsyncStore, level: KeyLevel) -> list[WrappedKey]:
    """Return every key of a level."""
    return list(await store.keys(level, tenant=None, state=None, after_id="", limit=1000))


class Contract:
    """The fixtures of every suite; see the package's text for what a subclass provides."""

    #: How callers race.
    race = staticmethod(race_in_threads)

    #: Whether a text may hold a NUL. Where the database can't have one, it is to be refused by type.
    keeps_nul = True

    #: The life of a state, a lease and an intent in these tests.
    ttl_seconds = 600.0

    @pytest.fixture
    def clock(self) -> ManualClock:
        """The clock that the store is to be given."""
        return ManualClock()

    @pytest.fixture
    def advance(self, clock: ManualClock) -> Callable[[float], None]:
        """Let the store's time pass."""
        return clock.advance

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Open the store under test; subclasses override it."""
        # Meant for who writes an adapter: pytest shows it where the fixture of the subclass is missing.
        raise NotImplementedError("give a fixture open_store that returns a function which opens your store")

    async def race_often(
        self, racers: int, rounds: int, act: Callable[[int, int], Awaitable[T]]
    ) -> list[tuple[T, ...]]:
        """Run ``act(racer, round)`` for every racer at the same moment, once a round; return the answers per round.

        One race may go well by luck; many, each on a row of its own, don't.
        """
        together, in_loop = threading.Barrier(racers), asyncio.Barrier(racers)

        async def run(racer: int) -> list[T]:
            answers = []
            try:
                for number in range(rounds):
                    if self.race is Contract.race:
                        together.wait(timeout=30)
                    elif self.race is race_in_loop:
                        await asyncio.wait_for(in_loop.wait(), 30)
                    answers.append(await act(racer, number))
            except BaseException:
                together.abort()
                await in_loop.abort()
                raise
            return answers

        return list(zip(*await self.race(racers, run), strict=True))

    @pytest_asyncio.fixture
    async def store(self, open_store: OpenStore) -> AsyncIterator[AsyncStore]:
        """One open store."""
        store = await opened(open_store)
        yield store
        await store.aclose()
