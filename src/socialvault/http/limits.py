"""Rate limits, counted by the `limits` library: in this process's memory, or in Redis for all processes together."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from limits import RateLimitItem
    from limits.strategies import RateLimiter

    #: Calls a function that may block, wherever that does no harm.
    Apart = Callable[..., Awaitable[Any]]

T = TypeVar("T")

_MISSING = "rate_limits needs the limits package: install socialvault with the extra of your framework"
_NAMESPACE = "socialvault"
_IN_MEMORY = "memory://"
_PATIENCE_SECONDS = 0.5
_PAUSE_SECONDS = 5.0

_logger = logging.getLogger("socialvault")


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How many requests are answered.

    Attributes:
        per_ip: for one client address, over all routes but health checks and signed notices; ``"600/minute"``, None
            for no limit.
        per_owner: for one owner, over the routes that need one.
        storage: where it is counted: ``memory://`` counts in each process by itself, ``redis://…`` for all of them.
            A storage that fails, or takes longer than half a second, limits nobody for the next five seconds.
    """

    per_ip: str | None = "600/minute"
    per_owner: str | None = "120/minute"
    storage: str = _IN_MEMORY


@dataclass(frozen=True, slots=True)
class Counting:
    """The limits in force, ready to count."""

    limiter: Limiter
    per_ip: RateLimitItem | None
    per_owner: RateLimitItem | None


class Limiter:
    """Counts requests. Safe to use from any number of threads and event loops.

    Args:
        apart: how to call a storage that may block.
    """

    def __init__(self, strategy: RateLimiter, apart: Apart) -> None:
        self._strategy = strategy
        self._apart = apart
        self._away_until = 0.0

    async def hit(self, item: RateLimitItem, *whose: str) -> int:
        """Count one; return 0, or in how many seconds the next one will be answered."""
        if time.monotonic() < self._away_until:
            return 0
        wait_seconds: int = await self._apart(self._count, item, _key(whose))
        return wait_seconds

    def _count(self, item: RateLimitItem, key: list[str]) -> int:
        try:
            if self._strategy.hit(item, *key):
                return 0
            reset_time = self._strategy.get_window_stats(item, *key).reset_time
        except Exception as problem:
            self._away_until = time.monotonic() + _PAUSE_SECONDS
            _logger.warning("rate limits: the storage raised %s; nobody is limited", type(problem).__name__)
            return 0
        return max(1, math.ceil(reset_time - time.time()))


async def in_place(function: Callable[..., T], *args: Any) -> T:
    """Call a function where we are: for callers that may block."""
    return function(*args)


def counting(limits: RateLimits | None, apart: Apart = in_place) -> Counting | None:
    """Make ready to count.

    Args:
        apart: how an event loop calls what blocks; memory never does.

    Raises:
        ConfigurationError: a limit or the storage can't be understood, or a package is missing.
    """
    if limits is None:
        return None
    per_ip, per_owner = _parsed(limits.per_ip, "per_ip"), _parsed(limits.per_owner, "per_owner")
    from limits.storage import storage_from_string
    from limits.strategies import FixedWindowRateLimiter

    remote = str(limits.storage).startswith("redis")
    options = {"socket_timeout": _PATIENCE_SECONDS, "socket_connect_timeout": _PATIENCE_SECONDS} if remote else {}
    try:
        storage = storage_from_string(limits.storage, **options)
    except Exception as problem:
        failure = type(problem).__name__
    else:
        near = limits.storage.startswith(_IN_MEMORY)
        return Counting(Limiter(FixedWindowRateLimiter(storage), in_place if near else apart), per_ip, per_owner)
    if remote and find_spec("redis") is None:
        raise ConfigurationError("rate_limits: storage: Redis is missing: pip install 'socialvault[redis]'")
    scheme = str(limits.storage).partition(":")[0]  # alone: the URL may hold a password
    raise ConfigurationError(f"rate_limits: storage {scheme!r} can't be used ({failure}); give memory:// or redis://…")


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
        item = None
    if item is None or item.amount < 1:
        raise ConfigurationError(f"rate_limits: {name} is {text!r}, not of the form '120/minute'")
    return item


def _key(whose: tuple[str, ...]) -> list[str]:
    """Return the parts of a key; the library joins them with slashes, so none may hold one."""
    return [_NAMESPACE, *(quote(part, safe="") for part in whose)]
