"""Connected accounts: the platforms, the vault that keeps their tokens, and a first use of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialvault import AsyncVault, LocalKeyring
from socialvault.providers import Facebook, LinkedIn, X
from socialvault.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

    from socialvault import Connection
    from socialvault.providers import Provider

    from .settings import Settings

#: Where the routes are mounted.
PREFIX = "/api/v1"
_PAGE_SCOPES = ("public_profile", "pages_show_list")


@dataclass(frozen=True, slots=True)
class Accounts:
    """The vault, and the platforms that it was made with."""

    vault: AsyncVault
    platforms: Mapping[str, Provider]

    @property
    def names(self) -> Mapping[str, str]:
        """What people call the platforms, by slug."""
        return {slug: platform.name for slug, platform in self.platforms.items()}


# --8<-- [start:vault]
def open_accounts(settings: Settings) -> Accounts:
    """Make the one vault of this process; nothing is opened yet."""
    platforms = _emulated(settings.sandbox_url) if settings.sandbox_url else _real(settings.credentials)
    vault = AsyncVault(
        providers=platforms,
        store=settings.vault_store,
        keys=LocalKeyring.from_env("SOCIALVAULT_KEYS"),
        redirect_uri=f"{settings.public_url}{PREFIX}/oauth/{{provider}}/callback",
        return_to=["/accounts"],
    )
    return Accounts(vault, {one.slug: one for one in platforms})


def _real(credentials: Mapping[str, tuple[str, str]]) -> list[Provider]:
    found: list[Provider] = []
    if "x" in credentials:
        found.append(X(*credentials["x"]))
    if "linkedin" in credentials:
        found.append(LinkedIn(*credentials["linkedin"]))
    if "facebook" in credentials:
        found.append(Facebook(*credentials["facebook"], scopes=_PAGE_SCOPES))
    return found


# --8<-- [end:vault]
#: Where forms may lead: a platform sends the browser on to other hosts of its own, and browsers hold each step to it.
_REAL_SITES = "https://x.com https://*.linkedin.com https://*.facebook.com"


def form_targets(settings: Settings) -> str:
    """Return where the buttons of our pages may lead, for the Content-Security-Policy."""
    return f"'self' {settings.sandbox_url or _REAL_SITES}"


def _emulated(sandbox_url: str) -> list[Provider]:
    sandbox = Sandbox(base_url=sandbox_url)
    return [sandbox.provider("x"), sandbox.provider("linkedin"), sandbox.provider("facebook", scopes=_PAGE_SCOPES)]


# --8<-- [start:use]
async def profile(accounts: Accounts, connection: Connection) -> httpx.Response:
    """Ask the platform whose account this is: the client signs the request, and renews the token when it must."""
    platform = accounts.platforms[connection.provider]
    url = f"{platform.graph_url}/me" if isinstance(platform, Facebook) else platform.userinfo_url
    async with accounts.vault.client(connection.id, owner=connection.owner) as http:
        return await http.get(url)


# --8<-- [end:use]
