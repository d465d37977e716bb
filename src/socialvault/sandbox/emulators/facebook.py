"""Emulated Facebook: the login dialog, and the part of the Graph API around tokens and Pages."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from socialvault.exceptions import ConfigurationError
from socialvault.model.secret import Secret
from socialvault.sandbox.accounts import Client, User, stable_id
from socialvault.sandbox.emulators.base import Endpoint
from socialvault.sandbox.emulators.graph import GraphEmulator, selected
from socialvault.sandbox.messages import Answer, Call, Params, Refusal, with_query
from socialvault.sandbox.settings import FACEBOOK, FacebookSettings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from socialvault.sandbox.ledger import AuthorizationRequest, Grant, Token

_TASKS = ["ADVERTISE", "ANALYZE", "CREATE_CONTENT", "MESSAGING", "MODERATE", "MANAGE"]


class FacebookEmulator(GraphEmulator):
    """No refresh tokens: short-lived tokens are exchanged for 60 days. Pages have tokens of their own."""

    slug = "facebook"
    title = "Facebook"
    defaults = FACEBOOK
    pairwise = True
    default_response_type = "code"
    callback_fragment = "#_=_"
    denial_params = MappingProxyType({"error_reason": "user_denied", "error_description": "Permissions error"})
    endpoints = (
        Endpoint("GET", "/v{version}/dialog/oauth", "consent_page", "show_consent", "page"),
        Endpoint("POST", "/consent", "authorize", "decide", "page"),
        Endpoint("GET", "/v{version}/oauth/access_token", "token", "token"),
        Endpoint("POST", "/v{version}/oauth/access_token", "token", "token"),
        Endpoint("GET", "/v{version}/debug_token", "debug_token", "debug_token", "api"),
        Endpoint("GET", "/debug_token", "debug_token", "debug_token", "api"),
        Endpoint("GET", "/v{version}/me/accounts", "accounts", "me_accounts", "api"),
        Endpoint("GET", "/v{version}/me/businesses", "businesses", "me_businesses", "api"),
        Endpoint("GET", "/v{version}/me/permissions", "permissions", "me_permissions", "api"),
        Endpoint("GET", "/v{version}/{node}/owned_pages", "accounts", "owned_pages", "api"),
        Endpoint("GET", "/v{version}/{node}/client_pages", "accounts", "client_pages", "api"),
        Endpoint("DELETE", "/v{version}/{node}/permissions", "revoke", "remove_permissions", "api"),
        Endpoint("DELETE", "/v{version}/{node}/permissions/{permission}", "revoke", "remove_permission", "api"),
        Endpoint("GET", "/v{version}/me", "userinfo", "me", "api"),
        Endpoint("GET", "/v{version}/{node}", "api", "page", "api"),
    )

    settings: FacebookSettings

    def long_lifetime(self) -> timedelta:
        """As the rules in force say."""
        return self.settings.long_lifetime

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self._page_tokens: dict[tuple[str, str, bool], Token] = {}

    # --- login dialog ---------------------------------------------------------------------------

    def read_scopes(self, text: str) -> list[str]:
        """Read scopes separated by commas; spaces are accepted too."""
        return text.replace(",", " ").split()

    def offered_pages(self, request: AuthorizationRequest) -> Mapping[str, str]:
        """Offer the Pages where the application asks for them."""
        if "pages_show_list" not in request.scopes:
            return {}
        return {**_pages("page", self.settings.pages), **_pages("business-page", self.settings.business_pages)}

    # --- tokens ---------------------------------------------------------------------------------

    def token(self, call: Call) -> Answer:
        """Exchange a code for a short-lived token, or a living token for a long-lived one."""
        params = call.form if call.method == "POST" else call.query
        call.note.grant_type = params.get("grant_type", "authorization_code")
        if params.repeated:
            raise Refusal("100", "a parameter came twice")
        client = self.authenticate(call, params)
        if call.note.grant_type == "authorization_code":
            return self._short_lived(client, call, params)
        if call.note.grant_type == "fb_exchange_token":
            return self._long_lived(client, call, params)
        raise Refusal("100", "unknown grant_type")

    def _short_lived(self, client: Client, call: Call, params: Params) -> Answer:
        grant = self.redeem(client, call, params).grant
        call.note.outcome = "issued"
        ends = call.now + self.settings.access_token_lifetime
        return self._graph_token(self.ledger.issue("access", grant, call.now, ends, scopes=grant.scopes), call)

    def _long_lived(self, client: Client, call: Call, params: Params) -> Answer:
        token = self.ledger.tokens.get(call.presents(params.get("fb_exchange_token", "")))
        grant = self.living(token, call).grant
        if grant.client_id != client.id:
            raise Refusal("100", "the token belongs to another application")
        call.note.outcome = "exchanged"
        return self._graph_token(self.issue_long_lived(grant, call.now), call)

    def _graph_token(self, token: Token, call: Call) -> Answer:
        self.note_grant(call, token.grant)
        call.issues(token.value)
        remaining = int(((token.expires_at or call.now) - call.now).total_seconds())
        fields: dict[str, Any] = {"access_token": token.value, "token_type": "bearer"}
        if self.settings.expires_in != "absent":
            fields["expires_in"] = remaining if self.settings.expires_in == "present" else 0
        return Answer(document=fields)

    # --- who calls ------------------------------------------------------------------------------

    def _caller(self, call: Call, *needed: str) -> Token:
        """Return the token of a call with its proof checked and the scopes it needs."""
        value = call.presents(call.bearer or call.query.get("access_token", ""))
        token = self.living(self.ledger.tokens.get(value), call)
        self._check_proof(token.grant.client_id, value, call)
        if missing := set(needed) - set(token.grant.scopes):
            raise Refusal("200", f"Requires {' '.join(sorted(missing))}", status=403, outcome="insufficient_scope")
        return token

    def _check_proof(self, client_id: str, value: str, call: Call) -> None:
        known = tuple(self.clients[client_id].secrets)
        proof = call.query.get("appsecret_proof", "")
        if not proof and (self.settings.appsecret_proof == "checked" or not known):
            return
        if not any(hmac.compare_digest(proof.encode(), _proof(secret, value)) for secret in known):
            raise Refusal(
                "100", "API calls from the server require a valid appsecret_proof argument", outcome="appsecret_proof"
            )

    def _app(self, call: Call) -> Client | None:
        """Return the application whose app token ``{app_id}|{app_secret}`` the call carries."""
        app_token = call.bearer or call.query.get("access_token", "")
        client_id, bar, secret = app_token.partition("|")
        client = self.clients.get(client_id) if bar else None
        if client is None or not client.accepts(Secret(secret)):
            return None
        call.note.client_id = client.id
        if "appsecret_proof" in call.query:  # an app token needs none, but a wrong one is an error
            self._check_proof(client.id, app_token, call)
        return client

    # --- Graph API ------------------------------------------------------------------------------

    def me(self, call: Call) -> Answer:
        """Return the person, or the Page where a Page's token asks."""
        token = self._caller(call)
        if token.page_id:
            return Answer(document=selected(call, {"id": token.page_id, "name": self._page_names()[token.page_id]}))
        user = token.grant.user
        record: dict[str, Any] = {
            "id": self.subject(token.grant),
            "name": user.name,
            "picture": {"data": {"url": f"{self.root}/pictures/{user.login}.png", "is_silhouette": False}},
            **({"email": user.email} if "email" in token.grant.scopes else {}),
        }
        return Answer(document=selected(call, record, default=("id", "name")))

    def page(self, call: Call) -> Answer:
        """Return a Page, by its own token or the person's."""
        token = self._caller(call)
        names = self._page_names()
        node = call.path["node"]
        if node not in names or token.page_id not in ("", node):
            raise Refusal("100", "Unsupported get request", outcome="not_found")
        return Answer(document=selected(call, {"id": node, "name": names[node]}))

    def me_permissions(self, call: Call) -> Answer:
        """List what was granted and what was declined."""
        grant = self._caller(call).grant
        rows = [{"permission": scope, "status": "granted"} for scope in grant.scopes]
        rows += [{"permission": scope, "status": "declined"} for scope in grant.declined]
        return Answer(document={"data": rows})

    def me_accounts(self, call: Call) -> Answer:
        """List the person's own Pages; one that was not ticked comes without a token."""
        token = self._caller(call, "pages_show_list")
        return self._page_list(call, token, _pages("page", self.settings.pages))

    def me_businesses(self, call: Call) -> Answer:
        """List the person's businesses: one, where there are business Pages."""
        self._caller(call, "business_management")
        business = [{"id": _BUSINESS_ID, "name": "Business"}] if self.settings.business_pages else []
        return Answer(document={"data": business})

    def owned_pages(self, call: Call) -> Answer:
        """List the Pages that a business owns."""
        token = self._caller(call, "business_management", "pages_show_list")
        count = self.settings.business_pages if call.path["node"] == _BUSINESS_ID else 0
        return self._page_list(call, token, _pages("business-page", count))

    def client_pages(self, call: Call) -> Answer:
        """List the Pages that a business looks after for others: none."""
        self._caller(call, "business_management", "pages_show_list")
        return Answer(document={"data": []})

    def _page_names(self) -> dict[str, str]:
        return {**_pages("page", self.settings.pages), **_pages("business-page", self.settings.business_pages)}

    def _page_list(self, call: Call, token: Token, listed: Mapping[str, str]) -> Answer:
        start, limit = _cursor(call.query.get("after", "")), self._limit(call)
        rows = [
            selected(call, self._page_record(page_id, name, token, call))
            for page_id, name in list(listed.items())[start : start + limit]
        ]
        if not rows:
            return Answer(document={"data": []})
        paging: dict[str, Any] = {"cursors": {"before": _encoded(start), "after": _encoded(start + len(rows))}}
        if start + len(rows) < len(listed):
            # as at Graph, the link carries the token and no proof
            again = {"access_token": token.value, "limit": str(limit), "after": _encoded(start + len(rows))}
            version = call.path["version"]
            node = "me/accounts" if "node" not in call.path else f"{call.path['node']}/owned_pages"
            paging["next"] = with_query(f"{self.root}/v{version}/{node}", again)
        return Answer(document={"data": rows, "paging": paging})

    def _limit(self, call: Call) -> int:
        asked = call.query.get("limit", "25")
        if not asked.isdecimal() or int(asked) == 0:
            raise Refusal("100", "limit must be a positive number")
        return min(int(asked), self.settings.page_size)

    def _page_record(self, page_id: str, name: str, token: Token, call: Call) -> dict[str, Any]:
        record: dict[str, Any] = {"id": page_id, "name": name, "username": f"page.{page_id}", "tasks": _TASKS}
        if token.grant.pages is None or page_id in token.grant.pages:
            page_token = self._page_token(page_id, token, call.now)
            call.issues(page_token.value)
            record["access_token"] = page_token.value
        return record

    def _page_token(self, page_id: str, token: Token, now: datetime) -> Token:
        """Return the Page's token: without expiry when a long-lived token asks, always the same one."""
        key = (page_id, token.grant.id, token.long_lived)
        if key not in self._page_tokens:
            ends = None if token.long_lived else token.expires_at
            self._page_tokens[key] = self.ledger.issue(
                "page", token.grant, now, ends, scopes=token.scopes, page_id=page_id, long_lived=token.long_lived
            )
        return self._page_tokens[key]

    # --- the end of a grant ---------------------------------------------------------------------

    def remove_permissions(self, call: Call) -> Answer:
        """Remove the application from the person's account: every token dies."""
        grant = self._removable(call)
        self.ledger.end_grants("revoked", user=grant.user, client_id=grant.client_id)
        self.note_grant(call, grant)
        return Answer(document={"success": True}, outcome="revoked")

    def remove_permission(self, call: Call) -> Answer:
        """Take one permission back."""
        grant, permission = self._removable(call), call.path["permission"]
        self.note_grant(call, grant)
        if permission not in grant.scopes:
            raise Refusal("100", "the permission is not granted")
        grant.scopes = tuple(scope for scope in grant.scopes if scope != permission)
        grant.declined = (*grant.declined, permission)
        return Answer(document={"success": True}, outcome="permission_removed")

    def _removable(self, call: Call) -> Grant:
        node, app = call.path["node"], self._app(call)
        if app is None:
            grant = self._caller(call).grant
            if node not in ("me", self.subject(grant)):
                raise Refusal("100", "the token belongs to somebody else")
            return grant
        for grant in self.ledger.grants.values():
            if grant.client_id == app.id and not grant.ended and self.subject(grant) == node:
                return grant
        raise Refusal("100", "this person has no grant", outcome="not_found")

    def signed_request(self, client: Client, user: User, issued_at: datetime) -> str:
        """Return the signed request that tells `client` of a removal or a data deletion request."""
        if client.secret is None:
            raise ConfigurationError(f"{client.id} has no secret, and nothing is signed for it")
        payload = {
            "algorithm": "HMAC-SHA256",
            "issued_at": int(issued_at.timestamp()),
            "user_id": self.subject_of(user, client.id),
        }
        encoded = _base64url(json.dumps(payload).encode())
        return f"{_base64url(hmac.digest(client.secret.reveal().encode(), encoded.encode(), 'sha256'))}.{encoded}"

    # --- inspection -----------------------------------------------------------------------------

    def debug_token(self, call: Call) -> Answer:
        """Tell an application everything about one of its tokens."""
        app = self._app(call)
        if app is None:
            raise Refusal("190.467", "An app access token is required", outcome="invalid_client")
        token = self.ledger.tokens.get(call.presents(call.query.get("input_token", "")))
        if token is None:
            error = {"code": 190, "message": "Malformed access token", "subcode": 467}
            return Answer(document={"data": {"is_valid": False, "scopes": [], "error": error}})
        self.note_grant(call, token.grant)
        if token.grant.client_id != app.id:
            raise Refusal("100", "The App_id in the input_token did not match the Viewing App")
        return Answer(document={"data": self._inspected(token, call.now)})

    def _inspected(self, token: Token, now: datetime) -> dict[str, Any]:
        grant, verdict = token.grant, self.ledger.verdict(token, now)
        data: dict[str, Any] = {
            "app_id": self.settings.debug_app_id or grant.client_id,
            "type": "PAGE" if token.page_id else "USER",
            "application": "Sandbox application",
            "user_id": self.subject(grant),
            "is_valid": verdict == "live",
            "issued_at": int(token.issued_at.timestamp()),
            "expires_at": 0 if token.expires_at is None else int(token.expires_at.timestamp()),
            "data_access_expires_at": int((grant.created_at + self.settings.data_access).timestamp()),
            "scopes": list(grant.scopes),
        }
        if token.page_id:
            data["profile_id"] = token.page_id
        if verdict != "live":
            _, _, subcode = self.why_invalid(token, verdict).partition(".")
            data["error"] = {"code": 190, "message": f"the token is {verdict}", "subcode": int(subcode)}
        return data

    # --- errors ---------------------------------------------------------------------------------

    def render(self, endpoint: Endpoint, refusal: Refusal, call: Call) -> Answer:
        """Say a refusal in Graph's form, at the token endpoint too."""
        if endpoint.dialect == "page":
            return super().render(endpoint, refusal, call)
        return self.render_api(refusal)


_BUSINESS_ID = stable_id("facebook", "business")


def page_id(number: int, kind: str = "page") -> str:
    """Return the id of the Page with this number, from 1; `kind` is ``page`` or ``business-page``."""
    return stable_id("facebook", kind, str(number))


def _pages(kind: str, count: int) -> dict[str, str]:
    label = "Page" if kind == "page" else "Business Page"
    return {page_id(number, kind): f"{label} {number}" for number in range(1, count + 1)}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _proof(secret: Secret[str], value: str) -> bytes:
    return hmac.new(secret.reveal().encode(), value.encode(), hashlib.sha256).hexdigest().encode()


def _encoded(position: int) -> str:
    return f"cursor-{position}"


def _cursor(after: str) -> int:
    known = re.fullmatch(r"cursor-(\d+)", after or "cursor-0")
    if known is None:
        raise Refusal("100", "unknown cursor")
    return int(known[1])
