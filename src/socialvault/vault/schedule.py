"""When things are due: renewals before a token expires, warnings before a connection dies, new attempts after failures.

Everything is spread by a number that a connection keeps, so that what was connected together is not renewed together.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.model.token import TokenSet
    from socialvault.providers.base import Provider, Renewal

#: How the access token itself is renewed, while it is valid; there is no refresh token.
_IN_PLACE: frozenset[Renewal] = frozenset({"exchange", "extend"})
#: A token that is renewed in place is lost once it expires. Three weeks leave time to notice and to mend, and they are
#: longer than the first warning's two, so that only those connections are warned of whose renewal fails.
_IN_PLACE_LEAD = timedelta(days=21)
_IN_PLACE_PART_OF_LIFE = 0.4
#: A lead is never more than this part of a token's life, so that short-lived tokens are used too.
_PART_OF_LIFE = 0.2
#: When to say that a connection will die.
WARNINGS = (timedelta(days=14), timedelta(days=7), timedelta(days=1))
#: A deadline that moves by less than this is the same one: providers count it anew with every answer.
_SAME_DEADLINE = timedelta(hours=1)

_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=15)
_FIRST_REFUSED_PAUSE = timedelta(minutes=1)
_LONGEST_REFUSED_PAUSE = timedelta(hours=1)


def jitter(connection_id: str) -> float:
    """Return a stable number from 0 to 1 for a connection."""
    return int.from_bytes(hashlib.sha256(connection_id.encode()).digest()[:8], "big") / 2**64


def due_at(token: TokenSet, provider: Provider, leeway: timedelta, connection_id: str) -> datetime | None:
    """Return when `token` is due for renewal, or None when its expiry is unknown or never comes."""
    if token.expires_at is None:
        return None
    life = token.expires_at - token.obtained_at
    if provider.renewal in _IN_PLACE:
        lead = min(_IN_PLACE_LEAD, life * _IN_PLACE_PART_OF_LIFE)
        due = token.expires_at - lead * (1 + jitter(connection_id) / 4)
        return max(due, token.obtained_at + provider.minimum_age)
    lead = min(leeway, life * _PART_OF_LIFE)
    return max(token.expires_at - lead * (1 + jitter(connection_id) / 2), token.obtained_at)


def can_renew(token: TokenSet, renewal: Renewal, now: datetime) -> bool:
    """Whether the library can keep `token` alive by itself."""
    if renewal in _IN_PLACE:
        return token.expires_at is not None and now < token.expires_at
    if renewal == "none" or token.refresh_token is None:
        return False
    return token.refresh_expires_at is None or now < token.refresh_expires_at


def too_young_for(token: TokenSet, provider: Provider, now: datetime) -> timedelta | None:
    """Return how long the provider will still refuse to renew `token` for its youth; None when it won't."""
    wait = token.obtained_at + provider.minimum_age - now
    return wait if wait > timedelta(0) else None


def dies_at(token: TokenSet, renewal: Renewal) -> datetime | None:
    """Return when only a new authorisation will help, as far as the provider said; None when nothing says so."""
    if renewal in _IN_PLACE or renewal == "none" or token.refresh_token is None:
        ends = [token.expires_at]
    else:
        ends = [token.refresh_expires_at]
    known = [end for end in (*ends, token.data_access_expires_at) if end is not None]
    return min(known, default=None)


def first_warning(dies: datetime | None, now: datetime) -> datetime | None:
    """Return when to warn first of a death that was just learnt of: what has passed already is left out."""
    if dies is None:
        return None
    return next((dies - ahead for ahead in WARNINGS if dies - ahead > now), None)


def next_warning(dies: datetime, now: datetime) -> tuple[int, datetime | None]:
    """Return how many days ahead the warning is that is due now, and when the next one is."""
    due = [ahead for ahead in WARNINGS if dies - ahead <= now]
    following = [dies - ahead for ahead in WARNINGS if dies - ahead > now]
    return (due[-1] if due else WARNINGS[0]).days, following[0] if following else None


def days_left(dies: datetime | None, now: datetime) -> int | None:
    """Return the last warning's days that `now` is past, None before the first one."""
    return None if dies is None or dies - WARNINGS[0] > now else next_warning(dies, now)[0]


def same_deadline(one: datetime | None, other: datetime | None) -> bool:
    """Whether two deadlines are the same, give or take what a provider's counting changes."""
    if one is None or other is None:
        return one is other
    return abs(one - other) < _SAME_DEADLINE


def pause_after(failures: int, connection_id: str, *, refused: bool) -> timedelta:
    """Return how long to wait after a failure: twice as long each time, up to a quarter of an hour.

    Args:
        failures: before this one.
        refused: for an answer that nobody can interpret, which rarely mends itself: from a minute to an hour.
    """
    if refused:
        pause = min(_FIRST_REFUSED_PAUSE * (1 << 2 * min(failures, 5)), _LONGEST_REFUSED_PAUSE)
    else:
        pause = min(_FIRST_PAUSE * (1 << min(failures, 20)), _LONGEST_PAUSE)
    return pause * (0.5 + jitter(f"{connection_id}/{failures}") / 2)
