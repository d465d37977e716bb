"""Ways to break the library, one guard at a time: each must be noticed by the points that name it.

A mutation changes the library in the process that applies it; the bench applies it in every process of a point. One
that several points share is here, any other beside its point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Apply = Callable[[], None]


@dataclass(frozen=True)
class Mutation:
    """What is taken away, in words, and how."""

    words: str
    apply: Apply


MUTATIONS: dict[str, Mutation] = {}


def mutation(words: str) -> Callable[[Apply], Apply]:
    """Register a function as a mutation under its own name."""

    def register(apply: Apply) -> Apply:
        assert apply.__name__ not in MUTATIONS, f"two mutations are called {apply.__name__}"
        MUTATIONS[apply.__name__] = Mutation(words, apply)
        return apply

    return register


@mutation("no compare-and-swap: a token is written whatever the stored generation is")
def no_compare_and_swap() -> None:
    """Write over whatever generation is there."""
    from dataclasses import replace

    from socialvault.stores.sqlite import SQLiteStore

    write = SQLiteStore.write_token

    def blind(store, change):  # type: ignore[no-untyped-def]
        with store._durable as execute:
            found = execute("SELECT generation FROM connections WHERE id = ?", (change.connection_id,)).fetchone()
        return write(store, replace(change, expected_generation=found[0]))

    SQLiteStore.write_token = blind  # type: ignore[method-assign]


@mutation("no intent: nobody is kept from presenting a token that another is presenting")
def no_intent() -> None:
    """Let everybody present."""
    from socialvault.stores.sqlite import SQLiteStore

    SQLiteStore.open_intent = lambda store, intent: True  # type: ignore[method-assign]


@mutation("no deadline: an intent keeps nobody away once it is written")
def no_intent_deadline() -> None:
    """End every intent at once."""
    from dataclasses import replace

    from socialvault.stores.sqlite import SQLiteStore

    opened = SQLiteStore.open_intent
    SQLiteStore.open_intent = lambda store, intent: opened(store, replace(intent, lifetime_seconds=0.0))  # type: ignore[method-assign]


@mutation("no guard: the request, the verdict and the save end with their caller")
def no_guard() -> None:
    """Run guarded work in the caller's own task or thread."""
    from socialvault.vault.core import Core

    async def unguarded(core, work, **_options):  # type: ignore[no-untyped-def]
        return await work()

    Core.guarded = unguarded  # type: ignore[method-assign]


@mutation("no escrow: a token that the store can't take is kept nowhere")
def no_escrow() -> None:
    """Keep nothing."""
    from socialvault.stores.escrow import FileEscrow

    FileEscrow.keep = lambda escrow, record: "kept"  # type: ignore[method-assign]


@mutation("no candidate: a token that lost the compare-and-swap is dropped")
def no_candidate() -> None:
    """Drop late tokens."""
    from socialvault.stores.sqlite import SQLiteStore

    SQLiteStore.put_candidate = lambda store, connection_id, generation, candidate: True  # type: ignore[method-assign]


@mutation("no merge rule: what an answer leaves out is lost")
def no_merge_rule() -> None:
    """Store answers as they come."""
    from socialvault.protocol import token
    from socialvault.vault import grants

    token.merge = grants.merge = lambda stored, fresh: fresh  # type: ignore[attr-defined]


@mutation("no second look: a refusal is believed without reading the row again")
def no_reread() -> None:
    """Believe the first refusal."""
    from socialvault.vault import attempt

    async def at_once(attempts, presentation, verdict):  # type: ignore[no-untyped-def]
        await attempt.mark_dead(attempts._core, presentation.row, verdict.reason)
        raise verdict

    attempt.Attempts._after_refusal = at_once  # type: ignore[method-assign]
