"""Instagram: professional accounts, by the Instagram API with Instagram Login."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Unpack
from urllib.parse import urlencode

from socialvault.exceptions import ConfigurationError
from socialvault.model.identity import Identity
from socialvault.model.scopes import parse_scopes
from socialvault.model.secret import Secret
from socialvault.protocol import errors, token
from socialvault.protocol.messages import HttpRequest
from socialvault.providers._families.meta import GraphProvider
from socialvault.providers.base import (
    Grant,
    Provider,
    ProviderOptions,
    as_secret,
    check_endpoint,
    host_of,
    wrap_secrets,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from socialvault.model.token import TokenSet
    from socialvault.protocol.decoding import Document
    from socialvault.protocol.messages import Exchange, HttpResponse
    from socialvault.protocol.metadata import ServerMetadata

_VERSION = re.compile(r"(?:[0-9]{1,3}\.[0-9]{1,2})?")
_GRAPH = "https://graph.instagram.com"
_ME = "me?fields=id,user_id,username,name,account_type,profile_picture_url"


class Instagram(GraphProvider):
    """Connects professional Instagram accounts (business and creator), without a Facebook account.

    Quirks, checked 2026-11-22:

    - There is no refresh token. The short-lived token (1 hour) is exchanged for one of 60 days at once; that one is
      extended by another 60 days while it is valid and at least 24 hours old (`minimum_age`), and may stay the same.
      Once it has expired only the person can help.
    - Both are documented as GET alone, with the token in the query, the exchange with the app secret beside it; the
      reference of the extension rules POST out. No header is documented for them, so unlike at Facebook's token and
      secret are in the URL there. The transport logs no URL. All other calls carry the token in their header.
    - The code's answer has no ``expires_in`` and is documented as ``{"data": [{…}]}``, while clients in the field read
      it flat: both are accepted. ``permissions``, its scopes, is a list or a comma separated text.
    - An account has two ids: ``user_id``, the professional account's, which publishing paths take and connections are
      keyed by, and ``id``, this app's own name for it. Both are kept with the token (``extra``). There is no e-mail.
    - The Graph endpoints say errors with Facebook's codes; 190 is a dead token. What a token that is too young is
      refused with is not documented. The code's endpoint answers ``error_type, code, error_message`` instead, whose
      values mean nothing here before an instance's ``error_map`` says so. Error texts were not verified.
    - A code may come with ``#_`` at its end, which is cut off.
    - ``appsecret_proof`` is not documented, and not sent. An extension shows no secret at all. What the code's endpoint
      says to a wrong one is not documented, so `previous_client_secret` helps there only with an ``error_map`` that
      calls it ``client``.
    - No way to revoke is documented, so disconnecting ends nothing at Instagram.
    - Meta's notices of removal and data deletion are not read: which of the two ids they name is not documented.
    - PKCE is not supported. Scopes are separated by commas.
    - ``api.instagram.com/oauth/authorize`` and the scopes ``user_profile`` and ``user_media`` belong to an API that is
      gone. Instagram through Facebook Login is `Facebook` with ``instagram_*`` scopes.

    Args:
        graph_version: of the Graph API, such as ``24.0``; "" for calls without one. Token endpoints have none.
        graph_url: the Graph API's base without a version; its host becomes the one of `api_hosts`.
        exchange_url: where the short-lived token is exchanged.
        long_lifetime: of a long-lived token whose answer does not say it.
    """

    slug = "instagram"
    name = "Instagram"
    authorize_url = "https://www.instagram.com/oauth/authorize"
    token_url = "https://api.instagram.com/oauth/access_token"
    refresh_url = f"{_GRAPH}/refresh_access_token"
    userinfo_url = f"{_GRAPH}/v24.0/{_ME}"
    api_hosts = frozenset({"graph.instagram.com"})
    client_auth = "client_secret_post"
    pkce = "unsupported"
    scope_separator = ","
    default_scopes = identity_scopes = ("instagram_business_basic",)
    renewal = "extend"
    minimum_age = timedelta(hours=24)
    account_notices: ClassVar[bool] = False
    exchange_url: str
    long_lifetime: timedelta

    def __init__(
        self,
        client_id: str,
        client_secret: str | Secret[str] | None = None,
        *,
        graph_version: str = "24.0",
        graph_url: str = _GRAPH,
        exchange_url: str | None = None,
        long_lifetime: timedelta = timedelta(days=60),
        scopes: Iterable[str] | None = None,
        **options: Unpack[ProviderOptions],
    ) -> None:
        client_secret = as_secret(client_secret)  # at once: this frame may raise
        wrap_secrets(options)
        if not _VERSION.fullmatch(graph_version):
            raise ConfigurationError(f"Instagram: graph_version is {graph_version!r}, not of the form '24.0'")
        loopback = options.get("allow_loopback_http", False)
        graph = graph_url.rstrip("/")
        put = object.__setattr__
        put(self, "exchange_url", exchange_url or f"{graph}/access_token")
        put(self, "long_lifetime", long_lifetime)
        for url, what in ((graph, "graph_url"), (self.exchange_url, "exchange_url")):
            check_endpoint(url, f"Instagram: {what}", loopback=loopback)
        put(self, "refresh_url", f"{graph}/refresh_access_token")
        put(self, "userinfo_url", f"{graph}/{f'v{graph_version}/' if graph_version else ''}{_ME}")
        put(self, "api_hosts", frozenset({host_of(graph)}))
        super().__init__(client_id, client_secret, scopes=scopes, **options)

    # --- tokens -----------------------------------------------------------------------------------

    def token_form(self, code: Secret[str], redirect_uri: str, verifier: Secret[str] | None) -> dict[str, str]:
        """Build the form that exchanges a code, without the ``#_`` that may stick to it."""
        return super().token_form(Secret(code.reveal().removesuffix("#_")), redirect_uri, verifier)

    def read_token(self, response: HttpResponse) -> TokenSet:
        """Judge and read an answer, wrapped in ``data`` or flat."""
        document = self._unwrapped(self.read_document(response))
        found = token.read_token(response, document, provider=self.slug)
        return replace(found, scopes=parse_scopes(document.value("permissions")) or found.scopes)

    def after_exchange(self, server: ServerMetadata, fresh: TokenSet, nonce: Secret[str] | None) -> Exchange[Grant]:
        """Exchange the short-lived token for a long-lived one, and read the account with that."""
        response = yield self._exchange_request(fresh.access_token, self.app_secret)
        if self.previous_client_secret and self._rejects_client(response):
            response = yield self._exchange_request(fresh.access_token, self.previous_client_secret)
        held = self._dated_by_default(self.read_token(response))
        document = self.read_document((yield self.userinfo_request(server, held.access_token)))
        identity = self.read_identity(document)
        if not identity.subject:
            raise errors.malformed("the account has no user_id", provider=self.slug, status=200)
        ids = {"user_id": identity.subject, "id": self._unwrapped(document).identifier("id") or ""}
        extra = MappingProxyType({name: value for name, value in ids.items() if value})
        return Grant(replace(held, scopes=held.scopes or fresh.scopes, extra=extra), identity)

    def renew(self, server: ServerMetadata, stored: TokenSet, subject: str) -> Exchange[TokenSet]:
        """Extend a token that is still valid and at least `minimum_age` old; the answer may hold the same one again.

        Nothing in the answer names the account, and the token presented names no other.
        """
        response = yield self._extension_request(server, stored.access_token)
        return token.merge(stored, self._dated_by_default(self.read_token(response)))

    def read_identity(self, document: Document) -> Identity:
        """Read the account, which is keyed by the professional account's id."""
        document = self._unwrapped(document)
        return Identity(
            subject=document.identifier("user_id") or "",
            name=document.text("name") or "",
            username=document.text("username") or "",
            picture_url=document.text("profile_picture_url") or "",
        )

    def _unwrapped(self, document: Document) -> Document:
        if not isinstance(document.value("data"), list):
            return document
        items = document.documents("data")
        if len(items) != 1:
            raise errors.malformed("data does not hold one item", provider=self.slug, status=200)
        return items[0]

    def _dated_by_default(self, held: TokenSet) -> TokenSet:
        """Give a long-lived token the documented deadline where the answer set none: without one it is never due."""
        return replace(held, expires_at=held.expires_at or held.obtained_at + self.long_lifetime)

    def read_account_notice(self, signed_request: str) -> None:
        """Read nothing: whom a notice means is not documented."""

    # --- requests ---------------------------------------------------------------------------------

    def api_params(self, access_token: Secret[str]) -> Mapping[str, str]:
        """Build no proof: none is documented here."""
        return {}

    def signed_get(
        self, url: str, access_token: Secret[str], *, headers: tuple[tuple[str, str], ...] = ()
    ) -> HttpRequest:
        """Build a GET with the token in its header, and no proof."""
        return Provider.signed_get(self, url, access_token, headers=headers)

    def _exchange_request(self, short_lived: Secret[str], app_secret: Secret[str]) -> HttpRequest:
        return self._token_get(
            self.exchange_url,
            grant_type="ig_exchange_token",
            client_secret=app_secret.reveal(),
            access_token=short_lived.reveal(),
        )

    def _extension_request(self, server: ServerMetadata, held: Secret[str]) -> HttpRequest:
        url = server.refresh_url or self.refresh_url
        return self._token_get(url, grant_type="ig_refresh_token", access_token=held.reveal())

    def _token_get(self, url: str, **query: str) -> HttpRequest:
        joiner = "&" if "?" in url else "?"
        address = f"{url}{joiner}{urlencode(query)}"
        return HttpRequest(
            "GET", address, headers=(("Accept", "application/json"),), untrusted_host=self.untrusted_hosts
        )
