"""What the three hosts share: a configuration that comes from the environment alone, and sessions kept here.

``WEB_OPTIONS`` is a JSON object, all of it optional: ``npm`` (issuer of a foreign OpenID server), ``client`` (begins
the ids of clients of this host's own at the sandbox), ``deadline_seconds`` (of a request to a provider), ``debug`` (the
framework shows tracebacks), and the integrations' own ``origins allow_ips trusted_proxies rate_limits``.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from socialvault import LocalKeyring
from socialvault.api.assembly import SystemClock
from socialvault.http.limits import RateLimits
from socialvault.providers import OpenIDConnect, Provider
from socialvault.sandbox import Sandbox
from socialvault.transports.settings import TransportSettings

PREFIX = "/api/v1"
FAILURE = "this host fails on purpose"
SCOPES = {"facebook": ["public_profile", "pages_show_list"], "oidc": ["openid", "profile"]}
NPM_SECRET = "a:b%/+ ~secret-of-the-interop-client"

# Everything that anybody says goes to standard error, which is searched for secrets.
logging.basicConfig(level=logging.DEBUG)

_OPTIONS: dict[str, Any] = json.loads(os.environ["WEB_OPTIONS"])


class PushedClock:
    """The clock of this machine, ahead by the seconds that a test wrote to a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def now_seconds(self) -> float:
        """As `Clock.now_seconds`."""
        try:
            with open(self._path, encoding="utf-8") as ahead:
                return time.time() + float(ahead.read() or 0)
        except OSError:
            return time.time()


def vault_arguments() -> dict[str, Any]:
    """What a Vault and an AsyncVault are made of."""
    public = os.environ["WEB_PUBLIC"]
    return {
        "providers": _providers(public),
        "store": os.environ["WEB_STORE"],
        "keys": LocalKeyring([os.environ["WEB_KEYS"]]),
        "clock": PushedClock(os.environ.get("WEB_CLOCK", "")),
        "redirect_uri": public + "/oauth/{provider}/callback",
        "return_to": [urlsplit(public).path.removesuffix(PREFIX) + path for path in ("/home", "/dashboard/*")],
    }


def _providers(public: str) -> list[Provider]:
    sandbox = Sandbox(base_url=os.environ["WEB_SANDBOX"])
    found: list[Provider] = [
        sandbox.provider(slug, scopes=SCOPES.get(slug), refresh_tokens=True, client_id=client_id(slug))
        for slug in ("x", "linkedin", "facebook", "oidc")
    ]
    # nobody listens there
    found.append(OpenIDConnect("dead", slug="dead", issuer="http://127.0.0.1:9", allow_loopback_http=True))
    if "npm" in _OPTIONS:
        found.append(
            OpenIDConnect(
                slug="npm", issuer=_OPTIONS["npm"], client_id="basic", client_secret=NPM_SECRET,
                scopes=["openid", "profile", "offline_access"], allow_loopback_http=True,
            )
        )  # fmt: skip
    return found


def client_id(slug: str) -> str | None:
    return f"{_OPTIONS['client']}-{slug}" if "client" in _OPTIONS else None


def debug() -> bool:
    return bool(_OPTIONS.get("debug", False))


def transport_arguments() -> dict[str, Any]:
    """What an HttpxTransport and an AsyncHttpxTransport are made of."""
    return {
        "clock": SystemClock(),
        "settings": TransportSettings(total_deadline=timedelta(seconds=_OPTIONS.get("deadline_seconds", 15))),
    }


def integration_options() -> dict[str, Any]:
    """The options that all integrations have in common."""
    options = {name: _OPTIONS[name] for name in ("origins", "allow_ips", "trusted_proxies") if name in _OPTIONS}
    limits = _OPTIONS.get("rate_limits")
    return {**options, "rate_limits": None if limits is None else RateLimits(**limits)}


class Sessions:
    """Sessions on the server's side, as files that all workers share."""

    def __init__(self) -> None:
        self._directory = Path(os.environ["WEB_SESSIONS"])

    def create(self, owner: str) -> str:
        session_id = secrets.token_hex(16)
        (self._directory / session_id).write_text(owner, "utf-8")
        return session_id

    def owner_of(self, session_id: str) -> str | None:
        file = self._directory / session_id
        return file.read_text("utf-8") if session_id.isalnum() and file.exists() else None

    def renew(self, session_id: str) -> str:
        """Give the session another id; the old one is worth nothing any more."""
        renewed = secrets.token_hex(16)
        (self._directory / session_id).rename(self._directory / renewed)
        return renewed
