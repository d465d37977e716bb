"""Any OAuth 2.0 server that has no class of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from socialvault.exceptions import ConfigurationError
from socialvault.model.identity import Identity
from socialvault.providers.base import Provider, ProviderOptions, as_secret, host_of, wrap_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.model.secret import Secret
    from socialvault.protocol.decoding import Document


class OAuth2(Provider):
    """Connects accounts of a server that is described here and now.

    ::

        OAuth2(
            slug="example", client_id="…", client_secret="…",
            authorize_url="https://example.com/oauth/authorize",
            token_url="https://example.com/oauth/token",
            userinfo_url="https://api.example.com/me",
            subject_path="data.id",
        )

    Where it differs from a class of its own, checked 2026-11-22 against RFC 6749, 7009 and 7636:

    - `api_hosts` holds the host of `userinfo_url`, unless it is given.
    - Refresh tokens are treated as ``rotating``, which is right for a server that keeps them, too.
    - A `revoke_url` is an RFC 7009 endpoint, unless `revocation_style` says otherwise.
    - Whose grant it is comes from `userinfo_url`, or from an ID token where `issuer` and `jwks_url` are given.

    Args:
        slug: its name in URLs and in the store: lower case letters, digits, ``-`` and ``_``. It stays for ever.
        name: for people; the slug when empty.
        subject_path: where the user information holds the account's stable id: dotted, list indexes as numbers.
        name_path, username_path, email_path, picture_path: where it holds what is shown to people.
    """

    renewal = "rotating"

    def __init__(
        self,
        client_id: str,
        client_secret: str | Secret[str] | None = None,
        *,
        slug: str,
        name: str = "",
        subject_path: str = "sub",
        name_path: str = "name",
        username_path: str = "preferred_username",
        email_path: str = "email",
        picture_path: str = "picture",
        scopes: Iterable[str] | None = None,
        **options: Unpack[ProviderOptions],
    ) -> None:
        client_secret = as_secret(client_secret)  # at once: this frame may raise
        wrap_secrets(options)
        put = object.__setattr__
        put(self, "slug", slug)
        put(self, "name", name or slug)
        put(self, "_paths", (subject_path, name_path, username_path, email_path, picture_path))
        put(self, "api_hosts", frozenset(filter(None, [host_of(options.get("userinfo_url", ""))])))
        put(self, "revocation_style", "rfc7009" if options.get("revoke_url") else "none")
        super().__init__(client_id, client_secret, scopes=scopes, **options)
        if not self.userinfo_url and not self.uses_openid:
            raise ConfigurationError(f"OAuth2({slug!r}): userinfo_url is missing, or issuer and jwks_url instead of it")

    def read_identity(self, document: Document) -> Identity:
        """Read the account at the paths that were given."""
        paths: tuple[str, str, str, str, str] = self.__dict__["_paths"]
        subject, name, username, email, picture = paths
        return Identity(
            subject=document.identifier(subject) or "",
            name=document.text(name) or "",
            username=document.text(username) or "",
            email=document.text(email) or "",
            picture_url=document.text(picture) or "",
        )
