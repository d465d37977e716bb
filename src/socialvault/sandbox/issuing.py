"""``IssuedTokens``: what a provider hands out, for tests that need many grants and no browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.model.secret import Secret


@dataclass(frozen=True, slots=True)
class IssuedTokens:
    """The tokens of a grant that nobody clicked for.

    Attributes:
        access_token: the one that an application keeps; where short-lived ones are exchanged, the long-lived one.
        refresh_token: None where the application gets none.
        expires_at, refresh_expires_at: aware; None for never, and for no refresh token.
        scopes: granted.
        subject: the provider's id of the account, as the application knows it.
        grant_id: what the log calls the grant; it is in every token's text.
    """

    access_token: Secret[str]
    refresh_token: Secret[str] | None
    expires_at: datetime | None
    refresh_expires_at: datetime | None
    scopes: tuple[str, ...]
    subject: str
    grant_id: str
