from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from socialvault.exceptions import (
    ClientRejectedError,
    ConfigurationError,
    MalformedResponseError,
    ProviderError,
    ReauthorizationRequiredError,
    TransportError,
)
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.providers import Instagram

GRAPH = "https://graph.instagram.com"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BIG = 17841405309211844  # larger than what a float holds exactly
ME = {"id": "2468", "user_id": str(BIG), "username": "ann", "name": "Ann", "profile_picture_url": "https://p"}
SHORT = {"access_token": "short", "user_id": 2468, "permissions": ["instagram_business_basic"]}
LONG = {"access_token": "long", "token_type": "bearer", "expires_in": 5183944}
ACCOUNT = Identity(str(BIG), "Ann", "ann", "", "https://p")


@pytest.fixture
def instagram():
    return Instagram("client", "s3cret")


@pytest.fixture
def login(instagram, drive, answer):
    def run(*, short=SHORT, long=LONG, me=ME, provider=instagram, code="code", requests=None):
        exchange = provider.exchange_code(provider.static_server, Secret(code), "https://app.example/cb", None, None)
        replies = [answer(one) for one in (short, long, me) if one is not None]
        return drive(exchange, *replies, requests=requests)

    return run


# --- connecting ------------------------------------------------------------------------------------


def test_an_account_is_connected_with_a_long_lived_token(login):
    grant = login()
    assert grant.identity == ACCOUNT
    assert grant.token.access_token.reveal() == "long"
    assert grant.token.refresh_token is None
    assert grant.token.scopes == {"instagram_business_basic"}
    assert grant.token.expires_at == NOW + timedelta(seconds=5183944)
    assert dict(grant.token.extra) == {"user_id": str(BIG), "id": "2468"}


def test_the_three_calls_of_a_connect(login, read):
    sent = []
    login(requests=sent, code="code#_")
    code, long, me = sent
    assert [(request.method, read.place(request)) for request in sent] == [
        ("POST", "https://api.instagram.com/oauth/access_token"),
        ("GET", f"{GRAPH}/access_token"),
        ("GET", f"{GRAPH}/v24.0/me"),
    ]
    assert read.form(code) == {
        "grant_type": "authorization_code", "code": "code", "redirect_uri": "https://app.example/cb",
        "client_id": "client", "client_secret": "s3cret",
    }  # fmt: skip
    assert read.query(long) == {"grant_type": "ig_exchange_token", "client_secret": "s3cret", "access_token": "short"}
    assert "authorization" not in read.headers(long)
    assert read.headers(me)["authorization"] == "Bearer long"
    assert read.query(me) == {"fields": "id,user_id,username,name,account_type,profile_picture_url"}


@pytest.mark.parametrize(
    "short",
    [
        {"data": [SHORT]},
        {"data": [{**SHORT, "permissions": "instagram_business_basic,instagram_business_manage_insights"}]},
        {**SHORT, "permissions": "instagram_business_basic, instagram_business_manage_insights"},
    ],
    ids=["documented", "documented_text", "flat_text"],
)
def test_a_codes_answer_is_read_in_every_shape_it_is_known_in(login, short):
    grant = login(short=short, me={"data": [ME]})
    assert "instagram_business_basic" in grant.token.scopes
    assert (len(grant.token.scopes) == 2) is ("insights" in str(short))
    assert grant.identity == ACCOUNT


def test_permissions_of_the_long_lived_token_count_before_the_short_lived_ones(login):
    assert login(long={**LONG, "permissions": "a,b"}).token.scopes == {"a", "b"}
    assert login(short={"access_token": "short", "scope": "c"}).token.scopes == {"c"}


def test_an_id_is_never_rounded(login):
    assert login(me={**ME, "user_id": BIG, "id": BIG + 2}).identity.subject == "17841405309211844"
    assert login(me={**ME, "id": BIG + 2}).token.extra["id"] == "17841405309211846"


@pytest.mark.parametrize("data", [[], [SHORT, SHORT]], ids=["none", "two"])
def test_an_answer_about_none_or_several_accounts_is_refused(login, data):
    with pytest.raises(MalformedResponseError, match="data does not hold one item"):
        login(short={"data": data}, long=None, me=None)


@pytest.mark.parametrize("user_id", [None, "", True, 1.5, [1]])
def test_an_account_without_its_professional_id_is_refused(login, user_id):
    with pytest.raises(MalformedResponseError, match="no user_id"):
        login(me={**ME, "user_id": user_id})


def test_without_a_stated_lifetime_the_documented_one_counts(login, drive, answer, tokens):
    untold = {"access_token": "long"}
    assert login(long=untold).token.expires_at == NOW + timedelta(days=60)
    own = Instagram("client", "s3cret", long_lifetime=timedelta(days=30))
    assert login(long=untold, provider=own).token.expires_at == NOW + timedelta(days=30)
    renewed = drive(own.renew(own.static_server, tokens("long", None), ACCOUNT.subject), answer(untold))
    assert renewed.expires_at == NOW + timedelta(days=30)


def test_what_the_account_allows_and_is_called_is_asked_for_with_the_token_in_the_header(instagram, read):
    request = instagram.userinfo_request(instagram.static_server, Secret("at"))
    assert "appsecret_proof" not in request.url
    assert dict(instagram.api_params(Secret("at"))) == {}
    assert read.headers(request)["authorization"] == "Bearer at"
    with pytest.raises(ConfigurationError, match="no token is sent to"):
        instagram.signed_get("https://evil.example/me", Secret("at"))


@pytest.mark.parametrize("previous", ["from before", None])
def test_an_exchange_that_rejects_the_secret_is_tried_once_with_the_previous_one(drive, answer, read, previous):
    provider, sent = Instagram("client", "s3cret", previous_client_secret=previous), []
    rejected = answer(
        {"error": {"message": "Error validating client secret.", "type": "OAuthException", "code": 1}}, 400
    )
    exchange = provider.exchange_code(provider.static_server, Secret("code"), "https://a.example", None, None)
    if previous is None:
        with pytest.raises(ClientRejectedError):
            drive(exchange, answer(SHORT), rejected, requests=sent)
    else:
        assert drive(exchange, answer(SHORT), rejected, answer(LONG), answer(ME), requests=sent).identity == ACCOUNT
    asked = [read.query(request)["client_secret"] for request in sent[1:3] if "client_secret" in request.url]
    assert asked == ["s3cret", "from before"][: 1 if previous is None else 2]


# --- extending -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", ["long", "longer"], ids=["the same token", "a new one"])
def test_a_token_is_extended_in_place(instagram, drive, answer, tokens, read, answered):
    sent = []
    stored = tokens("long", None, scopes=frozenset({"instagram_business_basic"}), extra={"user_id": "1", "id": "2"})
    reply = answer({"access_token": answered, "token_type": "bearer", "expires_in": 5184000})
    renewed = drive(instagram.renew(instagram.static_server, stored, "1"), reply, requests=sent)
    assert renewed.access_token.reveal() == answered
    assert (renewed.obtained_at, renewed.expires_at) == (NOW, NOW + timedelta(days=60))
    assert (renewed.scopes, dict(renewed.extra)) == (stored.scopes, dict(stored.extra))
    [request] = sent
    assert (request.method, read.place(request)) == ("GET", f"{GRAPH}/refresh_access_token")
    assert read.query(request) == {"grant_type": "ig_refresh_token", "access_token": "long"}
    assert "long" not in repr(request)


def test_the_rules_of_extending_are_declared():
    assert (Instagram.renewal, Instagram.minimum_age) == ("extend", timedelta(hours=24))
    assert Instagram("client", "s3cret", minimum_age=timedelta(hours=48)).minimum_age == timedelta(hours=48)


@pytest.mark.parametrize(
    ("error", "branch"),
    [
        ({"code": 190, "error_subcode": 463}, ReauthorizationRequiredError),
        ({"code": 100, "message": "too young"}, ProviderError),
    ],
    ids=["expired", "too young"],
)
def test_a_dead_token_asks_for_the_person_and_a_young_one_does_not(instagram, drive, answer, tokens, error, branch):
    with pytest.raises(ProviderError) as caught:
        drive(instagram.renew(instagram.static_server, tokens("long", None), "1"), answer({"error": error}, 400))
    assert type(caught.value) is branch


def test_an_instance_says_what_a_flat_error_means(drive, answer, login):
    flat = {"error_type": "OAuthException", "code": 400, "error_message": "text of a stranger"}
    for options, branch in (({}, ProviderError), ({"error_map": {"OAuthException": "reauthorize"}}, None)):
        provider = Instagram("client", "s3cret", **options)
        exchange = provider.exchange_code(provider.static_server, Secret("c"), "https://a.example", None, None)
        with pytest.raises(ProviderError) as caught:
            drive(exchange, answer(flat, 400))
        assert type(caught.value) is (branch or ReauthorizationRequiredError)
        assert "stranger" not in str(caught.value)


@pytest.mark.parametrize("step", ["exchange", "account", "renewal"])
def test_l_05_no_lost_connection_shows_a_secret(answer, tokens, frames_of_the_library, step):
    provider = Instagram("client", "CANARYsecret")
    server = provider.static_server
    if step == "renewal":
        exchange = provider.renew(server, tokens("CANARYaccess", None), "1")
    else:
        exchange = provider.exchange_code(server, Secret("CANARYcode"), "https://a.example", None, None)
        next(exchange)
        replies = [answer({"access_token": "CANARYshort"}), answer({"access_token": "CANARYlong"})]
        for reply in replies[: 1 if step == "exchange" else 2]:
            exchange.send(reply)
    if step == "renewal":
        next(exchange)
    with pytest.raises(TransportError) as caught:
        exchange.throw(TransportError("no answer", request_sent=True))
    assert "CANARY" not in frames_of_the_library(caught.value)


# --- what is not there -----------------------------------------------------------------------------


def test_nothing_is_revoked_and_nothing_hangs_below_an_account(instagram, drive, tokens):
    assert drive(instagram.revoke(instagram.static_server, tokens("long", None))) == "unsupported"
    assert drive(instagram.list_sub_accounts(instagram.static_server, tokens("long", None))) == []


# --- addresses -------------------------------------------------------------------------------------


def test_the_graphs_address_and_version_can_be_changed(login, read):
    sent = []
    moved = Instagram("client", "s3cret", graph_url="https://proxy.example/ig/", graph_version="")
    login(provider=moved, requests=sent)
    assert [read.place(request) for request in sent[1:]] == [
        "https://proxy.example/ig/access_token", "https://proxy.example/ig/me",
    ]  # fmt: skip
    assert moved.api_hosts == {"proxy.example"}
    assert moved.static_server.refresh_url == "https://proxy.example/ig/refresh_access_token"
    assert Instagram("client", "s3cret", graph_version="25.0").userinfo_url.startswith(f"{GRAPH}/v25.0/me?")
    elsewhere = Instagram("client", "s3cret", exchange_url="https://proxy.example/exchange?a=1")
    sent.clear()
    login(provider=elsewhere, requests=sent)
    assert sent[1].url.startswith("https://proxy.example/exchange?a=1&grant_type=")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph_version": "v24"}, "graph_version"),
        ({"graph_version": "24"}, "graph_version"),
        ({"graph_url": "http://graph.instagram.com"}, "graph_url must be https"),
        ({"exchange_url": "http://graph.instagram.com/access_token"}, "exchange_url must be https"),
        ({"graph_url": "https://me@graph.instagram.com"}, "graph_url must be a plain https"),
    ],
)
def test_an_unsafe_address_is_refused_at_once(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Instagram("client", "s3cret", **options)
