"""``HashicorpTransit``: the key-encryption key in the transit engine of HashiCorp Vault or OpenBao."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from socialvault.exceptions import ConfigurationError
from socialvault.keys.base import RemoteKeyService, associated_data, library
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from socialvault.exceptions import EncryptionError
    from socialvault.model.keys import KeyContext

_GONE = ("key not found", "no existing key", "disallowed by policy", "version is too new", "version does not exist",
         "less than the minimum", "soft-deleted", "no handler for route", "unsupported path", "is not available",
         "min_available_version", "cannot encrypt with")  # fmt: skip
_ALTERED = ("message authentication failed", "invalid ciphertext", "could not decode", "base64-decode")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class HashicorpTransit(RemoteKeyService):
    """Lets a key of a transit engine wrap what opens the vault; works with HashiCorp Vault and OpenBao.

    The key must be of a type that takes associated data (``aes256-gcm96``, which is the default, or
    ``chacha20-poly1305``), not derived. Its versions count as keys of their own: after ``transit/keys/NAME/rotate`` a
    process started later wraps under the new version, and re-wrapping moves vault keys to it. The token needs
    ``update`` on ``transit/encrypt/NAME`` and ``transit/decrypt/NAME``, and must not have ``create``: with it, a
    mistyped name would make a key.

    Needs ``pip install 'socialvault[hashicorp]'``.

    Args:
        server: its URL (https, or http on this machine), or an ``hvac.Client`` that is used as it is, with its token,
            namespace, TLS settings and time limit.
        key: the name of the key that wraps what is new.
        token: or a function that returns the one to use now, called before each call; renewing it is yours. None:
            as hvac finds it, in ``VAULT_TOKEN``.
        mount: where the engine is mounted.
        namespace: of the engine.
        former: names of keys, in the same engine, that vault keys may still be wrapped under.
        verify: whether to check the server's certificate against public authorities, or a file with those to trust.
        timeout: for one attempt; a call is tried three times.

    Raises:
        ConfigurationError: hvac is missing, or an argument is unsafe.
    """

    service = "the transit engine"
    loggers = ("hvac", "requests", "urllib3")

    def __init__(
        self,
        server: Any,
        key: str,
        *,
        token: str | Secret[str] | Callable[[], str] | None = None,
        mount: str = "transit",
        namespace: str = "",
        former: Iterable[str] = (),
        verify: bool | str = True,
        timeout: timedelta = timedelta(seconds=3),
    ) -> None:
        super().__init__(None if isinstance(server, str) else server, timeout)
        self._hvac, self._requests = library("hvac", "hashicorp"), library("requests", "hashicorp")
        if not key or not mount:
            raise ConfigurationError("key and mount must be named", argument="key" if mount else "mount")
        if isinstance(server, str):
            _require_secure(server)
        self._server = server
        self._token = Secret(token) if isinstance(token, str) else token
        self._namespace, self._mount, self._verify = namespace, mount.strip("/"), verify
        self._path = "/".join(filter(None, (namespace.strip("/"), self._mount)))
        self._key = key
        self._names = frozenset((key, *former))

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        return (self._hvac.exceptions.VaultError, self._requests.RequestException)

    def _connect(self) -> Any:
        return self._hvac.Client(
            url=self._server,
            namespace=self._namespace or None,
            timeout=self._timeout_seconds,
            verify=self._verify,
            allow_redirects=False,  # the token is in a header of its own, which would go wherever an answer points
        )

    def _engine(self, client: Any) -> Any:
        if isinstance(self._token, Secret):
            client.token = self._token.reveal()
        elif self._token is not None:
            client.token = self._token()
        return client.secrets.transit

    def _encrypt(self, client: Any, kek_id: str, key: Secret[bytes], context: KeyContext) -> tuple[str, bytes]:
        answer = self._engine(client).encrypt_data(
            self._key,
            base64.b64encode(key.reveal()).decode(),
            associated_data=_base64(associated_data(context)),
            key_version=_version_of(kek_id) or None,
            mount_point=self._mount,
        )
        ciphertext = str(answer["data"]["ciphertext"])
        version = _marked_version(ciphertext)
        if not version:
            raise self.unreachable("its answer can't be read")
        return f"{self._path}/{self._key}:v{version}", ciphertext.encode("ascii")

    def _decrypt(self, client: Any, kek_id: str, wrapped: bytes, context: KeyContext) -> bytes:
        ciphertext = wrapped.decode("ascii", "replace")
        if _marked_version(ciphertext) != _version_of(kek_id):
            raise self.altered()
        answer = self._engine(client).decrypt_data(
            self._name_of(kek_id),
            ciphertext,
            associated_data=_base64(associated_data(context)),
            mount_point=self._mount,
        )
        return base64.b64decode(answer["data"]["plaintext"], validate=True)

    def _holds(self, kek_id: str) -> bool:
        return self._name_of(kek_id) in self._names and _version_of(kek_id) > 0

    def _name_of(self, kek_id: str) -> str:
        path, _, name = kek_id.rpartition(":v")[0].rpartition("/")
        return name if path == self._path else ""

    def _translated(self, problem: Exception) -> EncryptionError:
        errors, name = self._hvac.exceptions, type(problem).__name__
        if isinstance(problem, (errors.Forbidden, errors.Unauthorized)):
            what = f"check the key's name, and give a valid token that may update {self._mount}/encrypt and …/decrypt"
            return self.refused(what, name)
        said = " ".join(map(str, getattr(problem, "errors", None) or ())).lower()
        if any(phrase in said for phrase in _ALTERED) and "too new" not in said:
            return self.altered()
        if isinstance(problem, errors.InvalidPath) or any(phrase in said for phrase in _GONE):
            return self.gone(f"{self._path}/{self._key}")
        if isinstance(problem, errors.InvalidRequest):
            return self.refused("check that the key takes associated data and is not derived", name)
        return self.unreachable(name)


def _require_secure(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise ConfigurationError("server must be an https URL; http is for this machine only", argument="server")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _version_of(kek_id: str) -> int:
    """Return the version in the id of a key, 0 when there is none."""
    digits = kek_id.rpartition(":v")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else 0


def _marked_version(ciphertext: str) -> int:
    """Return the version that a ciphertext says it was made under: ``vault:v3:…``."""
    return _version_of(ciphertext.rpartition(":")[0])
