"""Scopes: order and separators carry no meaning, so they are sets (RFC 6749, section 3.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SEPARATORS = re.compile(r"[\s,]+")

Scopes = frozenset[str]


def parse_scopes(value: object) -> Scopes | None:
    """Read scopes from a space or comma separated string or a list of strings.

    Returns None when the provider said nothing, which by RFC 6749 section 5.1 means "as requested".
    """
    parts = [value] if isinstance(value, str) else value
    if isinstance(parts, (list, tuple)) and all(isinstance(part, str) for part in parts):
        return frozenset(scope for part in parts for scope in _SEPARATORS.split(part) if scope)
    return None


def ordered(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return scopes without repetition, in the order given."""
    return tuple(dict.fromkeys(scopes))
