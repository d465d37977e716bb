"""Token records: between values and sealed bytes.

A token record's plaintext is a packed struct, so that ``token()`` reads one field without decoding the rest::

    off len
    0   1   schema (1)
    1   3   zero
    4   40  five times, signed 64-bit microseconds since 1970: obtained, due, expires, refresh expires,
            data access expires; the least value means unknown
    44  20  five lengths, unsigned 32 bit: access token, scopes, refresh token, ID token, the rest
    64  n   these five, in this order; the rest is JSON, "" when there is nothing to say
            then zero bytes up to a multiple of 256
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING

from socialvault.crypto.envelope import SCHEMA, Sealer
from socialvault.exceptions import MalformedEnvelopeError
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.model.token import AccessToken, TokenSet

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKET_BYTES = 256
MICROSECONDS = 1_000_000

_HEAD = Struct(">BxxxqqqqqIIIII")
_FRONT = Struct(">BxxxqqqqqII")
_BODY = _HEAD.size
_UNKNOWN = -(2**63)
_NEVER = 2**63 - 1
_NEWER = "the record has a newer schema than this version knows"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ZEROS = tuple(bytes(n) for n in range(BUCKET_BYTES))


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What is sealed for a connection.

    Attributes:
        token: the tokens. due_at: when renewal is due, None for never.
        identity: for display. requested: the scopes asked for.
    """

    token: TokenSet
    due_at: datetime | None
    identity: Identity
    requested: tuple[str, ...] = ()


def to_us(moment: datetime | None) -> int:
    """Return microseconds since 1970, exactly; the least value for unknown."""
    return _UNKNOWN if moment is None else (moment - _EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime | None:
    """Return what `to_us` read; None for unknown."""
    return None if us == _UNKNOWN else _EPOCH + timedelta(microseconds=us)


def pad(packed: bytes) -> bytes:
    """Fill up with zero bytes, so that a length tells little."""
    return packed + _ZEROS[-len(packed) % BUCKET_BYTES]


def pack_token(
    access: bytes,
    scopes: bytes,
    refresh: bytes,
    id_token: bytes,
    rest: bytes,
    obtained_us: int,
    due_us: int,
    expires_us: int,
    refresh_expires_us: int,
    data_access_expires_us: int,
) -> bytes:
    """Pack the fields of a token record, padded; times as in the format."""
    head = _HEAD.pack(
        SCHEMA, obtained_us, due_us, expires_us, refresh_expires_us, data_access_expires_us,
        len(access), len(scopes), len(refresh), len(id_token), len(rest),
    )  # fmt: skip
    packed = head + access + scopes + refresh + id_token + rest
    return packed + _ZEROS[-len(packed) % BUCKET_BYTES]


def seal_record(
    sealer: Sealer, record: TokenRecord, provider: str, issuer: str, connection_id: str, generation: int
) -> bytes:
    """Seal a token record for one connection and generation."""
    token = record.token
    times = (token.obtained_at, record.due_at, token.expires_at, token.refresh_expires_at, token.data_access_expires_at)
    return sealer.seal(
        pack_token(
            token.access_token.reveal().encode(),
            " ".join(sorted(token.scopes or ())).encode(),
            token.refresh_token.reveal().encode() if token.refresh_token else b"",
            token.id_token.reveal().encode() if token.id_token else b"",
            _encode_rest(record),
            *map(to_us, times),
        ),
        provider,
        issuer,
        connection_id.encode(),
        generation,
    )


def open_access(
    sealer: Sealer, envelope: bytes, provider: str, issuer: str, connection_id: str, generation: int
) -> tuple[AccessToken, int]:
    """Open only what a caller of ``token()`` needs.

    Returns:
        The token, and when renewal is due in microseconds since 1970; 2^63 - 1 for never.

    Raises:
        EncryptionError: the branch says what is wrong.
    """
    plain = sealer.open(envelope, provider, issuer, connection_id.encode(), generation)
    schema, _, due, expires, _, _, access_bytes, scopes_bytes = _FRONT.unpack_from(plain)
    if schema != SCHEMA:
        del plain
        raise MalformedEnvelopeError(_NEWER)
    end = _BODY + access_bytes
    token = AccessToken(
        plain[_BODY:end],
        plain[end : end + scopes_bytes],
        None if expires == _UNKNOWN else expires,
        connection_id,
        provider,
        generation,
    )
    return token, _NEVER if due == _UNKNOWN else due


def access_of(record: TokenRecord, provider: str, connection_id: str, generation: int) -> AccessToken:
    """Return what a caller of ``token()`` is handed of an opened record."""
    token = record.token
    expires = to_us(token.expires_at)
    return AccessToken(
        token.access_token.reveal().encode(),
        " ".join(sorted(token.scopes or ())).encode(),
        None if expires == _UNKNOWN else expires,
        connection_id,
        provider,
        generation,
    )


def open_record(
    sealer: Sealer, envelope: bytes, provider: str, issuer: str, connection_id: str, generation: int
) -> TokenRecord:
    """Open a whole token record.

    Raises:
        EncryptionError: the branch says what is wrong.
    """
    plain = sealer.open(envelope, provider, issuer, connection_id.encode(), generation)
    if plain[0] != SCHEMA:
        del plain
        raise MalformedEnvelopeError(_NEWER)
    _, obtained, due, expires, refresh_expires, data_access, *lengths = _HEAD.unpack_from(plain)
    parts: list[str] = []
    start = _BODY
    for length in lengths:
        parts.append(str(plain[start : start + length], "utf-8"))
        start += length
    access, scopes, refresh, id_token, rest = parts
    extra, identity, requested = _decode_rest(rest)
    return TokenRecord(
        token=TokenSet(
            access_token=Secret(access),
            obtained_at=from_us(obtained) or _EPOCH,
            refresh_token=Secret(refresh) if refresh else None,
            id_token=Secret(id_token) if id_token else None,
            scopes=frozenset(scopes.split()),
            expires_at=from_us(expires),
            refresh_expires_at=from_us(refresh_expires),
            data_access_expires_at=from_us(data_access),
            extra=extra,
        ),
        due_at=from_us(due),
        identity=identity,
        requested=requested,
    )


def _encode_rest(record: TokenRecord) -> bytes:
    identity = record.identity
    rest = {
        "sub": identity.subject,
        "name": identity.name,
        "username": identity.username,
        "email": identity.email,
        "picture": identity.picture_url,
        "requested": list(record.requested),
        "extra": dict(record.token.extra),
    }
    kept = {name: value for name, value in rest.items() if value}
    return json.dumps(kept, separators=(",", ":")).encode() if kept else b""


def _decode_rest(rest: str) -> tuple[Mapping[str, str], Identity, tuple[str, ...]]:
    kept = json.loads(rest) if rest else {}
    identity = Identity(
        subject=kept.get("sub", ""),
        name=kept.get("name", ""),
        username=kept.get("username", ""),
        email=kept.get("email", ""),
        picture_url=kept.get("picture", ""),
    )
    return MappingProxyType(kept.get("extra", {})), identity, tuple(kept.get("requested", ()))
