"""The verdict that a grant is dead: recorded once, with its sub-accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.exceptions import ReauthorizationRequiredError
from socialvault.model.rows import ConnectionRow, StatusWrite
from socialvault.model.status import Status

if TYPE_CHECKING:
    from socialvault.vault.core import Core


async def mark_dead(core: Core, row: ConnectionRow, reason: str) -> bool:
    """Record that only a new authorisation helps, if nobody wrote a token in between; one event each.

    Sub-accounts that act with the parent's token have no status of their own and follow it.

    Returns:
        Whether this call recorded it.
    """
    write = StatusWrite(
        connection_id=row.id,
        expected_generation=row.generation,
        expected=(Status.ACTIVE,),
        status=Status.REAUTHORIZATION_REQUIRED,
        reason=reason,
        updated_at_seconds=core.clock.now_seconds(),
    )
    if not await core.store.write_status(write):
        return False
    await core.emit("reauthorization_required", row, reason)
    for child in await core.store.list_children(row.id, row.account.tenant, row.owner):
        if child.envelope:
            await mark_dead(core, child, reason)
    return True


def reauthorization_required(provider: str, reason: str) -> ReauthorizationRequiredError:
    """Build the error for a connection that was marked before."""
    return ReauthorizationRequiredError(
        f"{provider}: this connection must be authorised again ({reason})", provider=provider, reason=reason
    )
