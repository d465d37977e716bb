"""No provider shows a secret: not in what it prints, not in its errors, not in the locals of its frames."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from socialvault.exceptions import SocialVaultError, TransportError
from socialvault.model.connection import SubAccount, SubAccountGrant
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.providers.base import Grant

CANARIES = {
    "client_secret": "CANARYclientsecret", "previous": "CANARYprevious",
    "code": "CANARYcode", "verifier": "CANARYverifier", "nonce": "CANARYnonce",
    "access": "CANARYaccess", "refresh": "CANARYrefresh", "answered": "CANARYanswered", "page": "CANARYpage",
}  # fmt: skip
ANSWERED = {
    "access_token": CANARIES["answered"], "refresh_token": CANARIES["answered"] + "2", "expires_in": 60,
    "id_token": CANARIES["answered"] + ".x.y",
}  # fmt: skip
BODIES = {
    "dead": (400, {"error": "invalid_grant", "error_description": CANARIES["answered"]}),
    "html": (200, f"<html>{CANARIES['answered']}".encode()),
    "down": (503, f"<html>{CANARIES['answered']}".encode()),
    "no_token": (200, {"token": CANARIES["answered"]}),
    "bad_token": (200, {"access_token": CANARIES["answered"] + "\n"}),
    "repeated": (200, f'{{"a": "{CANARIES["answered"]}", "a": 1}}'.encode()),
    "strange_type": (200, {**ANSWERED, "token_type": "mac"}),
    "rejected": (401, {"error": "invalid_client", "error_description": CANARIES["answered"]}),
    "graph": (400, {"error": {"code": 190, "message": CANARIES["answered"]}}),
    "tokens_and_then_nothing": (200, ANSWERED),
}


CLASS_NAMES = ("facebook", "instagram", "linkedin", "oauth2", "openid_connect", "x")


def leaked(text: str) -> list[str]:
    return [name for name, canary in CANARIES.items() if canary in text]


@pytest.fixture
def provider(name, make):
    return make(name, client_secret=CANARIES["client_secret"], previous_client_secret=CANARIES["previous"])


@pytest.fixture
def stored(tokens):
    return tokens(CANARIES["access"], CANARIES["refresh"], scopes=frozenset({"business_management"}))


def exchanges(provider, found, stored):
    nonce = Secret(CANARIES["nonce"]) if found.jwks_url else None
    verifier = Secret(CANARIES["verifier"])
    yield provider.exchange_code(found, Secret(CANARIES["code"]), "https://app.example/cb", verifier, nonce)
    yield provider.renew(found, stored, "subject")
    yield provider.revoke(found, stored)
    yield provider.list_sub_accounts(found, stored)
    yield provider.fetch_identity(found, stored, None)


def test_l_01_a_provider_shows_no_secret(provider):
    shown = [repr(provider), str(provider), f"{provider}", repr(vars(provider)), repr(provider.credentials)]
    assert not leaked("\n".join(shown))
    assert not leaked(repr(asdict(provider.static_server)))
    with pytest.raises(TypeError):
        json.dumps(vars(provider))


def test_l_01_grants_show_no_secret(stored, tokens):
    held = tokens(CANARIES["access"], CANARIES["refresh"], id_token=Secret(CANARIES["answered"]))
    sub = SubAccountGrant(SubAccount("1", "Page", "page"), Secret(CANARIES["page"]))
    for value in (Grant(held, Identity("subject")), sub, held):
        assert not leaked(f"{value!r} {value!s} {value}")
        with pytest.raises(TypeError):
            asdict(value)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_l_04_l_05_no_failure_shows_a_secret(provider, stored, serve, server, answer, frames_of_the_library, body):
    found = serve(provider.resolve(), server)
    status, content = body
    failures = 0
    for exchange in exchanges(provider, found, stored):
        try:
            serve(exchange, lambda _: answer(content, status))
        except SocialVaultError as problem:
            failures += 1
            assert not leaked(frames_of_the_library(problem))
    assert failures >= 2


def test_l_05_no_lost_connection_shows_a_secret(provider, stored, serve, server, frames_of_the_library):
    found = serve(provider.resolve(), server)
    failures = 0
    for exchange in exchanges(provider, found, stored):
        try:
            next(exchange)
            exchange.throw(TransportError("no answer", request_sent=True))
        except TransportError as problem:
            failures += 1
            assert not leaked(frames_of_the_library(problem))
        except StopIteration:
            continue
    assert failures >= 3


def test_l_05_no_later_lost_connection_shows_a_secret(make, answer, tokens, frames_of_the_library):
    provider = make("facebook", client_secret=CANARIES["client_secret"])
    exchange = provider.renew(provider.static_server, tokens(CANARIES["access"], None), "subject")
    next(exchange)
    assert CANARIES["answered"] in exchange.send(answer(ANSWERED)).url  # debug_token wants it there
    with pytest.raises(TransportError) as caught:
        exchange.throw(TransportError("no answer", request_sent=True))
    assert not leaked(frames_of_the_library(caught.value))


def test_l_05_a_hostile_link_shows_no_secret(make, answer, tokens, frames_of_the_library):
    provider = make("facebook", client_secret=CANARIES["client_secret"])
    exchange = provider.list_sub_accounts(provider.static_server, tokens(CANARIES["access"], None))
    next(exchange)
    link = f"https://evil.example/?access_token={CANARIES['access']}"
    pages = {"data": [{"id": "1", "access_token": CANARIES["page"]}], "paging": {"next": link}}
    with pytest.raises(SocialVaultError) as caught:
        exchange.send(answer(pages))
    assert not leaked(frames_of_the_library(caught.value))


MISTAKES = [
    *[(name, option) for name in CLASS_NAMES for option in (
        {"token_url": "http://acme.example/token"}, {"client_id": ""}, {"scopes": "one text"}, {"unknown": 1},
        {"api_hosts": ["https://x"]}, {"renewal": "sometimes"},
    )],
    ("facebook", {"graph_version": "x"}), ("instagram", {"graph_version": "x"}), ("instagram", {"graph_url": "http://x"}),
    ("facebook", {"graph_url": "http://x"}), ("linkedin", {"api_version": "x"}),
    ("linkedin", {"rest_url": "https://x"}), ("oauth2", {"slug": "X Y"}), ("oauth2", {"userinfo_url": ""}),
    ("openid_connect", {"slug": "X Y"}), ("openid_connect", {"issuer": ""}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options"), MISTAKES, ids=lambda part: part if isinstance(part, str) else "".join(part)
)
def test_l_05_no_misconfiguration_shows_the_client_secret(name, make, frames_of_the_library, options):
    with pytest.raises(SocialVaultError) as caught:
        secrets = {"client_secret": CANARIES["client_secret"], "previous_client_secret": CANARIES["previous"]}
        make(name, **{**secrets, **options})
    story = frames_of_the_library(caught.value)
    assert "client_secret" in story  # the frames are there, with the secret wrapped
    assert not leaked(story)


def test_l_03_requests_and_answers_print_no_secret(provider, stored, serve, server):
    found = serve(provider.resolve(), server)
    for exchange in exchanges(provider, found, stored):
        request = next(exchange, None)
        if request is not None:
            assert not leaked(repr(request))
            assert "?" not in repr(request)


def test_l_10_no_secret_is_in_a_url(provider, stored, serve, server):
    found = serve(provider.resolve(), server)
    for exchange in exchanges(provider, found, stored):
        request = next(exchange, None)
        if request is not None:
            # a token is Instagram's to ask for there: see the class
            assert leaked(request.url) == (["access"] if "grant_type=ig_refresh_token" in request.url else [])
            assert not leaked(provider.authorization_prefix(found, "https://app.example/cb", provider.scopes))


@pytest.mark.parametrize("secret", [CANARIES["previous"].encode(), [CANARIES["previous"]]], ids=["bytes", "list"])
@pytest.mark.parametrize("name", CLASS_NAMES)
def test_l_05_no_previous_secret_of_a_wrong_type_is_shown(name, make, frames_of_the_library, secret):
    with pytest.raises(SocialVaultError, match="previous_client_secret must be text, not") as caught:
        make(name, previous_client_secret=secret)
    assert not leaked(frames_of_the_library(caught.value))
