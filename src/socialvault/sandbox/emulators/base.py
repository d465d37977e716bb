"""The authorization server under every emulated provider: requests, consents, codes, tokens, their rules."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from socialvault.exceptions import ConfigurationError
from socialvault.model.secret import Secret
from socialvault.sandbox import pages
from socialvault.sandbox.accounts import Client, User, person
from socialvault.sandbox.emulators.client_auth import read_credentials, verifier_fits
from socialvault.sandbox.issuing import IssuedTokens
from socialvault.sandbox.ledger import AuthorizationRequest, Code, Grant, Ledger, Token
from socialvault.sandbox.messages import Answer, Call, Refusal, overridden, with_query
from socialvault.sandbox.signing import SigningKeys, half_hash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from socialvault.sandbox.settings import Settings
    from socialvault.sandbox.world import World

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route of a provider. `name` is what faults and the log call it; `handler` is a method's name."""

    method: str
    path: str
    name: str
    handler: str
    dialect: Literal["page", "oauth", "api"] = "oauth"


class Emulator:
    """One emulated provider. Handlers run one at a time, under the sandbox's lock.

    Attributes:
        slug, title: in URLs and on pages. issuer_path: of its issuer, below its root.
        defaults: the rules it starts with. settings: those in force.
        endpoints: what it serves. pairwise: whether a person's id differs per application.
        default_response_type: where an authorization request names none. response_modes: those it knows.
        callback_fragment: stuck to every callback. denial_params: sent along when the person declines.
        revoked_document: the body of a successful revocation.
        identity_claims: which scope opens which claims.
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    defaults: ClassVar[Settings]
    endpoints: ClassVar[tuple[Endpoint, ...]]
    pairwise: ClassVar[bool] = False
    issuer_path: ClassVar[str] = ""
    default_response_type: ClassVar[str] = ""
    response_modes: ClassVar[tuple[str, ...]] = ("query",)
    callback_fragment: ClassVar[str] = ""
    denial_params: ClassVar[Mapping[str, str]] = MappingProxyType({})
    revoked_document: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    identity_claims: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"profile": ("name", "preferred_username", "picture"), "email": ("email", "email_verified")}
    )

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys = SigningKeys(self.slug)
        self.reset()

    def reset(self) -> None:
        """Forget everything but the signing keys."""
        self.settings = self.defaults
        self.clients: dict[str, Client] = {}
        self.ledger = Ledger(self.slug, self.world.next_grant_id)
        self._pending: dict[str, AuthorizationRequest] = {}

    def configure(self, **changes: Any) -> Settings:
        """Change rules and return those now in force.

        Raises:
            ConfigurationError: there is no such rule.
        """
        if unknown := [name for name in changes if not hasattr(self.settings, name)]:
            raise ConfigurationError(f"{self.slug} has no settings {unknown}")
        self.settings = replace(self.settings, **changes)
        return self.settings

    @property
    def root(self) -> str:
        """Where this provider is served."""
        return f"{self.world.base_url}/{self.slug}"

    @property
    def issuer(self) -> str:
        """The issuer identifier."""
        return self.root + self.issuer_path

    def subject(self, grant: Grant) -> str:
        """Return the id under which the application knows the person."""
        return self.subject_of(grant.user, grant.client_id)

    def subject_of(self, user: User, client_id: str) -> str:
        """Return the id under which an application knows, or would know, a person."""
        return user.subject(self.slug, *([client_id] if self.pairwise else []))

    def signed_request(self, client: Client, user: User, issued_at: datetime) -> str:
        """Return what this provider posts to `client` when `user` removes it or wants data deleted.

        Raises:
            ConfigurationError: it posts nothing.
        """
        raise ConfigurationError(f"{self.slug} sends no signed requests")

    def answer(self, endpoint: Endpoint, call: Call) -> Answer:
        """Answer `call`, refusals included."""
        try:
            answer: Answer = getattr(self, endpoint.handler)(call)
        except Refusal as refusal:
            answer = self.render(endpoint, refusal, call)
            answer.outcome = refusal.outcome
        return answer

    def render(self, endpoint: Endpoint, refusal: Refusal, call: Call) -> Answer:
        """Say a refusal as this provider says it at this endpoint."""
        if endpoint.dialect == "page":
            return pages.error_page(self.title, refusal.error, refusal.description)
        if endpoint.dialect == "api":
            return self.render_api(refusal)
        headers = dict(_NO_STORE)
        if refusal.status == 401 and "authorization" in call.headers:
            headers["WWW-Authenticate"] = f'Basic realm="{self.slug}"'
        document = {"error": refusal.error, "error_description": refusal.description}
        return Answer(status=refusal.status, document=document, headers=headers)

    def render_api(self, refusal: Refusal) -> Answer:
        """Say a refusal of the API; the default is RFC 6750, section 3."""
        return Answer(
            status=refusal.status,
            document={"error": refusal.error, "error_description": refusal.description},
            headers={"WWW-Authenticate": f'Bearer error="{refusal.error}"'},
        )

    # --- authorization endpoint (RFC 6749, section 4.1.1) ---------------------------------------

    def show_consent(self, call: Call) -> Answer:
        """Show the consent page, or send the person back with an error."""
        params = call.query
        client = self.clients.get(params.get("client_id", ""))
        if client is None:
            raise Refusal("invalid_client", "the application is not registered")
        call.note.client_id = client.id
        request = AuthorizationRequest(
            client_id=client.id,
            redirect_uri=self._checked_redirect_uri(client, params.get("redirect_uri", "")),
            scopes=tuple(dict.fromkeys(self.read_scopes(params.get("scope", "")))),
            state=params.get("state", ""),
            challenge=params.get("code_challenge", ""),
            challenge_method=params.get("code_challenge_method", "plain"),
            nonce=params.get("nonce", ""),
            response_mode=params.get("response_mode", "query"),
        )
        if error := self._request_error(call, request):
            call.note.outcome = error
            return self._callback(replace(request, response_mode="query"), {"error": error}, call)
        request_id = secrets.token_urlsafe(16)
        self._pending[request_id] = request
        return pages.consent_page(
            self.title, client.id, f"{self.root}/consent", request_id, request.scopes, self.offered_pages(request)
        )

    def read_scopes(self, text: str) -> list[str]:
        """Read the scope parameter of an authorization request."""
        return text.split(" ") if text else []

    def _checked_redirect_uri(self, client: Client, redirect_uri: str) -> str:
        parts = urlsplit(redirect_uri)
        if not parts.scheme or not parts.netloc or parts.fragment:
            raise Refusal("invalid_redirect_uri", "redirect_uri must be an absolute URL without fragment")
        if client.redirect_uris and redirect_uri not in client.redirect_uris:
            raise Refusal("invalid_redirect_uri", "redirect_uri is not registered, byte for byte")
        return redirect_uri

    def _request_error(self, call: Call, request: AuthorizationRequest) -> str:
        """Return why an authorization request is wrong, "" when it is not."""
        rules = self.settings
        if call.query.get("response_type", self.default_response_type) != "code":
            return "unsupported_response_type"
        broken = (
            call.query.repeated
            or len(request.state) > rules.max_state
            or request.response_mode not in self.response_modes
            or (rules.pkce == "required" and not request.challenge)
            or (request.challenge and not self._knows_challenge(request.challenge_method))
        )
        return "invalid_request" if broken else ""

    def _knows_challenge(self, method: str) -> bool:
        return self.settings.pkce == "unsupported" or method in self.settings.pkce_methods

    def offered_pages(self, request: AuthorizationRequest) -> Mapping[str, str]:
        """Return ids and names of the Pages to choose from."""
        return {}

    def decide(self, call: Call) -> Answer:
        """Take the person's decision and send them back to the application."""
        request = self._pending.pop(call.form.get("request", ""), None)
        if request is None:
            raise Refusal("invalid_request", "this consent was given already, or never asked for")
        user = person(call.form.get("user", "").strip() or "ada")
        call.note.client_id, call.note.user = request.client_id, user.login
        error = call.fault.error or ("" if call.form.get("decision") == "allow" else self.settings.denial)
        if error:
            call.note.outcome = "denied"
            return self._callback(request, {"error": error, **self.denial_params}, call)
        chosen = set(call.form.all("scope"))
        scopes = tuple(scope for scope in request.scopes if scope in chosen)
        ticked = frozenset(call.form.all("page")) if self.offered_pages(request) else None
        grant = self.ledger.open_grant(request, user, scopes, call.now, ticked)
        code = self.ledger.issue_code(grant, request, call.now + self.settings.code_lifetime)
        call.note.outcome, call.note.grant_id = "granted", grant.id
        call.issues(code.value)
        return self._callback(request, {"code": code.value}, call)

    def _callback(self, request: AuthorizationRequest, params: Mapping[str, str], call: Call) -> Answer:
        """Send the authorization response (RFC 6749, section 4.1.2; RFC 9207)."""
        state = {"state": request.state} if request.state else {}
        issuer = {"iss": self.issuer} if self.settings.issuer_in_response else {}
        fields = overridden({**params, **state, **issuer}, call.fault.replace)
        if request.response_mode == "form_post":
            return pages.form_post_page(self.title, request.redirect_uri, fields)
        location = with_query(request.redirect_uri, fields, self.callback_fragment)
        return Answer(status=303, content_type="text/plain", headers={"Location": location, **_NO_STORE})

    # --- client authentication (RFC 6749, section 2.3) ------------------------------------------

    def authenticate(self, call: Call, params: Mapping[str, str]) -> Client:
        """Return the client that sent `call`, authenticated as this provider wants it."""
        shown = read_credentials(call, params)
        call.note.client_id = shown.client_id
        client = self.clients.get(shown.client_id)
        if client is None:
            raise Refusal("invalid_client", "unknown client", status=401)
        if client.secret is None:
            if shown.method != "none":
                raise Refusal("invalid_client", "a public client has no secret", status=401)
            return client
        if shown.method not in self.settings.client_auth:
            raise Refusal("invalid_client", f"{shown.method} is not accepted here", status=401)
        if not client.accepts(shown.secret):
            raise Refusal("invalid_client", "wrong client secret", status=401)
        return client

    # --- token endpoint (RFC 6749, sections 4.1.3 and 6) ----------------------------------------

    def token(self, call: Call) -> Answer:
        """Exchange a code, or refresh."""
        call.note.grant_type = grant_type = call.form.get("grant_type", "")
        if call.form.repeated:
            raise Refusal("invalid_request", f"repeated: {', '.join(sorted(call.form.repeated))}")
        if "client_secret" in call.query:
            raise Refusal("invalid_request", "a secret has no place in a URL")
        client = self.authenticate(call, call.form)
        if grant_type == "authorization_code":
            return self._code_answer(client, call)
        if grant_type == "refresh_token" and self.settings.rotation != "none":
            return self._refresh_answer(client, call)
        raise Refusal("unsupported_grant_type" if grant_type else "invalid_request", "grant_type")

    def redeem(self, client: Client, call: Call, params: Mapping[str, str]) -> Code:
        """Spend the code in `params`; a second use ends its grant (RFC 6749, section 4.1.2)."""
        code = self.ledger.codes.get(call.presents(params.get("code", "")))
        if code is None or code.request.client_id != client.id:
            raise self.grant_refusal("unknown code")
        call.note.grant_id, call.note.user = code.grant.id, code.grant.user.login
        if code.spent:
            code.grant.ended = code.grant.ended or "code_reused"
            raise self.grant_refusal("the code was used before", outcome="code_reused")
        code.spent = True
        if call.now >= code.expires_at:
            raise self.grant_refusal("the code has expired", outcome="code_expired")
        if code.grant.ended:
            raise self.grant_refusal("the grant is over")
        if params.get("redirect_uri", "") != code.request.redirect_uri:
            raise self.grant_refusal("redirect_uri is not the one of the authorization request")
        self._check_verifier(code.request, params.get("code_verifier"))
        return code

    def _check_verifier(self, request: AuthorizationRequest, verifier: str | None) -> None:
        """Hold the verifier against the challenge (RFC 7636, section 4.6)."""
        if self.settings.pkce == "unsupported":
            if verifier is not None:
                raise Refusal("invalid_request", "PKCE is not supported")
            return
        if not request.challenge:
            if verifier is not None:
                raise self.grant_refusal("there was no code_challenge")
            return
        if not verifier_fits(verifier or "", request.challenge, request.challenge_method):
            raise self.grant_refusal("code_verifier does not match")

    def grant_refusal(self, description: str, *, outcome: str = "invalid_grant") -> Refusal:
        """Refuse a dead code or refresh token, in this provider's word."""
        return Refusal(self.settings.grant_error, description, outcome=outcome)

    def _code_answer(self, client: Client, call: Call) -> Answer:
        grant = self.redeem(client, call, call.form).grant
        access, refresh = self.lasting_tokens(client, grant, call.now)
        call.note.outcome = "issued"
        return self._token_answer(access, refresh, call, nonce=grant.nonce)

    def issue_unasked(self, client: Client, user: User, scopes: tuple[str, ...], now: datetime) -> IssuedTokens:
        """Open a grant as if `user` had consented to everything and the code been exchanged."""
        request = AuthorizationRequest(client_id=client.id, redirect_uri="", scopes=scopes)
        grant = self.ledger.open_grant(request, user, scopes, now, None)
        access, refresh = self.lasting_tokens(client, grant, now)
        return IssuedTokens(
            access_token=Secret(access.value),
            refresh_token=Secret(refresh.value) if refresh else None,
            expires_at=access.expires_at,
            refresh_expires_at=refresh.expires_at if refresh else None,
            scopes=scopes,
            subject=self.subject(grant),
            grant_id=grant.id,
        )

    def lasting_tokens(self, client: Client, grant: Grant, now: datetime) -> tuple[Token, Token | None]:
        """Issue what an application keeps of a new grant: an access token, and a refresh token where there is one."""
        rules = self.settings
        refreshable = (
            client.refresh_tokens
            and rules.rotation != "none"
            and (not rules.refresh_scope or rules.refresh_scope in grant.scopes)
        )
        refresh = self._issue_refresh(grant, now) if refreshable else None
        return self._issue_access(grant, refresh, now, grant.scopes), refresh

    def _issue_access(self, grant: Grant, refresh: Token | None, now: datetime, scopes: tuple[str, ...]) -> Token:
        """Issue an access token, which never outlives its refresh token."""
        ends = now + self.settings.access_token_lifetime
        if refresh is not None and refresh.expires_at is not None:
            ends = min(ends, refresh.expires_at)
        return self.ledger.issue("access", grant, now, ends, scopes=scopes)

    def _issue_refresh(self, grant: Grant, now: datetime) -> Token:
        life = self.settings.refresh_token_lifetime
        ends = None if life is None else grant.created_at + life
        return self.ledger.issue("refresh", grant, now, ends, scopes=grant.scopes)

    def _refresh_answer(self, client: Client, call: Call) -> Answer:
        token = self.ledger.tokens.get(call.presents(call.form.get("refresh_token", "")))
        if token is None or token.kind != "refresh" or token.grant.client_id != client.id:
            raise self.grant_refusal("unknown refresh token")
        grant, rules = token.grant, self.settings
        call.note.grant_id, call.note.user = grant.id, grant.user.login
        verdict = self.ledger.verdict(token, call.now, rules.reuse_grace)
        if verdict == "spent" and rules.reuse == "refused":
            raise self.grant_refusal("the refresh token was used before", outcome="spent")
        if verdict == "spent":
            grant.ended = "reuse_detected"
            raise self.grant_refusal("the refresh token was used before", outcome="reuse_detected")
        if verdict != "live":
            raise self.grant_refusal(f"the refresh token is {verdict}")
        scopes = tuple(call.form.get("scope", " ".join(grant.scopes)).split())
        if not set(scopes) <= set(grant.scopes):
            raise Refusal("invalid_scope", "more than was granted")
        call.note.outcome = "refreshed_in_grace" if token.spent_at is not None else "refreshed"
        successor = token
        if rules.rotation == "rotating":
            token.spent_at = token.spent_at or call.now
            successor = self._issue_refresh(grant, call.now)
        return self._token_answer(self._issue_access(grant, successor, call.now, scopes), successor, call, nonce="")

    def _token_answer(self, access: Token, refresh: Token | None, call: Call, *, nonce: str) -> Answer:
        """Answer with tokens (RFC 6749, section 5.1)."""
        grant, scopes, ends = access.grant, access.scopes, access.expires_at or call.now
        call.note.grant_id, call.note.user = grant.id, grant.user.login
        call.issues(access.value)
        fields: dict[str, Any] = {
            "access_token": access.value,
            "token_type": "bearer",
            "expires_in": _seconds(ends - call.now),
            "scope": self.settings.scope_joiner.join(scopes),
        }
        if refresh is not None:
            call.issues(refresh.value)
            fields["refresh_token"] = refresh.value
            if refresh.expires_at is not None:
                fields["refresh_token_expires_in"] = _seconds(refresh.expires_at - call.now)
        if "openid" in scopes and self.issues_id_token(call.note.grant_type):
            fields["id_token"] = self._id_token(grant, access, nonce, call)
        return Answer(document=fields, headers=dict(_NO_STORE))

    def issues_id_token(self, grant_type: str) -> bool:
        """Say whether an ID token comes with this grant type; plain OAuth servers have none."""
        return False

    def _id_token(self, grant: Grant, access: Token, nonce: str, call: Call) -> str:
        """Sign an ID token (OpenID Connect Core, section 2)."""
        now = int(call.now.timestamp())
        claims = {
            "iss": self.issuer,
            "sub": self.subject(grant),
            "aud": grant.client_id,
            "iat": now,
            "exp": now + 3600,
            "at_hash": half_hash(access.value),
            **({"nonce": nonce} if nonce and self.settings.echo_nonce else {}),
            **self.person_claims(grant.user, access.scopes),
        }
        token = self.keys.sign(overridden(claims, call.fault.claims))
        self.ledger.id_tokens.append(token)
        call.issues(token)
        return token

    def person_claims(self, user: User, scopes: tuple[str, ...]) -> dict[str, Any]:
        """Return what `scopes` let an application know about `user` (OpenID Connect Core, section 5.4)."""
        everything = {
            "name": user.name,
            "preferred_username": user.login,
            "email": user.email,
            "email_verified": True,
            "picture": f"{self.root}/pictures/{user.login}.png",
        }
        allowed = {name for scope in scopes for name in self.identity_claims.get(scope, ())}
        return {name: value for name, value in everything.items() if name in allowed}

    # --- revocation (RFC 7009), introspection, calls --------------------------------------------

    def revoke(self, call: Call) -> Answer:
        """End a token and what `revocation_reach` says beside it; an unknown one is no error."""
        client = self.authenticate(call, call.form)
        value = call.presents(call.form.get("token", ""))
        if not value:
            raise Refusal("invalid_request", "Missing required parameter [token]")
        token = self.ledger.tokens.get(value)
        if token is None:
            return Answer(document=dict(self.revoked_document), outcome="unknown_token")
        call.note.grant_id, call.note.user = token.grant.id, token.grant.user.login
        if token.grant.client_id != client.id:
            raise Refusal("unauthorized_client", "the token was issued to another client")
        return Answer(document=dict(self.revoked_document), outcome=self._revoke(token))

    def _revoke(self, token: Token) -> str:
        """End `token` as far as the rules reach; return for the log how far that was."""
        token.revoked = True
        if self.settings.revocation_reach == "account":
            self.ledger.end_grants("revoked", user=token.grant.user, client_id=token.grant.client_id)
            return "account_revoked"
        if self.settings.revocation_reach == "single" or token.kind != "refresh":
            return "token_revoked"
        token.grant.ended = token.grant.ended or "revoked"
        return "revoked"

    def bearer_token(self, call: Call) -> Token:
        """Return the living access token that `call` carries in its Authorization header."""
        token = self.ledger.tokens.get(call.presents(call.bearer))
        if token is not None:
            self.note_grant(call, token.grant)
        verdict = self.ledger.verdict(token, call.now)
        if token is None or token.kind == "refresh" or verdict != "live":
            raise Refusal("invalid_token", f"the token is {verdict}", status=401, outcome=f"{verdict}_token")
        return token

    def note_grant(self, call: Call, grant: Grant) -> None:
        """Note whose grant a call is about."""
        call.note.client_id, call.note.user, call.note.grant_id = grant.client_id, grant.user.login, grant.id

    @staticmethod
    def need_scopes(token: Token, *needed: str) -> None:
        """Refuse a token that lacks one of the scopes."""
        if missing := set(needed) - set(token.scopes):
            raise Refusal("insufficient_scope", f"missing: {' '.join(sorted(missing))}", status=403)


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
