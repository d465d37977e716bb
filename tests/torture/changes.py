"""Changes to what a store does, of any kind and colour: how mutations break one guard of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from socialvault.runtimes.threads import run

#: ``await change(store, original, *args)``: instead of a method; whatever it calls of `store` is awaited too.
Change = Callable[..., Awaitable[Any]]

_CHANGES: dict[str, Change] = {}


def change_store(method: str, change: Change) -> None:
    """Let every store that is opened from now on do `change` instead of `method`."""
    _CHANGES[method] = change


def answer(value: Any) -> Change:
    """A change that does nothing and returns `value`."""

    async def instead(_store: Any, _original: Any, *_args: Any, **_kwargs: Any) -> Any:
        return value

    return instead


def changed(store: Any) -> Any:
    """Return `store` with the changes that there are."""
    return _Changed(store) if _CHANGES else store


class _Awaited:
    """A store of either colour, seen as an asynchronous one."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            return found(*args, **kwargs)

        return call


class _Changed:
    """A store whose methods are those of `store`, but for the changes."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        change = _CHANGES.get(name)
        if change is None:
            return found
        face = _Awaited(self._store)
        original = getattr(face, name)

        @wraps(found)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            return await change(face, original, *args, **kwargs)

        @wraps(found)
        def blocking(*args: Any, **kwargs: Any) -> Any:
            return run(change(face, original, *args, **kwargs))  # type: ignore[arg-type]  # it is a coroutine function

        return asynchronous if iscoroutinefunction(found) else blocking
