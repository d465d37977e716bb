"""When a token is due: before it expires, spread so that connections made together are not renewed together."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socialvault.model.token import TokenSet
    from socialvault.providers.base import Renewal

#: An exchange only works with a valid token, so it starts early: a forgotten account has days to be noticed.
_EXCHANGE_LEAD = timedelta(days=10)
_EXCHANGE_MINIMUM_AGE = timedelta(days=1)
#: A lead is never more than this part of a token's life, so that short-lived tokens are used too.
_MOST_OF_LIFE = 0.2


def jitter(connection_id: str) -> float:
    """Return a stable number from 0 to 1 for a connection."""
    return int.from_bytes(hashlib.sha256(connection_id.encode()).digest()[:8], "big") / 2**64


def due_at(token: TokenSet, renewal: Renewal, leeway: timedelta, connection_id: str) -> datetime | None:
    """Return when `token` is due for renewal, or None when its expiry is unknown or never comes."""
    if token.expires_at is None:
        return None
    life = token.expires_at - token.obtained_at
    if renewal == "exchange":
        lead = min(_EXCHANGE_LEAD, life * _MOST_OF_LIFE)
        return max(token.expires_at - lead * (1 + jitter(connection_id) / 4), token.obtained_at + _EXCHANGE_MINIMUM_AGE)
    lead = min(leeway, life * _MOST_OF_LIFE)
    return max(token.expires_at - lead * (1 + jitter(connection_id) / 2), token.obtained_at)


def can_renew(token: TokenSet, renewal: Renewal, now: datetime) -> bool:
    """Whether the library can renew `token` by itself now."""
    if renewal == "exchange":
        return token.expires_at is not None and now < token.expires_at
    if renewal == "none" or token.refresh_token is None:
        return False
    return token.refresh_expires_at is None or now < token.refresh_expires_at


def dies_at(token: TokenSet, renewal: Renewal) -> datetime | None:
    """Return when only a new authorisation will help, as far as the provider said; None when nothing says so."""
    if renewal == "exchange" or token.refresh_token is None:
        ends = [token.expires_at]
    else:
        ends = [token.refresh_expires_at]
    known = [end for end in (*ends, token.data_access_expires_at) if end is not None]
    return min(known, default=None)
