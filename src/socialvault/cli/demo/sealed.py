"""What lies in the database's files: secrets in any spelling, which must not, and one sealed row to look at."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from socialvault.model.rows import ConnectionRow

#: The envelope's parts, as crypto/envelope.py lays them out; the last one runs on to the 16 bytes of the tag.
LAYOUT = (
    ("magic", 0, 2),
    ("format version", 2, 3),
    ("suite: AES-256-GCM", 3, 4),
    ("key id, a commitment to the key", 4, 36),
    ("nonce", 36, 48),
    ("ciphertext begins", 48, 80),
)


@dataclass(frozen=True, slots=True)
class Field:
    """One part of an envelope, as it lies in the file. `at` counts from the envelope's start."""

    name: str
    at: int
    hex: str


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A stored connection.

    Attributes:
        file, offset: where the envelope was found. size_bytes: of the envelope.
        columns: what the row says in the clear.
    """

    file: str
    offset: int
    size_bytes: int
    columns: dict[str, str]
    fields: tuple[Field, ...]


def find_row(row: ConnectionRow, files: Iterable[Path]) -> SealedRow | None:
    """Find a row's envelope in the files, byte for byte; None when it is not there."""
    for file in files:
        content = file.read_bytes()
        offset = content.find(row.envelope)
        if offset >= 0:
            envelope = content[offset : offset + len(row.envelope)]
            fields = tuple(Field(name, start, envelope[start:end].hex(" ", 4)) for name, start, end in LAYOUT)
            return SealedRow(file.name, offset, len(envelope), _columns(row), fields)
    return None


def _columns(row: ConnectionRow) -> dict[str, str]:
    return {
        "id": row.id,
        "tenant": row.account.tenant,
        "owner": row.owner,
        "provider": row.account.provider,
        "subject": row.account.subject,
        "status": row.status.value,
        "generation": str(row.generation),
    }


def spellings(secret: str) -> frozenset[bytes]:
    """Return the ways in which `secret` could lie in a file: raw, URL-encoded, hex, and base64 at any alignment."""
    raw = secret.encode()
    spelled = {raw, quote(secret, safe="").encode(), raw.hex().encode(), raw.hex().upper().encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        spelled |= {_aligned(encode(bytes(shift) + raw), shift, len(raw)) for shift in range(3)}
    return frozenset(spelled)


def _aligned(encoded: bytes, shift: int, length: int) -> bytes:
    """Return the characters of a base64 text that depend on the secret alone, whatever stands around it."""
    first, last = -(-shift * 8 // 6), (shift + length) * 8 // 6
    return encoded[first:last]


def hits(secrets: Iterable[str], files: Iterable[Path]) -> int:
    """Count how often any of `secrets` lies in the files, in any spelling."""
    contents = [file.read_bytes() for file in files]
    return sum(content.count(spelling) for secret in secrets for spelling in spellings(secret) for content in contents)
