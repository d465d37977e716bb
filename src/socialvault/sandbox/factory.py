"""Provider instances that talk to the sandbox: the real classes, with their endpoints moved to another origin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from socialvault.sandbox.accounts import Client

if TYPE_CHECKING:
    from socialvault.providers.base import Provider

_URL_FIELDS = (
    "authorize_url", "token_url", "refresh_url", "revoke_url", "introspect_url", "userinfo_url", "jwks_url", "issuer",
)


def build_provider(
    slug: str, client: Client, root: str, *, scopes: Iterable[str] | None, overrides: Mapping[str, Any]
) -> Provider:
    """Return the provider class of `slug` for `client`, pointed at the emulated provider at `root`."""
    from socialvault import providers

    classes: dict[str, Any] = {
        "x": lambda: providers.X,
        "linkedin": lambda: providers.LinkedIn,
        "facebook": lambda: providers.Facebook,
        "oidc": lambda: providers.OpenIDConnect,
    }
    build = classes[slug]()
    options: dict[str, Any] = {
        **{field: moved(getattr(build, field), root) for field in _URL_FIELDS if getattr(build, field)},
        **_own_options(slug, root),
        "api_hosts": {urlsplit(root).netloc},
        "allow_loopback_http": True,
        **overrides,
    }
    provider: Provider = build(client.id, client.secret, scopes=scopes, **options)
    return provider


def moved(url: str, root: str) -> str:
    """Return `url` with its path and query below `root`."""
    parts = urlsplit(url)
    return f"{root}{parts.path}{'?' if parts.query else ''}{parts.query}"


def _own_options(slug: str, root: str) -> dict[str, Any]:
    if slug == "linkedin":
        return {"rest_url": f"{root}/rest"}
    if slug == "facebook":
        return {"graph_url": root}
    if slug == "oidc":
        return {
            "slug": "oidc",
            "issuer": root,
            "authorize_url": f"{root}/authorize",
            "token_url": f"{root}/token",
            "revoke_url": f"{root}/revoke",
            "introspect_url": f"{root}/introspect",
            "userinfo_url": f"{root}/userinfo",
            "jwks_url": f"{root}/jwks",
            "issuer_in_response": True,
        }
    return {}
