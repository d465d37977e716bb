"""``Route``: what one method on one path is, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic import BaseModel

    from socialvault.http.bodies import RequestBody
    from socialvault.http.call import Call
    from socialvault.http.messages import Response

    Handler = Callable[[Call], Awaitable[Response]]

#: Names of parameters, each with what it says.
Parameters = tuple[tuple[str, str], ...]

#: The callback's parameters in a query or form (RFC 6749, sections 4.1.2 and 4.1.2.1; RFC 9207).
CALLBACK_PARAMETERS: Parameters = (
    ("state", "The flow's state."),
    ("code", "The authorization code; either this or an error."),
    ("error", "The provider's error code."),
    ("iss", "The provider's issuer."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path.

    Attributes:
        name: what the OpenAPI document calls the operation.
        path: below the application's prefix; ``{…}`` stands for one segment.
        document: what a program is answered with, None for no body. status: the same answer's.
        body: what the request may say. query, form: its parameters where they are no JSON.
        needs_owner: only somebody who is signed in is answered.
        changes: it changes something, so it must come from our own pages or from a program.
        browser: what a browser gets where a program gets the document; where anything, it gets failures as pages.
        failure_title: of such a page.
        happens_once: it must not happen for a look ahead: HEAD and prefetches get 204.
        limited: whether it counts for the limit per address.
        asks_provider: so what the provider answers can fail it.
    """

    name: str
    summary: str
    method: str
    path: str
    handler: Handler
    document: type[BaseModel] | None
    status: int = 200
    body: type[RequestBody] | None = None
    query: Parameters = ()
    form: Parameters = ()
    needs_owner: bool = True
    changes: bool = False
    browser: Literal["", "page", "redirect"] = ""
    failure_title: str = "The account was not connected"
    happens_once: bool = False
    limited: bool = True
    asks_provider: bool = False
