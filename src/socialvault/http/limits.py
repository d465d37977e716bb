"""Rate limits, counted by the `limits` library: in this process's memory, or in Redis for all processes together."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import RateLimiter as AsyncStrategy
    from limits.strategies import RateLimiter as Strategy

_MISSING = "rate_limits needs the limits package: install socialvault with the extra of your framework"
_NAMESPACE = "socialvault"

_logger = logging.getLogger("socialvault")


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How many requests are answered.

    Attributes:
        per_ip: for one client address, over all routes but the health checks; ``"600/minute"``, None for no limit.
        per_owner: for one owner, over the routes that need one.
        storage: where it is counted: ``memory://`` counts in each process by itself, ``redis://…`` for all of them.
            A storage that is away limits nobody.
    """

    per_ip: str | None = "600/minute"
    per_owner: str | None = "120/minute"
    storage: str = "memory://"


class Limiter(Protocol):
    """Counts requests."""

    async def hit(self, item: RateLimitItem, *whose: str) -> int:
        """Count one; return 0, or in how many seconds the next one will be answered."""
        ...


@dataclass(frozen=True, slots=True)
class Counting:
    """The limits in force, ready to count."""

    limiter: Limiter
    per_ip: RateLimitItem | None
    per_owner: RateLimitItem | None


class BlockingLimiter:
    """Counts with a blocking storage."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy

    async def hit(self, item: RateLimitItem, *whose: str) -> int:
        """See `Limiter.hit`."""
        try:
            if self._strategy.hit(item, _NAMESPACE, *whose):
                return 0
            return _until(self._strategy.get_window_stats(item, _NAMESPACE, *whose).reset_time)
        except Exception as problem:
            return _uncounted(problem)


class AsyncLimiter:
    """Counts with an asynchronous storage."""

    def __init__(self, strategy: AsyncStrategy) -> None:
        self._strategy = strategy

    async def hit(self, item: RateLimitItem, *whose: str) -> int:
        """See `Limiter.hit`."""
        try:
            if await self._strategy.hit(item, _NAMESPACE, *whose):
                return 0
            return _until((await self._strategy.get_window_stats(item, _NAMESPACE, *whose)).reset_time)
        except Exception as problem:
            return _uncounted(problem)


def blocking_counting(limits: RateLimits | None) -> Counting | None:
    """Make ready to count for blocking callers.

    Raises:
        ConfigurationError: a limit or the storage can't be understood, or a package is missing.
    """
    if limits is None:
        return None
    per_ip, per_owner = _parsed(limits.per_ip, "per_ip"), _parsed(limits.per_owner, "per_owner")
    from limits.storage import storage_from_string
    from limits.strategies import FixedWindowRateLimiter

    try:
        storage = storage_from_string(limits.storage)
    except Exception as problem:
        failure = type(problem).__name__
    else:
        return Counting(BlockingLimiter(FixedWindowRateLimiter(storage)), per_ip, per_owner)
    raise _storage_error(limits, failure)


def async_counting(limits: RateLimits | None) -> Counting | None:
    """As `blocking_counting`, for event loops."""
    if limits is None:
        return None
    per_ip, per_owner = _parsed(limits.per_ip, "per_ip"), _parsed(limits.per_owner, "per_owner")
    from limits.aio.strategies import FixedWindowRateLimiter
    from limits.storage import storage_from_string

    try:
        options = {"implementation": "redispy"} if limits.storage.startswith("redis") else {}
        storage = storage_from_string(f"async+{limits.storage}", **options)
    except Exception as problem:
        failure = type(problem).__name__
    else:
        return Counting(AsyncLimiter(FixedWindowRateLimiter(storage)), per_ip, per_owner)
    raise _storage_error(limits, failure)


def _parsed(text: str | None, name: str) -> RateLimitItem | None:
    try:
        from limits import parse_many
    except ImportError:
        raise ConfigurationError(_MISSING) from None
    if text is None:
        return None
    try:
        [item] = parse_many(text)
    except ValueError:
        pass
    else:
        return item
    raise ConfigurationError(f"rate_limits: {name} is {text!r}, not of the form '120/minute'")


def _storage_error(limits: RateLimits, failure: str) -> ConfigurationError:
    """Name the scheme alone: a storage's URL may hold a password."""
    scheme = str(limits.storage).partition(":")[0]
    return ConfigurationError(f"rate_limits: storage {scheme!r} can't be used ({failure}); give memory:// or redis://…")


def _until(reset_time: float) -> int:
    return max(1, math.ceil(reset_time - time.time()))


def _uncounted(problem: Exception) -> int:
    _logger.warning("rate limits: the storage raised %s; nobody is limited", type(problem).__name__)
    return 0
