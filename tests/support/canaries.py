"""Searching sinks for secrets in every spelling they could hide in."""

from __future__ import annotations

import base64
import re
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_WORD = re.compile(r"[\w.~+/=-]+")
_BELOW = re.compile(r"/(?:socialvault|httpx|httpcore|h11|joserfc|cryptography|tenacity)/[^/]*(?:/|[.]py)")


def spellings(secret: str) -> Iterator[bytes]:
    """Yield the ways a secret may be written in a file or a log."""
    raw = secret.encode()
    yield raw
    yield raw.hex().encode()
    yield quote_plus(secret).encode()
    for offset in range(3):  # base64 depends on where in the text the secret begins
        encoded = base64.b64encode(b"\0" * offset + raw)
        yield encoded[4:-4]
        yield base64.urlsafe_b64encode(b"\0" * offset + raw)[4:-4]


def found_in(secrets: Iterable[str], data: bytes) -> list[str]:
    """Return the beginnings of the secrets that `data` holds."""
    return [secret[:12] for secret in secrets if any(spelling in data for spelling in spellings(secret))]


def found_in_text(secrets: Iterable[str], text: str) -> list[str]:
    """Return the beginnings of the secrets that `text` holds as they are; quick for many secrets and a long log."""
    words = "\n".join(set(_WORD.findall(text)))  # a log says the same things again and again
    return [secret[:12] for secret in secrets if secret in (words if _WORD.fullmatch(secret) else text)]


def assert_absent_from_files(secrets: Iterable[str], directory: Path) -> None:
    """Fail if a file below `directory` holds a secret."""
    kept = list(secrets)
    for file in directory.rglob("*"):
        with suppress(FileNotFoundError, IsADirectoryError):  # a side file of SQLite's may go away meanwhile
            leaked = found_in(kept, file.read_bytes())
            assert not leaked, f"{file.name} holds secrets: {leaked}"


def whole_story(problem: BaseException) -> str:
    """Return everything an error tracker could see: the chain, the attributes, the traceback with its locals."""
    seen: set[int] = set()
    parts: list[str] = []

    def visit(error: BaseException | None) -> None:
        if error is None or id(error) in seen:
            return
        seen.add(id(error))
        parts.extend([str(error), repr(error), repr(error.args), repr(getattr(error, "__dict__", {}))])
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        for frame in report.stack:  # the library's frames and those below; a caller's own are the caller's
            if _BELOW.search(frame.filename):
                parts.append(f"{frame.name} {frame.locals}")
        visit(error.__cause__)
        visit(error.__context__)

    visit(problem)
    return "\n".join(parts)
