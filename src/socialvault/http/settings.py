"""What an application chooses where it mounts the routes, checked before the first request."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlsplit

from socialvault.exceptions import ConfigurationError
from socialvault.http.addresses import Proxies
from socialvault.http.limits import RateLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from socialvault.api.async_vault import AsyncVault
    from socialvault.api.vault import Vault
    from socialvault.http.addresses import Network

MOST_BODY_BYTES = 64 * 1024

_CALLBACK = "/oauth/{provider}/callback"
_TAKEN_SLUGS = frozenset({"connections", "platforms"})
_UNIX = "unix"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Options(TypedDict, total=False):
    """What every integration takes besides the vault, the owner and the tenant.

    Attributes:
        origins: further origins whose pages may call the state-changing routes: ``https://spa.example``. That of the
            vault's ``redirect_uri`` always may.
        allow_ips: networks that may use the owners' routes; everybody where it is left out.
        trusted_proxies: networks whose ``X-Forwarded-For`` is believed, for `allow_ips` and for limits alone;
            ``"unix"`` for whatever comes through a Unix socket.
        rate_limits: None for none.
    """

    origins: Iterable[str]
    allow_ips: Iterable[str] | None
    trusted_proxies: Iterable[str]
    rate_limits: RateLimits | None


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The options as the routes use them.

    Attributes:
        public_url: where browsers find the prefix, without a slash at the end; from the vault's ``redirect_uri``.
        origins: the own ones, as browsers write them.
        allow_ips: None allows everybody.
    """

    public_url: str
    origins: frozenset[str]
    allow_ips: tuple[Network, ...] | None
    trusted_proxies: Proxies
    rate_limits: RateLimits | None

    def url(self, path: str) -> str:
        """Return the address under which a browser finds a route's path."""
        return self.public_url + path

    def path(self, path: str) -> str:
        """Return that address without its origin."""
        return urlsplit(self.public_url).path + path


def settings_of(vault: Vault | AsyncVault, options: Options) -> HttpSettings:
    """Check the options.

    Raises:
        ConfigurationError: one is unknown or can't be used; the message names it.
    """
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        raise ConfigurationError(f"unknown options {unknown}; there are {sorted(Options.__annotations__)}")
    core = vault._cases.core
    if taken := sorted(_TAKEN_SLUGS & set(core.providers.by_slug)):
        raise ConfigurationError(f"providers: {taken} can't be slugs, the routes have paths of these names")
    public_url = _public_url(core.settings.redirect_uri)
    limits = options.get("rate_limits", RateLimits())
    if limits is not None and not isinstance(limits, RateLimits):
        raise ConfigurationError(f"rate_limits must be a RateLimits or None, not {type(limits).__name__}")
    allowed = options.get("allow_ips")
    return HttpSettings(
        public_url=public_url,
        origins=frozenset({_origin(public_url, "redirect_uri"), *_origins(options.get("origins", ()))}),
        allow_ips=None if allowed is None else _networks(allowed, "allow_ips"),
        trusted_proxies=_proxies(options.get("trusted_proxies", ())),
        rate_limits=limits,
    )


def check_callable(value: Any, name: str) -> Callable[..., Any]:
    """Check that the application gave a function.

    Raises:
        ConfigurationError: it did not.
    """
    if not callable(value):
        raise ConfigurationError(f"{name} must be a function, not {type(value).__name__}")
    function: Callable[..., Any] = value
    return function


def settled(answer: Any, name: str) -> Any:
    """Return what a function of the application answered to a blocking caller.

    Raises:
        ConfigurationError: it must be awaited, and nobody can.
    """
    if isawaitable(answer):
        if iscoroutine(answer):
            answer.close()
        raise ConfigurationError(f"{name} returns something to await; make it a coroutine function itself")
    return answer


def _public_url(redirect_uri: str) -> str:
    base = redirect_uri.removesuffix(_CALLBACK)
    if base == redirect_uri or "{provider}" in base:
        raise ConfigurationError(
            f"redirect_uri: {redirect_uri!r} must end in {_CALLBACK!r}, the path under which the routes answer"
        )
    return base


def _origins(values: Iterable[str]) -> list[str]:
    return [_origin(value, "origins") for value in _several(values, "origins")]


def _origin(url: object, name: str) -> str:
    """Return a URL's origin as browsers write it (RFC 6454, section 6.2)."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        port = parts.port if parts else None
    except ValueError:
        parts, port = None, None
    usable = parts is not None and parts.netloc.isascii() and "@" not in parts.netloc  # browsers send Punycode
    if parts is None or not usable or not parts.hostname or not _is_safe(parts.scheme, parts.hostname):
        raise ConfigurationError(f"{name}: {url!r} is no https origin")
    if name == "origins" and (parts.path or parts.query or parts.fragment):
        raise ConfigurationError(f"{name}: {url!r} must be an origin alone, such as 'https://app.example'")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"https": 443, "http": 80}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")


def _is_safe(scheme: str, host: str) -> bool:
    return scheme == "https" or (scheme == "http" and host in _LOOPBACK)


def _proxies(values: Iterable[str]) -> Proxies:
    kept = _several(values, "trusted_proxies")
    return Proxies(_networks([value for value in kept if value != _UNIX], "trusted_proxies"), unix=_UNIX in kept)


def _networks(values: Iterable[str], name: str) -> tuple[Network, ...]:
    found: list[Network] = []
    for value in _several(values, name):
        try:
            found.append(_network(value))
        except ValueError:
            raise ConfigurationError(f"{name}: {value!r} is no address and no network") from None
    return tuple(found)


def _network(value: object) -> Network:
    network = ipaddress.ip_network(str(value) if isinstance(value, str) else "")  # an int would be an address, too
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    return network if mapped is None else ipaddress.ip_network(f"{mapped}/{max(0, network.prefixlen - 96)}")


def _several(values: object, name: str) -> list[Any]:
    if isinstance(values, (list, tuple, set, frozenset)):
        return list(values)
    raise ConfigurationError(f"{name} must be a list, not {type(values).__name__}")
