"""Failpoints: a name before and after every I/O of a vault, where a test can raise, hang, kill, or only look.

The library itself holds no failpoint, so they cost nothing: a vault is given collaborators that are wrapped here::

    failpoints = Failpoints(Kill("store.write_token.before"))
    vault = Vault(store=failpoints.store(SQLiteStore("vault.db")), keys=failpoints.keys(keyring), ...)

What a vault reaches without a port has no point: constructors (``SQLiteStore`` opens its file), the clock, sleep.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import signal
import threading
import time
from functools import cache, wraps
from inspect import isawaitable, iscoroutinefunction, isfunction
from typing import TYPE_CHECKING, Any, TypeVar

from socialvault import ports
from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    #: Told the name of each point that is passed. In an event loop it may be a coroutine function, or offer one as
    #: ``asynchronous``, which is called there instead.
    Hook = Callable[[str], Awaitable[None] | None]

T = TypeVar("T")

# Which of the modules in `socialvault.ports` declare I/O, and what a vault calls the part that does it.
_PARTS = {
    "store": ("token_store", "state_store", "key_store", "store"),
    "transport": ("transport",),
    "keys": ("key_service",),
    "escrow": ("escrow",),
    "anchor": ("anchor",),
}


class Failpoints:
    """Wraps collaborators so that `hook` is called around each of their port methods.

    ``store.get.before`` is passed before the method is called, ``store.get.after`` once it has returned, and not when
    it raised. A wrapped part keeps its colour, its other attributes, and its class for ``isinstance``.

    Args:
        hook: called with the name of each point; what it raises is what the vault meets there.
    """

    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    def store(self, store: T) -> T:
        """Return `store` with a point around each method of the storage ports, of either colour."""
        return self._wrapped("store", store)

    def transport(self, transport: T) -> T:
        """Return `transport` with a point around each method of its port, of either colour."""
        return self._wrapped("transport", transport)

    def keys(self, service: T) -> T:
        """Return `service` with a point around each method of its port, of either colour."""
        return self._wrapped("keys", service)

    def escrow(self, escrow: T) -> T:
        """Return `escrow` with a point around each method of its port, of either colour."""
        return self._wrapped("escrow", escrow)

    def anchor(self, anchor: T) -> T:
        """Return `anchor` with a point around each method of its port, of either colour."""
        return self._wrapped("anchor", anchor)

    @staticmethod
    def points() -> tuple[str, ...]:
        """Return the name of every point there is, as `socialvault.ports` declares them now."""
        return tuple(
            f"{part}.{method}.{moment}"
            for part in _PARTS
            for method in _methods(part)
            for moment in ("before", "after")
        )

    def _wrapped(self, part: str, original: T) -> T:
        _methods(part)  # looked up here once, where a test puts its parts together
        proxy: Any = _Proxy(part, original, self._hook)
        return proxy  # type: ignore[no-any-return]  # it passes for what it stands before


class _Proxy:
    """Stands in for `original`. A port method is wrapped when it is first asked for."""

    def __init__(self, part: str, original: object, hook: Hook) -> None:
        self._failpoints_of = (part, original, hook)

    def __getattr__(self, name: str) -> Any:
        part, original, hook = self._failpoints_of
        found = getattr(original, name)
        if name not in _methods(part):
            return found
        around = _around_asynchronous if iscoroutinefunction(found) else _around
        setattr(self, name, around(found, f"{part}.{name}", hook))
        return self.__dict__[name]

    @property
    def __class__(self) -> type:
        """For ``isinstance``: ``vault.client()`` asks whether a transport is the library's own."""
        return type(self._failpoints_of[1])

    @__class__.setter
    def __class__(self, _other: type) -> None:
        raise TypeError("a wrapped part keeps its class")


def _around(method: Callable[..., Any], name: str, hook: Hook) -> Callable[..., Any]:
    if iscoroutinefunction(hook) or iscoroutinefunction(getattr(hook, "__call__", None)):  # noqa: B004  # not whether it is callable
        raise ConfigurationError(f"{name} is blocking, so its hook must be a plain callable")

    @wraps(method)
    def passed(*args: Any, **kwargs: Any) -> Any:
        hook(f"{name}.before")
        result = method(*args, **kwargs)
        hook(f"{name}.after")
        return result

    return passed


def _around_asynchronous(method: Callable[..., Awaitable[Any]], name: str, hook: Hook) -> Callable[..., Any]:
    told = getattr(hook, "asynchronous", hook)

    @wraps(method)
    async def passed(*args: Any, **kwargs: Any) -> Any:
        await _tell(told, f"{name}.before")
        result = await method(*args, **kwargs)
        await _tell(told, f"{name}.after")
        return result

    return passed


async def _tell(hook: Hook, name: str) -> None:
    answer = hook(name)
    if isawaitable(answer):
        await answer


@cache
def _methods(part: str) -> tuple[str, ...]:
    """Return the names of a part's port methods, in the order of the ports; properties are not among them."""
    return tuple(dict.fromkeys(name for module in _PARTS[part] for name in _declared(module)))


def _declared(module: str) -> Iterator[str]:
    for protocol in protocols()[module]:
        yield from (name for name, member in vars(protocol).items() if isfunction(member) and name[0] != "_")


@cache
def protocols() -> dict[str, tuple[type, ...]]:
    """Return the Protocol classes that each module in `socialvault.ports` declares."""
    found = {}
    for info in pkgutil.iter_modules(ports.__path__):
        module = importlib.import_module(f"{ports.__name__}.{info.name}")
        declared = [one for one in vars(module).values() if getattr(one, "_is_protocol", False)]
        found[info.name] = tuple(one for one in declared if one.__module__ == module.__name__)
    return found


# --- hooks that are ready -------------------------------------------------------------------------


class _At:
    """Strikes once, at the n-th passage of one point."""

    def __init__(self, name: str, *, nth: int = 1) -> None:
        if name not in Failpoints.points():
            raise ConfigurationError(f"there is no failpoint {name!r}; see Failpoints.points()")
        if nth < 1:
            raise ConfigurationError("the first passage of a failpoint has the number 1")
        self._name, self._left = name, nth
        self._lock = threading.Lock()

    def _strikes(self, name: str) -> bool:
        if name != self._name:
            return False
        with self._lock:
            self._left -= 1
            return self._left == 0


class Raise(_At):
    """A hook that raises `error` at the n-th passage of the point `name`.

    Raises:
        ConfigurationError: there is no such point.
    """

    def __init__(self, name: str, error: BaseException, *, nth: int = 1) -> None:
        super().__init__(name, nth=nth)
        self._error = error

    def __call__(self, name: str) -> None:
        if self._strikes(name):
            raise self._error


class Kill(_At):
    """A hook that kills its process, without any last words, at the n-th passage of the point `name`.

    Raises:
        ConfigurationError: there is no such point.
    """

    def __call__(self, name: str) -> None:
        if self._strikes(name):
            os.kill(os.getpid(), signal.SIGKILL)


class Hang(_At):
    """A hook that waits `seconds` at the n-th passage of the point `name`; in an event loop the loop goes on.

    Raises:
        ConfigurationError: there is no such point.
    """

    def __init__(self, name: str, seconds: float, *, nth: int = 1) -> None:
        super().__init__(name, nth=nth)
        self._seconds = seconds

    def __call__(self, name: str) -> None:
        if self._strikes(name):
            time.sleep(self._seconds)

    async def asynchronous(self, name: str) -> None:
        """As a call, for event loops."""
        if self._strikes(name):
            await asyncio.sleep(self._seconds)


class Record:
    """A hook that only remembers.

    Attributes:
        passed: the names of the points passed, in order.
    """

    def __init__(self) -> None:
        self.passed: list[str] = []

    def __call__(self, name: str) -> None:
        self.passed.append(name)
