"""Warnings ahead: 14, 7 and 1 days before only a new authorisation will help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.vault.core import moment, seconds
from socialvault.vault.schedule import next_warning

if TYPE_CHECKING:
    from socialvault.vault.core import Core


async def warn(core: Core, limit: int) -> int:
    """Emit ``expires_soon`` for connections whose time has come, once in all processes; return how many."""
    now, warned = core.now(), 0
    for row in await core.store.find_warnings(core.clock.now_seconds(), limit):
        dies, due = moment(row.dies_at_seconds), row.warn_at_seconds
        if dies is None or due is None:
            continue
        days, following = next_warning(dies, now)
        if await core.store.write_warning(row.id, due, seconds(following)):
            await core.emit("expires_soon", row, str(days), dies_at=dies)
            warned += 1
    return warned
