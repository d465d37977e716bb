"""The escrow port: where a token answer waits, on this machine, until the store can take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.model.rows import EscrowRecord


class Escrow(Protocol):
    """Keeps sealed token answers; blocking. Records are only added and removed, never changed."""

    def open(self) -> None:
        """Make sure that records can be kept.

        Raises:
            ConfigurationError: they can't, or others could read or replace them.
        """
        ...

    def keep(self, record: EscrowRecord) -> str:
        """Keep `record`, which is on disk once this returns; return its name.

        Raises:
            StoreUnavailableError: it could not be kept.
        """
        ...

    def records(self) -> Sequence[EscrowRecord]:
        """Return what is kept, oldest first; what is no whole record is left alone.

        Raises:
            StoreUnavailableError: the escrow can't be read.
        """
        ...

    def set_aside(self, name: str) -> None:
        """Keep a record that nobody can open, out of the way: `records` does not return it any more.

        Raises:
            StoreUnavailableError: it can't be moved.
        """
        ...

    def forget(self, name: str) -> None:
        """Remove a record that the store has taken; one that is gone already is no error.

        Raises:
            StoreUnavailableError: it can't be removed.
        """
        ...


class AsyncEscrow(Protocol):
    """As `Escrow`, for event loops; each method means the same."""

    async def open(self) -> None: ...

    async def keep(self, record: EscrowRecord) -> str: ...

    async def records(self) -> Sequence[EscrowRecord]: ...

    async def set_aside(self, name: str) -> None: ...

    async def forget(self, name: str) -> None: ...
