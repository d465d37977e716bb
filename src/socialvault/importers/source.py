"""What an import reads from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from socialvault.importers.record import ImportRecord, Row

#: Rows that are held at once.
PAGE_LENGTH = 500


class Source(Protocol):
    """Rows in a fixed order, read page by page, never written.

    Attributes:
        name: tells this source from others in a `CursorFile`; no secret.
        token_columns: the columns that hold tokens, for what decrypts them.
    """

    @property
    def name(self) -> str: ...

    @property
    def token_columns(self) -> tuple[str, ...]: ...

    def count(self, after: str) -> int:
        """Count the rows after the one whose id is `after`; "" counts all."""
        ...

    def pages(self, after: str) -> Iterator[Sequence[Row]]:
        """Yield the rows after the one whose id is `after`, some hundred at a time."""
        ...

    def read(self, row: Row) -> ImportRecord:
        """Make sense of a row.

        Raises:
            Unreadable: there is none in it.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds open."""
        ...
