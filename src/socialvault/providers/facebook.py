"""Facebook: accounts and the Pages they manage."""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Unpack
from urllib.parse import quote, urlencode

from socialvault.exceptions import AccountMismatchError, ConfigurationError, ReauthorizationRequiredError
from socialvault.model.connection import SubAccount, SubAccountGrant
from socialvault.model.identity import Identity
from socialvault.model.scopes import parse_scopes
from socialvault.model.secret import Secret
from socialvault.protocol import errors
from socialvault.protocol.decoding import Document
from socialvault.protocol.timestamps import read_timestamp
from socialvault.protocol.token import merge
from socialvault.providers._families.meta import DEAD_TOKEN_REASONS, GraphProvider, exchange_form
from socialvault.providers.base import (
    Grant,
    ProviderOptions,
    RevocationStyle,
    as_secret,
    check_endpoint,
    host_of,
    wrap_secrets,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from socialvault.model.token import TokenSet
    from socialvault.protocol.messages import Exchange, HttpRequest, HttpResponse
    from socialvault.protocol.metadata import ServerMetadata

_VERSION = re.compile(r"[0-9]{1,3}\.[0-9]{1,2}")
_DIALOG = "https://www.facebook.com/v24.0"
_GRAPH = "https://graph.facebook.com/v24.0"
_VERSIONED = ("authorize_url", "token_url", "revoke_url", "introspect_url", "userinfo_url")
_PAGE_QUERY = "fields=id,name,username,access_token,tasks&limit=100"


class Facebook(GraphProvider):
    """Connects Facebook accounts and the Pages they manage.

    Quirks, checked 2026-11-22:

    - There is no refresh token: the short-lived token is exchanged for one of about 60 days, and that one again while
      it is still valid. After it has expired only the person can help.
    - ``expires_in`` may be absent or 0, and the granted scopes are in no token answer: ``debug_token`` says both, the
      end of the data access window (90 days), and which app a token was issued to. A token of another app is refused
      with `AccountMismatchError` before anything is stored.
    - Both exchanges are documented as GET. They are sent as POST forms, which the endpoint accepts as well, so that
      neither token nor secret is in a URL. ``debug_token`` takes the token it is about in its query and nowhere else.
    - Every Graph call carries ``appsecret_proof``, hence a client secret is a must.
    - Errors are objects with a code and a subcode, not RFC 6749's; 190 is a dead token. From ``debug_token`` it means
      the app's own token, so the app secret is wrong.
    - `previous_client_secret` helps with the exchanges alone: proofs and ``debug_token`` use the current secret.
    - Publishing to a Page needs the Page's own token. It has no fixed expiry, and ends with the person's grant.
    - A Page that the person did not tick is listed without a token. Pages that a business owns may be missing from
      ``me/accounts``; they are read from the businesses where ``business_management`` was granted.
    - Revoking removes the whole grant: every token of this person for this app, and those of the Pages.
    - PKCE is not documented. S256 is sent; RFC 6749, section 3.1, has a server ignore what it does not know.
    - A version of the Graph API lives about two years: see `graph_version`. Scopes are separated by commas.

    Args:
        graph_version: of the Graph API and of the dialog, such as ``24.0``.
        graph_url: the Graph API's base, version included; its host becomes the one of `api_hosts`.
    """

    slug = "facebook"
    name = "Facebook"
    authorize_url = f"{_DIALOG}/dialog/oauth"
    token_url = f"{_GRAPH}/oauth/access_token"
    revoke_url = f"{_GRAPH}/{{user_id}}/permissions"
    introspect_url = f"{_GRAPH}/debug_token"
    userinfo_url = f"{_GRAPH}/me?fields=id,name,email,picture.type(large)"
    api_hosts = frozenset({"graph.facebook.com"})
    client_auth = "client_secret_post"
    scope_separator = ","
    default_scopes = ("public_profile", "email")
    renewal = "exchange"
    revocation_style: RevocationStyle = "delete"
    revocation_reach = "grant"
    sub_account_kind = "page"
    graph_url: str

    def __init__(
        self,
        client_id: str,
        client_secret: str | Secret[str] | None = None,
        *,
        graph_version: str = "24.0",
        graph_url: str | None = None,
        scopes: Iterable[str] | None = None,
        **options: Unpack[ProviderOptions],
    ) -> None:
        client_secret = as_secret(client_secret)  # at once: this frame may raise
        wrap_secrets(options)
        if not _VERSION.fullmatch(graph_version):
            raise ConfigurationError(f"Facebook: graph_version is {graph_version!r}, not of the form '24.0'")
        dialog = _DIALOG.replace("24.0", graph_version)
        graph = (graph_url or _GRAPH.replace("24.0", graph_version)).rstrip("/")
        check_endpoint(graph, "Facebook: graph_url", loopback=options.get("allow_loopback_http", False))
        put = object.__setattr__
        put(self, "graph_url", graph)
        put(self, "api_hosts", frozenset({host_of(graph)}))
        for field in _VERSIONED:
            put(self, field, getattr(type(self), field).replace(_GRAPH, graph).replace(_DIALOG, dialog))
        super().__init__(client_id, client_secret, scopes=scopes, **options)
        for url in (self.graph_url, self.introspect_url, self.revoke_url):  # now, and not when a token depends on it
            self.check_signed_url(url)

    # --- tokens -----------------------------------------------------------------------------------

    def read_token(self, response: HttpResponse) -> TokenSet:
        """Judge and read an answer; a lifetime of 0 means that there is no fixed end."""
        token = super().read_token(response)
        return replace(token, expires_at=None) if token.expires_at == token.obtained_at else token

    def after_exchange(self, server: ServerMetadata, fresh: TokenSet, nonce: Secret[str] | None) -> Exchange[Grant]:
        """Exchange the short-lived token, check whose and what the new one is, and read the account."""
        token = yield from self._exchange(server, fresh)
        identity = yield from self.fetch_identity(server, token, None)
        self._check_subject(token, identity.subject)
        return Grant(token, identity)

    def renew(self, server: ServerMetadata, stored: TokenSet, subject: str) -> Exchange[TokenSet]:
        """Exchange a token that is still valid for one that lives longer."""
        token = yield from self._exchange(server, stored)
        self._check_subject(token, subject)
        return merge(stored, token)

    def read_identity(self, document: Document) -> Identity:
        """Read the account; its id is this app's own name for it."""
        return Identity(
            subject=document.identifier("id") or "",
            name=document.text("name") or "",
            email=document.text("email") or "",
            picture_url=document.text("picture.data.url") or "",
        )

    def revocation_requests(self, server: ServerMetadata, stored: TokenSet) -> list[HttpRequest]:
        """Build what removes the person's whole grant."""
        if self.revocation_style != "delete" or not server.revoke_url:
            return super().revocation_requests(server, stored)
        user_id = quote(stored.extra.get("user_id", "me"), safe="")  # an imported token does not know its user
        request = self.signed_get(server.revoke_url.replace("{user_id}", user_id), stored.access_token)
        return [replace(request, method="DELETE")]

    def _exchange(self, server: ServerMetadata, held: TokenSet) -> Exchange[TokenSet]:
        form = exchange_form("fb_exchange_token", held.access_token)
        request = self.authenticated_post(server.refresh_url or server.token_url, form)
        token = self.read_token((yield from self.authenticated(request)))
        response = yield self._debug_request(server, token.access_token)
        return self._read_debug(response, token)

    def _debug_request(self, server: ServerMetadata, token: Secret[str]) -> HttpRequest:
        app_token = Secret(f"{self.client_id}|{self.app_secret.reveal()}")
        return self.signed_get(f"{server.introspect_url}?{urlencode({'input_token': token.reveal()})}", app_token)

    def _read_debug(self, response: HttpResponse, token: TokenSet) -> TokenSet:
        data = self._read_inspection(response).document("data") or Document({})
        app_id, user_id = data.identifier("app_id"), data.identifier("user_id")
        if app_id is not None and app_id != self.client_id:
            raise AccountMismatchError(f"{self.slug}: the token was issued to another app")
        if data.value("is_valid") is False:
            reason = DEAD_TOKEN_REASONS.get(data.identifier("error.subcode") or "", "invalid")
            code = data.identifier("error.code") or ""
            raise errors.build_error("reauthorize", response, provider=self.slug, error=code, reason=reason)
        if app_id is None or user_id is None or data.value("is_valid") is not True:
            raise errors.malformed("debug_token does not say whose the token is", provider=self.slug, status=200)
        return replace(
            token,
            scopes=parse_scopes(data.value("scopes")),
            expires_at=_deadline(data, "expires_at") if data.has("expires_at") else token.expires_at,
            data_access_expires_at=_deadline(data, "data_access_expires_at"),
            extra=MappingProxyType({"user_id": user_id}),
        )

    def _read_inspection(self, response: HttpResponse) -> Document:
        """Read what ``debug_token`` answers. It is asked with the app's own token: no person's grant can die here."""
        try:
            return self.read_document(response)
        except ReauthorizationRequiredError as refusal:
            raise errors.build_error("client", response, provider=self.slug, error=refusal.error or "") from None

    def _check_subject(self, token: TokenSet, subject: str) -> None:
        if token.extra["user_id"] != subject:
            raise AccountMismatchError(f"{self.slug}: the token is about another account")

    # --- Pages ------------------------------------------------------------------------------------

    def list_sub_accounts(self, server: ServerMetadata, stored: TokenSet) -> Exchange[list[SubAccountGrant]]:
        """List the Pages; those that the person did not grant have no token."""
        pages = yield from self.read_lists([f"{self.graph_url}/me/accounts?{_PAGE_QUERY}"], stored.access_token)
        if "business_management" in (stored.scopes or ()):
            url = f"{self.graph_url}/me/businesses?fields=id&limit=100"
            businesses = yield from self.read_lists([url], stored.access_token)
            pages += yield from self.read_lists(self._business_pages(businesses), stored.access_token)
        grants: dict[str, SubAccountGrant] = {}
        for grant in map(self._read_page, pages):
            known = grants.get(grant.account.id)
            if known is None or known.access_token is None:
                grants[grant.account.id] = grant
        return list(grants.values())

    def _business_pages(self, businesses: list[Document]) -> list[str]:
        ids = [quote(self._id_of(business), safe="") for business in businesses]
        edges = ("owned_pages", "client_pages")
        return [f"{self.graph_url}/{business}/{edge}?{_PAGE_QUERY}" for business in ids for edge in edges]

    def _read_page(self, page: Document) -> SubAccountGrant:
        page_id = self._id_of(page)
        token = page.secret("access_token")
        tasks = page.value("tasks")
        account = SubAccount(
            id=page_id,
            name=page.text("name") or page.text("username") or page_id,
            kind=self.sub_account_kind,
            granted=token is not None,
            roles=tuple(task for task in tasks if isinstance(task, str)) if isinstance(tasks, list) else (),
        )
        return SubAccountGrant(account, token)

    def _id_of(self, item: Document) -> str:
        found = item.identifier("id")
        if found is None:
            raise errors.malformed("an item of a list has no id", provider=self.slug, status=200)
        return found


def _deadline(document: Document, name: str) -> datetime | None:
    """Read a moment; 0 means that there is none."""
    seconds = document.value(name)
    return read_timestamp(seconds) if seconds else None
