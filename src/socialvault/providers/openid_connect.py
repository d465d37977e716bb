"""Any OpenID Connect server, found by its issuer."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, ClassVar, Unpack

from socialvault.model.scopes import ordered
from socialvault.protocol import errors
from socialvault.protocol.metadata import ServerMetadata, discover
from socialvault.providers.base import Grant, Provider, ProviderOptions, as_secret, wrap_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.model.secret import Secret
    from socialvault.model.token import TokenSet
    from socialvault.protocol.messages import Exchange, HttpRequest


class OpenIDConnect(Provider):
    """Connects accounts of a server that publishes its metadata.

    ::

        OpenIDConnect(slug="example", client_id="…", client_secret="…", issuer="https://id.example.com")

    What to know, checked 2026-11-22 against OpenID Connect Core 1.0, Discovery 1.0 and RFC 8414:

    - The endpoints are discovered; one that is given here counts before the discovered one.
    - ``openid`` is always asked for, and an answer without an ID token, or with one that lacks the nonce, is refused.
    - A refresh token needs whatever the server asks for it, most often ``offline_scopes=("offline_access",)``.
    - Refresh tokens are treated as ``rotating``, which is right for a server that keeps them, too.
    - The token is sent to the user information endpoint that the issuer itself names, and with ``client()`` to
      `api_hosts` alone, which is empty until it is given.
    - A document says where requests go, so the address policy applies to all of them. For a server in your own
      network give ``untrusted_hosts=False``; with ``allow_loopback_http`` that is the default.
    - Tokens are revoked where the metadata names a revocation endpoint.

    Args:
        slug: its name in URLs and in the store: lower case letters, digits, ``-`` and ``_``. It stays for ever.
        name: for people; the slug when empty.
    """

    required_urls: ClassVar[tuple[str, ...]] = ("issuer",)
    default_scopes = ("openid",)
    id_token_algorithms = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
    renewal = "rotating"
    revocation_style = "rfc7009"

    def __init__(
        self,
        client_id: str,
        client_secret: str | Secret[str] | None = None,
        *,
        slug: str,
        name: str = "",
        scopes: Iterable[str] | None = None,
        **options: Unpack[ProviderOptions],
    ) -> None:
        client_secret = as_secret(client_secret)  # at once: this frame may raise
        wrap_secrets(options)
        put = object.__setattr__
        put(self, "slug", slug)
        put(self, "name", name or slug)
        put(self, "untrusted_hosts", not options.get("allow_loopback_http", False))
        super().__init__(client_id, client_secret, scopes=scopes, **options)

    @property
    def uses_openid(self) -> bool:
        """Always."""
        return True

    @property
    def static_server(self) -> ServerMetadata:
        """Nothing but the issuer is known before the metadata was read."""
        return ServerMetadata(issuer=self.issuer)

    def resolve(self) -> Exchange[ServerMetadata]:
        """Read the server's metadata; what this instance declares itself counts first."""
        found = yield from discover(
            self.issuer, provider=self.slug, untrusted_host=self.untrusted_hosts, loopback=self.allow_loopback_http
        )
        declared = {field.name: getattr(self, field.name) for field in fields(ServerMetadata)}
        server = replace(found, **{name: value for name, value in declared.items() if value})
        if not server.jwks_url:
            raise errors.malformed("metadata: jwks_uri is missing", provider=self.slug, status=200)
        return server

    def authorization_prefix(self, server: ServerMetadata, redirect_uri: str, scopes: tuple[str, ...]) -> str:
        """Build the part of the authorization URL that is the same for every flow, ``openid`` included.

        Spec: OpenID Connect Core 1.0, section 3.1.2.1.
        """
        return super().authorization_prefix(server, redirect_uri, ordered(("openid", *scopes)))

    def after_exchange(self, server: ServerMetadata, fresh: TokenSet, nonce: Secret[str] | None) -> Exchange[Grant]:
        """Validate the ID token, without which nothing counts here, and read the account."""
        if fresh.id_token is None or nonce is None:
            raise errors.malformed("the answer holds no ID token for this flow", provider=self.slug, status=200)
        return (yield from super().after_exchange(server, fresh, nonce))

    def userinfo_request(self, server: ServerMetadata, access_token: Secret[str]) -> HttpRequest:
        """Build the question whose account this is, for the endpoint that the issuer's own metadata names."""
        return self.bearer_get(server.userinfo_url, access_token)
