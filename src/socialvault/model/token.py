"""Tokens: what a caller is handed, and what a provider's answer is read into."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from socialvault.model.secret import Secret, Unexportable, fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socialvault.model.scopes import Scopes

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EMPTY: Mapping[str, str] = MappingProxyType({})


class AccessToken(Unexportable):
    """A valid access token, as ``token()`` hands it out; its value only comes out of ``reveal()``."""

    __slots__ = ("__connection_id", "__expires_us", "__generation", "__provider", "__scopes", "__value")

    def __init__(
        self, value: bytes, scopes: bytes, expires_us: int | None, connection_id: str, provider: str, generation: int
    ) -> None:
        self.__value = value
        self.__expires_us = expires_us
        self.__scopes = scopes
        self.__connection_id = connection_id
        self.__provider = provider
        self.__generation = generation

    @property
    def connection_id(self) -> str:
        """The connection it was read for."""
        return self.__connection_id

    @property
    def provider(self) -> str:
        """The slug of the provider whose API it is for."""
        return self.__provider

    @property
    def generation(self) -> int:
        """The token write it came from."""
        return self.__generation

    def reveal(self) -> str:
        """Return the token itself, for an Authorization header."""
        return self.__value.decode()

    @property
    def expires_at(self) -> datetime | None:
        """When it expires (aware, UTC), or None when the provider did not say."""
        us = self.__expires_us
        return None if us is None else _EPOCH + timedelta(microseconds=us)

    @property
    def scopes(self) -> Scopes:
        """The scopes granted."""
        return frozenset(self.__scopes.decode().split())

    def __repr__(self) -> str:
        return f"AccessToken(sha256:{fingerprint(self.__value)}, expires_at={self.expires_at})"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)


@dataclass(frozen=True, slots=True)
class TokenSet:
    """Everything a provider granted at once (RFC 6749, section 5.1).

    Attributes:
        access_token: never empty.
        refresh_token: None when the answer held none.
        id_token: the validated ID token, or None.
        scopes: what was granted, or None when the answer did not say.
        obtained_at: when the request was sent; every expiry counts from there.
        expires_at, refresh_expires_at, data_access_expires_at: deadlines, None when unknown.
        extra: provider values that later calls need (never secret alone, but sealed with the rest).
    """

    access_token: Secret[str]
    obtained_at: datetime
    refresh_token: Secret[str] | None = None
    id_token: Secret[str] | None = None
    scopes: Scopes | None = None
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    data_access_expires_at: datetime | None = None
    extra: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
