"""What the driver and the server refuse, as this library's errors; no value, address or key is shown."""

from __future__ import annotations

import re

from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from socialvault.exceptions import (
    ConfigurationError,
    KeyNotFoundError,
    SocialVaultError,
    StoreError,
    StoreUnavailableError,
)
from socialvault.stores.redis.layout import SCHEMA

DRIVER_ERRORS = (RedisError, RedisClusterException, OSError)
#: A connection broke, or nothing came over it in time.
BROKEN = (RedisConnectionError, RedisTimeoutError)

_UNAVAILABLE = (
    *BROKEN,  # LOADING and a refused password included
    RedisClusterException,
    ClusterDownError,  # MASTERDOWN included
    TryAgainError,
    ReadOnlyError,
    OutOfMemoryError,
    OSError,
)
#: Codes that the driver has no class for.
_UNAVAILABLE_CODES = {"MISCONF", "NOREPLICAS", "BUSY", "NOMASTERLINK", "UNKILLABLE"}
_CODE = re.compile(r"[A-Z]{2,20}(?= |$)")


def refusal(error: Exception) -> SocialVaultError:
    """Translate what the driver raised."""
    text = str(error)
    found = _CODE.match(text)
    code = found.group() if found else type(error).__name__
    if code == "SVRETIRED":
        return KeyNotFoundError("the key that was to be used is retired")
    if code == "SVEXISTS":
        return StoreError("there is another record of this id or account")
    if code == "SVSCHEMA":
        return newer_schema(text.removeprefix("SVSCHEMA "))
    if isinstance(error, AuthenticationError):
        return StoreUnavailableError("the database refused the user name or the password")
    if isinstance(error, _UNAVAILABLE) or code in _UNAVAILABLE_CODES:
        return StoreUnavailableError(f"the database is not available: {code}")
    return StoreError(f"the database refused: {code}")


def check_schema(stored: bytes | None) -> None:
    """Make sure that this release knows the stored layout, or that there is none yet.

    Raises:
        ConfigurationError: it was made by a newer release.
    """
    if stored is not None and stored != b"%d" % SCHEMA:
        raise newer_schema(stored.decode("ascii", "replace"))


def newer_schema(version: str) -> ConfigurationError:
    """Return the error for a layout that this release does not know."""
    shown = version if version.isdecimal() else "unknown"
    return ConfigurationError(
        f"the database has layout version {shown}, this release knows {SCHEMA}: upgrade socialvault"
    )
