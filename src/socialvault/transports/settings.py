"""How far a transport may go."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from socialvault.exceptions import ConfigurationError
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection


@dataclass(frozen=True, slots=True, eq=False)
class TransportSettings:
    """Bounds of an `HttpxTransport` or an `AsyncHttpxTransport`.

    Attributes:
        total_deadline: for a whole exchange with a provider, from the wait for a free connection to the last byte of
            the answer. Clients for API calls have it as the timeout of each read and write.
        connect_timeout: for name, TCP, proxy and TLS together.
        idle_timeout: how long an unused connection is kept. Servers hang up after 5 seconds or more; one that does so
            just when a refresh token is sent leaves its fate unknown, so this stays well below.
        max_connections: at a time, for provider calls and for API calls each.
        verify: the TLS context; None for one that trusts certifi's authorities and no environment variable.
        proxy: ``http://[user:password@]host:port``; kept as a `Secret`. The environment's proxies are never used.
        allowed_hosts: hosts (``host`` or ``host:port``) that the operator vouches for: where a user or a document
            named one, its name, port and addresses are not checked.
        allowed_ports: where any other host that a user or a document named may be reached.

    Raises:
        ConfigurationError: a value is out of range; the message names it.
    """

    total_deadline: timedelta = timedelta(seconds=15)
    connect_timeout: timedelta = timedelta(seconds=5)
    idle_timeout: timedelta = timedelta(seconds=3)
    max_connections: int = 50
    verify: ssl.SSLContext | None = field(default=None, repr=False)
    proxy: str | Secret[str] | None = None
    allowed_hosts: Collection[str] = frozenset()
    allowed_ports: Collection[int] = frozenset({443})

    def __post_init__(self) -> None:
        if isinstance(self.proxy, str):
            object.__setattr__(self, "proxy", Secret(self.proxy))
        for name in ("total_deadline", "connect_timeout", "idle_timeout"):
            if getattr(self, name) <= timedelta(0):
                raise ConfigurationError(f"{name} must be longer than nothing")
        if self.max_connections < 1:
            raise ConfigurationError("max_connections must be at least 1")
        if isinstance(self.allowed_hosts, str) or any(host != host.lower() for host in self.allowed_hosts):
            raise ConfigurationError("allowed_hosts must be lower-case host names")
        if isinstance(self.proxy, Secret) and not _is_proxy(self.proxy):
            raise ConfigurationError("proxy must be http://[user:password@]host:port")


def _is_proxy(proxy: Secret[str]) -> bool:
    try:
        parts = urlsplit(proxy.reveal())
        return parts.scheme == "http" and bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False
