"""A large table changes while it is in use. `migrations.large` is the same with millions of rows."""

from __future__ import annotations

from migrations.large import REQUESTS_PER_SECOND, change_under_load, fill

ROWS = 100_000


def test_nobody_waits_for_a_large_table(empty_postgres):
    fill(empty_postgres, ROWS)
    report = change_under_load(empty_postgres, ROWS, calm_seconds=0.5)
    assert report.errors == []
    assert report.requests >= REQUESTS_PER_SECOND
    assert report.longest_wait < 1.0
    assert report.longest_exclusive < 1.0
