"""Emulated LinkedIn."""

from __future__ import annotations

from types import MappingProxyType

from socialvault.sandbox.accounts import stable_id
from socialvault.sandbox.emulators.base import Emulator, Endpoint
from socialvault.sandbox.messages import Answer, Call, Refusal
from socialvault.sandbox.settings import LINKEDIN, LinkedInSettings

_ADMIN_SCOPES = {"rw_organization_admin", "r_organization_admin"}
#: How introspection says what became of a token.
_STATUS = {"live": "active", "expired": "expired", "spent": "revoked", "revoked": "revoked"}
_CODES = {"expired_token": "EXPIRED_ACCESS_TOKEN", "revoked_token": "REVOKED_ACCESS_TOKEN"}


class LinkedInEmulator(Emulator):
    """60 days of access, refresh tokens for partners only and never extended, credentials in the body only."""

    slug = "linkedin"
    title = "LinkedIn"
    defaults = LINKEDIN
    pairwise = True
    issuer_path = "/oauth"
    endpoints = (
        Endpoint("GET", "/oauth/v2/authorization", "consent_page", "show_consent", "page"),
        Endpoint("POST", "/consent", "authorize", "decide", "page"),
        Endpoint("POST", "/oauth/v2/accessToken", "token", "token"),
        Endpoint("POST", "/oauth/v2/revoke", "revoke", "revoke"),
        Endpoint("POST", "/oauth/v2/introspectToken", "introspect", "introspect"),
        Endpoint("GET", "/oauth/openid/jwks", "jwks", "jwks"),
        Endpoint("GET", "/oauth/.well-known/openid-configuration", "discovery", "discovery"),
        Endpoint("GET", "/v2/userinfo", "userinfo", "userinfo", "api"),
        Endpoint("GET", "/rest/organizationAcls", "accounts", "organization_acls", "api"),
        Endpoint("GET", "/rest/organizations/{id}", "api", "organization", "api"),
    )
    identity_claims = MappingProxyType({"profile": ("name", "picture"), "email": ("email", "email_verified")})

    settings: LinkedInSettings

    def issues_id_token(self, grant_type: str) -> bool:
        """An ID token comes with a code only."""
        return grant_type == "authorization_code"

    def jwks(self, call: Call) -> Answer:
        """Publish the signing keys."""
        return Answer(document=self.keys.document())

    def discovery(self, call: Call) -> Answer:
        """Publish the metadata; silent about how a client has to authenticate, as LinkedIn's is."""
        return Answer(
            document={
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.root}/oauth/v2/authorization",
                "token_endpoint": f"{self.root}/oauth/v2/accessToken",
                "userinfo_endpoint": f"{self.root}/v2/userinfo",
                "jwks_uri": f"{self.root}/oauth/openid/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "profile", "email"],
            }
        )

    def userinfo(self, call: Call) -> Answer:
        """Return the member."""
        token = self.bearer_token(call)
        self.need_scopes(token, "openid")
        claims = self.person_claims(token.grant.user, token.scopes)
        locale = {"locale": {"country": "US", "language": "en"}} if "profile" in token.scopes else {}
        return Answer(document={"sub": self.subject(token.grant), **claims, **locale})

    def introspect(self, call: Call) -> Answer:
        """Say what became of a token; scopes come comma separated."""
        client = self.authenticate(call, call.form)
        token = self.ledger.tokens.get(call.presents(call.form.get("token", "")))
        if token is None or token.grant.client_id != client.id:
            raise Refusal("invalid_request", "the token is not one of this application's")
        self.note_grant(call, token.grant)
        verdict = self.ledger.verdict(token, call.now)
        ends = {} if token.expires_at is None else {"expires_at": int(token.expires_at.timestamp())}
        return Answer(
            document={
                "active": verdict == "live",
                "status": _STATUS[verdict],
                "client_id": client.id,
                "scope": ",".join(token.scopes),
                "auth_type": "3L",
                "authorized_at": int(token.grant.created_at.timestamp()),
                "created_at": int(token.issued_at.timestamp()),
                **ends,
            }
        )

    def organization_acls(self, call: Call) -> Answer:
        """List the organizations in which the member has a role."""
        token = self.bearer_token(call)
        self._need_version(call)
        if not _ADMIN_SCOPES & set(token.scopes):
            raise Refusal("insufficient_scope", "r_organization_admin is missing", status=403)
        if call.query.get("q") != "roleAssignee":
            raise Refusal("invalid_request", "q must be roleAssignee")
        rows = [
            {
                "organization": f"urn:li:organization:{organization_id(number)}",
                "role": "ADMINISTRATOR",
                "state": "APPROVED",
                "roleAssignee": f"urn:li:person:{self.subject(token.grant)}",
            }
            for number in range(1, self.settings.organizations + 1)
        ]
        matching = [row for row in rows if all(call.query.get(key, row[key]) == row[key] for key in ("role", "state"))]
        start, count = _number(call, "start", 0), _number(call, "count", 10)
        paging = {"start": start, "count": count, "total": len(matching), "links": []}
        return Answer(document={"elements": matching[start : start + count], "paging": paging})

    def organization(self, call: Call) -> Answer:
        """Return one organization."""
        self.bearer_token(call)
        self._need_version(call)
        for number in range(1, self.settings.organizations + 1):
            if call.path["id"] == organization_id(number):
                return Answer(document={"id": int(call.path["id"]), "localizedName": f"Organization {number}"})
        raise Refusal("not_found", "no such organization", status=404)

    def _need_version(self, call: Call) -> None:
        version = call.headers.get("linkedin-version", "")
        if len(version) != 6 or not version.isdecimal():
            raise Refusal("version_missing", "header LinkedIn-Version: YYYYMM is required")

    def render_api(self, refusal: Refusal) -> Answer:
        """Say a refusal as LinkedIn's API does."""
        code = _CODES.get(
            refusal.outcome,
            {"invalid_token": "INVALID_ACCESS_TOKEN", "insufficient_scope": "ACCESS_DENIED"}.get(
                refusal.error, refusal.error.upper()
            ),
        )
        return Answer(
            status=refusal.status, document={"status": refusal.status, "code": code, "message": refusal.description}
        )


def organization_id(number: int) -> str:
    """Return the id of the organization with this number, from 1."""
    return stable_id("linkedin", "organization", str(number))


def _number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, str(default))
    if not text.isdecimal():
        raise Refusal("invalid_request", f"{name} must be a number")
    return int(text)
