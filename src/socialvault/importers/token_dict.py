"""Tokens as Authlib and others keep them: the answer of a token endpoint as a dict, with ``expires_at`` added."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from socialvault.importers.cells import text
from socialvault.importers.record import Unreadable

if TYPE_CHECKING:
    from collections.abc import Mapping


def expand(token: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a token dict under the names of `Columns`.

    Raises:
        Unreadable: it is a token of another kind, which the vault can't present.
    """
    if text(token.get("token_type"), "token_type").lower() not in ("", "bearer"):
        raise Unreadable("the token is no bearer token")
    if "oauth_token" in token:
        raise Unreadable("the token is of OAuth 1.0a")
    return {**token, "scopes": token.get("scope")}


def subject_of(token: Mapping[str, Any]) -> str:
    """Return whose token it is, "" when it does not say.

    The ID token was verified by whoever stored it; here its signature is not looked at again.
    """
    userinfo = token.get("userinfo")
    if isinstance(userinfo, dict) and userinfo.get("sub"):
        return text(userinfo["sub"], "userinfo.sub")
    return _claimed(token.get("id_token"))


def _claimed(id_token: object) -> str:
    parts = id_token.split(".") if isinstance(id_token, str) else []
    if len(parts) != 3:
        return ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return ""
    subject = claims.get("sub") if isinstance(claims, dict) else None
    return subject if isinstance(subject, str) else ""
