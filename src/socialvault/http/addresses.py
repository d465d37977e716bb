"""Who is asking: the address behind the proxies that are trusted, for limits and allow-lists alone."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.http.messages import Request

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Where proxies of one's own are: loopback, private use, shared by a carrier, link-local, unique local.
INSIDE = tuple(
    ipaddress.ip_network(text)
    for text in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16",
        "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip

_IPV6_SITE_BITS = 64  # what one subscriber has; anybody can take a new address within it


def client_address(request: Request, trusted: Proxies) -> Address | None:
    """Return the address of the last hop that is no trusted proxy, or None when none is known.

    ``X-Forwarded-For`` is read from its end, and only as far as trusted proxies wrote it. Where a trusted proxy
    says nothing that can be read, nothing is known: it is not the client itself.
    """
    address = read_address(request.peer)
    hops = request.headers.get("x-forwarded-for", "").split(",")
    while hops and trusted.hold(address):
        address = read_address(hops.pop())
        if address is None:
            return None
    return address


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whose ``X-Forwarded-For`` is believed.

    Attributes:
        unix: a peer without an address, which came through a socket of this machine's file system.
    """

    networks: tuple[Network, ...] = ()
    unix: bool = False

    def hold(self, peer: Address | None) -> bool:
        """Whether a peer is one of them."""
        return self.unix if peer is None else within(peer, self.networks)

    def __bool__(self) -> bool:
        return self.unix or bool(self.networks)


def read_address(text: str) -> Address | None:
    """Read an address, with or without a port; None for anything else."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def within(address: Address, networks: Iterable[Network]) -> bool:
    """Whether `address` is in one of `networks`."""
    return any(address in network for network in networks if network.version == address.version)


def limited_as(address: Address) -> str:
    """Return what an address counts as in a rate limit: an IPv6 one as its whole site."""
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_SITE_BITS), strict=False))
    return str(address)
