"""A person removed the application at the provider: their connections wait for a new authorisation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from socialvault.exceptions import GenerationConflictError
from socialvault.model.status import Status
from socialvault.vault.verdict import mark_dead
from socialvault.webhooks.freshness import precedes

if TYPE_CHECKING:
    from socialvault.api.assembly import UseCases
    from socialvault.model.notice import AccountNotice

_ATTEMPTS = 5


async def deauthorize(cases: UseCases, slug: str, notice: AccountNotice) -> int:
    """Record that an account's grant is gone: for every owner and tenant, with the sub-accounts; one event each.

    A connection whose token was written after the notice was signed stays as it is: its owner has come back.

    Args:
        slug: the provider's.
        notice: from the provider's `read_account_notice`, and fresh.

    Returns:
        How many connections this call turned to ``reauthorization_required`` (``deauthorized``).

    Raises:
        ConfigurationError: this vault has no such provider.
        GenerationConflictError: the connections are being written by others; try again.
        StoreUnavailableError: the store is away; what was recorded stays, and the notice can be handled again.
    """
    core = cases.core
    provider = core.providers.get(slug)
    await core.ready()
    marked = 0
    for _ in range(_ATTEMPTS):  # again for what a renewal in flight has written meanwhile
        rows = await core.store.list_for_account(
            provider.slug, provider.client_id, provider.account_issuer, notice.subject
        )
        alive = [row for row in rows if row.status is Status.ACTIVE and precedes(row.updated_at_seconds, notice)]
        if not alive:
            return marked
        for row in alive:
            marked += await core.guarded(partial(mark_dead, core, row, "deauthorized"))
    raise GenerationConflictError(f"{slug}: the connections are being written by others; try again")
