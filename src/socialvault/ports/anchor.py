"""The anchor port: the highest generation that each connection was ever seen at, kept where backups are not.

Whoever can write a database can put an old row back, whole and valid. A store can't see that; an anchor can, as long as
it is not put back together with the store.
"""

from __future__ import annotations

from typing import Protocol


class Anchor(Protocol):
    """Remembers generations; blocking. Numbers only rise, but for `reset`."""

    def highest(self, connection_id: str) -> int:
        """Return the highest generation that was anchored, 0 for an unknown connection.

        Raises:
            StoreUnavailableError: it can't be read.
        """
        ...

    def raise_to(self, connection_id: str, generation: int) -> None:
        """Anchor a generation, durably; a lower one than is anchored changes nothing.

        Raises:
            StoreUnavailableError: it can't be written.
        """
        ...

    def reset(self, connection_id: str) -> None:
        """Forget a connection: whatever is stored for it is accepted next.

        Raises:
            StoreUnavailableError: it can't be written.
        """
        ...

    def close(self) -> None:
        """Close what it has open."""
        ...


class AsyncAnchor(Protocol):
    """As `Anchor`, for event loops; each method means the same."""

    async def highest(self, connection_id: str) -> int: ...

    async def raise_to(self, connection_id: str, generation: int) -> None: ...

    async def reset(self, connection_id: str) -> None: ...

    async def aclose(self) -> None: ...
