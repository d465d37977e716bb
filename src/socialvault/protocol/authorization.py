"""The authorization response (RFC 6749, section 4.1.2), and where a browser may be sent afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.parse import parse_qsl

from socialvault.exceptions import ConfigurationError, IssuerMismatchError, StateMismatchError
from socialvault.model.secret import Secret
from socialvault.protocol.errors import printable

_MAX_PARAMETERS = 64
_MAX_TOTAL_CHARACTERS = 16 * 1024
_MAX_CHARACTERS: Mapping[str, int] = {"state": 512, "code": 4096, "iss": 2048, "error": 1024}

_VSCHAR = re.compile(r"[\x20-\x7e]+")  # RFC 6749, appendix A: what a state or a code is made of
_OWN_PATH = re.compile(r"/(?:[A-Za-z0-9_~.\-]+/)*[A-Za-z0-9_~.\-]*")
_OWN_QUERY = re.compile(r"[A-Za-z0-9_~.\-=&,]*")
_MAX_PATH_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class AuthorizationResponse:
    """What came back through the browser: a code, or an error, under one state.

    Attributes:
        code: None exactly when there is an error.
        error: the provider's code, printable; "" when there is none.
        issuer: RFC 9207's ``iss``, or None when absent.
    """

    state: Secret[str]
    code: Secret[str] | None
    error: str
    issuer: str | None


def parse_parameters(params: object) -> list[tuple[str, str]]:
    """Return the parameters as pairs, repetitions included, whatever a framework holds them in.

    Args:
        params: a query string (str or bytes, without a URL before it), pairs, a mapping to strings or to lists of
            strings, or the multi-dict of Starlette, Django or Werkzeug.

    Raises:
        StateMismatchError: they are none of these, no UTF-8, too many or too long.
    """
    pairs = _pairs(params)
    del params  # this frame raises: it must not hold the code
    if isinstance(pairs, str):
        raise StateMismatchError(pairs)
    return pairs


def parse_response(params: object) -> AuthorizationResponse:
    """Read a callback's parameters, refusing every ambiguity before anything is done with them.

    ``state``, ``code``, ``iss`` and ``error`` at most once and never empty; a state always; either a code or an
    error. Everything else, an ``access_token`` for one, is ignored.

    Spec: RFC 6749, sections 3.1 and 4.1.2.

    Args:
        params: see `parse_parameters`.

    Raises:
        StateMismatchError: the callback is malformed.
    """
    found = _judge(params)
    del params
    if isinstance(found, str):
        raise StateMismatchError(found)
    return found


def check_issuer(response: AuthorizationResponse, *, expected: str, promised: bool) -> None:
    """Check that the response comes from the server that was asked, error responses included.

    Spec: RFC 9207, section 2.4: compared character by character.

    Args:
        expected: the server's issuer; "" when it has none, and then ``iss`` is ignored.
        promised: the server says that it always sends ``iss``.

    Raises:
        IssuerMismatchError: it names another issuer, or none though one was promised.
    """
    if response.issuer is None:
        if promised:
            raise IssuerMismatchError("the authorization response lacks the issuer that this server promises")
    elif expected and response.issuer != expected:
        raise IssuerMismatchError("the authorization response names another issuer")


def allowed_return_to(path: str, patterns: Sequence[str]) -> bool:
    """Whether a browser may be sent to `path` after the flow: an own path, and one that a pattern allows.

    Judged by an allow-list of characters, because parsers disagree about what a path is and browsers agree with none
    of them. A query may follow the path; patterns match the path alone.

    Args:
        patterns: exact paths, or prefixes that end in ``/*``.
    """
    if len(path) > _MAX_PATH_CHARACTERS:
        return False
    own, _, query = path.partition("?")
    if not _is_own_path(own) or not _OWN_QUERY.fullmatch(query):
        return False
    return any(own.startswith(pattern[:-1]) if pattern.endswith("/*") else own == pattern for pattern in patterns)


def check_return_to_pattern(pattern: str) -> None:
    """Check one entry of the allow-list: an own path, or one that ends in ``/*``.

    Raises:
        ConfigurationError: it is neither.
    """
    if not _is_own_path(pattern[:-1] if pattern.endswith("/*") else pattern):
        raise ConfigurationError(f"return_to: {pattern!r} must be an own path such as '/settings' or '/dashboard/*'")


def _is_own_path(path: str) -> bool:
    # No empty segment (so never "//host"), no "." or "..", which browsers resolve before they ask.
    return bool(_OWN_PATH.fullmatch(path)) and not {".", ".."} & set(path.split("/"))


# --- behind it: functions that return their problem, because they hold the code ------------------


def _judge(params: object) -> AuthorizationResponse | str:
    pairs = _pairs(params)
    if isinstance(pairs, str):
        return pairs
    known: dict[str, str] = {}
    for name, value in pairs:
        if name in _MAX_CHARACTERS:
            if name in known:
                return f"the callback repeats {name}"
            known[name] = value
    problem = next(filter(None, (_value_problem(name, value) for name, value in known.items())), "")
    if not problem and "state" not in known:
        problem = "the callback has no state"
    if not problem and ("code" in known) == ("error" in known):
        problem = "the callback must have either a code or an error"
    return problem or AuthorizationResponse(
        state=Secret(known["state"]),
        code=Secret(known["code"]) if "code" in known else None,
        error=printable(known.get("error", "")),
        issuer=known.get("iss"),
    )


def _value_problem(name: str, value: str) -> str:
    if not value:
        return f"the callback has an empty {name}"
    if len(value) > _MAX_CHARACTERS[name]:
        return f"the callback's {name} is too long"
    if name != "error" and not _VSCHAR.fullmatch(value):
        return f"the callback's {name} holds characters that none may hold"
    return ""


def _pairs(params: object) -> list[tuple[str, str]] | str:
    try:
        items = list(islice(_items(params), _MAX_PARAMETERS + 1))
    except (ValueError, TypeError, AttributeError):
        return "the callback's parameters can't be read"
    total = 0
    pairs: list[tuple[str, str]] = []
    for name, value in items:
        if not isinstance(name, str) or not isinstance(value, str):
            return "the callback has a parameter that is no text"
        total += len(name) + len(value)
        pairs.append((name, value))
    if total > _MAX_TOTAL_CHARACTERS or len(pairs) > _MAX_PARAMETERS:
        return "the callback is too long"
    return pairs


def _items(params: object) -> Iterable[tuple[object, object]]:
    """Raises ValueError, TypeError or AttributeError for what it can't read; `_pairs` is its only caller."""
    if isinstance(params, (str, bytes)):
        return _query_items(params)
    for method in ("multi_items", "lists"):  # Starlette; Django and Werkzeug
        if hasattr(params, method):
            return _flat(getattr(params, method)())
    if isinstance(params, Mapping):
        return _flat(params.items())
    return _flat(params)  # type: ignore[arg-type]  # anything else shows itself when it is iterated


def _query_items(query: str | bytes) -> list[tuple[str, str]]:
    if len(query) > _MAX_TOTAL_CHARACTERS * 3:  # each character takes three when it is encoded
        raise ValueError("too long to be worth parsing")
    text = query.decode("ascii") if isinstance(query, bytes) else query
    text = text.removeprefix("?")
    return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)


def _flat(items: Iterable[tuple[object, object]]) -> Iterable[tuple[object, object]]:
    for name, value in items:
        if isinstance(value, (list, tuple)):
            yield from ((name, item) for item in value)
        else:
            yield name, value
