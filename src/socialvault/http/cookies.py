"""The flow's cookie as a header."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from socialvault.model.login import LoginCookie


def set_cookie(cookie: LoginCookie) -> str:
    """Return the ``Set-Cookie`` value of a flow's cookie (RFC 6265, section 4.1)."""
    kept = cookie.attributes
    flags = [name for key, name in (("secure", "Secure"), ("httponly", "HttpOnly")) if kept[key]]
    parts = [
        f"{cookie.name}={cookie.value}",
        f"Max-Age={kept['max_age']}",
        f"Path={kept['path']}",
        f"SameSite={str(kept['samesite']).capitalize()}",
        *flags,
    ]
    return "; ".join(parts)
