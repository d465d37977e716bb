"""Reading single cells, whatever a driver or a file made of them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from socialvault.importers.record import Unreadable
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping


def text(value: object, what: str) -> str:
    """Return a cell as text, "" for none.

    Raises:
        Unreadable: it is neither text nor an id.
    """
    if value is None:
        return ""
    if isinstance(value, bytes | bytearray | memoryview):
        value = _decoded(bytes(value), what)
    if isinstance(value, bool | float | dict | list | tuple):
        raise Unreadable(f"{what} is no text")
    found = str(value)
    if "\0" in found or (not found.isascii() and any("\ud800" <= char <= "\udfff" for char in found)):
        raise Unreadable(f"{what} is no text that can be stored")
    return found


def _decoded(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        pass
    raise Unreadable(f"{what} is no text")


def secret(value: object, what: str) -> Secret[str] | None:
    """Return a cell's token, None for none."""
    found = text(value, what)
    return Secret(found) if found else None


def moment(value: object, zone: tzinfo, what: str) -> datetime | None:
    """Return a cell as a time: a date and time, or seconds since 1970; None for none.

    Args:
        zone: of dates that name none.

    Raises:
        Unreadable: it is no time.
    """
    try:
        if isinstance(value, datetime):
            return _aware(value, zone)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        written = text(value, what).strip()
        if not written:
            return None
        if is_number(written):
            return datetime.fromtimestamp(float(written), UTC)
        return _aware(datetime.fromisoformat(written), zone)
    except (ValueError, OverflowError, OSError):
        pass
    raise Unreadable(f"{what} is no time")


def _aware(at: datetime, zone: tzinfo) -> datetime:
    return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)


def seconds(value: object, what: str) -> float | None:
    """Return a cell's number of seconds, None for none.

    Raises:
        Unreadable: it is no number.
    """
    if value is None or value == "":
        return None
    written = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else text(value, what)
    if is_number(written):
        return float(written)
    raise Unreadable(f"{what} is no number of seconds")


def is_number(written: str) -> bool:
    """Whether text is a finite number."""
    try:
        return math.isfinite(float(written))
    except ValueError:
        return False


def scopes(value: object) -> tuple[str, ...]:
    """Return a cell's scopes: a list, or text with blanks or commas between them.

    Raises:
        Unreadable: it is neither.
    """
    if isinstance(value, list | tuple):
        return tuple(text(one, "scopes") for one in value if one)
    written = text(value, "scopes").strip()
    if written.startswith("["):
        return scopes(_parsed(written, "scopes"))
    return tuple(written.replace(",", " ").split())


def json_object(value: object, what: str) -> Mapping[str, Any]:
    """Return a cell that holds a JSON object, parsed by the driver or not; empty for none.

    Raises:
        Unreadable: it is no JSON object.
    """
    found = value if isinstance(value, dict | list) else _parsed(text(value, what) or "{}", what)
    if isinstance(found, str):  # JSON in JSON, which text columns of older releases hold
        found = _parsed(found, what)
    if not isinstance(found, dict):
        raise Unreadable(f"{what} is no JSON object")
    return found


def _parsed(written: str, what: str) -> Any:
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        pass
    raise Unreadable(f"{what} is malformed JSON")
