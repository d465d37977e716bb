"""``AwsKms``: the key-encryption key in AWS Key Management Service."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from socialvault.crypto.envelope import text
from socialvault.exceptions import ConfigurationError
from socialvault.keys.base import RemoteKeyService, library

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.exceptions import EncryptionError
    from socialvault.model.keys import KeyContext
    from socialvault.model.secret import Secret

_GONE = frozenset({"NotFoundException", "DisabledException", "KMSInvalidStateException", "InvalidKeyUsageException"})
_ALTERED = frozenset({"InvalidCiphertextException", "IncorrectKeyException"})
#: Beside every code of the kind "…Throttling…", and every status of 500 and above.
_PASSING = frozenset(
    {"KeyUnavailableException", "LimitExceededException", "RequestTimeout", "TooManyRequestsException"}
)

_UNCONFIGURED = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "NoRegionError",
                 "ProfileNotFound", "ConfigParseError", "SSOError", "ParamValidationError")  # fmt: skip


class AwsKms(RemoteKeyService):
    """Lets a symmetric key of AWS KMS wrap what opens the vault; needs ``kms:Encrypt`` and ``kms:Decrypt`` on it.

    Every call carries an encryption context (it appears in CloudTrail, and key policies may demand it):
    ``socialvault:vault`` (hex), ``socialvault:purpose``, ``socialvault:tenant`` (hex of the SHA-256 of the tenant) and
    ``socialvault:key`` (hex). Every decryption names the key that must have encrypted.

    Needs ``pip install 'socialvault[aws]'``.

    Args:
        key_id: of the key that wraps what is new: an ARN, an id or an alias. With the ARN of a key nothing need be
            found out, which saves a call.
        region: instead of the one in the environment or in the key's ARN.
        former: ARNs of keys, in the same region, that vault keys may still be wrapped under.
        timeout: for one attempt; a call is tried three times.
        client: a boto3 client for ``kms``, used as it is; give it time limits.

    Raises:
        ConfigurationError: boto3 is missing, or a former key is not an ARN.
    """

    service = "AWS KMS"
    loggers = ("botocore", "boto3", "urllib3")

    def __init__(
        self,
        key_id: str,
        *,
        region: str | None = None,
        former: Iterable[str] = (),
        timeout: timedelta = timedelta(seconds=3),
        client: Any = None,
    ) -> None:
        super().__init__(client, timeout)
        self._boto3, self._config = library("boto3", "aws"), library("botocore.config", "aws")
        self._errors = library("botocore.exceptions", "aws")
        self._key_id = key_id
        self._region = region or _region_of(key_id)
        self._named = frozenset((key_id, *former))
        if not key_id or not all(_is_key_arn(name) for name in self._named - {key_id}):
            raise ConfigurationError("key_id must name a key, and former keys must be ARNs of keys", argument="former")
        self._primary_id = key_id if _is_key_arn(key_id) else ""

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        return (self._errors.ClientError, self._errors.BotoCoreError)

    def _connect(self) -> Any:
        config = self._config.Config(
            connect_timeout=self._timeout_seconds,
            read_timeout=self._timeout_seconds,
            retries={"total_max_attempts": 1, "mode": "standard"},
        )
        return self._boto3.session.Session().client("kms", region_name=self._region, config=config)

    def _encrypt(self, client: Any, kek_id: str, key: Secret[bytes], context: KeyContext) -> tuple[str, bytes]:
        answer = client.encrypt(
            KeyId=kek_id or self._key_id, Plaintext=key.reveal(), EncryptionContext=_encryption_context(context)
        )
        return answer["KeyId"], answer["CiphertextBlob"]

    def _decrypt(self, client: Any, kek_id: str, wrapped: bytes, context: KeyContext) -> bytes:
        return bytes(
            client.decrypt(KeyId=kek_id, CiphertextBlob=wrapped, EncryptionContext=_encryption_context(context))[
                "Plaintext"
            ]
        )

    def _holds(self, kek_id: str) -> bool:
        return kek_id in self._named or kek_id == self.primary_id

    def _translated(self, problem: Exception) -> EncryptionError:
        if not isinstance(problem, self._errors.ClientError):
            return self._without_answer(problem)
        answer: Any = getattr(problem, "response", {})
        code = str(answer.get("Error", {}).get("Code", ""))
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _GONE:
            return self.gone(code)
        if code in _ALTERED:
            return self.altered()
        if code in _PASSING or "Throttling" in code or status >= 500 or status == 429:
            return self.unreachable(code)
        return self.refused("allow kms:Encrypt and kms:Decrypt on the key, with valid credentials", code)

    def _without_answer(self, problem: Exception) -> EncryptionError:
        name = type(problem).__name__
        if any(isinstance(problem, getattr(self._errors, error)) for error in _UNCONFIGURED):
            return self.refused("configure credentials and region", name)
        return self.unreachable(name)


def _is_key_arn(name: str) -> bool:
    parts = name.split(":")
    return len(parts) == 6 and parts[0] == "arn" and parts[5].startswith("key/")


def _region_of(key_id: str) -> str | None:
    parts = key_id.split(":")
    return parts[3] if len(parts) == 6 else None


def _encryption_context(context: KeyContext) -> dict[str, str]:
    """Return it as KMS takes it: never empty, short, and without a tenant's name, which CloudTrail would keep."""
    return {
        "socialvault:vault": context.vault_id.hex(),
        "socialvault:purpose": context.purpose,
        "socialvault:tenant": hashlib.sha256(text(context.tenant)).hexdigest(),
        "socialvault:key": context.key_id or "none",
    }
