"""An emulated OpenID Connect provider that does everything by the book."""

from __future__ import annotations

from socialvault.sandbox.emulators.base import Emulator, Endpoint
from socialvault.sandbox.messages import Answer, Call, Refusal
from socialvault.sandbox.settings import OPENID


class OpenIDEmulator(Emulator):
    """Discovery, PKCE, nonce, ``iss`` in the response, rotating refresh tokens, all ways to authenticate a client."""

    slug = "oidc"
    title = "OpenID provider"
    defaults = OPENID
    response_modes = ("query", "form_post")
    endpoints = (
        Endpoint("GET", "/authorize", "consent_page", "show_consent", "page"),
        Endpoint("POST", "/consent", "authorize", "decide", "page"),
        Endpoint("POST", "/token", "token", "token"),
        Endpoint("POST", "/revoke", "revoke", "revoke"),
        Endpoint("POST", "/introspect", "introspect", "introspect"),
        Endpoint("GET", "/jwks", "jwks", "jwks"),
        Endpoint("GET", "/.well-known/openid-configuration", "discovery", "discovery"),
        Endpoint("GET", "/userinfo", "userinfo", "userinfo", "api"),
    )

    def issues_id_token(self, grant_type: str) -> bool:
        """Every answer brings one (OpenID Connect Core, section 12.2)."""
        return True

    def jwks(self, call: Call) -> Answer:
        """Publish the signing keys."""
        return Answer(document=self.keys.document())

    def discovery(self, call: Call) -> Answer:
        """Publish the metadata (OpenID Connect Discovery, section 3; RFC 8414)."""
        methods = [*self.settings.client_auth, "none"]
        return Answer(
            document={
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.root}/authorize",
                "token_endpoint": f"{self.root}/token",
                "revocation_endpoint": f"{self.root}/revoke",
                "introspection_endpoint": f"{self.root}/introspect",
                "userinfo_endpoint": f"{self.root}/userinfo",
                "jwks_uri": f"{self.root}/jwks",
                "response_types_supported": ["code"],
                "response_modes_supported": list(self.response_modes),
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "profile", "email"],
                "code_challenge_methods_supported": list(self.settings.pkce_methods),
                "token_endpoint_auth_methods_supported": methods,
                "revocation_endpoint_auth_methods_supported": methods,
                "introspection_endpoint_auth_methods_supported": methods,
                "authorization_response_iss_parameter_supported": self.settings.issuer_in_response,
            }
        )

    def userinfo(self, call: Call) -> Answer:
        """Return the claims that the scopes allow (OpenID Connect Core, section 5.3)."""
        token = self.bearer_token(call)
        self.need_scopes(token, "openid")
        claims = self.person_claims(token.grant.user, token.scopes)
        return Answer(document={"sub": self.subject(token.grant), **claims})

    def introspect(self, call: Call) -> Answer:
        """Say whether a token works (RFC 7662, section 2.2)."""
        client = self.authenticate(call, call.form)
        if "token" not in call.form:
            raise Refusal("invalid_request", "Missing required parameter [token]")
        token = self.ledger.tokens.get(call.presents(call.form["token"]))
        if token is None or token.grant.client_id != client.id or self.ledger.verdict(token, call.now) != "live":
            return Answer(document={"active": False})
        self.note_grant(call, token.grant)
        ends = {} if token.expires_at is None else {"exp": int(token.expires_at.timestamp())}
        return Answer(
            document={
                "active": True,
                "client_id": client.id,
                "sub": self.subject(token.grant),
                "iss": self.issuer,
                "scope": " ".join(token.scopes),
                "iat": int(token.issued_at.timestamp()),
                **ends,
            }
        )
