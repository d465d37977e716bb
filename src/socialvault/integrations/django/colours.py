"""Calling the application's functions from views of either colour."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async

from socialvault.http.settings import settled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


def blocking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as one to call."""
    if iscoroutinefunction(function):
        return async_to_sync(function)
    return lambda *args: settled(function(*args), getattr(function, "__name__", "a function of the application"))


async def apart(function: Callable[..., T], *args: Any) -> T:
    """Call what blocks and has nothing to do with Django's database connections: in any thread."""
    answer: T = await sync_to_async(function, thread_sensitive=False)(*args)
    return answer


def asynchronous(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Return a function as one to await; a plain one runs in the thread that Django keeps for database access."""
    return function if iscoroutinefunction(function) else sync_to_async(function)
