"""From the words of another system to the vault's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: What django-allauth and Python Social Auth call the providers that this library has under another slug. Their OpenID
#: Connect and OAuth 1.0a ones are missing on purpose: only you know which server the first stands for, and the tokens
#: of the second are of no use here.
KNOWN_NAMES: Mapping[str, str] = MappingProxyType({
    "facebook-app": "facebook",
    "linkedin-oauth2": "linkedin",
    "linkedin-openidconnect": "linkedin",
    "linkedin_oauth2": "linkedin",
    "twitter-oauth2": "x",
    "twitter_oauth2": "x",
})  # fmt: skip


def same(owner: str) -> str:
    """Return an owner's id as the source has it."""
    return owner


@dataclass(frozen=True, slots=True)
class ImportMapping:
    """How a source's names become the vault's.

    Attributes:
        providers: the source's names of providers, and the slugs of this vault; beside `KNOWN_NAMES`.
        owner: from the id of a user there to the owner here.
        tenant: of rows for which the source names none.
        scopes: by slug, what was granted where the source does not say.
    """

    providers: Mapping[str, str] = field(default_factory=dict)
    owner: Callable[[str], str] = same
    tenant: str = ""
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def slug(self, name: str) -> str:
        """Return the slug of what the source calls `name`."""
        return self.providers.get(name) or KNOWN_NAMES.get(name, name)
