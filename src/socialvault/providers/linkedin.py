"""LinkedIn: members and the organizations they administer."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Unpack
from urllib.parse import urlencode

from socialvault.exceptions import ConfigurationError, ProviderError, ProviderUnavailableError, RateLimitedError
from socialvault.model.connection import RevocationOutcome, SubAccount, SubAccountGrant
from socialvault.protocol import errors
from socialvault.providers.base import Provider, ProviderOptions, as_secret, check_endpoint, wrap_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.model.secret import Secret
    from socialvault.model.token import TokenSet
    from socialvault.protocol.messages import Exchange, HttpRequest, HttpResponse
    from socialvault.protocol.metadata import ServerMetadata

_VERSION = re.compile(r"[0-9]{6}")
_ORGANIZATION = re.compile(r"urn:li:organization:([0-9]{1,20})")
_PAGE_LENGTH = 100
_MOST_ANSWERS = 100


class LinkedIn(Provider):
    """Connects LinkedIn members and the organizations they administer.

    Quirks, checked 2026-11-22:

    - Basic authentication is not accepted: id and secret travel in the form. PKCE is refused on this flow.
    - Refresh tokens are issued to approved partner apps alone. Their 365 days count from the first consent and are
      never extended by a refresh. Without one, an access token lives 60 days and only the person can help.
    - The ID token may lack the nonce; another flow's nonce is refused all the same. It comes with ``openid`` only.
    - The account is read with ``openid`` and ``profile``: keep both in `scopes`. ``email`` may stay unanswered.
    - A person who turns back brings ``user_cancelled_login`` or ``user_cancelled_authorize``, not ``access_denied``.
    - The revocation endpoint is in wide use and not documented: where it refuses, the outcome is ``unsupported``.
    - The REST API needs ``LinkedIn-Version``; a version is switched off about a year after it appeared.
    - An organization has no token of its own: the member's acts for it. Listing them needs ``r_organization_admin``
      or ``rw_organization_admin``. Their ids are URNs (``urn:li:organization:123``), as posts name their authors.

    Args:
        api_version: of the REST API, as ``YYYYMM``.
        rest_url: the REST API's base; its host must be one of `api_hosts`.
    """

    slug = "linkedin"
    name = "LinkedIn"
    authorize_url = "https://www.linkedin.com/oauth/v2/authorization"
    token_url = "https://www.linkedin.com/oauth/v2/accessToken"
    revoke_url = "https://www.linkedin.com/oauth/v2/revoke"
    introspect_url = "https://www.linkedin.com/oauth/v2/introspectToken"
    userinfo_url = "https://api.linkedin.com/v2/userinfo"
    issuer = "https://www.linkedin.com/oauth"
    jwks_url = "https://www.linkedin.com/oauth/openid/jwks"
    api_hosts = frozenset({"api.linkedin.com"})
    client_auth = "client_secret_post"
    pkce = "unsupported"
    default_scopes = ("openid", "profile", "email")
    identity_scopes = ("openid", "profile")
    renewal = "static"
    refresh_token_lifetime = timedelta(days=365)
    revocation_style = "rfc7009"
    nonce_policy = "optional"
    sub_account_kind = "organization"
    api_version: str
    rest_url: str

    def __init__(
        self,
        client_id: str,
        client_secret: str | Secret[str] | None = None,
        *,
        api_version: str = "202601",
        rest_url: str = "https://api.linkedin.com/rest",
        scopes: Iterable[str] | None = None,
        **options: Unpack[ProviderOptions],
    ) -> None:
        client_secret = as_secret(client_secret)  # at once: this frame may raise
        wrap_secrets(options)
        if not _VERSION.fullmatch(api_version):
            raise ConfigurationError(f"LinkedIn: api_version is {api_version!r}, not of the form '202601'")
        check_endpoint(rest_url, "LinkedIn: rest_url", loopback=options.get("allow_loopback_http", False))
        object.__setattr__(self, "api_version", api_version)
        object.__setattr__(self, "rest_url", rest_url.rstrip("/"))
        super().__init__(client_id, client_secret, scopes=scopes, **options)
        self.check_signed_url(self.rest_url)

    def renew(self, server: ServerMetadata, stored: TokenSet, subject: str) -> Exchange[TokenSet]:
        """Renew the access token; the refresh token's end stays where it was or comes nearer."""
        renewed = yield from super().renew(server, stored, subject)
        if stored.refresh_expires_at is None or renewed.refresh_expires_at is None:
            return renewed
        return replace(renewed, refresh_expires_at=min(stored.refresh_expires_at, renewed.refresh_expires_at))

    def read_revocation(self, response: HttpResponse) -> RevocationOutcome:
        """Judge the answer of an endpoint that nobody promised: only what may pass is an error."""
        try:
            return super().read_revocation(response)
        except (RateLimitedError, ProviderUnavailableError):
            raise
        except ProviderError:
            return "unsupported"

    def list_sub_accounts(self, server: ServerMetadata, stored: TokenSet) -> Exchange[list[SubAccountGrant]]:
        """List the organizations that the member administers; each acts with the member's token."""
        found = yield from self._roles(stored.access_token)
        grants = []
        for urn, role in found.items():
            name = yield from self._organization_name(urn, stored.access_token)
            roles = (role,) if role else ()
            grants.append(SubAccountGrant(SubAccount(urn, name, self.sub_account_kind, roles=roles)))
        return grants

    def _roles(self, access_token: Secret[str]) -> Exchange[dict[str, str]]:
        found: dict[str, str] = {}
        for answer in range(_MOST_ANSWERS):
            query = urlencode({
                "q": "roleAssignee", "role": "ADMINISTRATOR", "state": "APPROVED",
                "start": answer * _PAGE_LENGTH, "count": _PAGE_LENGTH,
            })  # fmt: skip
            response = yield self._rest_get(f"/organizationAcls?{query}", access_token)
            elements = self.read_document(response).documents("elements")
            for element in elements:
                urn = element.text("organization") or ""
                if _ORGANIZATION.fullmatch(urn):
                    found[urn] = element.text("role") or ""
            if len(elements) < _PAGE_LENGTH:
                return found
        raise errors.malformed("the list of organizations does not end", provider=self.slug, status=200)

    def _organization_name(self, urn: str, access_token: Secret[str]) -> Exchange[str]:
        response = yield self._rest_get(f"/organizations/{urn.rpartition(':')[2]}", access_token)
        if response.status in (403, 404):  # closed since, or not to be read: no reason to hide the others
            return urn
        return self.read_document(response).text("localizedName") or urn

    def _rest_get(self, path: str, access_token: Secret[str]) -> HttpRequest:
        headers = (("LinkedIn-Version", self.api_version), ("X-Restli-Protocol-Version", "2.0.0"))
        return self.signed_get(f"{self.rest_url}{path}", access_token, headers=headers)
