"""Where requests may go when somebody else named the host: pure checks of URLs, names and addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

PORTS = {"http": 80, "https": 443}

# Printable ASCII without the backslash: parsers disagree about everything else, or drop it silently.
_URL = re.compile(r"[!-\[\]-~]+")
_HOST = re.compile(r"[a-z0-9._:-]+")

# At least two labels, the last one beginning with a letter: whatever ends in a number is an IPv4 address to some
# resolver (127.1, 0x7f.1, 0177.0.0.1, 2130706433), and a name without a dot is one of the local network.
_PUBLIC_NAME = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")

# What IANA's special-purpose registry takes out of IPv4, multicast and reserved space, and one public address that is
# a platform service when seen from inside (Azure's 168.63.129.16). `ipaddress.is_global` calls some of them global.
_SPECIAL_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
        "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
        "240.0.0.0/4",
    )
)  # fmt: skip

# Only global unicast space is routed, so loopback, local, mapped, NAT64 and multicast addresses are out already. These
# are inside: protocol assignments with Teredo, documentation, 6to4, AS112.
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(
    IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """A URL, taken apart once: what was checked is what is connected to. Its repr shows no path and no query.

    Attributes:
        host: lower case, without brackets.
        path: with the query.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host header (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Target({self.scheme}://{self.authority})"


def read_target(url: str) -> Target | None:
    """Take an http or https URL apart; None when it is none, is ambiguous, or holds user information.

    It raises nothing, because a frame that raises would show the URL's query to whoever records locals.
    """
    if not _URL.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in PORTS or "@" in parts.netloc or not _HOST.fullmatch(parts.hostname or ""):
        return None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname or "", PORTS[parts.scheme] if port is None else port, path)


def is_public(address: str) -> bool:
    """Whether `address` belongs to a host on the public internet, and to nothing nearer or translated."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if ip.version == 4:
        return not any(ip in network for network in _SPECIAL_IPV4)
    return ip in _GLOBAL_IPV6 and not any(ip in network for network in _SPECIAL_IPV6)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Which hosts a user or a document may name.

    Attributes:
        allowed_hosts, allowed_ports: as in `TransportSettings`.
        behind_proxy: the proxy resolves names, so no address can be checked here; only `allowed_hosts` are let through.
    """

    allowed_hosts: frozenset[str] = frozenset()
    allowed_ports: frozenset[int] = frozenset({443})
    behind_proxy: bool = False

    def check(self, target: Target) -> None:
        """Check what the URL itself shows.

        Raises:
            ConfigurationError: it is not https, or its port or its host is not one to be named by somebody else.
        """
        if target.scheme != "https":
            raise ConfigurationError(f"{target.host}: only https is used with a host that somebody else named")
        if self.vouches(target.host, target.port):
            return
        if target.port not in self.allowed_ports:
            raise ConfigurationError(f"{target.host}: port {target.port} is not one of {sorted(self.allowed_ports)}")
        if not _PUBLIC_NAME.fullmatch(target.host):
            raise ConfigurationError(f"{target.host}: a public host name is needed")
        if self.behind_proxy:
            raise ConfigurationError(f"{target.host}: its address can't be checked behind a proxy; see allowed_hosts")

    def admits(self, host: str, port: int, addresses: Sequence[str]) -> bool:
        """Whether a name that resolved to `addresses` may be connected to: every one must be public."""
        return self.vouches(host, port) or all(is_public(address) for address in addresses)

    def vouches(self, host: str, port: int) -> bool:
        """Whether the operator lists this host."""
        return f"{host}:{port}" in self.allowed_hosts or (port == PORTS["https"] and host in self.allowed_hosts)
