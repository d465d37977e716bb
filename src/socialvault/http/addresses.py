"""Who is asking: the address behind the proxies that are trusted, for limits and allow-lists alone."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from socialvault.http.messages import Request

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_IPV6_SITE_BITS = 64  # what one subscriber has; anybody can take a new address within it


def client_address(request: Request, trusted: Collection[Network]) -> Address | None:
    """Return the address of the last hop that no trusted proxy vouches for, or None when none is known.

    ``X-Forwarded-For`` is read from its end, and only as far as trusted proxies wrote it.
    """
    address = read_address(request.peer)
    hops = request.headers.get("x-forwarded-for", "").split(",")
    while hops and address is not None and within(address, trusted):
        earlier = read_address(hops.pop())
        if earlier is None:
            break
        address = earlier
    return address


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
