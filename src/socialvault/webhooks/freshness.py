"""How old a notice may be: a replayed one must not undo what its account did since."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.model.notice import AccountNotice

_MOST_AHEAD = timedelta(minutes=5)  # clocks differ
_OLDEST = timedelta(days=1)  # providers deliver again what was not answered


def fresh(notice: AccountNotice, now: datetime) -> bool:
    """Return whether a notice is at most a day old, and no more than five minutes ahead of `now`."""
    return now - _OLDEST <= notice.issued_at <= now + _MOST_AHEAD


def precedes(written_at_seconds: float, notice: AccountNotice) -> bool:
    """Return whether a token was written before the notice was signed, give or take a minute of clock drift.

    What was connected later is not what the notice is about.
    """
    return written_at_seconds <= notice.issued_at.timestamp() + 60.0
