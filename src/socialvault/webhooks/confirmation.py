"""Confirmation codes: proof that a data deletion was done, without keeping anything about whose.

A code is 58 hex digits: the time in seconds (10), 8 random bytes (16), and the first 16 bytes (32) of an HMAC-SHA256
over both under the application's client secret. A new client secret makes older codes unknown.
"""

from __future__ import annotations

import hmac
import re
import secrets
from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError
from socialvault.protocol.timestamps import read_timestamp

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.model.secret import Secret
    from socialvault.providers.base import Provider

_PURPOSE = "socialvault/v1/data-deletion"
_CODE = re.compile(r"(([0-9a-f]{10})[0-9a-f]{16})([0-9a-f]{32})")


def confirmation_code(provider: Provider, at: datetime) -> str:
    """Return a new code that says: data was deleted at `at`.

    Raises:
        ConfigurationError: as `vouching_secret`.
    """
    secret = vouching_secret(provider)
    stated = f"{int(at.timestamp()):010x}{secrets.token_hex(8)}"
    return stated + _seal(provider, secret, stated)


def vouching_secret(provider: Provider) -> Secret[str]:
    """Return the secret that vouches for a provider's codes.

    Raises:
        ConfigurationError: its application has no client secret.
    """
    secret = provider.credentials.client_secret
    if secret is None:
        raise ConfigurationError(f"{provider.slug}: client_secret is missing, and confirmation codes need one")
    return secret


def deleted_at(provider: Provider, code: str) -> datetime | None:
    """Return when the deletion was done that `code` confirms (UTC, to the second); None for a code nobody gave out."""
    secret, parts = provider.credentials.client_secret, _CODE.fullmatch(code)
    if secret is None or parts is None or not hmac.compare_digest(_seal(provider, secret, parts[1]), parts[3]):
        return None
    return read_timestamp(int(parts[2], 16))


def _seal(provider: Provider, secret: Secret[str], stated: str) -> str:
    message = f"{_PURPOSE}\0{provider.slug}\0{provider.client_id}\0{stated}"
    return hmac.digest(secret.reveal().encode("utf-8", "surrogatepass"), message.encode(), "sha256").hex()[:32]
