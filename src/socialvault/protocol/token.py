"""The token endpoint (RFC 6749, sections 4.1.3 to 6): its two forms, its answer, and what a renewal keeps."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from socialvault.exceptions import ReauthorizationRequiredError
from socialvault.model.scopes import parse_scopes
from socialvault.model.token import TokenSet
from socialvault.protocol import errors
from socialvault.protocol.client_auth import Form

if TYPE_CHECKING:
    from socialvault.model.secret import Secret
    from socialvault.protocol.decoding import Document
    from socialvault.protocol.messages import HttpResponse

_LONGEST_LIFE_SECONDS = 3653 * 86_400  # ten years, leap days included
_DECIMAL = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_REFRESH_LIFE_FIELDS = ("refresh_token_expires_in", "refresh_expires_in")


def code_form(code: Secret[str], redirect_uri: str, verifier: Secret[str] | None) -> dict[str, str]:
    """Build the form that exchanges a code.

    Spec: RFC 6749, section 4.1.3; RFC 7636, section 4.5.
    """
    form = Form(grant_type="authorization_code", code=code.reveal(), redirect_uri=redirect_uri)
    if verifier is not None:
        form["code_verifier"] = verifier.reveal()
    return form


def refresh_form(stored: TokenSet) -> dict[str, str]:
    """Build the form that presents a refresh token.

    Spec: RFC 6749, section 6.

    Raises:
        ReauthorizationRequiredError: there is no refresh token (``reason`` is ``no_refresh_token``).
    """
    if not stored.refresh_token:
        raise ReauthorizationRequiredError("there is no refresh token to renew with", reason="no_refresh_token")
    return Form(grant_type="refresh_token", refresh_token=stored.refresh_token.reveal())


def read_token(response: HttpResponse, document: Document, *, provider: str) -> TokenSet:
    """Read a successful answer. A missing ``token_type``, ``expires_in`` or ``scope`` is tolerated.

    Spec: RFC 6749, section 5.1.

    Args:
        response: expiries count from when its request was sent.

    Raises:
        MalformedResponseError: no access token, one that no header can carry, or a token type other than bearer.
    """
    access_token = document.secret("access_token")
    if access_token is None:
        raise errors.malformed("the answer holds no access_token", provider=provider, status=response.status)
    if not _is_bearer(document.value("token_type")):
        raise errors.malformed("token_type is not bearer", provider=provider, status=response.status)
    return TokenSet(
        access_token=access_token,
        obtained_at=response.sent_at,
        refresh_token=document.secret("refresh_token"),
        id_token=document.secret("id_token"),
        scopes=parse_scopes(document.value("scope")),
        expires_at=read_expiry(document.value("expires_in"), response.sent_at),
        refresh_expires_at=_refresh_deadline(document, response.sent_at),
    )


def read_expiry(value: object, sent_at: datetime) -> datetime | None:
    """Turn a lifetime in seconds into a deadline: an integer, its digits, or a finite decimal, rounded down.

    0 means that it has expired already. Anything else that isn't 1 s to 10 years says nothing: None, an unknown
    expiry. A provider where 0 means "never" has to say so in its own hook.
    """
    seconds = _seconds(value)
    if seconds is None or not 0 <= seconds <= _LONGEST_LIFE_SECONDS:
        return None
    return sent_at + timedelta(seconds=seconds)


def merge(stored: TokenSet, fresh: TokenSet) -> TokenSet:
    """Return what to store after a renewal: what the answer leaves out, or leaves empty, is kept.

    The access token, its expiry and `obtained_at` are always the answer's. A refresh token that comes without a
    deadline of its own inherits the stored one's: the earlier of two guesses is the one that can't surprise.
    """
    return TokenSet(
        access_token=fresh.access_token,
        obtained_at=fresh.obtained_at,
        refresh_token=fresh.refresh_token or stored.refresh_token,
        id_token=fresh.id_token or stored.id_token,
        scopes=fresh.scopes or stored.scopes,
        expires_at=fresh.expires_at,
        refresh_expires_at=fresh.refresh_expires_at or stored.refresh_expires_at,
        data_access_expires_at=fresh.data_access_expires_at or stored.data_access_expires_at,
        extra={**stored.extra, **{name: value for name, value in fresh.extra.items() if value}},
    )


def _is_bearer(token_type: object) -> bool:
    return token_type is None or (isinstance(token_type, str) and token_type.lower() == "bearer")


def _refresh_deadline(document: Document, sent_at: datetime) -> datetime | None:
    # 0 is how some servers say that a refresh token never expires; a token that is dead on arrival makes no sense.
    deadlines = (read_expiry(document.value(name), sent_at) for name in _REFRESH_LIFE_FIELDS)
    return next((deadline for deadline in deadlines if deadline is not None and deadline > sent_at), None)


def _seconds(value: object) -> int | None:
    if isinstance(value, str):
        text = value.strip()
        return int(text.partition(".")[0]) if _DECIMAL.fullmatch(text) else None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return math.floor(value) if isinstance(value, float) and math.isfinite(value) else None
