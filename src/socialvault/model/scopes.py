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
    if isinstance(value, str):
        return frozenset(part for part in _SEPARATORS.split(value) if part)
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return frozenset(part for part in value if part)
    return None


def ordered(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return scopes without repetition, in the order given."""
    return tuple(dict.fromkeys(scopes))
