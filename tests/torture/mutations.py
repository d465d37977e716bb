"""Ways to break the library, one guard at a time: each must be noticed by the points that name it.

A mutation changes the library in the process that applies it; the bench applies it in every process of a point. One
that several points share is here, any other beside its point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torture.changes import answer, change_store

OWNER, TENANT = "user-42", "acme"  # of every connection in a bench

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

    async def blind(store: Any, original: Any, write: Any) -> Any:
        row = await store.get(write.connection_id, TENANT, OWNER)
        return await original(replace(write, expected_generation=row.generation))

    change_store("write_token", blind)


@mutation("no intent: nobody is kept from presenting a token that another is presenting")
def no_intent() -> None:
    """Let everybody present."""
    change_store("open_intent", answer(value=True))


@mutation("no deadline: an intent keeps nobody away once it is written")
def no_intent_deadline() -> None:
    """End every intent at once."""

    async def over(_store: Any, original: Any, intent: Any) -> Any:
        return await original(replace(intent, lifetime_seconds=0.0))

    change_store("open_intent", over)


@mutation("no guard: the request, the verdict and the save end with their caller")
def no_guard() -> None:
    """Run guarded work in the caller's own task or thread."""
    from socialvault.vault.core import Core

    async def unguarded(core, work, **_options):  # type: ignore[no-untyped-def]  # a mutation
        return await work()

    Core.guarded = unguarded  # type: ignore[method-assign]  # a mutation


@mutation("no escrow: a token that the store can't take is kept nowhere")
def no_escrow() -> None:
    """Keep nothing."""
    from socialvault.stores.escrow import FileEscrow

    FileEscrow.keep = lambda escrow, record: "kept"  # type: ignore[method-assign]  # a mutation


@mutation("no candidate: a token that lost the compare-and-swap is dropped")
def no_candidate() -> None:
    """Drop late tokens."""
    change_store("put_candidate", answer(value=True))


@mutation("no merge rule: what an answer leaves out is lost")
def no_merge_rule() -> None:
    """Store answers as they come."""
    from socialvault.protocol import token
    from socialvault.vault import grants

    token.merge = grants.merge = lambda stored, fresh: fresh  # type: ignore[attr-defined]  # a mutation


@mutation("no second look: a refusal is believed without reading the row again")
def no_reread() -> None:
    """Believe the first refusal."""
    from socialvault.vault import attempt

    async def at_once(attempts, presentation, verdict):  # type: ignore[no-untyped-def]  # a mutation
        await attempt.mark_dead(attempts._core, presentation.row, verdict.reason)
        raise verdict

    attempt.Attempts._after_refusal = at_once  # type: ignore[method-assign]  # a mutation
