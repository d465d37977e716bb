"""A fake of the HTTP surface of Azure Key Vault: get a key, ``wrapkey``, ``unwrapkey``, and the challenge before them.

It is built from Azure's public API reference and really encrypts: RSA-OAEP-256 with a key per version, over https with
a certificate of its own. Nothing here was held against the real service.
"""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID
from support.loopback import Answer, Loopback, Request

if TYPE_CHECKING:
    from pathlib import Path

BEARER = "azure-bearer-token-canary"
_OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
_CHALLENGE = {
    "WWW-Authenticate": 'Bearer authorization="https://login.invalid/tenant", resource="https://vault.invalid"'
}


class FakeCredential:
    """Gives the token that the fake takes."""

    def get_token(self, *_scopes: str, **_options: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken(BEARER, int(time.time()) + 3600)


@dataclass
class Key:
    """Its versions, oldest first."""

    versions: list[rsa.RSAPrivateKey] = field(default_factory=lambda: [_new_key()])
    disabled: bool = False

    def rotate(self) -> None:
        self.versions.append(_new_key())


class FakeKeyVault:
    """The server.

    Attributes:
        port: what key ids name; a relay's port where there is one in between.
        failing: is answered instead, if set. readable: whether keys may be got.
    """

    def __init__(self, directory: Path) -> None:
        self.keys = {"first": Key(), "second": Key()}
        self.failing: Answer | None = None
        self.readable = True
        self.certificate = directory / "fake-key-vault.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.certificate.write_bytes(_certificate())
        context.load_cert_chain(self.certificate)
        self.server = Loopback(self._respond, tls=context)
        self.port = self.server.port

    def key_id(self, name: str, version: int = 0) -> str:
        return f"https://127.0.0.1:{self.port}/keys/{name}" + (f"/{version:032x}" if version else "")

    def _respond(self, request: Request) -> Answer:
        if request.headers.get("Authorization") != f"Bearer {BEARER}":
            return _error(401, "Unauthorized", headers=_CHALLENGE)
        if self.failing is not None:
            return self.failing
        _, _, name, version, *what = [*request.path.partition("?")[0].split("/"), "", ""]
        key = self.keys.get(name)
        number = int(version or "0", 16) or len(key.versions if key else ())
        if key is None or not 0 < number <= len(key.versions):
            return _error(404, "KeyNotFound")
        if request.method == "GET":
            return self._got(name, key, number)
        if key.disabled and what[0] == "unwrapkey":  # the public key may be got, and may wrap
            return _error(403, "Forbidden", "KeyDisabled")
        return _used(key.versions[number - 1], self.key_id(name, number), what[0], request.json)

    def _got(self, name: str, key: Key, number: int) -> Answer:
        if not self.readable:
            return _error(403, "Forbidden", "ForbiddenByPolicy")
        public = key.versions[number - 1].public_key().public_numbers()
        web_key = {"kid": self.key_id(name, number), "kty": "RSA", "key_ops": ["wrapKey", "unwrapKey"],
                   "n": _number(public.n), "e": _number(public.e)}  # fmt: skip
        return Answer(body={"key": web_key, "attributes": {"enabled": not key.disabled}})


def _used(key: rsa.RSAPrivateKey, key_id: str, what: str, sent: Any) -> Answer:
    if sent["alg"] != "RSA-OAEP-256":
        return _error(400, "BadParameter")
    value = base64.urlsafe_b64decode(sent["value"] + "===")
    try:
        made = key.public_key().encrypt(value, _OAEP) if what == "wrapkey" else key.decrypt(value, _OAEP)
    except ValueError:
        return _error(400, "BadParameter")
    return Answer(body={"kid": key_id, "value": _base64(made)})


def _error(status: int, code: str, inner: str = "", headers: dict[str, str] | None = None) -> Answer:
    error: dict[str, Any] = {"code": code, "message": "the fake's message"}
    if inner:
        error["innererror"] = {"code": inner}
    return Answer(status, {"error": error}, headers or {})


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _number(value: int) -> str:
    return _base64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def _certificate() -> bytes:
    """A key and a certificate for this machine, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
