"""One request and its answer: what both colours of the transport share."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import httpcore

from socialvault.exceptions import ConfigurationError, TransportError
from socialvault.protocol.messages import HttpRequest, HttpResponse
from socialvault.transports.addresses import Target, read_target
from socialvault.transports.network import AddressRefusedError, NameLookupError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socialvault.ports.clock import Clock

# What frames the message is the transport's to set; a second opinion on it is how requests are smuggled.
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"|[!-~](?:[ -~]*[!-~])?")

_KINDS: Mapping[type[BaseException], str] = MappingProxyType({
    NameLookupError: "the name has no address",
    AddressRefusedError: "the name leads to an address that is not public",
    httpcore.PoolTimeout: "no free connection in time",
    httpcore.ConnectTimeout: "connecting took too long",
    httpcore.TimeoutException: "no complete answer in time",
    TimeoutError: "no complete answer in time",
    httpcore.ProxyError: "the proxy refused",
    httpcore.ConnectError: "no connection",
    httpcore.NetworkError: "the connection broke",
    httpcore.RemoteProtocolError: "no complete HTTP answer",
})  # fmt: skip


class UnacceptableAnswerError(Exception):
    """The answer breaks a bound; the message says which."""


class Call:
    """One request on its way to one answer.

    Its methods may raise with bodies and headers in reach: whoever drives it turns every exception into an outcome
    by `outcome`, and raises that from a frame that holds nothing.

    Attributes:
        sent_at: when its first byte was about to be written; None before that.
        all_sent: whether its last one was.

    Raises:
        ConfigurationError: the URL or a header can't be sent.
    """

    __slots__ = ("_body", "_clock", "_headers", "_request", "_status", "all_sent", "sent_at", "target")

    def __init__(self, request: HttpRequest, clock: Clock) -> None:
        target = read_target(request.url)
        if target is None:
            raise ConfigurationError("a request needs an http or https URL in plain ASCII, without user information")
        for name in _unsendable(request):
            raise ConfigurationError(f"{target.host}: the header {name!r} can't be sent, or not with this value")
        self._request = request
        self._clock = clock
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self.target = target
        self.sent_at: datetime | None = None
        self.all_sent = False

    # --- the request ----------------------------------------------------------------------------

    @property
    def untrusted_host(self) -> bool:
        """Whether the address policy applies."""
        return self._request.untrusted_host

    def wire_request(self, timeouts: Mapping[str, float | None], trace: object) -> httpcore.Request:
        """Build what httpcore sends."""
        request, target = self._request, self.target
        headers = [("Host", target.authority), *request.headers, ("Accept-Encoding", "identity")]
        if not any(name.lower() == "user-agent" for name, _ in request.headers):
            headers.append(("User-Agent", "socialvault"))
        if request.body or request.method == "POST":
            headers.append(("Content-Length", str(len(request.body))))
        return httpcore.Request(
            request.method,
            wire_url(target),
            headers=headers,
            content=request.body,
            extensions={"timeout": dict(timeouts), "trace": trace},
        )

    def watch(self, event: str, info: dict[str, Any]) -> None:
        """Note when the request is sent, and keep the answer out of httpcore's log.

        httpcore calls this before each of its DEBUG records, which it then builds from `info`: response headers with
        their values, or an exception that quotes what was received. What is emptied here is logged by its name alone.
        """
        if event == "http11.send_request_body.complete":
            self.all_sent = True
        if event == "http11.send_request_headers.started" and info["request"].method != b"CONNECT":
            self.sent_at = datetime.fromtimestamp(self._clock.now_seconds(), UTC)
        elif event.endswith((".complete", ".failed")):
            info.clear()

    async def watch_async(self, event: str, info: dict[str, Any]) -> None:
        """As `watch`."""
        self.watch(event, info)

    # --- the answer -----------------------------------------------------------------------------

    def take_head(self, response: httpcore.Response) -> None:
        """Take status and headers; refuse a body that would need decoding or says that it is too long."""
        self._status = response.status
        for raw_name, raw_value in response.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            self._headers[name] = f"{self._headers[name]}, {value}" if name in self._headers else value
        if self._headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise UnacceptableAnswerError("an encoded answer, which was not asked for")
        length = self._headers.get("content-length", "")
        if length.isdecimal() and len(length) < 20:
            self._bound(int(length))

    def take(self, part: bytes) -> None:
        """Take a part of the body; refuse it when that makes it too long."""
        self._bound(len(self._body) + len(part))
        self._body += part

    def _bound(self, size_bytes: int) -> None:
        if size_bytes > self._request.max_response_bytes:
            raise UnacceptableAnswerError(f"more than {self._request.max_response_bytes} bytes")

    def answer(self) -> HttpResponse:
        """Return the complete response."""
        sent_at = cast("datetime", self.sent_at)  # a response came, so the request was sent
        return HttpResponse(self._status, sent_at, MappingProxyType(self._headers), bytes(self._body))

    def outcome(self, error: BaseException) -> BaseException:
        """Turn whatever ended the call into what may be raised: no frame of it, and no exception behind it."""
        if isinstance(error, Exception):
            return TransportError(f"{self.target.host}: {_kind(error)}", request_sent=self.sent_at is not None)
        return without_frames(error)


def wire_url(target: Target) -> httpcore.URL:
    """Return the target as httpcore takes it, with nothing left to parse."""
    return httpcore.URL(
        scheme=target.scheme.encode(), host=target.host.encode(), port=target.port, target=target.path.encode()
    )


def without_frames(error: BaseException) -> BaseException:
    """Return `error` (a cancellation, an interrupt) without the frames and exceptions that hold what was sent."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _unsendable(request: HttpRequest) -> list[str]:
    return [
        name
        for name, value in request.headers
        if name.lower() in _OWN_HEADERS or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value)
    ]


def _kind(error: Exception) -> str:
    if isinstance(error, UnacceptableAnswerError):
        return str(error)
    if isinstance(error, httpcore.ConnectError) and isinstance(error.__context__, ssl.SSLError):
        return "the TLS handshake failed"
    for kind, words in _KINDS.items():
        if isinstance(error, kind):
            return words
    return type(error).__name__
