"""The runtime port: what differs between threads and event loops and is no driver."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

Factory = Callable[[], Coroutine[Any, Any, T]]


class Runtime(Protocol):
    """Runs the vault's work so that no caller's fate decides over it."""

    async def single_flight(self, key: Hashable, factory: Factory[T]) -> T:
        """Run `factory` once for all callers of `key` in this process; they share its result or error.

        A caller that is cancelled or killed takes nobody with it.
        """
        ...

    async def guarded(
        self, factory: Factory[T], *, deadline_seconds: float, heartbeat: Factory[None] | None, every_seconds: float
    ) -> T:
        """Run `factory` to its end whatever happens to the caller, with `heartbeat` every `every_seconds` meanwhile.

        Raises:
            TimeoutError: `deadline_seconds` passed; the work goes on until its own deadlines end it.
        """
        ...

    async def each(self, factories: Sequence[Factory[T]], at_most: int) -> list[T]:
        """Run all of `factories`, `at_most` at a time; return their results in order.

        Raises:
            BaseException: the first error, once none runs any more.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def drain(self, timeout_seconds: float) -> None:
        """Wait until all guarded work is done, or the time is over."""
        ...
