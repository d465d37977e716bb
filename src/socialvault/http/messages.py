"""Requests and responses without a framework: what an integration translates from and to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One request below the application's prefix. Its repr shows no code, no cookie and no body.

    Attributes:
        path: as the server sees it, with whatever prefix there is.
        params: the values of the route's path.
        query: raw, without the question mark.
        headers: names in lower case; repetitions joined by a comma.
        body: at most `settings.MOST_BODY_BYTES`.
        peer: the address of whoever opened the connection, "" when the server does not say.
        native: the framework's own request, for the application's functions.
    """

    method: str
    path: str
    params: Mapping[str, str]
    query: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    peer: str
    native: object = field(repr=False)

    @property
    def cookies(self) -> Mapping[str, str]:
        """The cookies; of two with one name the first counts, which is the one with the longer path."""
        found: dict[str, str] = {}
        for pair in self.headers.get("cookie", "").split(";"):
            name, separator, value = pair.strip().partition("=")
            if separator:
                found.setdefault(name, value.strip('"'))
        return found

    @property
    def wants_page(self) -> bool:
        """Whether a browser asks for something to show; a program gets JSON."""
        return "text/html" in self.headers.get("accept", "")

    @property
    def is_prefetch(self) -> bool:
        """Whether nobody has asked for the answer yet: it may never be looked at, so nothing may happen for it."""
        said = (self.headers.get(name, "") for name in ("sec-purpose", "purpose", "x-moz", "x-purpose"))
        return any(word in value for value in said for word in ("prefetch", "prerender", "preview"))


@dataclass(frozen=True, slots=True)
class Response:
    """What an integration sends."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = ""
    headers: Headers = field(default=(), repr=False)


def joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return header pairs as `Request.headers` wants them."""
    found: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        separator = "; " if key == "cookie" else ", "
        found[key] = f"{found[key]}{separator}{value}" if key in found else value
    return found


def json_response(document: BaseModel, *, status: int = 200, headers: Headers = ()) -> Response:
    """Answer with a document."""
    return Response(status, document.model_dump_json().encode(), "application/json", headers)


def redirect(location: str, *, headers: Headers = ()) -> Response:
    """Send the browser on with a GET, whatever it came with (RFC 9700, section 4.12)."""
    return Response(303, headers=(("Location", location), *headers))
