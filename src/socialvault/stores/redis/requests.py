"""What an operation asks of the server: written once, carried out by either colour."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from socialvault.stores.redis.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.ports.clock import Clock
    from socialvault.stores.redis.columns import Columns
    from socialvault.stores.redis.scripts import Script

T = TypeVar("T")


class Request(NamedTuple):
    """One command, or one script.

    Attributes:
        script: None for a command that only reads.
        arguments: of the command, its name included, or of the script, from the number of its keys on.
    """

    script: Script | None
    arguments: tuple[bytes | int | str, ...]


#: An operation: yields requests, is sent what the server answered, and returns what its caller gets.
Asking = Generator[Request, Any, T]


class Asker:
    """Builds the requests of one vault.

    Args:
        layout: the names of its keys.
        clock: tells the time; None for the server's own.
    """

    def __init__(self, layout: Layout, clock: Clock | None) -> None:
        self.layout = layout
        self._clock = clock

    def call(self, script: Script, operation: str, keys: Sequence[bytes], *arguments: bytes) -> Request:
        """Return a request that runs an operation of a script."""
        now = b"" if self._clock is None else repr(self._clock.now_seconds()).encode()
        return Request(script, (len(keys), *keys, operation.encode(), self.layout.prefix, now, *arguments))


def read_fields(key: bytes, columns: Columns) -> Request:
    """Return a request for some fields of a hash."""
    return Request(None, ("HMGET", key, *names(columns)))


def names(columns: Columns) -> list[bytes]:
    """Return the names of columns."""
    return [name.encode() for name in columns]


def counted(columns: Columns) -> list[bytes]:
    """Return how many columns there are, then their names, as the scripts expect them."""
    return [b"%d" % len(columns), *names(columns)]


def flag(value: bool) -> bytes:  # noqa: FBT001  (a value on its way to a script)
    """Return a yes or a no as the scripts expect it."""
    return b"1" if value else b"0"
