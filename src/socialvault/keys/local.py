"""``LocalKeyring``: key-encryption keys from the environment or a file."""

from __future__ import annotations

import base64
import hmac
import os
import re
import stat
from os import urandom
from typing import TYPE_CHECKING, cast
from zlib import crc32

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from socialvault.crypto.envelope import KEY_BYTES, Purpose, Sealer, key_id_of, parse_key_id
from socialvault.exceptions import ConfigurationError, KeyNotFoundError
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.model.keys import KeyContext

PREFIX = "svk1_"

_TEXT = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{48}}")
_LEAST_DISTINCT_BYTES = 16  # 32 random bytes have fewer than this many distinct values less than once in 10^15


class LocalKeyring:
    """Holds one primary key and any number of older ones; wraps vault keys in this process.

    A key is written ``svk1_`` and 48 characters, made by ``socialvault keygen``: 32 random bytes and their checksum.

    Args:
        keys: the primary first; older ones only open.

    Raises:
        ConfigurationError: no key, or one is malformed; the message says which, never its value.
    """

    def __init__(self, keys: Iterable[str | Secret[str]]) -> None:
        wrapped = [text if isinstance(text, Secret) else Secret(text) for text in keys]
        del keys  # this frame may raise
        self._ciphers: dict[str, AESGCM] = {}
        for position, key in enumerate(wrapped, start=1):
            key_id, cipher = _parse(key, f"key {position}")
            self._ciphers[key_id] = cipher
        if not self._ciphers:
            raise ConfigurationError("the keyring holds no key; make one with: socialvault keygen")
        self._primary_id = next(iter(self._ciphers))

    @classmethod
    def from_env(cls, name: str = "SOCIALVAULT_KEYS") -> LocalKeyring:
        """Read keys, separated by commas or white space, from the environment variable `name`.

        Raises:
            ConfigurationError: the variable is missing or empty, or a key is malformed.
        """
        if not os.environ.get(name, "").strip():
            raise ConfigurationError(f"the environment variable {name} holds no key; make one with: socialvault keygen")
        try:
            return cls(map(Secret[str], re.split(r"[\s,]+", os.environ[name].strip())))
        except ConfigurationError as problem:
            message = f"environment variable {name}: {problem}"
        raise ConfigurationError(message)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> LocalKeyring:
        """Read keys from a file, one a line; lines that begin with ``#`` are comments.

        Raises:
            ConfigurationError: the file can't be read, others may read it, or a key is malformed.
        """
        file, mode, lines = os.fspath(path), 0, None
        try:
            with open(file, encoding="ascii") as opened:  # noqa: PTH123  (pathlib costs more to import than this package)
                mode = os.fstat(opened.fileno()).st_mode
                lines = [Secret(line.strip()) for line in opened]
        except (OSError, UnicodeDecodeError):
            pass
        if lines is None:
            raise ConfigurationError(f"the key file {file} can't be read as text")
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(f"the key file {file} is open to others; run: chmod 600 {file}")
        try:
            return cls(line for line in lines if line and not line.reveal().startswith("#"))
        except ConfigurationError as problem:
            message = f"key file {file}: {problem}"
        raise ConfigurationError(message)

    @staticmethod
    def generate() -> str:
        """Return a new key, to be kept where the database is not."""
        key = urandom(KEY_BYTES)
        return PREFIX + base64.urlsafe_b64encode(key + crc32(key).to_bytes(4, "big")).decode()

    @property
    def primary_id(self) -> str:
        """The id of the key that new vault keys are wrapped under."""
        return self._primary_id

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the primary first."""
        return tuple(self._ciphers)

    def wrap(self, key: bytes, context: KeyContext) -> bytes:
        """Seal `key` under the primary, bound to `context`."""
        sealer = self._sealer(self._primary_id, context)
        return sealer.seal(key, "", "", context.key_id.encode(), 0)

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """Open what `wrap` made.

        Raises:
            KeyNotFoundError: its key is not in this keyring.
            TamperedError: it was altered, or made for another context.
            MalformedEnvelopeError: it is no envelope.
        """
        key_id = parse_key_id(wrapped).hex()
        if key_id not in self._ciphers:
            raise KeyNotFoundError(f"key {key_id[:12]}… is not in the keyring")
        return self._sealer(key_id, context).open(wrapped, "", "", context.key_id.encode(), 0)

    def _sealer(self, key_id: str, context: KeyContext) -> Sealer:
        cipher = self._ciphers[key_id]
        return Sealer(
            cipher, bytes.fromhex(key_id), context.vault_id, cast("Purpose", context.purpose), context.tenant, ""
        )

    def __repr__(self) -> str:
        return f"LocalKeyring({', '.join(key_id[:12] for key_id in self._ciphers)})"


def _parse(text: Secret[str], which: str) -> tuple[str, AESGCM]:
    """Read one key.

    Raises:
        ConfigurationError: it is malformed; the message names `which` and not the value.
    """
    if not isinstance(text.reveal(), str) or not _TEXT.fullmatch(text.reveal()):
        raise ConfigurationError(f"{which} is malformed: a key is {PREFIX} and 48 characters, from socialvault keygen")
    raw = Secret(base64.urlsafe_b64decode(text.reveal()[len(PREFIX) :]))
    checksum = crc32(raw.reveal()[:KEY_BYTES]).to_bytes(4, "big")
    if not hmac.compare_digest(checksum, raw.reveal()[KEY_BYTES:]):
        raise ConfigurationError(f"{which} is damaged: its checksum does not fit; was it cut or mistyped?")
    if len(set(raw.reveal()[:KEY_BYTES])) < _LEAST_DISTINCT_BYTES:
        raise ConfigurationError(f"{which} is not random; make one with: socialvault keygen")
    return key_id_of(raw.reveal()[:KEY_BYTES]).hex(), AESGCM(raw.reveal()[:KEY_BYTES])
