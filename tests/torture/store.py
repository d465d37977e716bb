"""Which stores a point runs on: a kind, and the colour of its adapter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Store:
    """One adapter.

    Attributes:
        kind: sqlite, postgres, valkey or memory. colour: sync or async.
    """

    kind: str
    colour: str = "sync"

    def __str__(self) -> str:
        return self.kind if self.colour == "sync" else f"{self.kind} {self.colour}"


#: What the report has sections for, in its order.
STORES = tuple(Store(kind, colour) for kind in ("sqlite", "postgres", "valkey") for colour in ("sync", "async"))
