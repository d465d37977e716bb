"""When things are due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet
from socialvault.vault.schedule import (
    can_renew,
    days_left,
    dies_at,
    due_at,
    first_warning,
    jitter,
    next_warning,
    pause_after,
    same_deadline,
    too_young_for,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY, HOUR, MINUTE, SECOND = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
LEEWAY = MINUTE


def token(life: timedelta | None, **fields: Any) -> TokenSet:
    fields.setdefault("refresh_token", Secret("refresh"))
    return TokenSet(Secret("access"), NOW, expires_at=None if life is None else NOW + life, **fields)


def provider(renewal: str, minimum_age: timedelta = timedelta(0)) -> Any:
    return SimpleNamespace(renewal=renewal, minimum_age=minimum_age)


def test_the_jitter_of_a_connection_is_the_same_everywhere_and_spread_evenly() -> None:
    assert jitter("con-1") == pytest.approx(0.1762650296991549)
    parts = [0] * 10
    for number in range(2000):
        parts[int(jitter(f"con-{number}") * 10)] += 1
    assert min(parts) > 150


@pytest.mark.parametrize(
    ("life", "renewal", "lead"),
    [
        (2 * HOUR, "rotating", (60 * SECOND, 90 * SECOND)),
        (HOUR, "static", (60 * SECOND, 90 * SECOND)),
        (100 * SECOND, "rotating", (20 * SECOND, 30 * SECOND)),
        (timedelta(0), "rotating", (timedelta(0), timedelta(0))),
        (60 * DAY, "exchange", (21 * DAY, 26.25 * DAY)),
        (60 * DAY, "extend", (21 * DAY, 26.25 * DAY)),
        (2 * HOUR, "extend", (0.8 * HOUR, 1 * HOUR)),
    ],
    ids=str,
)
def test_a_token_is_due_ahead_of_its_end(life: timedelta, renewal: str, lead: tuple[timedelta, timedelta]) -> None:
    for number in range(200):
        due = due_at(token(life), provider(renewal), LEEWAY, f"con-{number}")
        assert due is not None
        assert lead[0] <= NOW + life - due <= lead[1]


def test_a_token_is_never_due_before_the_provider_would_renew_it() -> None:
    young = due_at(token(30 * HOUR), provider("extend", DAY), LEEWAY, "con-1")
    assert young == NOW + DAY
    assert too_young_for(token(30 * HOUR), provider("extend", DAY), NOW + 23 * HOUR) == HOUR
    assert too_young_for(token(30 * HOUR), provider("extend", DAY), NOW + DAY) is None
    assert due_at(token(None), provider("rotating"), LEEWAY, "con-1") is None


@pytest.mark.parametrize(
    ("renewal", "fields", "renewable"),
    [
        ("rotating", {}, True),
        ("static", {"refresh_expires_at": NOW + HOUR}, True),
        ("static", {"refresh_expires_at": NOW}, False),
        ("rotating", {"refresh_token": None}, False),
        ("none", {}, False),
        ("exchange", {"refresh_token": None}, True),
        ("extend", {"refresh_token": None}, True),
    ],
)
def test_what_can_be_renewed(renewal: Any, fields: dict[str, Any], renewable: bool) -> None:
    assert can_renew(token(HOUR, **fields), renewal, NOW) is renewable
    if renewal in ("exchange", "extend"):
        assert not can_renew(token(HOUR, **fields), renewal, NOW + HOUR)


@pytest.mark.parametrize(
    ("renewal", "fields", "dies"),
    [
        ("rotating", {}, None),
        ("rotating", {"refresh_token": None}, HOUR),
        ("static", {"refresh_expires_at": NOW + 365 * DAY}, 365 * DAY),
        ("static", {"refresh_expires_at": NOW + 365 * DAY, "data_access_expires_at": NOW + DAY}, DAY),
        ("none", {}, HOUR),
        ("exchange", {"data_access_expires_at": NOW + 90 * DAY}, HOUR),
        ("extend", {}, HOUR),
    ],
)
def test_when_only_a_new_authorisation_helps(renewal: Any, fields: dict[str, Any], dies: timedelta | None) -> None:
    assert dies_at(token(HOUR, **fields), renewal) == (None if dies is None else NOW + dies)


@pytest.mark.parametrize(
    ("left", "first", "now_due", "following"),
    [
        (60 * DAY, 46 * DAY, None, None),
        (14 * DAY, 7 * DAY, 14, 7 * DAY),
        (10 * DAY, 3 * DAY, 14, 3 * DAY),
        (7 * DAY, 6 * DAY, 7, 6 * DAY),
        (2 * DAY, DAY, 7, DAY),
        (DAY, None, 1, None),
        (HOUR, None, 1, None),
        (-DAY, None, 1, None),
    ],
)
def test_warnings(left: timedelta, first: timedelta | None, now_due: int | None, following: timedelta | None) -> None:
    assert first_warning(NOW + left, NOW) == (None if first is None else NOW + first)
    assert days_left(NOW + left, NOW) == now_due
    if now_due is not None:
        assert next_warning(NOW + left, NOW) == (now_due, None if following is None else NOW + following)


def test_what_never_dies_is_never_warned_of() -> None:
    assert (first_warning(None, NOW), days_left(None, NOW)) == (None, None)


def test_deadlines_that_differ_by_a_providers_counting_are_the_same() -> None:
    assert same_deadline(NOW, NOW + 59 * MINUTE)
    assert not same_deadline(NOW, NOW + HOUR)
    assert same_deadline(None, None)
    assert not same_deadline(NOW, None)


def test_pauses_grow_and_stay_bounded() -> None:
    pauses = [pause_after(failures, "con-1", refused=False) for failures in range(40)]
    assert all(0.5 * SECOND <= pause <= 15 * MINUTE for pause in pauses)
    assert pauses[0] <= SECOND
    assert min(pauses[12:]) >= 7.5 * MINUTE
    refused = [pause_after(refusals, "con-1", refused=True) for refusals in range(40)]
    assert 0.5 * MINUTE <= refused[0] <= MINUTE
    assert all(0.5 * HOUR <= pause <= HOUR for pause in refused[4:])
