"""A fake of the HTTP surface of Google Cloud KMS: ``:encrypt`` and ``:decrypt`` of symmetric keys.

It is built from Google's public API reference and really encrypts: AES-256-GCM with the additional authenticated data,
checksums verified on the way in and sent on the way out, versions with states. Nothing here was held against the real
service.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from os import urandom
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.loopback import Answer, Loopback, Request

RING = "projects/demo/locations/europe-west1/keyRings/ring/cryptoKeys"
_PATH = re.compile(r"/v1/(?P<key>projects/[^:]+?)(?:/cryptoKeyVersions/(?P<version>\d+))?:(?P<what>encrypt|decrypt)")


def checksum(data: bytes) -> int:
    """CRC32C bit by bit, as RFC 3720 has it."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 * (register & 1))
    return register ^ 0xFFFFFFFF


@dataclass
class Key:
    """Its versions count from 1; the primary one encrypts."""

    versions: list[AESGCM] = field(default_factory=lambda: [AESGCM(urandom(32))])
    disabled: set[int] = field(default_factory=set)

    @property
    def primary(self) -> int:
        return len(self.versions)

    def rotate(self) -> None:
        self.versions.append(AESGCM(urandom(32)))


class FakeGcpKms:
    """The server; ``damage`` names a field of answers that goes wrong, ``failing`` is what is answered instead."""

    def __init__(self) -> None:
        self.keys = {f"{RING}/first": Key(), f"{RING}/second": Key()}
        self.damage = ""
        self.failing: Answer | None = None
        self.server = Loopback(self._respond)

    def _respond(self, request: Request) -> Answer:
        if self.failing is not None:
            return self.failing
        found = _PATH.fullmatch(request.path.partition("?")[0])
        if found is None or found["key"] not in self.keys:
            return _error(404, "NOT_FOUND")
        key, sent = self.keys[found["key"]], request.json
        wrong = [name for name in ("plaintext", "ciphertext", "additionalAuthenticatedData") if _damaged(sent, name)]
        if wrong:
            return _error(400, "INVALID_ARGUMENT")
        version = int(found["version"] or key.primary)
        answer = _encrypted(found["key"], key, version, sent) if found["what"] == "encrypt" else _decrypted(key, sent)
        if answer.status == 200 and self.damage in answer.body:
            answer.body[self.damage] = False if answer.body[self.damage] is True else "1"
        return answer


def _encrypted(name: str, key: Key, version: int, sent: Any) -> Answer:
    if version > key.primary:
        return _error(404, "NOT_FOUND")
    if version in key.disabled:
        return _error(400, "FAILED_PRECONDITION")
    nonce = urandom(12)
    sealed = key.versions[version - 1].encrypt(nonce, _field(sent, "plaintext"), _bound(sent))
    ciphertext = version.to_bytes(4, "big") + nonce + sealed
    return Answer(
        body={
            "name": f"{name}/cryptoKeyVersions/{version}",
            "ciphertext": base64.b64encode(ciphertext).decode(),
            "ciphertextCrc32c": str(checksum(ciphertext)),
            "verifiedPlaintextCrc32c": "plaintextCrc32c" in sent,
            "verifiedAdditionalAuthenticatedDataCrc32c": "additionalAuthenticatedDataCrc32c" in sent,
            "protectionLevel": "SOFTWARE",
        }
    )


def _decrypted(key: Key, sent: Any) -> Answer:
    ciphertext = _field(sent, "ciphertext")
    version = int.from_bytes(ciphertext[:4], "big")
    if not 0 < version <= key.primary:
        return _error(400, "INVALID_ARGUMENT")
    if version in key.disabled:
        return _error(400, "FAILED_PRECONDITION")
    try:
        plaintext = key.versions[version - 1].decrypt(ciphertext[4:16], ciphertext[16:], _bound(sent))
    except (InvalidTag, ValueError):
        return _error(400, "INVALID_ARGUMENT")
    return Answer(
        body={
            "plaintext": base64.b64encode(plaintext).decode(),
            "plaintextCrc32c": str(checksum(plaintext)),
            "usedPrimary": version == key.primary,
        }
    )


def _field(sent: Any, name: str) -> bytes:
    return base64.b64decode(sent.get(name, ""))


def _bound(sent: Any) -> bytes:
    return _field(sent, "additionalAuthenticatedData")


def _damaged(sent: Any, name: str) -> bool:
    told = sent.get(f"{name}Crc32c")
    return told is not None and int(told) != checksum(_field(sent, name))


def _error(status: int, code: str) -> Answer:
    return Answer(status, {"error": {"code": status, "message": "the fake's message", "status": code}})
