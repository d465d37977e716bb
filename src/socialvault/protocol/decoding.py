"""From a response's bytes to a ``Document``: strict, bounded, and silent about what it read."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qsl

from socialvault.model.secret import Secret, Unexportable
from socialvault.protocol import errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socialvault.protocol.messages import HttpResponse

_MAX_DEPTH = 32
_MAX_INT_DIGITS = 40  # ids of 128 bits have 39
_MAX_FORM_FIELDS = 100
_MAX_SECRET_BYTES = 64 * 1024

_JSON_TYPES = frozenset({"", "application/json", "text/json", "text/javascript"})
_FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "text/plain"})
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,40}")


class Document(Unexportable):
    """A decoded JSON object (or form). Not a mapping, so that nothing prints or serialises it by accident.

    Paths are dotted, with numeric list indexes: ``data.id``, ``items.0.name``. A path that leads nowhere is None.

    Args:
        fields: the decoded object.
        provider, status: named by the errors that reading it raises.
    """

    __slots__ = ("_fields", "_provider", "_status")

    def __init__(self, fields: Mapping[str, object], *, provider: str = "", status: int | None = None) -> None:
        self._fields = dict(fields)
        self._provider = provider
        self._status = status

    def __repr__(self) -> str:
        return f"Document({', '.join(name if _FIELD_NAME.fullmatch(name) else '?' for name in self.names[:20])})"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its fields, in order."""
        return tuple(self._fields)

    def has(self, path: str) -> bool:
        """Whether there is something other than null at `path`."""
        return self.value(path) is not None

    def value(self, path: str) -> object:
        """Return whatever is at `path`, undecided about its type; None for nothing."""
        if path in self._fields:  # claim names may hold dots themselves
            return self._fields[path]
        node: object = self._fields
        for part in path.split("."):
            if isinstance(node, dict):
                node = node.get(part)
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                return None
        return node

    def text(self, path: str) -> str | None:
        """Return the string at `path`; None for anything else, numbers included."""
        value = self.value(path)
        return value if isinstance(value, str) else None

    def identifier(self, path: str) -> str | None:
        """Return the id at `path`, which providers send as a string or as an integer; None when empty."""
        value = self.value(path)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return value if isinstance(value, str) and value else None

    def secret(self, path: str) -> Secret[str] | None:
        """Return the secret at `path`, None for null, "" or nothing.

        Raises:
            MalformedResponseError: it is no string, longer than 64 KiB, or would not survive in a header.
        """
        problem = _secret_problem(self.value(path))
        if problem:
            raise errors.malformed(f"{path} {problem}", provider=self._provider, status=self._status)
        return Secret(value) if isinstance(value := self.value(path), str) and value else None

    def document(self, path: str) -> Document | None:
        """Return the object at `path`; None for anything else."""
        value = self.value(path)
        return self._child(value) if isinstance(value, dict) else None

    def documents(self, path: str) -> tuple[Document, ...]:
        """Return the objects in the list at `path`; empty for anything else."""
        value = self.value(path)
        return tuple(self._child(item) for item in value if isinstance(item, dict)) if isinstance(value, list) else ()

    def _child(self, fields: Mapping[str, object]) -> Document:
        return Document(fields, provider=self._provider, status=self._status)


def decode_document(response: HttpResponse, *, provider: str, form_encoded: bool = False) -> Document:
    """Decode an answer that must hold a JSON object.

    Refused: another content type or charset, a byte order mark, bytes that are no UTF-8, duplicate names, NaN and
    infinities, nesting deeper than 32, integers of more than 40 digits, lone surrogates, anything but an object.

    Spec: RFC 8259; RFC 6749, section 5.1.

    Args:
        form_encoded: the provider is known to answer ``application/x-www-form-urlencoded`` too.

    Raises:
        RateLimitedError, ProviderUnavailableError: unreadable, and the status is 429 or 5xx.
        MalformedResponseError: unreadable at any other status.
    """
    found = _decode(response, provider, form_encoded=form_encoded)
    if isinstance(found, str):
        raise errors.unreadable(response, f"the answer {found}", provider=provider)
    return found


def decode_optional(response: HttpResponse, provider: str) -> Document | None:
    """Decode the body of an error answer; None where it can't be read."""
    found = _decode(response, provider, form_encoded=False)
    return None if isinstance(found, str) else found


def parse_object(data: bytes) -> dict[str, object] | str:
    """Parse one JSON object, or say what is wrong with it; never raises, so that no traceback holds `data`."""
    if not data.strip():
        return "is empty"
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError:
        return "is no UTF-8"
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return str(error) if type(error) is _RefusedError else "is no JSON"
    if not isinstance(value, dict):
        return "is no JSON object"
    return _content_problem(value, 1) or value


# --- behind it: functions that return their problem, because they hold the body -------------------


def _decode(response: HttpResponse, provider: str, *, form_encoded: bool) -> Document | str:
    header = response.headers.get("content-type", "")
    media_type = header.partition(";")[0].strip().lower()
    charset = _CHARSET.search(header)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        return "is in another charset than UTF-8"
    if form_encoded and media_type in _FORM_TYPES:
        fields = _parse_form(response.body)
    elif media_type in _JSON_TYPES or media_type.endswith("+json"):
        fields = parse_object(response.body)
    else:
        return "has the wrong content type"
    return fields if isinstance(fields, str) else Document(fields, provider=provider, status=response.status)


def _parse_form(data: bytes) -> dict[str, object] | str:
    if not data:
        return "is empty"
    try:
        pairs = parse_qsl(
            data.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_FORM_FIELDS,
        )
    except ValueError:
        return "is no form"
    fields: dict[str, object] = dict(pairs)
    return fields if len(fields) == len(pairs) else "repeats a field"


class _RefusedError(ValueError):
    """Something that the standard library would have let pass."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _RefusedError("repeats a field")
    return fields


def _bounded_int(digits: str) -> int:
    if len(digits) > _MAX_INT_DIGITS:
        raise _RefusedError("holds a number that is too long")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _RefusedError("holds a number that is not finite")
    return number


def _constant(_name: str) -> NoReturn:
    raise _RefusedError("holds a number that is not finite")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_bounded_int, parse_float=_finite, parse_constant=_constant
)


def _content_problem(value: object, depth: int) -> str:
    if isinstance(value, str):
        return "holds half a character" if _SURROGATE.search(value) else ""
    if isinstance(value, dict):
        children = [*value, *value.values()]
    elif isinstance(value, list):
        children = value
    else:
        return ""
    if depth > _MAX_DEPTH:
        return "is nested too deeply"
    return next(filter(None, (_content_problem(child, depth + 1) for child in children)), "")


def _secret_problem(value: object) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        return "is no string"
    if len(value) > _MAX_SECRET_BYTES:
        return "is too long"
    return "" if _VISIBLE_ASCII.fullmatch(value) else "holds characters that no token may hold"
