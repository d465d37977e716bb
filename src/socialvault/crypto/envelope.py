"""The byte format of everything sealed: one AES-256-GCM call, 64 bytes of overhead.

::

    off len
    0   2   magic "SV"
    2   1   format version (1)
    3   1   suite (1 = AES-256-GCM, random 96-bit nonce)
    4   32  key_id = SHA-256("socialvault/v1/key-id" || key): names the key and commits to it
    36  12  nonce
    48  n   ciphertext, then a 16 byte tag

    associated data, each part preceded by its length as 4 bytes, big endian:
        header (bytes 0 to 35), vault id, purpose, tenant, owner | provider, issuer | item id,
        generation (8 bytes), schema version (2 bytes)
"""

from __future__ import annotations

import hashlib
from os import urandom
from struct import Struct
from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptography.exceptions import InvalidTag

from socialvault.exceptions import KeyNotFoundError, MalformedEnvelopeError, TamperedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Purpose = Literal["token", "state", "data-key", "vault-key", "escrow", "cursor", "canary"]

MAGIC = b"SV\x01\x01"
HEADER_BYTES = 36
NONCE_END = 48
OVERHEAD_BYTES = 64
KEY_BYTES = 32
SCHEMA = 1

_KEY_ID_LABEL = b"socialvault/v1/key-id"
_LENGTH = Struct(">I")
_TAIL = Struct(">IQIH")  # length and generation, length and schema version
_KEPT_TAILS = 1024
_KEPT_BINDINGS = 64


def key_id_of(key: bytes) -> bytes:
    """Return the 32 bytes that name `key` and commit to it."""
    return hashlib.sha256(_KEY_ID_LABEL + key).digest()


def part(data: bytes) -> bytes:
    """Return one part of the associated data: its length, then itself."""
    return _LENGTH.pack(len(data)) + data


def text(value: str) -> bytes:
    """Encode a text part; lone surrogates keep their bytes, so that any str can be told from any other."""
    return value.encode("utf-8", "surrogatepass")


def _tail(generation: int) -> bytes:
    # Modulo, so that a damaged generation is refused as any other and not by `struct`.
    return _TAIL.pack(8, generation % 2**64, 2, SCHEMA)


_TAILS = {generation: _tail(generation) for generation in range(_KEPT_TAILS)}


def parse_key_id(envelope: bytes) -> bytes:
    """Return the id of the key that sealed `envelope`.

    Raises:
        MalformedEnvelopeError: it is too short, or its magic, version or suite is unknown.
    """
    if envelope[:4] != MAGIC or len(envelope) < OVERHEAD_BYTES:
        raise MalformedEnvelopeError("these bytes are no sealed record of a known version and suite")
    return envelope[4:HEADER_BYTES]


class NamedKey(NamedTuple):
    """A cipher, with the id of its key in bytes and in hex."""

    cipher: AESGCM
    key_id: bytes
    name: str


class Sealer:
    """Seals and opens under one key for one (vault, purpose, tenant, owner).

    The fixed parts of the associated data are joined once, provider and issuer once per pair, and the tails of the
    first generations once per process: a naive build of ten parts costs more than the encryption itself.
    """

    __slots__ = ("_bound", "_decrypt", "_encrypt", "_fixed", "header", "key_id")

    def __init__(
        self, cipher: AESGCM, key_id: bytes, vault_id: bytes, purpose: Purpose, tenant: str, owner: str
    ) -> None:
        self.key_id = key_id
        self.header = MAGIC + key_id
        self._encrypt = cipher.encrypt
        self._decrypt = cipher.decrypt
        parts = (self.header, vault_id, purpose.encode(), text(tenant), text(owner))
        self._fixed = b"".join(map(part, parts))
        self._bound: dict[tuple[str, str, int], bytes] = {}

    def _bind(self, provider: str, issuer: str, item: bytes, generation: int) -> bytes:
        """Join the associated data, and keep the parts up to the item for the next record of this provider."""
        bound = self._fixed + part(text(provider)) + part(text(issuer)) + _LENGTH.pack(len(item))
        if len(self._bound) < _KEPT_BINDINGS:
            self._bound[provider, issuer, len(item)] = bound
        return bound + item + _tail(generation)

    def seal(self, plaintext: bytes, provider: str, issuer: str, item: bytes, generation: int) -> bytes:
        """Seal `plaintext`, bound to where it belongs.

        Args:
            plaintext: padded by the caller.
            provider, issuer: the row's stored values, "" where there are none.
            item: the item id.
            generation: the token write it belongs to, 0 where there is none.
        """
        nonce = urandom(12)
        try:
            bound = self._bound[provider, issuer, len(item)] + item + _TAILS[generation]
        except LookupError:
            bound = self._bind(provider, issuer, item, generation)
        return self.header + nonce + self._encrypt(nonce, plaintext, bound)

    def open(self, envelope: bytes, provider: str, issuer: str, item: bytes, generation: int) -> bytes:
        """Open what `seal` made with the same arguments.

        Raises:
            MalformedEnvelopeError: these bytes are no envelope.
            KeyNotFoundError: it was sealed under another key.
            TamperedError: it was altered, or sealed for another place.
        """
        if not envelope.startswith(self.header) or len(envelope) < OVERHEAD_BYTES:
            parse_key_id(envelope)
            raise KeyNotFoundError("the record was sealed under another key")
        try:
            bound = self._bound[provider, issuer, len(item)] + item + _TAILS[generation]
        except LookupError:
            bound = self._bind(provider, issuer, item, generation)
        try:
            return self._decrypt(envelope[HEADER_BYTES:NONCE_END], envelope[NONCE_END:], bound)
        except InvalidTag:
            pass
        raise TamperedError("a sealed record was altered, or moved to where it does not belong")

    def __repr__(self) -> str:
        return f"Sealer(key_id={self.key_id.hex()[:12]})"


def place_of(tenant: str, owner: str, provider: str, issuer: str, item: bytes, generation: int) -> bytes:
    """Return the part of the associated data that is the same under every key: where a record belongs."""
    names = part(text(tenant)) + part(text(owner)) + part(text(provider)) + part(text(issuer))
    return names + part(item) + _tail(generation)


class Transfer:
    """Opens under one key and seals under another what stays in its place, which is put into bytes once for both."""

    __slots__ = ("_decrypt", "_encrypt", "_new_fixed", "_new_header", "_old_fixed", "_old_header")

    def __init__(self, old: NamedKey, new: NamedKey, vault_id: bytes, purpose: Purpose) -> None:
        fixed = part(vault_id) + part(purpose.encode())
        self._old_header, self._new_header = MAGIC + old.key_id, MAGIC + new.key_id
        self._old_fixed, self._new_fixed = part(self._old_header) + fixed, part(self._new_header) + fixed
        self._decrypt, self._encrypt = old.cipher.decrypt, new.cipher.encrypt

    def open(self, envelope: bytes, place: bytes) -> bytes:
        """As `Sealer.open`, under the old key."""
        if not envelope.startswith(self._old_header) or len(envelope) < OVERHEAD_BYTES:
            parse_key_id(envelope)
            raise KeyNotFoundError("the record was sealed under another key")
        try:
            return self._decrypt(envelope[HEADER_BYTES:NONCE_END], envelope[NONCE_END:], self._old_fixed + place)
        except InvalidTag:
            pass
        raise TamperedError("a sealed record was altered, or moved to where it does not belong")

    def move(self, envelope: bytes, place: bytes) -> bytes:
        """Open and seal at once: nothing that a traceback could show holds what is inside."""
        return self.seal(self.open(envelope, place), place)

    def seal(self, plaintext: bytes, place: bytes) -> bytes:
        """As `Sealer.seal`, under the new key."""
        nonce = urandom(12)
        return self._new_header + nonce + self._encrypt(nonce, plaintext, self._new_fixed + place)
