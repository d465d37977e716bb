"""What a vault is configured with, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import urlsplit

from socialvault.exceptions import ConfigurationError
from socialvault.providers.base import Provider, check_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: What happens when another owner connects an account that is connected: refuse it, or keep one connection each.
SharedAccounts = Literal["refuse", "separate"]


@dataclass(frozen=True, slots=True)
class Settings:
    """A vault's settings.

    Attributes:
        redirect_uri: registered at the providers; ``{provider}`` in it stands for the slug.
        return_to: own paths a flow may end on, exact or with a trailing ``/*``.
        leeway: how long before expiry a token counts as expired.
        state_lifetime: how long a person may take at the provider.
        exchange_deadline: for a whole conversation with a provider. As long nobody else presents a refresh token that
            was sent and not answered.
        lease: how long a process that renews a connection keeps others waiting after it died; it is prolonged while
            it lives. Zero: processes don't wait for each other, they only never present the same token twice.
        patience: how long a caller waits for a renewal by another process.
        on_shared_account: see `SharedAccounts`.
    """

    redirect_uri: str
    return_to: tuple[str, ...] = ()
    leeway: timedelta = timedelta(seconds=60)
    state_lifetime: timedelta = timedelta(minutes=10)
    exchange_deadline: timedelta = timedelta(seconds=45)
    lease: timedelta = timedelta(seconds=30)
    patience: timedelta = timedelta(seconds=10)
    on_shared_account: SharedAccounts = "refuse"

    def check(self) -> None:
        """Check every value.

        Raises:
            ConfigurationError: one is missing or unsafe; the message names it.
        """
        loopback = urlsplit(self.redirect_uri).hostname in ("127.0.0.1", "localhost", "::1")
        if not self.redirect_uri:
            raise ConfigurationError("redirect_uri is missing")
        check_endpoint(self.redirect_uri.replace("{provider}", "p"), "redirect_uri", loopback=loopback)
        if self.return_to:
            from socialvault.protocol.authorization import check_return_to_pattern

            for pattern in self.return_to:
                check_return_to_pattern(pattern)
        if self.leeway < timedelta(0) or self.state_lifetime <= timedelta(0) or self.exchange_deadline <= timedelta(0):
            raise ConfigurationError("leeway, state_lifetime and exchange_deadline must be positive")
        if self.lease < timedelta(0) or self.patience < timedelta(0):
            raise ConfigurationError("lease and patience can't be negative")
        if self.on_shared_account not in get_args(SharedAccounts):
            raise ConfigurationError(f"on_shared_account must be one of {get_args(SharedAccounts)}")

    def redirect_uri_for(self, slug: str) -> str:
        """Return the redirect URI of one provider."""
        return self.redirect_uri.replace("{provider}", slug)


class Providers:
    """The providers of a vault, by slug."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        by_slug: dict[str, Provider] = {}
        for provider in providers:
            if not isinstance(provider, Provider):
                raise ConfigurationError(f"providers must hold Provider instances, not {type(provider).__name__}")
            if provider.slug in by_slug:
                raise ConfigurationError(f"two providers have the slug {provider.slug!r}")
            by_slug[provider.slug] = provider
        self.by_slug: Mapping[str, Provider] = MappingProxyType(by_slug)

    def get(self, slug: str) -> Provider:
        """Return the provider that a caller names.

        Raises:
            ConfigurationError: this vault has none of that slug.
        """
        found = self.by_slug.get(slug)
        if found is None:
            raise ConfigurationError(self.missing(slug), argument="provider")
        return found

    def missing(self, slug: str) -> str:
        """Say that a provider is not there."""
        return f"this vault has no provider {slug!r}; it has {sorted(self.by_slug)}"


def check_owner(owner: object, tenant: object) -> None:
    """Refuse an owner that is missing: every look-up needs one, whatever the caller's types say.

    Raises:
        ConfigurationError: owner is no non-empty str, or tenant no str.
    """
    if not isinstance(owner, str) or not owner:
        raise ConfigurationError("owner must be a non-empty str")
    if not isinstance(tenant, str):
        raise ConfigurationError('tenant must be a str, "" for none')
    try:
        (owner + tenant).encode()
    except UnicodeEncodeError:
        pass
    else:
        return
    raise ConfigurationError("owner and tenant must be valid Unicode")
