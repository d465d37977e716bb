"""HTTP messages as values, and the one effect that protocol code has: yield a request, be sent its response."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from datetime import datetime

T = TypeVar("T")

#: A conversation with a provider: yields requests, is sent responses, returns what it was for.
Exchange = Generator["HttpRequest", "HttpResponse", T]

#: ``never``: always sent. ``use``: a stored answer will do. ``renew``: ask again, at most once a minute.
Caching = Literal["never", "use", "renew"]

TOKEN_RESPONSE_BYTES = 256 * 1024
METADATA_RESPONSE_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True, repr=False)
class HttpRequest:
    """A request to a provider. Its repr shows method, host and path only.

    Attributes:
        body: sent as it is; its type is in `headers`.
        max_response_bytes: a longer answer is refused while it is read.
        caching: for public documents (metadata, keys) alone.
        untrusted_host: the host came from a user or from a document; the address policy applies.
    """

    method: Literal["GET", "POST", "DELETE"]
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    max_response_bytes: int = TOKEN_RESPONSE_BYTES
    caching: Caching = "never"
    untrusted_host: bool = False

    def __repr__(self) -> str:
        try:
            parts = urlsplit(self.url)
        except ValueError:
            return f"HttpRequest({self.method} to no URL)"
        return f"HttpRequest({self.method} {parts.scheme}://{parts.hostname}{parts.path})"


@dataclass(frozen=True, slots=True, repr=False)
class HttpResponse:
    """A complete, bounded response. Its repr shows the status only.

    Attributes:
        headers: names in lower case.
        sent_at: when the request was sent (aware, UTC); expiries count from there.
    """

    status: int
    sent_at: datetime
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body: bytes = b""

    def __repr__(self) -> str:
        return f"HttpResponse({self.status})"
