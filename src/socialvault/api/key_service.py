"""A blocking key service behind an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from socialvault.model.keys import KeyContext
    from socialvault.ports.key_service import KeyService

T = TypeVar("T")


class ThreadedKeyService:
    """A `KeyService` as an `AsyncKeyService`: it is asked in another thread, so that no loop waits for a network.

    Key services are asked once per process and cache lifetime, so the way to a thread and back costs nothing that
    shows.
    """

    def __init__(self, service: KeyService) -> None:
        self._service = service

    @property
    def primary_id(self) -> str:
        """As the service's; one that was not asked to wrap yet may have to find it out, in the calling thread."""
        return self._service.primary_id

    @property
    def key_ids(self) -> Collection[str]:
        return self._service.key_ids

    async def wrap(self, key: bytes, context: KeyContext) -> bytes:
        secret = Secret(key)
        del key  # frames of `to_thread` would show an argument
        return await _in_thread(lambda: self._service.wrap(secret.reveal(), context))

    async def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        return await _in_thread(lambda: self._service.unwrap(wrapped, context))

    def __repr__(self) -> str:
        return f"ThreadedKeyService({self._service!r})"


async def _in_thread(call: Callable[[], T]) -> T:
    import asyncio  # only here: programs without an event loop never load it

    return await asyncio.to_thread(call)
