"""The configuration: environment variables alone, all of them checked before anything starts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

PLATFORMS = ("x", "linkedin", "facebook")
_LOOPBACK = ("127.0.0.1", "localhost")


class SettingsError(Exception):
    """A variable is missing or wrong; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What an administrator decides.

    Attributes:
        public_url: where browsers find this service: ``https://app.example``. Never guessed from a request.
        database: the SQLite file of users and sessions.
        vault_store: where the vault keeps its sealed tokens.
        credentials: id and secret of this application at each real platform that has been set up.
        sandbox_url: where emulated platforms are, "" for real ones.
    """

    public_url: str
    database: Path
    vault_store: str
    credentials: Mapping[str, tuple[str, str]] = field(repr=False)
    sandbox_url: str

    @classmethod
    def from_env(cls) -> Settings:
        """Read them from the environment, where ``SOCIALVAULT_KEYS`` is, too.

        Raises:
            SettingsError: one is missing or wrong.
        """
        pairs = {slug: pair for slug in PLATFORMS if (pair := _credentials(slug.upper()))}
        sandbox_url = os.environ.get("SANDBOX_URL", "").rstrip("/")
        if pairs and sandbox_url:
            raise SettingsError(f"SANDBOX_URL is set, and so are credentials of {', '.join(pairs)}: unset one of both")
        if not pairs and not sandbox_url:
            raise SettingsError(
                "X_CLIENT_ID and X_CLIENT_SECRET (or LINKEDIN_…, FACEBOOK_…), or SANDBOX_URL: none is set"
            )
        return cls(
            public_url=_public_url(),
            database=Path(os.environ.get("DATABASE", "app.db")),
            vault_store=os.environ.get("VAULT_STORE", "sqlite:///vault.db"),
            credentials=pairs,
            sandbox_url=sandbox_url,
        )

    @property
    def uses_tls(self) -> bool:
        """Whether cookies may be kept to TLS."""
        return self.public_url.startswith("https:")


def has_credentials() -> bool:
    """Whether any platform's credentials are set, completely or not."""
    return any(os.environ.get(f"{slug.upper()}_CLIENT_{part}") for slug in PLATFORMS for part in ("ID", "SECRET"))


def port_from_env(default: int) -> int:
    """Return the port of ``PORT``, for the one command that listens by itself.

    Raises:
        SettingsError: it is none.
    """
    text = os.environ.get("PORT", str(default))
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsError(f"PORT is {text!r}, which is no port")
    return int(text)


def _credentials(prefix: str) -> tuple[str, str] | None:
    names = (f"{prefix}_CLIENT_ID", f"{prefix}_CLIENT_SECRET")
    client_id, client_secret = (os.environ.get(name, "") for name in names)
    if client_id and client_secret:
        return client_id, client_secret
    if client_id or client_secret:
        raise SettingsError(f"{names[bool(client_id)]} is missing; {names[not client_id]} is set")
    return None


def _public_url() -> str:
    url = os.environ.get("PUBLIC_URL", "").rstrip("/")
    if not url:
        raise SettingsError("PUBLIC_URL is missing: where browsers find this service, such as https://app.example")
    parts = urlsplit(url)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not safe or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise SettingsError(f"PUBLIC_URL is {url!r}, which is no origin such as https://app.example")
    return url
