"""Which providers there are, by slug; none is imported before it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socialvault.providers.base import PkceMethod, Provider, Renewal, RevocationStyle

_CLASSES: Mapping[str, tuple[str, str]] = MappingProxyType({
    "facebook": ("socialvault.providers.facebook", "Facebook"),
    "instagram": ("socialvault.providers.instagram", "Instagram"),
    "linkedin": ("socialvault.providers.linkedin", "LinkedIn"),
    "x": ("socialvault.providers.x", "X"),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A provider, described for people.

    Attributes:
        class_path: to import it from, as ``module.Class``.
        summary: the first line of its documentation.
    """

    slug: str
    name: str
    class_path: str
    renewal: Renewal
    revocation: RevocationStyle
    pkce: PkceMethod
    summary: str


def known_slugs() -> tuple[str, ...]:
    """Return the slugs of all providers that have a class of their own, sorted."""
    return tuple(sorted(_CLASSES))


def provider_class(slug: str) -> type[Provider]:
    """Return the class of the provider called `slug`.

    Raises:
        ConfigurationError: there is none; the message lists those that exist.
    """
    if slug not in _CLASSES:
        raise ConfigurationError(
            f"there is no provider {slug!r}: known are {', '.join(known_slugs())}; for others see OAuth2, OpenIDConnect"
        )
    module, name = _CLASSES[slug]
    found: type[Provider] = getattr(import_module(module), name)
    return found


def catalogue() -> tuple[CatalogueEntry, ...]:
    """Describe every provider that has a class of its own, sorted by slug."""
    return tuple(_describe(slug) for slug in known_slugs())


def _describe(slug: str) -> CatalogueEntry:
    declared = provider_class(slug)
    return CatalogueEntry(
        slug=slug,
        name=declared.name,
        class_path=".".join(_CLASSES[slug]),
        renewal=declared.renewal,
        revocation=declared.revocation_style,
        pkce=declared.pkce,
        summary=(declared.__doc__ or "").strip().partition("\n")[0],
    )
