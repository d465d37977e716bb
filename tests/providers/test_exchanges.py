"""What every provider does alike: the authorization URL, exchanging, renewing, revoking."""

from __future__ import annotations

import random
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import parse_qsl, unquote_plus

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from socialvault.exceptions import (
    AccountMismatchError,
    ConfigurationError,
    IssuerMismatchError,
    MalformedResponseError,
    ReauthorizationRequiredError,
    TransportError,
)
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet
from socialvault.providers.base import Provider

NAMES = ("x", "linkedin", "facebook", "instagram", "oauth2", "openid_connect")
USERINFO = {
    "sub": "subject",
    "name": "Ann",
    "preferred_username": "ann",
    "email": "a@b.example",
    "picture": "https://p",
}


def opened(secret):
    return secret.reveal() if secret else None


# --- the authorization request --------------------------------------------------------------------

ENDPOINTS = {
    "x": "https://x.com/i/oauth2/authorize",
    "linkedin": "https://www.linkedin.com/oauth/v2/authorization",
    "facebook": "https://www.facebook.com/v24.0/dialog/oauth",
    "instagram": "https://www.instagram.com/oauth/authorize",
    "oauth2": "https://acme.example/authorize",
    "openid_connect": "https://id.corp.example/authorize",
}
SCOPES = {
    "x": "users.read tweet.read offline.access",
    "linkedin": "openid profile email",
    "facebook": "public_profile,email",
    "instagram": "instagram_business_basic",
    "oauth2": None,
    "openid_connect": "openid",
}


@pytest.fixture
def prefix(serve, server):
    """The authorization URL of a provider, taken apart."""

    def build(provider, scopes=None):
        found = serve(provider.resolve(), server)
        url = provider.authorization_prefix(found, "https://app.example/cb?x=1", scopes or provider.scopes)
        place, _, query = url.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
        assert len(dict(pairs)) == len(pairs)
        return SimpleNamespace(url=url, place=place, params=dict(pairs))

    return build


def test_the_authorization_url_asks_for_a_code_and_the_default_scopes(name, make, prefix):
    built = prefix(make(name))
    expected = {"response_type": "code", "client_id": "client", "redirect_uri": "https://app.example/cb?x=1"}
    assert built.place == ENDPOINTS[name]
    assert built.params == expected | ({"scope": SCOPES[name]} if SCOPES[name] else {})


def test_r_04_the_flow_alone_adds_state_and_challenge(name, make, prefix):
    assert not {"state", "nonce", "code_challenge", "code_challenge_method"} & set(prefix(make(name)).params)


def test_no_scopes_means_no_scope_parameter(make, prefix):
    assert "scope" not in prefix(make("oauth2", scopes=[])).params


def test_scopes_are_asked_for_once_and_in_order(make, prefix):
    built = prefix(make("x"), ("tweet.write", "offline.access", "tweet.write", "users.read"))
    assert built.params["scope"] == "tweet.write offline.access users.read"


def test_extra_parameters_and_an_endpoint_with_a_query(make, prefix):
    built = prefix(
        make("oauth2", authorize_url="https://acme.example/a?tenant=7", authorize_extra={"prompt": "consent"})
    )
    assert built.url.startswith("https://acme.example/a?tenant=7&response_type=code&")
    assert built.params["prompt"] == "consent"


# --- exchanging a code -----------------------------------------------------------------------------

O_37_SECRETS = ["a:b%/+ ", "ü€", "&client_id=evil", "100%25", 'q"\\', "x" * 500]


@pytest.mark.parametrize("secret", O_37_SECRETS, ids=repr)
def test_o_37_a_secret_reaches_the_server_as_it_is(name, make, server, serve, begin_exchange, read, secret):
    provider = make(name, "cli:ent", secret)
    found = serve(provider.resolve(), server)
    request = next(begin_exchange(provider, found, "code"))
    form, headers = read.form(request), read.headers(request)
    if provider.client_auth == "client_secret_basic":
        pair = b64decode(headers["authorization"].removeprefix("Basic ")).decode("ascii")
        assert [unquote_plus(half) for half in pair.split(":")] == ["cli:ent", secret]
        assert not {"client_id", "client_secret"} & set(form)
    else:
        assert (form["client_id"], form["client_secret"]) == ("cli:ent", secret)
        assert "authorization" not in headers
    assert "?" not in request.url


def test_o_37_the_exact_bytes_of_basic_authentication(make, drive, answer, read):
    sent = []
    with pytest.raises(ReauthorizationRequiredError):
        drive(
            make("oauth2", "id", "a:b%/+ ").exchange_code(
                make("oauth2").static_server, Secret("c"), "https://app.example/cb", Secret("v"), None
            ),
            answer({"error": "invalid_grant"}, 400),
            requests=sent,
        )
    assert read.headers(sent[0])["authorization"] == "Basic aWQ6YSUzQWIlMjUlMkYlMkIr"
    assert sent[0].body == (
        b"grant_type=authorization_code&code=c&redirect_uri=https%3A%2F%2Fapp.example%2Fcb&code_verifier=v"
    )


def test_a_code_becomes_a_grant(name, make, connect, server):
    grant = connect(make(name), server, f"{name}-account")
    assert grant.identity.subject == f"{name}-account"
    assert opened(grant.token.access_token).endswith(f".{name}-account")
    assert grant.token.expires_at > grant.token.obtained_at


def test_o_06_the_verifier_is_sent_wherever_pkce_is_not_refused(name, make, server, serve, begin_exchange, read):
    provider = make(name)
    form = read.form(next(begin_exchange(provider, serve(provider.resolve(), server), "code")))
    assert ("code_verifier" in form) is (name not in ("linkedin", "instagram"))


def test_public_clients_name_themselves_in_the_form(make, drive, answer, read):
    sent = []
    provider = make("x", client_secret=None)
    assert provider.client_auth == "none"
    exchange = provider.renew(provider.static_server, _stored(), "subject")
    drive(exchange, answer({"access_token": "at"}), requests=sent)
    assert read.form(sent[0]) == {"grant_type": "refresh_token", "refresh_token": "rt", "client_id": "client"}
    assert "authorization" not in read.headers(sent[0])


def _stored(**others):
    held = {"obtained_at": datetime(2026, 11, 22, tzinfo=UTC), "refresh_token": Secret("rt"), **others}
    return TokenSet(Secret("at-0"), **held)


def test_r_12_interleaved_logins_on_one_provider_never_meet(name, make, server, serve, begin_exchange):
    provider = make(name)
    found = serve(provider.resolve(), server)
    before = {key: repr(value) for key, value in vars(provider).items()}
    flows = {f"{name}-{number}": begin_exchange(provider, found, f"{name}-{number}") for number in range(200)}
    waiting = {account: next(flow) for account, flow in flows.items()}
    turns = [account for account in flows for _ in range(4)]  # no provider needs more requests after its first
    random.Random(name).shuffle(turns)
    grants = {}
    for account in turns:
        try:
            if account not in grants:
                waiting[account] = flows[account].send(server(waiting[account]))
        except StopIteration as stop:
            grants[account] = stop.value
    assert len(grants) == 200
    for account, grant in grants.items():
        assert grant.identity.subject == account
        assert opened(grant.token.access_token).endswith(f".{account}")
    assert {key: repr(value) for key, value in vars(provider).items()} == before


def test_r_04_all_providers_there_are_were_asked():
    import socialvault.providers
    from socialvault.providers import registry

    generic = {"OAuth2", "OpenIDConnect", "Provider"}
    assert set(registry.known_slugs()) | {"oauth2", "openid_connect"} == set(NAMES)
    named = {registry.provider_class(slug).__name__ for slug in registry.known_slugs()}
    assert named | generic == set(socialvault.providers.__all__)


# --- whose grant it is -----------------------------------------------------------------------------


@pytest.fixture
def openid(make):
    """A plain provider whose server also issues ID tokens."""
    return make("oauth2", issuer="https://acme.example", jwks_url="https://acme.example/keys")


@pytest.fixture
def login(drive, answer):
    """Exchange a code against prepared answers, with a nonce where the server has keys."""

    def run(provider, *answers, nonce="n0nce", requests=None):
        found = provider.static_server
        exchange = provider.exchange_code(found, Secret("c"), "https://app.example/cb", Secret("v"), Secret(nonce))
        return drive(exchange, *answers, requests=requests)

    return run


def test_an_id_token_is_validated_and_kept(openid, login, answer, signer):
    id_token = signer.sign(iss="https://acme.example")
    sent = []
    grant = login(
        openid, answer({"access_token": "at", "id_token": id_token}), answer(signer.keys), answer(USERINFO),
        requests=sent,
    )  # fmt: skip
    assert opened(grant.token.id_token) == id_token
    assert grant.identity == Identity("subject", "Ann", "ann", "a@b.example", "https://p")
    assert [request.url for request in sent] == [
        "https://acme.example/token", "https://acme.example/keys", "https://api.acme.example/me",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "refusal"),
    [
        pytest.param({"iss": "https://evil.example"}, IssuerMismatchError, id="o_21_foreign_issuer"),
        pytest.param({"aud": "another"}, MalformedResponseError, id="o_22_foreign_audience"),
        pytest.param({"nonce": "other"}, MalformedResponseError, id="o_23_foreign_nonce"),
        pytest.param({"nonce": None}, MalformedResponseError, id="o_23_no_nonce"),
        pytest.param({"exp": 1}, MalformedResponseError, id="o_29_expired"),
        pytest.param({"sub": None}, MalformedResponseError, id="o_29_no_subject"),
    ],
)
def test_an_id_token_that_proves_nothing_ends_the_flow(openid, login, answer, signer, claims, refusal):
    id_token = signer.sign(**{"iss": "https://acme.example", **claims})
    with pytest.raises(refusal):
        login(openid, answer({"access_token": "at", "id_token": id_token}), answer(signer.keys))


def test_o_31_user_information_about_somebody_else_is_refused(openid, login, answer, signer):
    id_token = signer.sign(iss="https://acme.example")
    with pytest.raises(AccountMismatchError, match="not about the ID token's subject"):
        login(
            openid, answer({"access_token": "at", "id_token": id_token}), answer(signer.keys),
            answer({**USERINFO, "sub": "Subject"}),
        )  # fmt: skip


def test_o_24_an_id_token_that_was_not_asked_for_is_dropped_unread(make, login, answer):
    grant = login(make("oauth2"), answer({"access_token": "at", "id_token": "x.y.z"}), answer(USERINFO))
    assert grant.token.id_token is None


def test_an_id_token_alone_can_say_whose_grant_it_is(make, login, answer, signer):
    provider = make("oauth2", userinfo_url="", issuer="https://acme.example", jwks_url="https://acme.example/keys")
    id_token = signer.sign(iss="https://acme.example", name="Ann")
    grant = login(provider, answer({"access_token": "at", "id_token": id_token}), answer(signer.keys))
    assert grant.identity == Identity("subject", "Ann")


def test_a_grant_that_nobody_owns_is_refused(make, login, answer):
    provider = make("oauth2", userinfo_url="", issuer="https://acme.example", jwks_url="https://acme.example/keys")
    with pytest.raises(MalformedResponseError, match="says whose grant this is"):
        login(provider, answer({"access_token": "at"}))


@pytest.mark.parametrize("body", [{}, {"sub": ""}, {"sub": None}, {"sub": ["x"]}, {"sub": True}])
def test_an_account_without_an_id_is_refused(make, login, answer, body):
    with pytest.raises(MalformedResponseError, match="the account has no id"):
        login(make("oauth2"), answer({"access_token": "at"}), answer(body))


def test_a_first_refresh_token_gets_the_documented_deadline(make, login, answer):
    provider = make("oauth2", refresh_token_lifetime=timedelta(days=3))
    with_token, said, without = (
        login(provider, answer({"access_token": "at", **more}), answer(USERINFO)).token
        for more in ({"refresh_token": "rt"}, {"refresh_token": "rt", "refresh_token_expires_in": 60}, {})
    )
    assert with_token.refresh_expires_at == with_token.obtained_at + timedelta(days=3)
    assert said.refresh_expires_at == said.obtained_at + timedelta(seconds=60)
    assert without.refresh_expires_at is None


# --- renewing --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(["omitted", "null", "empty", "same", "new"]), min_size=10, max_size=10))
def test_a_refresh_token_is_never_overwritten_by_nothing(name, make, server, serve, tokens, kinds):
    """The stored refresh token is the last one that was not empty, whatever the answers leave out."""
    provider = make(name)
    found = serve(provider.resolve(), server)
    stored, expected = tokens("at.account", "rt.account", extra={"user_id": "account"}), "rt.account"
    for cycle, kind in enumerate(kinds):
        new = f"rt{cycle}.account"
        field = {"null": None, "empty": "", "same": expected, "new": new}
        server.refreshed = {"access_token": f"at{cycle}.account"}
        if kind != "omitted":
            server.refreshed["refresh_token"] = field[kind]
        expected = new if kind == "new" else expected
        stored = serve(provider.renew(found, stored, "account"), server)
        assert opened(stored.refresh_token) == expected
        assert opened(stored.access_token) == f"at{cycle}.account"
        assert stored.extra["user_id"] == "account"


def presented_in(request, read):
    """What a request presents: at Instagram, whose token endpoints take GET alone, it is in the query."""
    return read.form(request) if request.method == "POST" else read.query(request)


def test_a_renewal_presents_the_stored_token_once(name, make, server, serve, tokens, read):
    provider, sent = make(name), []
    found = serve(provider.resolve(), server)
    serve(provider.renew(found, tokens("at.account", "rt.account"), "account"), server, sent)
    forms = [presented_in(request, read) for request in sent]
    forms = [form for form in forms if "grant_type" in form]
    assert len(forms) == 1
    presented = {"grant_type": "refresh_token", "refresh_token": "rt.account"}
    if name == "facebook":
        presented = {"grant_type": "fb_exchange_token", "fb_exchange_token": "at.account"}
    if name == "instagram":
        presented = {"grant_type": "ig_refresh_token", "access_token": "at.account"}
    assert presented.items() <= forms[0].items()


def test_refresh_url_counts_before_token_url(name, make, server, serve, tokens, read):
    sent = []
    provider = make(name, refresh_url="https://acme.example/refresh")
    serve(provider.renew(serve(provider.resolve(), server), tokens("at.a", "rt.a"), "a"), server, sent)
    renewing = [request for request in sent if "grant_type" in presented_in(request, read)]
    assert [read.place(request) for request in renewing] == ["https://acme.example/refresh"]


@pytest.mark.parametrize("name", ["x", "linkedin", "oauth2", "openid_connect"])
def test_without_a_refresh_token_nothing_is_sent(make, server, serve, drive, tokens, name):
    provider, sent = make(name), []
    with pytest.raises(ReauthorizationRequiredError) as caught:
        drive(provider.renew(serve(provider.resolve(), server), tokens(refresh=None), "subject"), requests=sent)
    assert caught.value.reason == "no_refresh_token"
    assert sent == []


def test_o_32_a_refreshed_id_token_about_another_account_is_refused(openid, drive, answer, signer):
    stored = _stored(id_token=Secret("validated.before"))
    fresh = {"access_token": "at", "id_token": signer.sign(iss="https://acme.example", sub="other", nonce=None)}
    with pytest.raises(AccountMismatchError):
        drive(
            openid.renew(openid.static_server, stored, "subject"),
            answer(signer.keys), answer(fresh), answer(signer.keys),
        )  # fmt: skip


def test_a_refreshed_id_token_that_is_valid_replaces_the_stored_one(openid, drive, answer, signer):
    stored = _stored(id_token=Secret("validated.before"))
    id_token = signer.sign(iss="https://acme.example", nonce=None)
    renewed = drive(
        openid.renew(openid.static_server, stored, "subject"),
        answer(signer.keys), answer({"access_token": "at", "id_token": id_token}), answer(signer.keys),
    )  # fmt: skip
    assert opened(renewed.id_token) == id_token


def test_r_10_a_refreshed_id_token_that_nothing_vouches_for_is_dropped(make, drive, answer):
    provider = make("oauth2")
    fresh = answer({"access_token": "at", "id_token": "x.y.z"})
    assert drive(provider.renew(provider.static_server, _stored(), "subject"), fresh).id_token is None


def test_keys_out_of_reach_cost_the_id_token_and_not_the_renewal(openid, drive, answer):
    stored, sent = _stored(id_token=Secret("validated.before")), []
    away = TransportError("no answer", request_sent=True)
    fresh = answer({"access_token": "at", "id_token": "x.y.z"})
    renewed = drive(openid.renew(openid.static_server, stored, "subject"), away, fresh, requests=sent)
    assert [request.url for request in sent] == ["https://acme.example/keys", "https://acme.example/token"]
    assert (opened(renewed.access_token), opened(renewed.id_token)) == ("at", "validated.before")


# --- revoking --------------------------------------------------------------------------------------


def test_o_47_the_refresh_token_is_revoked_first_then_the_access_token(make, drive, answer, read):
    for name in ("x", "linkedin", "oauth2"):
        provider, sent = make(name), []
        outcome = drive(provider.revoke(provider.static_server, _stored()), answer(), answer(), requests=sent)
        assert outcome == "revoked"
        assert [request.url for request in sent] == [provider.revoke_url] * 2
        forms = [read.form(request) for request in sent]
        assert [(form["token"], form["token_type_hint"]) for form in forms] == [
            ("rt", "refresh_token"), ("at-0", "access_token"),
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ([200, 200], "revoked"),
        ([200, "invalid_token"], "revoked"),
        (["invalid_token", 200], "revoked"),
        (["invalid_token", "invalid_token"], "already_gone"),
        (["unsupported_token_type", 200], "revoked"),
        (["unsupported_token_type", "unsupported_token_type"], "unsupported"),
    ],
)
def test_one_token_revoked_is_a_revocation(make, drive, answer, answers, outcome):
    provider = make("oauth2")
    replies = [answer() if reply == 200 else answer({"error": reply}, 400) for reply in answers]
    assert drive(provider.revoke(provider.static_server, _stored()), *replies) == outcome


@pytest.mark.parametrize("options", [{"revocation_style": "none"}, {"revoke_url": ""}, {"revocation_style": "delete"}])
def test_without_a_way_to_revoke_the_outcome_is_unsupported(make, drive, options):
    provider = make("oauth2", **options)
    assert drive(provider.revoke(provider.static_server, _stored())) == "unsupported"


def test_a_provider_without_sub_accounts_lists_none(make, drive):
    for name in ("x", "oauth2", "openid_connect"):
        provider = make(name)
        assert drive(provider.list_sub_accounts(provider.static_server, _stored())) == []


# --- where requests go -----------------------------------------------------------------------------


@pytest.mark.parametrize("untrusted", [True, False])
def test_a_10_untrusted_hosts_reach_every_request(name, make, server, serve, connect, tokens, signer, untrusted):
    provider, sent = make(name, untrusted_hosts=untrusted), []

    def respond(request):
        sent.append(request)
        return server(request)

    connect(provider, respond, f"{name}-account")
    found = serve(provider.resolve(), respond)
    stored = tokens("at.a", "rt.a", id_token=Secret("validated.before"))
    serve(provider.renew(found, stored, "a"), respond)
    sent.extend(provider.revocation_requests(found, stored))
    assert len(sent) >= 4
    assert {request.untrusted_host for request in sent} == {untrusted}


def test_the_base_class_itself_is_no_provider():
    with pytest.raises(ConfigurationError, match="slug"):
        Provider("client", "secret")


def test_a_provider_of_ones_own_takes_a_few_declarations(connect, server):
    class Own(Provider):
        """Connects accounts of a server of one's own."""

        slug = "own"
        authorize_url = "https://own.example/authorize"
        token_url = "https://own.example/token"
        userinfo_url = "https://own.example/me"
        api_hosts = frozenset({"own.example"})

    grant = connect(Own("client", "secret"), server, "account")
    assert (grant.identity.subject, grant.identity.name) == ("account", "name of account")
