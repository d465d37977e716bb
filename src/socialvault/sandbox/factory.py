"""Provider instances that talk to the sandbox: the real classes, with their endpoints moved to another origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from socialvault.model.scopes import ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from socialvault.providers.base import Provider
    from socialvault.sandbox.accounts import Client

_URL_FIELDS = ("authorize_url", "token_url", "revoke_url", "introspect_url", "userinfo_url", "jwks_url", "issuer")
_GRAPH_VERSION = "24.0"


def build_provider(
    slug: str, client: Client, root: str, *, scopes: Iterable[str] | None, overrides: Mapping[str, Any]
) -> Provider:
    """Return the provider class of `slug` for `client`, pointed at the emulated provider at `root`."""
    build, options = _CLASSES[slug](root)
    options |= {"api_hosts": {urlsplit(root).netloc}, "allow_loopback_http": True, **overrides}
    provider: Provider = build(client.id, client.secret, scopes=scopes, **options)
    return provider


def usual_scopes(slug: str) -> tuple[str, ...]:
    """Return what the provider class of `slug` asks for when nobody says otherwise, offline access included."""
    declared: Any = _CLASSES[slug]("")[0]
    return ordered((*declared.default_scopes, *declared.identity_scopes, *declared.offline_scopes))


def _x(root: str) -> tuple[Callable[..., Provider], dict[str, Any]]:
    from socialvault.providers import X

    return X, _moved(X, root)


def _linkedin(root: str) -> tuple[Callable[..., Provider], dict[str, Any]]:
    from socialvault.providers import LinkedIn

    return LinkedIn, {**_moved(LinkedIn, root), "rest_url": f"{root}/rest"}


def _facebook(root: str) -> tuple[Callable[..., Provider], dict[str, Any]]:
    from socialvault.providers import Facebook

    base = f"{root}/v{_GRAPH_VERSION}"
    return Facebook, {"authorize_url": f"{base}/dialog/oauth", "graph_url": base}


def _instagram(root: str) -> tuple[Callable[..., Provider], dict[str, Any]]:
    from socialvault.providers import Instagram

    moved = _moved(Instagram, root)
    del moved["userinfo_url"]  # the class makes it of `graph_url`
    return Instagram, {**moved, "graph_url": root, "graph_version": _GRAPH_VERSION}


def _openid(root: str) -> tuple[Callable[..., Provider], dict[str, Any]]:
    from socialvault.providers import OpenIDConnect

    return OpenIDConnect, {"slug": "oidc", "issuer": root}  # all else it discovers


_CLASSES = {"x": _x, "linkedin": _linkedin, "facebook": _facebook, "instagram": _instagram, "oidc": _openid}


def _moved(declared: type[Provider], root: str) -> dict[str, Any]:
    """Return the class's endpoints with their paths and queries below `root`."""
    urls = {field: urlsplit(getattr(declared, field)) for field in _URL_FIELDS if getattr(declared, field)}
    return {field: f"{root}{url.path}{'?' if url.query else ''}{url.query}" for field, url in urls.items()}
