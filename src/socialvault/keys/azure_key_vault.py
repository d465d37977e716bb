"""``AzureKeyVault``: the key-encryption key in Azure Key Vault."""

from __future__ import annotations

from datetime import timedelta
from hmac import compare_digest
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from socialvault.exceptions import ConfigurationError
from socialvault.keys.base import RemoteKeyService, library

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.exceptions import EncryptionError
    from socialvault.model.keys import KeyContext
    from socialvault.model.secret import Secret

_GONE = frozenset({"KeyNotFound", "KeyDisabled", "KeyNotYetValid", "KeyExpired", "ObjectIsDeletedButRecoverable",
                   "ObjectIsBeingDeleted", "KeyOperationNotAllowed"})  # fmt: skip


class AzureKeyVault(RemoteKeyService):
    """Lets an RSA key of Azure Key Vault wrap what opens the vault, by RSA-OAEP-256; needs get, wrapKey and unwrapKey.

    RSA takes no associated data. The context is bound all the same, but not by the service: the key that it wraps is
    used once, and seals the vault key with the context as associated data. What RSA can't give is proof of who wrapped:
    with the public key anybody can wrap a key of his own, so who can write the database can put a vault key there that
    he knows. Nothing that was sealed before opens with it; what would be sealed after, would. The other key services
    don't have this gap.

    Versions of the key count as keys of their own: after a rotation a process started later wraps under the newest
    version, and re-wrapping moves vault keys to it. What was wrapped is unwrapped once before it is stored, because
    Key Vault lets a disabled key wrap, and the client library wraps by itself with the public key.

    Needs ``pip install 'socialvault[azure]'``.

    Args:
        key_id: ``https://VAULT.vault.azure.net/keys/NAME``, or with ``/VERSION``, which then wraps what is new.
        credential: of ``azure.identity``; None: ``DefaultAzureCredential``.
        former: ids of keys, without their versions, that vault keys may still be wrapped under.
        timeout: for one attempt; a call is tried three times.
        options: for the client library's clients: ``connection_verify``, ``proxies``, ``verify_challenge_resource``, …

    Raises:
        ConfigurationError: azure-keyvault-keys is missing, or an id is not a key's.
    """

    service = "Azure Key Vault"
    loggers = ("azure", "urllib3")

    def __init__(
        self,
        key_id: str,
        credential: Any = None,
        *,
        former: Iterable[str] = (),
        timeout: timedelta = timedelta(seconds=3),
        **options: Any,
    ) -> None:
        super().__init__(None, timeout)
        self._crypto = library("azure.keyvault.keys.crypto", "azure")
        self._errors = library("azure.core.exceptions", "azure")
        self._credential = credential or library("azure.identity", "azure").DefaultAzureCredential()
        self._options = options
        self._algorithm = self._crypto.KeyWrapAlgorithm.rsa_oaep_256
        self._key_id = key_id.rstrip("/")
        self._names = frozenset(map(_name_of, (self._key_id, *former)))

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        return (self._errors.AzureError, ValueError)

    def _connect(self) -> dict[str, Any]:
        """Return no client: each key has one, made when it is needed."""
        return {}

    def _of(self, clients: dict[str, Any], key_id: str) -> Any:
        if key_id not in clients:
            limits = {
                "retry_total": 0,
                "connection_timeout": self._timeout_seconds,
                "read_timeout": self._timeout_seconds,
            }
            clients[key_id] = self._crypto.CryptographyClient(key_id, self._credential, **limits, **self._options)
        return clients[key_id]

    def _encrypt(
        self, client: dict[str, Any], kek_id: str, key: Secret[bytes], context: KeyContext
    ) -> tuple[str, bytes]:
        wrapping = self._of(client, kek_id or self._key_id)
        answer = wrapping.wrap_key(self._algorithm, key.reveal())
        if not _version_of(answer.key_id):
            raise self.refused("allow to get the key, or name its version", "its version is not known")
        if not compare_digest(self._decrypt(client, answer.key_id, answer.encrypted_key, context), key.reveal()):
            raise self.unreachable("it gave another key than it was given")
        return answer.key_id, answer.encrypted_key

    def _decrypt(self, client: dict[str, Any], kek_id: str, wrapped: bytes, context: KeyContext) -> bytes:
        return bytes(self._of(client, kek_id).unwrap_key(self._algorithm, wrapped).key)

    def _holds(self, kek_id: str) -> bool:
        try:
            return bool(_version_of(kek_id)) and _name_of(kek_id) in self._names
        except ConfigurationError:
            return False

    def _translated(self, problem: Exception) -> EncryptionError:
        status, name = getattr(problem, "status_code", None), type(problem).__name__
        codes = _codes(problem)
        if status == 404 or codes & _GONE:
            return self.gone(", ".join(codes & _GONE) or name)
        if status == 400:
            return self.altered()
        if status in {401, 403} or isinstance(problem, (self._errors.ClientAuthenticationError, ValueError)):
            return self.refused("allow keys/get, keys/wrapKey and keys/unwrapKey, with valid credentials", name)
        return self.unreachable(name if status is None else f"status {status}")


def _codes(problem: Exception) -> set[str]:
    """Return the error's code and the one inside it: a disabled key is a ``KeyDisabled`` within a ``Forbidden``."""
    error = getattr(problem, "error", None)
    inner = getattr(error, "innererror", None)
    codes = {getattr(error, "code", None), inner.get("code") if isinstance(inner, dict) else None}
    if "disabled key" in str(getattr(error, "message", "")):
        codes.add("KeyDisabled")
    return {str(code) for code in codes if code}


def _name_of(key_id: str) -> str:
    """Return a key's id without its version.

    Raises:
        ConfigurationError: it is no key's id.
    """
    url, parts = urlsplit(key_id), urlsplit(key_id).path.split("/")
    if (
        url.scheme != "https"
        or not url.netloc
        or parts[:2] != ["", "keys"]
        or len(parts) not in {3, 4}
        or not all(parts[2:])
    ):
        raise ConfigurationError("a key is named https://VAULT.vault.azure.net/keys/NAME", argument="key_id")
    return f"https://{url.netloc.lower()}/keys/{parts[2]}"


def _version_of(key_id: str) -> str:
    parts = urlsplit(key_id or "").path.split("/")
    return parts[3] if len(parts) == 4 else ""
