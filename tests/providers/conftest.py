"""What provider tests share: the providers, answers as servers send them, and drivers for exchanges."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet
from socialvault.protocol.messages import Exchange, HttpRequest, HttpResponse
from socialvault.providers import Facebook, Instagram, LinkedIn, OAuth2, OpenIDConnect, X

if TYPE_CHECKING:
    from collections.abc import Callable

    from socialvault.providers.base import Provider

SENT_AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECRET = "s3cret"
REDIRECT_URI = "https://app.example/callback"


def _oauth2(client_id: str, client_secret: str | None, **options: Any) -> Provider:
    endpoints = {
        "slug": "acme",
        "authorize_url": "https://acme.example/authorize",
        "token_url": "https://acme.example/token",
        "revoke_url": "https://acme.example/revoke",
        "userinfo_url": "https://api.acme.example/me",
    }
    return OAuth2(client_id, client_secret, **{**endpoints, **options})


def _openid_connect(client_id: str, client_secret: str | None, **options: Any) -> Provider:
    return OpenIDConnect(client_id, client_secret, **{"slug": "corp", "issuer": "https://id.corp.example", **options})


CLASSES: dict[str, Callable[..., Provider]] = {
    "x": X, "linkedin": LinkedIn, "facebook": Facebook, "instagram": Instagram, "oauth2": _oauth2,
    "openid_connect": _openid_connect,
}  # fmt: skip


@pytest.fixture(params=sorted(CLASSES))
def name(request: pytest.FixtureRequest) -> str:
    """Each provider in turn."""
    return request.param


@pytest.fixture
def make() -> Callable[..., Provider]:
    """Build a provider by name; everything but its options is given."""

    def build(name: str, client_id: str = "client", client_secret: Any = SECRET, **options: Any) -> Provider:
        return CLASSES[name](client_id, client_secret, **options)

    return build


@pytest.fixture
def answer() -> Callable[..., HttpResponse]:
    """Build an answer: a value becomes JSON, bytes stay as they are."""
    return _answer


def _answer(body: object = b"", status: int = 200, **headers: str) -> HttpResponse:
    named = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status, SENT_AT, named, data)


@pytest.fixture
def drive() -> Callable[..., Any]:
    """Run an exchange against prepared answers, in order; `requests` collects what it sent."""

    def run(
        exchange: Exchange[Any], *answers: HttpResponse | Exception, requests: list[HttpRequest] | None = None
    ) -> Any:
        sent = [] if requests is None else requests
        pending = iter(answers)
        try:
            sent.append(next(exchange))
            while True:
                reply = next(pending, None)
                if reply is None:
                    raise AssertionError(f"one request more than expected: {sent[-1]}")
                sent.append(exchange.throw(reply) if isinstance(reply, Exception) else exchange.send(reply))
        except StopIteration as stop:
            assert next(pending, None) is None, "fewer requests than expected"
            return stop.value

    return run


@pytest.fixture
def read() -> SimpleNamespace:
    """Take requests apart: their form, query, headers and the URL without its query."""

    def pairs(text: str) -> dict[str, str]:
        found = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
        assert len(dict(found)) == len(found), "a parameter is repeated"
        return dict(found)

    return SimpleNamespace(
        form=lambda request: pairs(request.body.decode()),
        query=lambda request: pairs(urlsplit(request.url).query),
        headers=lambda request: {name.lower(): value for name, value in request.headers},
        place=lambda request: request.url.partition("?")[0],
    )


@pytest.fixture
def tokens() -> Callable[..., TokenSet]:
    """Build what is stored: an access token, and a refresh token unless it is None."""

    def build(access: str = "at-0", refresh: str | None = "rt-0", **others: Any) -> TokenSet:
        held = {"obtained_at": SENT_AT - timedelta(hours=1), **others}
        return TokenSet(Secret(access), refresh_token=Secret(refresh) if refresh else None, **held)

    return build


class Signer:
    """An OpenID Connect server's key."""

    def __init__(self) -> None:
        self._key = RSAKey.generate_key(2048)
        self.keys = {"keys": [{**self._key.as_dict(private=False), "kid": "k1", "use": "sig", "alg": "RS256"}]}

    def sign(self, **claims: Any) -> str:
        """Sign claims that are valid now, save for what `claims` says otherwise; None leaves one out."""
        now = int(SENT_AT.timestamp())
        stated = {"sub": "subject", "aud": "client", "iat": now, "exp": now + 600, "nonce": "n0nce", **claims}
        body = {name: value for name, value in stated.items() if value is not None}
        signed = f"{_b64({'alg': 'RS256', 'kid': 'k1'})}.{_b64(body)}".encode()
        signature = JWSRegistry.algorithms["RS256"].sign(signed, self._key)
        return f"{signed.decode()}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _b64(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.fixture(scope="session")
def signer() -> Signer:
    return Signer()


CORP_METADATA = {
    "issuer": "https://id.corp.example",
    "authorization_endpoint": "https://id.corp.example/authorize",
    "token_endpoint": "https://id.corp.example/token",
    "userinfo_endpoint": "https://users.corp.example/me",
    "jwks_uri": "https://id.corp.example/keys",
    "revocation_endpoint": "https://id.corp.example/revoke",
}

#: Who signs ID tokens, by token endpoint.
ISSUERS = {
    "https://www.linkedin.com/oauth/v2/accessToken": "https://www.linkedin.com/oauth",
    "https://id.corp.example/token": "https://id.corp.example",
}


@pytest.fixture
def metadata() -> dict[str, Any]:
    """What the OpenID Connect server of these tests publishes."""
    return dict(CORP_METADATA)


class FakeServer:
    """Plays every provider at once: a code names the account, and so do all tokens that come from it."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self.refreshed: dict[str, Any] = {}  # replaces fields of the next renewal's answer

    def __call__(self, request: HttpRequest) -> HttpResponse:
        place = request.url.partition("?")[0]
        if request.method == "POST":
            return _answer(self._token(place, dict(parse_qsl(request.body.decode()))))
        if place.endswith("/.well-known/openid-configuration"):
            return _answer(CORP_METADATA)
        if place.endswith(("/jwks", "/keys")):
            return _answer(self._signer.keys)
        if place.endswith(("/access_token", "/refresh_access_token")):
            return _answer(self._token(place, dict(parse_qsl(urlsplit(request.url).query))))
        bearer = next(value for key, value in request.headers if key == "Authorization").removeprefix("Bearer ")
        if place.endswith("/debug_token"):
            return _answer({"data": self._debug(dict(parse_qsl(urlsplit(request.url).query))["input_token"])})
        subject = self._subject(bearer)
        return _answer(
            {"sub": subject, "id": subject, "user_id": subject, "name": f"name of {subject}", "data": {"id": subject}}
        )

    def _token(self, url: str, form: dict[str, str]) -> dict[str, Any]:
        if form["grant_type"] == "authorization_code":
            account = form["code"]
            answer = {"access_token": f"at.{account}", "refresh_token": f"rt.{account}", "expires_in": 3600}
            if issuer := ISSUERS.get(url):
                answer["id_token"] = self._signer.sign(iss=issuer, sub=account, nonce=f"nonce-{account}")
            return answer
        presented = form.get("refresh_token") or form.get("fb_exchange_token") or form["access_token"]
        renewed = {"access_token": f"at2.{self._subject(presented)}", "expires_in": 3600}
        return {**renewed, **self.refreshed}

    def _debug(self, token: str) -> dict[str, Any]:
        return {
            "app_id": "client", "user_id": self._subject(token), "is_valid": True, "scopes": ["email"],
            "expires_at": int((SENT_AT + timedelta(days=60)).timestamp()), "data_access_expires_at": 0,
        }  # fmt: skip

    def _subject(self, token: str) -> str:
        return token.partition(".")[2]


@pytest.fixture
def server(signer: Signer) -> FakeServer:
    return FakeServer(signer)


@pytest.fixture
def serve() -> Callable[..., Any]:
    """Run an exchange against whatever answers requests."""

    def run(
        exchange: Exchange[Any],
        respond: Callable[[HttpRequest], HttpResponse],
        requests: list[HttpRequest] | None = None,
    ) -> Any:
        try:
            request = next(exchange)
            while True:
                if requests is not None:
                    requests.append(request)
                request = exchange.send(respond(request))
        except StopIteration as stop:
            return stop.value

    return run


@pytest.fixture
def connect(serve: Callable[..., Any]) -> Callable[..., Any]:
    """Run a whole login: find the endpoints, exchange the code, read the account."""

    def login(provider: Provider, respond: Callable[[HttpRequest], HttpResponse], code: str = "code") -> Any:
        found = serve(provider.resolve(), respond)
        return serve(_exchange(provider, found, code), respond)

    return login


def _exchange(provider: Provider, found: Any, code: str) -> Exchange[Any]:
    nonce = Secret(f"nonce-{code}") if found.jwks_url else None
    verifier = Secret("verifier") if provider.pkce == "S256" else None
    return provider.exchange_code(found, Secret(code), REDIRECT_URI, verifier, nonce)


@pytest.fixture
def begin_exchange() -> Callable[..., Exchange[Any]]:
    """Start the exchange of a code, to be driven by the test."""
    return _exchange


@pytest.fixture
def frames_of_the_library() -> Callable[[BaseException], str]:
    """Return all that an error tracker sees of an error: texts, attributes, and the library's own frames' locals."""

    def story(problem: BaseException) -> str:
        parts: list[str] = []
        waiting: list[BaseException | None] = [problem]
        while waiting:
            error = waiting.pop()
            if error is None:
                continue
            parts += [str(error), repr(error), repr(error.args), repr(vars(error))]
            frame = error.__traceback__
            while frame is not None:
                if frame.tb_frame.f_globals["__name__"].startswith("socialvault."):
                    parts.append(repr(frame.tb_frame.f_locals))
                frame = frame.tb_next
            waiting += [error.__cause__, error.__context__]
        return "\n".join(parts)

    return story
