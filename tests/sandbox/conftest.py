from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socialvault.sandbox import Callback, Sandbox

REDIRECT_URI = "https://app.example/callback"
VERIFIER = "verifier-" + "v" * 40
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
PATHS = {
    "x": ("/i/oauth2/authorize", "/2/oauth2/token", "/2/oauth2/revoke"),
    "linkedin": ("/oauth/v2/authorization", "/oauth/v2/accessToken", "/oauth/v2/revoke"),
    "facebook": ("/v24.0/dialog/oauth", "/v24.0/oauth/access_token", ""),
    "instagram": ("/oauth/authorize", "/oauth/access_token", ""),
    "oidc": ("/authorize", "/token", "/revoke"),
}
SCOPES = {
    "x": "users.read tweet.read offline.access",
    "linkedin": "openid profile email",
    "facebook": "public_profile,email,pages_show_list",
    "instagram": "instagram_business_basic,instagram_business_content_publish,instagram_business_manage_insights",
    "oidc": "openid profile email",
}


class App:
    """An application that speaks plain HTTP, so that what it is answered is the sandbox's doing alone."""

    def __init__(self, sandbox: Sandbox, http: httpx.Client, provider: str, **registration: Any) -> None:
        self.sandbox, self.http, self.provider = sandbox, http, provider
        client = sandbox.register(provider, **registration)
        self.client_id = client.id
        self.secret = client.secret.reveal() if client.secret else ""
        self.authorize_path, self.token_path, self.revoke_path = PATHS[provider]

    def login_url(self, **changes: str | None) -> str:
        params: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT_URI,
            "scope": SCOPES[self.provider],
            "state": "state-1",
        }
        if self.provider in ("x", "oidc"):
            params |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        params |= changes
        kept = {name: value for name, value in params.items() if value is not None}
        return f"{self.sandbox.url(self.provider, self.authorize_path)}?{urlencode(kept)}"

    def consent(self, *, scope: str | None = None, **decision: Any) -> Callback:
        return self.sandbox.authorize(self.login_url(**({"scope": scope} if scope else {})), **decision)

    @property
    def in_body(self) -> bool:
        return self.provider in ("linkedin", "facebook", "instagram")

    def post(self, path: str, form: dict[str, str | None], *, auth: str | None = None) -> httpx.Response:
        method = auth or ("none" if not self.secret else "body" if self.in_body else "basic")
        fields = {name: value for name, value in form.items() if value is not None}
        headers = {}
        if method == "basic":
            pair = f"{self.client_id}:{self.secret}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            fields.setdefault("client_id", self.client_id)
        if method == "body":
            fields.setdefault("client_secret", self.secret)
        return self.http.post(self.sandbox.url(self.provider, path), data=fields, headers=headers)

    def exchange(self, code: str, *, auth: str | None = None, **changes: str | None) -> httpx.Response:
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER if self.provider in ("x", "oidc") else None,
        }
        return self.post(self.token_path, form | changes, auth=auth)

    def connect(self, *, scope: str | None = None, **decision: Any) -> dict[str, Any]:
        response = self.exchange(self.consent(scope=scope, **decision)["code"])
        assert response.status_code == 200, response.text
        tokens: dict[str, Any] = response.json()
        return tokens["data"][0] if self.provider == "instagram" and "data" in tokens else tokens

    def refresh(self, refresh_token: str, *, auth: str | None = None, **changes: str | None) -> httpx.Response:
        form: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self.post(self.token_path, form | changes, auth=auth)

    def revoke(self, token: str, *, auth: str | None = None, **changes: str | None) -> httpx.Response:
        form: dict[str, str | None] = {"token": token, "token_type_hint": "refresh_token"}
        return self.post(self.revoke_path, form | changes, auth=auth)

    def get(self, path: str, token: str = "", **headers: str) -> httpx.Response:
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return self.http.get(self.sandbox.url(self.provider, path), headers=headers)

    # Facebook

    def proof(self, token: str) -> str:
        return hmac.new(self.secret.encode(), token.encode(), hashlib.sha256).hexdigest()

    def graph(self, path: str, token: str, method: str = "GET", **params: str) -> httpx.Response:
        query = {"appsecret_proof": self.proof(token), **params}
        url = self.sandbox.url("facebook", f"/v24.0{path}")
        return self.http.request(method, url, params=query, headers={"Authorization": f"Bearer {token}"})

    def long_lived(self, token: str) -> httpx.Response:
        return self.post(self.token_path, {"grant_type": "fb_exchange_token", "fb_exchange_token": token})

    def debug(self, token: str, *, app_token: str | None = None) -> httpx.Response:
        bearer = f"{self.client_id}|{self.secret}" if app_token is None else app_token
        url = self.sandbox.url("facebook", "/v24.0/debug_token")
        return self.http.get(url, params={"input_token": token}, headers={"Authorization": f"Bearer {bearer}"})

    # Instagram

    def query_token(self, path: str, grant_type: str, token: str, **more: str) -> httpx.Response:
        params = {"grant_type": grant_type, "access_token": token, **more}
        return self.http.get(self.sandbox.url("instagram", path), params=params)

    def prolonged(self, token: str, **more: str) -> httpx.Response:
        secret = {"client_secret": self.secret, **more}
        return self.query_token("/access_token", "ig_exchange_token", token, **secret)

    def extended(self, token: str, **more: str) -> httpx.Response:
        return self.query_token("/refresh_access_token", "ig_refresh_token", token, **more)


@pytest.fixture(scope="session")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=5) as client:
        yield client


@pytest.fixture
def sandbox(socialvault_sandbox: Sandbox) -> Sandbox:
    return socialvault_sandbox


@pytest.fixture
def x(sandbox: Sandbox, http: httpx.Client) -> App:
    return App(sandbox, http, "x")


@pytest.fixture
def linkedin(sandbox: Sandbox, http: httpx.Client) -> App:
    return App(sandbox, http, "linkedin")


@pytest.fixture
def partner(sandbox: Sandbox, http: httpx.Client) -> App:
    return App(sandbox, http, "linkedin", refresh_tokens=True)


@pytest.fixture
def facebook(sandbox: Sandbox, http: httpx.Client) -> App:
    return App(sandbox, http, "facebook")


@pytest.fixture
def instagram(sandbox: Sandbox, http: httpx.Client) -> App:
    return App(sandbox, http, "instagram")


@pytest.fixture
def oidc(sandbox: Sandbox, http: httpx.Client) -> App:
    return App(sandbox, http, "oidc")


@pytest.fixture(params=["x", "linkedin", "facebook", "instagram", "oidc"])
def app(request: pytest.FixtureRequest, sandbox: Sandbox, http: httpx.Client) -> App:
    return App(sandbox, http, request.param)


@pytest.fixture
def register(sandbox: Sandbox, http: httpx.Client) -> Any:
    return lambda provider, **registration: App(sandbox, http, provider, **registration)
