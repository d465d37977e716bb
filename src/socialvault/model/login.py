"""The two ends of the browser flow, as callers see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.model.connection import Connection
    from socialvault.model.scopes import Scopes

#: A callback's parameters: a query string, pairs, or a framework's own multi-value mapping.
Parameters = str | bytes | Mapping[str, str] | Mapping[str, Sequence[str]] | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class LoginCookie:
    """The cookie that binds a flow to the browser that began it. Set it on the redirect to the provider.

    Attributes:
        name: derived from the state, so tabs never overwrite each other.
        value: random; not a token, but it must reach this browser alone.
        attributes: ``max_age`` (seconds), ``path``, ``secure``, ``httponly``, ``samesite``, as web frameworks
            name them.
    """

    name: str
    value: str = field(repr=False)
    attributes: Mapping[str, str | int | bool]


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
