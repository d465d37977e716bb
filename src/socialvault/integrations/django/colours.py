"""Calling the application's functions from views of either colour."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync, sync_to_async

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def blocking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as one to call."""
    return async_to_sync(function) if iscoroutinefunction(function) else function


def asynchronous(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Return a function as one to await; a plain one runs in the thread that Django keeps for database access."""
    return function if iscoroutinefunction(function) else sync_to_async(function)
