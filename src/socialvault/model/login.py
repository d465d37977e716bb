"""The two ends of the browser flow, as callers see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.model.connection import Connection
    from socialvault.model.scopes import Scopes

#: A callback's parameters: a query string, pairs, or a framework's own multi-value mapping.
Parameters = str | bytes | Mapping[str, str] | Mapping[str, Sequence[str]] | Iterable[tuple[str, str]]


class CookieAttributes(TypedDict):
    """The attributes of a cookie, as the ``set_cookie`` of web frameworks names them. `max_age`: seconds."""

    max_age: int
    path: str
    secure: bool
    httponly: bool
    samesite: Literal["lax"]


@dataclass(frozen=True, slots=True)
class LoginCookie:
    """The cookie that binds a flow to the browser that began it. Set it on the redirect to the provider.

    Attributes:
        name: derived from the state, so tabs never overwrite each other.
        value: random; not a token, but it must reach this browser alone.
        path: that of the callback. max_age_seconds: how long the flow may take. secure: sent over https alone.
    """

    name: str
    value: str = field(repr=False)
    path: str
    max_age_seconds: int
    secure: bool

    @property
    def attributes(self) -> CookieAttributes:
        """What to give to a framework: ``response.set_cookie(cookie.name, cookie.value, **cookie.attributes)``."""
        return CookieAttributes(
            max_age=self.max_age_seconds, path=self.path, secure=self.secure, httponly=True, samesite="lax"
        )

    @property
    def header(self) -> str:
        """The value of a ``Set-Cookie`` header (RFC 6265, section 4.1)."""
        secure = "; Secure" if self.secure else ""
        shared = f"Max-Age={self.max_age_seconds}; Path={self.path}; HttpOnly; SameSite=Lax"
        return f"{self.name}={self.value}; {shared}{secure}"


@dataclass(frozen=True, slots=True)
class Login:
    """What ``begin`` returns: send the browser to `url` with `cookie`, before `expires_at`."""

    url: str = field(repr=False)
    expires_at: datetime
    cookie: LoginCookie


@dataclass(frozen=True, slots=True)
class Completed:
    """What ``complete`` returns.

    Attributes:
        return_to: the own path given to ``begin``, verified; ``/`` when none was given.
        missing_scopes: asked for and not granted.
        duplicate: True when an earlier delivery of the same callback did the work.
    """

    connection: Connection
    return_to: str
    missing_scopes: Scopes
    duplicate: bool = False
