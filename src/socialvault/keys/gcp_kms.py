"""``GcpKms``: the key-encryption key in Google Cloud KMS."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from socialvault.exceptions import ConfigurationError
from socialvault.keys.base import RemoteKeyService, associated_data, library
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.exceptions import EncryptionError
    from socialvault.model.keys import KeyContext

_VERSION = "/cryptoKeyVersions/"


class GcpKms(RemoteKeyService):
    """Lets a symmetric key of Google Cloud KMS wrap what opens the vault; needs ``cryptoKeyEncrypterDecrypter`` on it.

    The context is the additional authenticated data, and CRC32C checksums guard each request and answer. Versions of
    the key count as keys of their own: when the primary version has changed, a process started later wraps under the
    new one, and re-wrapping moves vault keys to it. Calls go over REST, since gRPC does not survive a fork.

    Needs ``pip install 'socialvault[gcp]'``.

    Args:
        key_name: ``projects/…/locations/…/keyRings/…/cryptoKeys/…``.
        credentials: of ``google.auth``; None: the application's default ones.
        endpoint: instead of ``https://cloudkms.googleapis.com``: a regional or private one.
        former: names of keys that vault keys may still be wrapped under.
        timeout: for one attempt; a call is tried three times.
        client: a ``KeyManagementServiceClient``, used as it is.

    Raises:
        ConfigurationError: google-cloud-kms is missing, or a name is not a key's.
    """

    service = "Google Cloud KMS"
    loggers = ("google", "urllib3")

    def __init__(
        self,
        key_name: str,
        *,
        credentials: Any = None,
        endpoint: str = "",
        former: Iterable[str] = (),
        timeout: timedelta = timedelta(seconds=3),
        client: Any = None,
    ) -> None:
        super().__init__(client, timeout)
        self._kms = library("google.cloud.kms_v1", "gcp")
        self._errors, self._auth = (
            library("google.api_core.exceptions", "gcp"),
            library("google.auth.exceptions", "gcp"),
        )
        self._requests, self._json = library("requests", "gcp"), library("google.protobuf.json_format", "gcp")
        self._credentials, self._endpoint = credentials, endpoint
        self._key_name = key_name
        self._names = frozenset((key_name, *former))
        if not all(_is_key(name) for name in self._names):
            raise ConfigurationError(
                "keys are named projects/…/locations/…/keyRings/…/cryptoKeys/…, without a version", argument="key_name"
            )

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        errors = (self._errors.GoogleAPIError, self._auth.GoogleAuthError)
        return (*errors, self._requests.RequestException, self._json.Error)

    def _connect(self) -> Any:
        options = {"api_endpoint": self._endpoint} if self._endpoint else None
        return self._kms.KeyManagementServiceClient(
            transport="rest", credentials=self._credentials, client_options=options
        )

    def _encrypt(self, client: Any, kek_id: str, key: Secret[bytes], context: KeyContext) -> tuple[str, bytes]:
        bound = associated_data(context)
        answer = client.encrypt(
            {
                "name": kek_id or self._key_name,
                "plaintext": key.reveal(),
                "plaintext_crc32c": crc32c(key.reveal()),
                "additional_authenticated_data": bound,
                "additional_authenticated_data_crc32c": crc32c(bound),
            },
            timeout=self._timeout_seconds,
            retry=None,
        )
        verified = answer.verified_plaintext_crc32c and answer.verified_additional_authenticated_data_crc32c
        if not verified or answer.ciphertext_crc32c != crc32c(answer.ciphertext):
            raise self.unreachable("a request or an answer was damaged on its way")
        return answer.name, answer.ciphertext

    def _decrypt(self, client: Any, kek_id: str, wrapped: bytes, context: KeyContext) -> bytes:
        bound = associated_data(context)
        answer = client.decrypt(
            {
                "name": kek_id.partition(_VERSION)[0],
                "ciphertext": wrapped,
                "ciphertext_crc32c": crc32c(wrapped),
                "additional_authenticated_data": bound,
                "additional_authenticated_data_crc32c": crc32c(bound),
            },
            timeout=self._timeout_seconds,
            retry=None,
        )
        plaintext, told = Secret(bytes(answer.plaintext)), answer.plaintext_crc32c
        del answer  # this frame may raise
        if crc32c(plaintext.reveal()) != told:
            raise self.unreachable("an answer was damaged on its way")
        return plaintext.reveal()

    def _holds(self, kek_id: str) -> bool:
        return kek_id.partition(_VERSION)[0] in self._names

    def _translated(self, problem: Exception) -> EncryptionError:
        name, status = type(problem).__name__, self._status_of(problem)
        if status in {"NOT_FOUND", "FAILED_PRECONDITION"}:
            return self.gone(status)
        if status == "INVALID_ARGUMENT":
            return self.altered()
        if status in {"PERMISSION_DENIED", "UNAUTHENTICATED"}:
            return self.refused("grant roles/cloudkms.cryptoKeyEncrypterDecrypter on the key", status)
        if isinstance(problem, self._auth.GoogleAuthError) and not isinstance(problem, self._auth.TransportError):
            return self.refused("configure credentials", name)
        return self.unreachable(status or name)

    def _status_of(self, problem: Exception) -> str:
        """Return the canonical status; over REST several share one HTTP status, so that the body tells them apart."""
        grpc_status = getattr(problem, "grpc_status_code", None)
        if grpc_status is not None:
            return str(grpc_status.name)
        response: Any = getattr(problem, "response", None)  # only errors of HTTP answers have one
        try:
            status = response.json()["error"]["status"]
        except (AttributeError, LookupError, TypeError, ValueError):
            status = ""
        return status if isinstance(status, str) else ""


def _is_key(name: str) -> bool:
    parts = name.split("/")
    return parts[::2] == ["projects", "locations", "keyRings", "cryptoKeys"] and len(parts) == 8 and all(parts)


def _row(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_TABLE = [_row(value) for value in range(256)]


def crc32c(data: bytes) -> int:
    """Return the checksum that the service compares; ``zlib`` has another polynomial.

    Spec: RFC 3720, appendix B.4.
    """
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
