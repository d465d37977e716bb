"""The tick: renew what is due, retry what is left to revoke, bring home what waits, warn of what will die."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Literal

from socialvault.exceptions import (
    ConfigurationError,
    ConnectionNotFoundError,
    EncryptionError,
    ReauthorizationRequiredError,
    SocialVaultError,
)
from socialvault.model.sweep import Sweep
from socialvault.vault.forecast import warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socialvault.model.rows import DueRow
    from socialvault.vault.circuit import Circuits
    from socialvault.vault.core import Core
    from socialvault.vault.custody import Custody
    from socialvault.vault.outbox import Outbox
    from socialvault.vault.tokens import Tokens

#: How many provider calls are under way at once.
IN_FLIGHT = 50

#: A record that does not open stays due, and is left as it is. So long this process passes over it, since it would take
#: the place of one that can be renewed.
_SET_ASIDE_SECONDS = 3600.0
_MOST_SET_ASIDE = 100_000

Outcome = Literal["renewed", "busy", "failed", "reauthorization_required"]


class Sweeps:
    """Does what is due, in any number of processes at once."""

    def __init__(self, core: Core, tokens: Tokens, circuits: Circuits, custody: Custody, outbox: Outbox) -> None:
        self._core = core
        self._tokens = tokens
        self._circuits = circuits
        self._custody = custody
        self._outbox = outbox
        self._set_aside: dict[str, float] = {}

    async def renew_due(self, limit: int, budget: int | Mapping[str, int] | None) -> Sweep:
        """See ``AsyncVault.renew_due``."""
        if limit < 1:
            raise ConfigurationError("limit must be at least 1", argument="limit")
        await self._core.ready()
        escrowed = await self._custody.replay()
        rows, deferred = await self._due(limit, budget)
        outcomes = Counter(await self._core.runtime.each([partial(self._renew, row) for row in rows], IN_FLIGHT))
        return Sweep(
            due=len(rows),
            renewed=outcomes["renewed"],
            busy=outcomes["busy"],
            failed=outcomes["failed"],
            reauthorization_required=outcomes["reauthorization_required"],
            deferred=deferred,
            escrowed=escrowed,
            revoked=await self._revoke(limit),
            warned=await warn(self._core, limit),
        )

    async def _due(self, limit: int, budget: int | Mapping[str, int] | None) -> tuple[Sequence[DueRow], int]:
        """Return what is due and may be taken up, the longest due first, and how much of it may not be."""
        found: list[DueRow] = []
        deferred = 0
        now = self._core.clock.now_seconds()
        self._set_aside = {key: until for key, until in self._set_aside.items() if until > now}
        for provider in self._core.providers.by_slug.values():
            due = await self._core.store.find_due(provider.slug, provider.client_id, now, limit + len(self._set_aside))
            rows = [row for row in due if row.id not in self._set_aside][:limit]
            taken = self._circuits.most(provider.slug, min(_most(budget, provider.slug, limit), len(rows)))
            found += rows[:taken]
            deferred += len(rows) - taken
        found.sort(key=lambda row: (row.due_at_seconds, row.id))
        return found[:limit], deferred + max(0, len(found) - limit)

    async def _renew(self, row: DueRow) -> Outcome:
        try:
            token = await self._tokens.renew_due(row)
        except (ReauthorizationRequiredError, ConnectionNotFoundError):
            return "reauthorization_required"
        except SocialVaultError as problem:
            import logging

            logging.getLogger("socialvault").info("a renewal failed: %s: %s", type(problem).__name__, problem)
            if isinstance(problem, EncryptionError) and problem.action != "retry":
                self._pass_over(row)
            return "failed"
        if token is None:
            return "busy"
        return "renewed" if token.generation > row.generation else "failed"

    def _pass_over(self, row: DueRow) -> None:
        if len(self._set_aside) < _MOST_SET_ASIDE:
            self._set_aside[row.id] = self._core.clock.now_seconds() + _SET_ASIDE_SECONDS

    async def _revoke(self, limit: int) -> int:
        entries = await self._core.store.find_revocations(self._core.clock.now_seconds(), limit)
        outcomes = await self._core.runtime.each([partial(self._outbox.settle, entry) for entry in entries], IN_FLIGHT)
        return sum(outcome != "pending" for outcome in outcomes)


def _most(budget: int | Mapping[str, int] | None, provider: str, limit: int) -> int:
    """Return how many renewals a provider's budget allows."""
    if budget is None:
        return limit
    return budget if isinstance(budget, int) else budget.get(provider, limit)
