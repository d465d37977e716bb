"""A notice counts for a day, and hardly before its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from socialvault.model.notice import AccountNotice
from socialvault.webhooks.freshness import fresh, precedes

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (timedelta(0), True),
        (timedelta(days=1), True),
        (timedelta(days=1) + SECOND, False),
        (-timedelta(minutes=5), True),
        (-timedelta(minutes=5) - SECOND, False),
    ],
)
def test_a_notice_is_a_day_old_at_most_and_five_minutes_ahead_at_most(age: timedelta, expected: bool) -> None:
    assert fresh(AccountNotice("1234", NOW - age), NOW) is expected


def test_a_token_of_the_minute_after_a_notice_still_precedes_it() -> None:
    notice = AccountNotice("1234", NOW)
    assert precedes(NOW.timestamp() + 60, notice)
    assert not precedes(NOW.timestamp() + 61, notice)
