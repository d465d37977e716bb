"""Emulated Instagram, with Instagram Login: tokens that are extended in place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from socialvault.model.secret import Secret
from socialvault.sandbox.emulators.base import Endpoint
from socialvault.sandbox.emulators.graph import GraphEmulator, selected
from socialvault.sandbox.messages import Answer, Call, Refusal
from socialvault.sandbox.settings import INSTAGRAM, InstagramSettings

if TYPE_CHECKING:
    from datetime import timedelta

    from socialvault.sandbox.ledger import Token

_CODE_PATH = "/oauth/access_token"


class InstagramEmulator(GraphEmulator):
    """A short-lived token is exchanged once; the long-lived one is extended again and again, after a day of age."""

    slug = "instagram"
    title = "Instagram"
    defaults = INSTAGRAM
    callback_fragment = "#_"
    endpoints = (
        Endpoint("GET", "/oauth/authorize", "consent_page", "show_consent", "page"),
        Endpoint("POST", "/consent", "authorize", "decide", "page"),
        Endpoint("POST", _CODE_PATH, "token", "code_token"),
        Endpoint("GET", "/access_token", "token", "exchange", "api"),
        Endpoint("GET", "/refresh_access_token", "token", "extend", "api"),
        Endpoint("GET", "/v{version}/me", "userinfo", "me", "api"),
        Endpoint("GET", "/me", "userinfo", "me", "api"),
    )

    settings: InstagramSettings

    def long_lifetime(self) -> timedelta:
        """As the rules in force say."""
        return self.settings.long_lifetime

    def read_scopes(self, text: str) -> list[str]:
        """Read scopes separated by commas; spaces are accepted too."""
        return text.replace(",", " ").split()

    # --- tokens ---------------------------------------------------------------------------------

    def code_token(self, call: Call) -> Answer:
        """Exchange a code for a short-lived token, whose answer does not say how long it lives."""
        call.note.grant_type = call.form.get("grant_type", "")
        if call.form.repeated:
            raise Refusal("invalid_request", "a parameter came twice")
        client = self.authenticate(call, call.form)
        if call.note.grant_type != "authorization_code":
            raise Refusal("invalid_request", "Invalid grant_type")
        grant = self.redeem(client, call, call.form).grant
        ends = call.now + self.settings.access_token_lifetime
        token = self.ledger.issue("access", grant, call.now, ends, scopes=grant.scopes)
        call.note.outcome = "issued"
        self.note_grant(call, grant)
        call.issues(token.value)
        granted: Any = list(grant.scopes) if self.settings.permissions == "list" else ",".join(grant.scopes)
        fields = {"access_token": token.value, "user_id": int(self._app_scoped_id(token)), "permissions": granted}
        return Answer(document={"data": [fields]} if self.settings.answer == "data" else fields)

    def exchange(self, call: Call) -> Answer:
        """Exchange a short-lived token for a long-lived one."""
        token = self._presented(call, "ig_exchange_token")
        if not self.clients[token.grant.client_id].accepts(Secret(call.query.get("client_secret", ""))):
            raise Refusal("invalid_client", "Error validating client secret.")
        if token.long_lived:
            raise Refusal("100", "the token is long-lived already", outcome="not_short_lived")
        call.note.outcome = "exchanged"
        return self._long_lived_answer(self.issue_long_lived(token.grant, call.now), call)

    def extend(self, call: Call) -> Answer:
        """Extend a long-lived token that is old enough."""
        token = self._presented(call, "ig_refresh_token")
        if not token.long_lived:
            raise Refusal("100", "the token is not long-lived", outcome="not_long_lived")
        if call.now < token.issued_at + self.settings.minimum_age:
            raise Refusal("100", "the token is too young to be refreshed", outcome="too_young")
        call.note.outcome = "extended"
        if self.settings.extension == "new":
            return self._long_lived_answer(self.issue_long_lived(token.grant, call.now), call)
        token.issued_at, token.expires_at = call.now, call.now + self.settings.long_lifetime
        return self._long_lived_answer(token, call)

    def _presented(self, call: Call, grant_type: str) -> Token:
        """Return the living token that a token endpoint was sent in its query."""
        call.note.grant_type = call.query.get("grant_type", "")
        if call.query.repeated or call.note.grant_type != grant_type:
            raise Refusal("100", f"grant_type must be {grant_type}")
        return self.living(self.ledger.tokens.get(call.presents(call.query.get("access_token", ""))), call)

    def _long_lived_answer(self, token: Token, call: Call) -> Answer:
        call.issues(token.value)
        fields: dict[str, Any] = {"access_token": token.value, "token_type": "bearer"}
        if self.settings.expires_in == "present" and token.expires_at is not None:
            fields["expires_in"] = int((token.expires_at - call.now).total_seconds())
        return Answer(document=fields)

    # --- the account ----------------------------------------------------------------------------

    def me(self, call: Call) -> Answer:
        """Return the professional account, with both of its ids."""
        token = self.living(
            self.ledger.tokens.get(call.presents(call.bearer or call.query.get("access_token", ""))), call
        )
        if "instagram_business_basic" not in token.grant.scopes:
            raise Refusal("200", "Requires instagram_business_basic", status=403, outcome="insufficient_scope")
        user = token.grant.user
        record = {
            "id": self._app_scoped_id(token),
            "user_id": self.subject(token.grant),
            "username": user.login,
            "name": user.name,
            "account_type": "BUSINESS",
            "profile_picture_url": f"{self.root}/pictures/{user.login}.png",
        }
        return Answer(document=selected(call, record, default=("id",)))

    def _app_scoped_id(self, token: Token) -> str:
        return token.grant.user.subject(self.slug, token.grant.client_id)

    # --- errors ---------------------------------------------------------------------------------

    def render(self, endpoint: Endpoint, refusal: Refusal, call: Call) -> Answer:
        """Say a refusal in Graph's form, or flat where a code is exchanged."""
        if endpoint.path != _CODE_PATH:
            return super().render(endpoint, refusal, call)
        status = 400 if refusal.status == 401 else refusal.status
        document = {"error_type": "OAuthException", "code": status, "error_message": refusal.description}
        return Answer(status=status, document=document)
