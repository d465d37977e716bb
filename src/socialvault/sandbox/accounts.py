"""Who takes part: people with accounts, and applications registered at the providers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socialvault.model.secret import Secret


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account at every emulated provider."""

    login: str
    name: str

    @property
    def email(self) -> str:
        """An address that no mail ever reaches."""
        return f"{self.login}@example.com"

    def subject(self, *namespace: str) -> str:
        """Return this person's stable id within `namespace` (provider, and application where ids are pairwise)."""
        return stable_id(*namespace, self.login)


def stable_id(*parts: str) -> str:
    """Return 16 digits that stand for `parts`, in every run."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return str(10**15 + int.from_bytes(digest[:8], "big") % (9 * 10**15))


#: Anybody else exists as soon as somebody signs in by that name.
PEOPLE = {
    login: User(login, name)
    for login, name in (("ada", "Ada Lovelace"), ("grace", "Grace Hopper"), ("katherine", "Katherine Johnson"))
}


def person(login: str) -> User:
    """Return the person who signs in as `login`."""
    return PEOPLE.get(login) or User(login, login.title())


@dataclass(frozen=True, slots=True)
class Client:
    """An application registered at one provider.

    Attributes:
        secret: None for a public client.
        previous_secret: accepted beside it while an application changes over; None for none.
        redirect_uris: registered ones, compared exactly; empty accepts any, for tests that don't care.
        refresh_tokens: whether the provider issues refresh tokens to it.
    """

    id: str
    secret: Secret[str] | None
    previous_secret: Secret[str] | None = None
    redirect_uris: frozenset[str] = frozenset()
    refresh_tokens: bool = True

    @property
    def secrets(self) -> Iterator[Secret[str]]:
        """Every secret that is accepted, the newest first."""
        return (secret for secret in (self.secret, self.previous_secret) if secret is not None)

    def accepts(self, secret: Secret[str] | None) -> bool:
        """Say whether `secret` is one of its own."""
        return any(secret == known for known in self.secrets)
