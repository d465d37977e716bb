"""What a provider's error answer means: which branch of the tree it is, and how long to wait."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from socialvault.exceptions import (
    AccountMismatchError,
    ClientRejectedError,
    IssuerMismatchError,
    MalformedResponseError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    ReauthorizationRequiredError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from socialvault.exceptions import SocialVaultError
    from socialvault.protocol.decoding import Document
    from socialvault.protocol.messages import HttpResponse

#: What an error code means to its reader. ``other``: nothing that the library could act on.
ErrorKind = Literal["reauthorize", "client", "rate_limited", "unavailable", "other"]

_BRANCHES: Mapping[ErrorKind, type[ProviderError]] = MappingProxyType(
    {
        "reauthorize": ReauthorizationRequiredError,
        "client": ClientRejectedError,
        "rate_limited": RateLimitedError,
        "unavailable": ProviderUnavailableError,
        "other": ProviderError,
    }
)
# RFC 6749 sections 4.1.2.1 and 5.2, RFC 8628 section 3.5.
_STANDARD: Mapping[str, ErrorKind] = MappingProxyType(
    {
        "invalid_grant": "reauthorize",
        "invalid_client": "client",
        "unauthorized_client": "client",
        "temporarily_unavailable": "unavailable",
        "server_error": "unavailable",
        "slow_down": "rate_limited",
    }
)
# What servers say in RFC 6749's place. Each names the refresh token, the code, the client or the person to ask, so
# that it means the same wherever it comes from; a code that could be about an access token has no place here.
_DIALECTS: Mapping[str, ErrorKind] = MappingProxyType(
    {
        "bad_refresh_token": "reauthorize",  # GitHub, in a 200
        "bad_verification_code": "reauthorize",
        "incorrect_client_credentials": "client",
        "invalid_refresh_token": "reauthorize",  # Slack, in a 200
        "bad_client_secret": "client",
        "invalid_client_id": "client",
        "ratelimited": "rate_limited",
        "BAD_REFRESH_TOKEN": "reauthorize",  # HubSpot, as `status`
        "refresh_token_not_found": "reauthorize",  # Supabase, as `error_code`
        "refresh_token_already_used": "reauthorize",
        "interaction_required": "reauthorize",  # Microsoft: the person has to sign in, with a second factor, say
    }
)
_KNOWN: Mapping[str, ErrorKind] = MappingProxyType({**_DIALECTS, **_STANDARD})
# Where a code may be, most telling first; what is a number in these places most often repeats the status.
_TEXT_CODES = ("error_code", "errorCode", "error_type", "code", "status")
_TERMINAL: frozenset[ErrorKind] = frozenset({"reauthorize", "client"})
_NO_MAP: Mapping[str, ErrorKind] = MappingProxyType({})

_PRINTABLE_CHARACTERS = 200
_LONGEST_WAIT = timedelta(days=1)
_SECONDS = re.compile(r"-?[0-9]+")
_BASIC_CHALLENGE = re.compile(r"(?:^|,)\s*basic\b", re.IGNORECASE)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)


def printable(text: str) -> str:
    """Return at most 200 characters of a stranger's text, each of them printable."""
    return "".join(c if c.isprintable() else "?" for c in text[:_PRINTABLE_CHARACTERS])


def retry_after(headers: Mapping[str, str], sent_at: datetime) -> timedelta | None:
    """Return how long the provider asks to wait, from nothing to one day; None when it doesn't say.

    Spec: RFC 9110, section 10.2.3.

    Args:
        headers: names in lower case.
        sent_at: what an HTTP date is held against (aware, UTC).
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        if value.startswith("-"):
            return timedelta(0)
        return min(timedelta(seconds=int(value.lstrip("0")[:9] or "0")), _LONGEST_WAIT)  # nine digits pass a day
    moment = _http_date(value)
    return None if moment is None else min(max(moment - sent_at, timedelta(0)), _LONGEST_WAIT)


def _http_date(value: str) -> datetime | None:
    """Read RFC 9110's preferred form; the standard library's reader would bring sockets along."""
    found = _HTTP_DATE.fullmatch(value)
    if found is None or found[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[part]) for part in (1, 3, 4, 5, 6))
    try:
        return datetime(year, _MONTHS.index(found[2]) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None


def build_error(
    kind: ErrorKind, response: HttpResponse, *, provider: str, error: str = "", reason: str = "invalid_grant"
) -> ProviderError:
    """Build the error of `kind`, for a hook that has judged an answer itself.

    Args:
        error: the provider's own code, "" for none; made printable here.
        reason: kept when a new authorization is needed, in one word.
    """
    code = printable(error)
    text = f"{provider}: answered {response.status}" + (f" with error {code!r}" if code else "")
    wait = retry_after(response.headers, response.sent_at)
    if kind == "reauthorize":
        return ReauthorizationRequiredError(
            text, reason=reason, provider=provider, status=response.status, error=code or None, retry_after=wait
        )
    return _BRANCHES[kind](text, provider=provider, status=response.status, error=code or None, retry_after=wait)


def malformed(problem: str, *, provider: str, status: int | None = None) -> MalformedResponseError:
    """Build the error for an answer that breaks the protocol; `problem` names the rule, never the content."""
    return MalformedResponseError(f"{provider}: {problem}", provider=provider, status=status)


def unreadable(response: HttpResponse, problem: str, *, provider: str) -> ProviderError:
    """Build the error for an answer whose body can't be read: the status alone decides, and never that a grant died."""
    kind = _transient(response.status)
    if kind is not None:
        return build_error(kind, response, provider=provider)
    return malformed(problem, provider=provider, status=response.status)


def may_have_committed(error: SocialVaultError) -> bool:
    """Say whether the provider may have spent the token of a request that ended in `error`, or issued a new one.

    True where nothing clear was said after the request may have arrived: no answer to what was sent, a 5xx, a 2xx that
    can't be read. True as well where the answer was read and refused by us, for it is about another account. False for
    what refuses clearly (any other 4xx, a 429, an error inside a 2xx), and for what was never sent.

    Args:
        error: of the request that presented the token. What finding the endpoints or reading an API ended in says
            nothing about a token.
    """
    if isinstance(error, TransportError):
        return error.request_sent
    if isinstance(error, (AccountMismatchError, IssuerMismatchError)):
        return True
    if not isinstance(error, ProviderError):
        return False
    if isinstance(error, MalformedResponseError):
        return error.status is None or 200 <= error.status < 300 or error.status >= 500
    return error.status is not None and error.status >= 500


def read_error(
    response: HttpResponse,
    document: Document | None,
    *,
    provider: str,
    error_map: Mapping[str, ErrorKind] = _NO_MAP,
    codes: Sequence[str] = (),
) -> ProviderError:
    """Return the branch that an unsuccessful answer belongs to, for the caller to raise.

    `error_map` counts first; then a 408, 425, 429 or 5xx is transient whatever its body says, a 3xx or an unreadable
    body is malformed, and then the known codes count. What is left is the client's fault where a 401 asks for Basic
    authentication. At a transient status the map can't make anything terminal either: a proxy in trouble has no say
    in whether a grant lives.

    Spec: RFC 6749, section 5.2.

    Args:
        error_map: by error code, or by ``status:NNN``.
        codes: what a provider's hook composed (``190:463``, then ``190``), most telling first; by default the
            document's ``error``, then what servers send beside or instead of it, and the last part of a problem's
            ``type`` (RFC 9457, section 3.1.1).
    """
    found = tuple(codes) or _codes(document)
    error = found[0] if found else ""
    transient = _transient(response.status)
    for code in (*found, f"status:{response.status}"):
        mapped = error_map.get(code)
        if mapped is not None and not (transient and mapped in _TERMINAL):
            return build_error(mapped, response, provider=provider, error=error)
    if transient is not None:
        return build_error(transient, response, provider=provider, error=error)
    if 300 <= response.status < 400:
        return malformed("the answer is a redirect, which is never followed", provider=provider, status=response.status)
    if document is None:
        return unreadable(response, "the answer can't be read", provider=provider)
    known: ErrorKind | None = next((_KNOWN[code] for code in found if code in _KNOWN), None)
    unknown: ErrorKind = "client" if _asks_for_client(response) else "other"
    return build_error(known or unknown, response, provider=provider, error=error)


def _transient(status: int) -> ErrorKind | None:
    if status == 429:
        return "rate_limited"
    return "unavailable" if status >= 500 or status in (408, 425) else None  # RFC 9110, 15.5.9; RFC 8470, 5.2


def _asks_for_client(response: HttpResponse) -> bool:
    challenge = response.headers.get("www-authenticate", "")
    return response.status == 401 and _BASIC_CHALLENGE.search(challenge) is not None


def _codes(document: Document | None) -> tuple[str, ...]:
    if document is None:
        return ()
    found = (
        document.text("error"),
        document.identifier("error.code"),
        *(document.text(name) for name in _TEXT_CODES),
        _problem_type(document.text("type") or ""),
    )
    return tuple(code for code in found if code)


def _problem_type(uri: str) -> str:
    return "" if uri == "about:blank" else uri.rstrip("/").rpartition("/")[2]
