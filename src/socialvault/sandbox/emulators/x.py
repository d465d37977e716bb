"""Emulated X."""

from __future__ import annotations

from types import MappingProxyType

from socialvault.sandbox.emulators.base import Emulator, Endpoint
from socialvault.sandbox.messages import Answer, Call, Refusal
from socialvault.sandbox.settings import X


class XEmulator(Emulator):
    """Codes of 30 seconds, PKCE always, refresh tokens that work once, problem documents from the API."""

    slug = "x"
    title = "X"
    defaults = X
    endpoints = (
        Endpoint("GET", "/i/oauth2/authorize", "consent_page", "show_consent", "page"),
        Endpoint("POST", "/consent", "authorize", "decide", "page"),
        Endpoint("POST", "/2/oauth2/token", "token", "token"),
        Endpoint("POST", "/2/oauth2/revoke", "revoke", "revoke"),
        Endpoint("GET", "/2/users/me", "userinfo", "users_me", "api"),
    )
    revoked_document = MappingProxyType({"revoked": True})

    def revoke(self, call: Call) -> Answer:
        """Revoke; X insists on the hint that RFC 7009 makes optional."""
        if not call.form.get("token_type_hint"):
            raise Refusal("invalid_request", "Missing required parameter [token_type_hint].")
        return super().revoke(call)

    def users_me(self, call: Call) -> Answer:
        """Return the account; its e-mail address and picture only when asked for."""
        token = self.bearer_token(call)
        self.need_scopes(token, "users.read", "tweet.read")
        user = token.grant.user
        data: dict[str, object] = {"id": self.subject(token.grant), "name": user.name, "username": user.login}
        extra: dict[str, object] = {
            "profile_image_url": f"{self.root}/pictures/{user.login}.png",
            "verified": False,
            **({"confirmed_email": user.email} if "users.email" in token.scopes else {}),
        }
        asked = call.query.get("user.fields", "").split(",")
        return Answer(document={"data": {**data, **{name: extra[name] for name in asked if name in extra}}})

    def render_api(self, refusal: Refusal) -> Answer:
        """Say a refusal as a problem document."""
        titles = {401: "Unauthorized", 403: "Forbidden", 429: "Too Many Requests"}
        title = titles.get(refusal.status, "Error")
        return Answer(
            status=refusal.status,
            document={"title": title, "type": "about:blank", "status": refusal.status, "detail": refusal.description},
            content_type="application/problem+json",
        )
