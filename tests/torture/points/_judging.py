"""What several points judge by."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from socialvault.runtimes.threads import run
from torture.bench import OWNER, TENANT

if TYPE_CHECKING:
    from socialvault import Vault
    from socialvault.sandbox.log import LogEntry
    from torture.bench import Bench

T = TypeVar("T")
R = TypeVar("R")

#: Past every deadline of a process that is gone: lease, intent, and claim of a revocation.
PAST_DEADLINES_SECONDS = 120.0


class Ahead:
    """A clock that is `seconds` ahead, and runs `rate` times as fast from now on."""

    def __init__(self, seconds: float, rate: float = 1.0) -> None:
        self._seconds, self._rate, self._began = seconds, rate, time.time()

    def now_seconds(self) -> float:
        """Return the seconds since 1970-01-01 UTC."""
        return self._began + self._seconds + (time.time() - self._began) * self._rate


@dataclass(frozen=True)
class Case:
    """A connection, and what the provider's log calls its grant."""

    connection_id: str
    grant_id: str


def cases(bench: Bench, vault: Vault, count: int, slug: str = "x", **how: object) -> list[Case]:
    """Connect `count` people; see `Bench.connect`."""
    ids = bench.connect(vault, count, slug, **how)
    return [Case(connection_id, grant_of(vault, connection_id)) for connection_id in ids]


def grant_of(vault: Vault, connection_id: str) -> str:
    """Return the id of a connection's grant, which is in the text of its tokens."""
    core = vault._cases.core
    row = run(core.store.get(connection_id, TENANT, OWNER))
    assert row is not None
    return run(core.open(row)).token.access_token.reveal().split("-")[2]


def token_requests(bench: Bench, grant_id: str) -> list[LogEntry]:
    """Return what reached the token endpoint about a grant."""
    return bench.sandbox.log.entries(endpoint="token", grant_id=grant_id)


def at_once(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do `work` with all of `items` at once, in threads that are gone on return."""
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(work, items))


def within(seconds: float, held: Callable[[], bool]) -> bool:
    """Wait until `held`, at most so long; return whether it is."""
    until = time.monotonic() + seconds
    while not held():
        if time.monotonic() >= until:
            return False
        time.sleep(0.02)
    return True
