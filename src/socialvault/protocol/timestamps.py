"""Points in time as JSON carries them: seconds since 1970 (RFC 7519, section 2, NumericDate)."""

from __future__ import annotations

from datetime import UTC, datetime

_END_OF_TIME_SECONDS = 253_402_300_800  # the year 10000, which a datetime can't hold


def read_timestamp(value: object) -> datetime | None:
    """Return the moment that a number of seconds since 1970 stands for; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _END_OF_TIME_SECONDS:
        return None
    return datetime.fromtimestamp(value, UTC)
