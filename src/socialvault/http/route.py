"""``Route``: what one method on one path is, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pydantic import BaseModel

    from socialvault.http.bodies import RequestBody
    from socialvault.http.call import Call
    from socialvault.http.messages import Response

    Handler = Callable[[Call], Awaitable[Response]]

#: Names of parameters, each with what it says.
Parameters = tuple[tuple[str, str], ...]


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
        shows_page: a browser is answered with a page, or sent somewhere with 303.
        happens_once: it must not happen for a look ahead: HEAD and prefetches get 204.
        is_health_check: never limited.
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
    shows_page: bool = False
    happens_once: bool = False
    is_health_check: bool = False
    asks_provider: bool = False
