"""Leases: one process renews a connection while the others wait. Nothing is wrong without one, only slower."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from socialvault.exceptions import StoreError

if TYPE_CHECKING:
    from socialvault.ports.runtime import Factory
    from socialvault.vault.core import Core

T = TypeVar("T")

_BEATS_PER_LEASE = 3


class Leases:
    """Takes leases in the store."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._lease = core.settings.lease

    async def hold(self, connection_id: str, work: Factory[T]) -> tuple[T] | None:
        """Do guarded `work` under the connection's lease, which is prolonged meanwhile; None when another has it.

        A store that takes no lease is no reason not to try.

        Raises:
            OutcomeUnknownError: the work takes longer than its deadline, and goes on.
        """
        if not self._lease:
            return (await self._core.guarded(work),)
        store, ttl_seconds, holder = self._core.store, self._lease.total_seconds(), secrets.token_hex(16)
        try:
            if not await store.acquire_lease(connection_id, holder, ttl_seconds):
                return None
        except StoreError:
            return (await self._core.guarded(work),)

        async def prolong() -> None:
            await store.acquire_lease(connection_id, holder, ttl_seconds)

        async def work_and_release() -> T:
            try:
                return await work()
            finally:
                await self._release(connection_id, holder)

        return (await self._core.guarded(work_and_release, heartbeat=prolong, every=self._lease / _BEATS_PER_LEASE),)

    async def _release(self, connection_id: str, holder: str) -> None:
        with suppress(StoreError):  # it ends by itself
            await self._core.store.release_lease(connection_id, holder)
