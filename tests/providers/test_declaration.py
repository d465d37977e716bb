from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from inspect import signature

import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.model.secret import Secret
from socialvault.providers import Facebook, Instagram, LinkedIn, OAuth2, OpenIDConnect, Provider, X
from socialvault.providers.base import ProviderOptions, host_of

GOOD = {"slug": "good", "authorize_url": "https://good.example/authorize", "token_url": "https://good.example/token"}

BAD_DECLARATIONS = {
    "http_endpoint": ({"token_url": "http://good.example/token"}, "token_url must be https"),
    "http_endpoint_on_loopback": ({"token_url": "http://127.0.0.1/token"}, "token_url must be https"),
    "o_40_user_in_endpoint": ({"token_url": "https://localhost:80@evil.example/"}, "token_url must be a plain https"),
    "fragment_in_endpoint": ({"userinfo_url": "https://good.example/#x"}, "userinfo_url must be a plain https"),
    "space_in_endpoint": ({"revoke_url": "https://good.example/a b"}, "revoke_url must be a plain https"),
    "no_host": ({"jwks_url": "https:///keys"}, "jwks_url must be a plain https"),
    "no_url": ({"issuer": "https://good.example:port"}, "issuer is no URL"),
    "missing_token_url": ({"token_url": ""}, "token_url is missing"),
    "missing_authorize_url": ({"authorize_url": ""}, "authorize_url is missing"),
    "bad_slug": ({"slug": "Not A Slug"}, "slug 'Not A Slug' must match"),
    "slug_with_slash": ({"slug": "a/b"}, "slug 'a/b' must match"),
    "long_slug": ({"slug": "a" * 65}, "must match"),
    "unknown_client_auth": ({"client_auth": "carrier_pigeon"}, "client_auth is 'carrier_pigeon'"),
    "unknown_renewal": ({"renewal": "sometimes"}, "renewal is 'sometimes'"),
    "unknown_revocation_style": ({"revocation_style": "get"}, "revocation_style is 'get'"),
    "unknown_revocation_reach": ({"revocation_reach": "world"}, "revocation_reach is 'world'"),
    "o_06_plain_pkce": ({"pkce": "plain"}, "pkce is 'plain'"),
    "o_23_nonce_never": ({"nonce_policy": "never"}, "nonce_policy is 'never'"),
    "api_host_with_scheme": ({"api_hosts": frozenset({"https://good.example"})}, "api_hosts must be lower-case host"),
    "api_host_with_path": ({"api_hosts": frozenset({"good.example/v1"})}, "api_hosts must be lower-case host"),
    "api_host_with_user": ({"api_hosts": frozenset({"me@good.example"})}, "api_hosts must be lower-case host"),
    "api_host_in_capitals": ({"api_hosts": frozenset({"Good.example"})}, "api_hosts must be lower-case host"),
    "empty_api_host": ({"api_hosts": frozenset({""})}, "api_hosts must be lower-case host"),
    "api_hosts_as_text": ({"api_hosts": "good.example"}, "api_hosts must be lower-case host"),
    "o_25_algorithm_none": ({"id_token_algorithms": ("none",)}, "id_token_algorithms may hold"),
    "r_07_symmetric_algorithm": ({"id_token_algorithms": ("RS256", "HS256")}, "id_token_algorithms may hold"),
    "r_04_state_of_its_own": ({"authorize_extra": {"state": "fixed"}}, r"authorize_extra may not hold \['state'\]"),
    "r_16_redirect_of_its_own": ({"authorize_extra": {"redirect_uri": "https://x"}}, "authorize_extra may not hold"),
    "negative_age": ({"minimum_age": timedelta(seconds=-1)}, "minimum_age must be a timedelta of zero or more"),
    "grace_in_seconds": ({"replay_grace": 30}, "replay_grace must be a timedelta of zero or more, not 30"),
    "o_06_challenge_of_its_own": ({"authorize_extra": {"code_challenge": "x"}}, "authorize_extra may not hold"),
}


@pytest.mark.parametrize(("declared", "message"), BAD_DECLARATIONS.values(), ids=BAD_DECLARATIONS)
def test_r_19_a_class_that_declares_nonsense_cannot_be_made(declared, message):
    with pytest.raises(ConfigurationError, match=message):
        type("Bad", (Provider,), {**GOOD, **declared})


def test_a_class_without_a_slug_is_a_family_and_is_not_checked():
    assert type("Family", (Provider,), {"token_url": "http://unfinished"})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("token_url", "http://evil.example/token"),
        ("client_auth", "carrier_pigeon"),
        ("pkce", "plain"),
        ("api_hosts", {"https://api.example"}),
        ("api_hosts", "api.example"),
        ("id_token_algorithms", ["none"]),
        ("default_scopes", "one text"),
        ("offline_scopes", "one text"),
        ("authorize_extra", {"nonce": "mine"}),
    ],
)
def test_r_19_an_instance_is_checked_like_a_class(name, make, option, value):
    with pytest.raises(ConfigurationError, match=option):
        make(name, **{option: value})


def test_r_19_an_endpoint_cannot_be_taken_away(name, make):
    needed = "issuer" if name == "openid_connect" else "token_url"
    with pytest.raises(ConfigurationError, match=f"{needed} is missing"):
        make(name, **{needed: ""})


def test_r_19_an_unknown_option_is_refused(name, make):
    with pytest.raises(ConfigurationError, match="has no option 'tokn_url'"):
        make(name, tokn_url="https://acme.example/token")


def test_scopes_given_as_one_text_are_refused(name, make):
    with pytest.raises(ConfigurationError, match="scopes must be a list"):
        make(name, scopes="read write")


@pytest.mark.parametrize("client_id", ["", "  ", None, 7])
def test_r_19_a_missing_client_id_is_refused(name, make, client_id):
    with pytest.raises(ConfigurationError, match="client_id is missing"):
        make(name, client_id=client_id)


@pytest.mark.parametrize("empty", ["", Secret("")], ids=["text", "secret"])
def test_r_19_an_empty_client_secret_is_refused(name, make, empty):
    with pytest.raises(ConfigurationError, match="client_secret is missing"):
        make(name, client_secret=empty)


@pytest.mark.parametrize("secret", [b"bytes", 7])
def test_a_client_secret_of_another_type_is_refused_and_not_repeated(name, make, secret):
    with pytest.raises(ConfigurationError, match=rf"must be text, not {type(secret).__name__}$"):
        make(name, client_secret=secret)


def test_a_method_that_needs_a_secret_gets_no_provider_without_one(make):
    with pytest.raises(ConfigurationError, match="client_secret is missing, and client_secret_post needs one"):
        make("x", client_secret=None, client_auth="client_secret_post")


def test_o_06_a_public_client_needs_pkce(make):
    with pytest.raises(ConfigurationError, match="a public client needs PKCE"):
        make("x", client_secret=None, pkce="unsupported")


@pytest.mark.parametrize("name", ["linkedin", "facebook", "instagram"])
def test_providers_that_know_no_public_clients_insist_on_a_secret(make, name):
    with pytest.raises(ConfigurationError, match="client_secret is missing"):
        make(name, client_secret=None)


def test_a_userinfo_url_outside_the_api_hosts_is_refused_at_once(make):
    with pytest.raises(ConfigurationError, match=r"api_hosts must hold userinfo_url's 'elsewhere\.example'"):
        make("x", userinfo_url="https://elsewhere.example/me")


OVERRIDES = {
    "authorize_url": "https://other.example/authorize",
    "token_url": "https://other.example/token",
    "refresh_url": "https://other.example/refresh",
    "introspect_url": "https://api.other.example/introspect",
    "revoke_url": "https://api.other.example/revoke",
    "userinfo_url": "https://api.other.example/me",
    "jwks_url": "https://other.example/keys",
    "issuer": "https://other.example",
    "client_auth": "client_secret_post",
    "previous_client_secret": Secret("old"),
    "pkce": "S256",
    "scope_separator": ";",
    "renewal": "none",
    "revocation_style": "none",
    "revocation_reach": "grant",
    "nonce_policy": "optional",
    "issuer_in_response": True,
    "refresh_token_lifetime": timedelta(days=3),
    "minimum_age": timedelta(hours=2),
    "replay_grace": timedelta(seconds=30),
    "untrusted_hosts": True,
    "allow_loopback_http": True,
}


def test_every_fact_can_be_overridden_per_instance_and_stays_there(name, make):
    before = make(name)
    changed = make(
        name,
        **OVERRIDES,
        api_hosts=["api.other.example", "graph.facebook.com", "api.linkedin.com"],
        default_scopes=["a"],
        offline_scopes=["b"],
        identity_scopes=["c"],
        id_token_algorithms=["ES256"],
        authorize_extra={"prompt": "consent"},
        error_map={"odd": "client"},
    )
    for option, value in OVERRIDES.items():
        assert getattr(changed, option) == value, option
    assert changed.api_hosts == {"api.other.example", "graph.facebook.com", "api.linkedin.com"}
    assert (changed.default_scopes, changed.offline_scopes, changed.scopes) == (("a",), ("b",), ("a",))
    assert changed.identity_scopes == ("c",)
    assert changed.id_token_algorithms == ("ES256",)
    assert dict(changed.authorize_extra) == {"prompt": "consent"}
    assert dict(changed.error_map) == {"odd": "client"}
    after = make(name)
    assert vars(after).keys() == vars(before).keys()
    for option in ProviderOptions.__annotations__:
        assert getattr(after, option) == getattr(before, option), option


def test_overrides_cover_every_option_there_is():
    tested = {*OVERRIDES, "api_hosts", "default_scopes", "offline_scopes", "id_token_algorithms", "authorize_extra"}
    assert tested | {"error_map", "identity_scopes"} == set(ProviderOptions.__annotations__)


def test_r_04_no_provider_has_an_option_about_state(name, make):
    provider = make(name)
    flow = {"state", "binding", "cookie", "csrf"}
    offered = {*ProviderOptions.__annotations__, *dir(type(provider)), *signature(type(provider).__init__).parameters}
    assert not [found for found in offered if flow & set(found.strip("_").split("_"))]
    for option in ("state", "use_state", "verify_state", "skip_state"):
        with pytest.raises(ConfigurationError, match="has no option"):
            make(name, **{option: False})


def test_r_12_a_provider_is_immutable(name, make):
    provider = make(name)
    for attribute in ("client_id", "token_url", "scopes", "api_hosts", "anything"):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(provider, attribute, "changed")
        with pytest.raises(AttributeError, match="immutable"):
            delattr(provider, attribute)
    with pytest.raises(TypeError):
        provider.authorize_extra["prompt"] = "none"
    with pytest.raises(TypeError):
        provider.error_map["x"] = "client"


def test_r_16_what_was_passed_in_can_be_changed_without_changing_the_provider(make):
    extra, scopes, hosts = {"prompt": "consent"}, ["read"], {"api.acme.example"}
    provider = make("oauth2", authorize_extra=extra, scopes=scopes, api_hosts=hosts)
    extra["prompt"] = "none"
    scopes.append("admin")
    hosts.add("evil.example")
    assert dict(provider.authorize_extra) == {"prompt": "consent"}
    assert provider.scopes == ("read",)
    assert provider.api_hosts == {"api.acme.example"}


def test_r_16_one_instance_never_touches_its_class_or_its_siblings():
    first = X("one", "s", scopes=["users.read"], token_url="https://proxy.example/token")
    second = X("two", "s")
    assert X.token_url == second.token_url == "https://api.x.com/2/oauth2/token"
    assert first.token_url == "https://proxy.example/token"
    assert second.scopes == ("users.read", "tweet.read")


def test_a_provider_that_holds_a_secret_is_neither_pickled_nor_copied_deeply(name, make):
    for spread in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            spread(make(name))


SIGNED = {
    "https://api.x.com/2/users/me": True,
    "https://api.x.com:443/2/users/me": True,
    "https://API.X.COM/2/users/me": True,
    "http://api.x.com/2/users/me": False,
    "https://api.x.com:8443/2/users/me": False,
    "https://evil.example/2/users/me": False,
    "https://api.x.com.evil.example/": False,
    "https://evil.example/?api.x.com": False,
    "https://api.x.com@evil.example/": False,
    "https://evil.example@api.x.com/": False,
    "https://@api.x.com/": False,
    "https://evil.example\\@api.x.com/": False,
    "https://api.x.com\\.evil.example/": False,
    "https://api.x.\tcom/": False,
    " https://api.x.com/": False,
    "https://api.x.com./": False,
    "https://sub.api.x.com/": False,
    "https://x.com/": False,
    "https://[::1": False,
    "https://api.x.com:port/": False,
    "//api.x.com/": False,
    "ftp://api.x.com/": False,
    "https:///": False,
    "": False,
}


@pytest.mark.parametrize(("url", "signed"), SIGNED.items(), ids=map(repr, SIGNED))
def test_a_token_goes_to_declared_hosts_alone(make, url, signed):
    provider = make("x")
    assert provider.signs(url) is signed
    if not signed:
        with pytest.raises(ConfigurationError, match="no token is sent to"):
            provider.signed_get(url, Secret("at"))


def test_a_refused_host_is_named_without_what_could_break_a_log(make):
    with pytest.raises(ConfigurationError) as caught:
        make("x").check_signed_url("https://evil.example:8443/" + "a" * 5000)
    assert "'evil.example:8443'" in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000"])
def test_plain_http_is_signed_on_loopback_by_an_instance_that_asked_for_it(make, host):
    url = f"http://{host}/me"
    with pytest.raises(ConfigurationError, match="https"):
        make("oauth2", userinfo_url=url)
    assert make("oauth2", userinfo_url=url, allow_loopback_http=True).signs(url)
    assert not make("x", api_hosts=["api.x.com", "evil.example"], allow_loopback_http=True).signs("http://evil.example")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://A.example/x", "a.example"),
        ("http://a.example:80", "a.example"),
        ("http://a.example:443", "a.example:443"),
        ("https://a.example:", "a.example"),
        ("nonsense", ""),
        ("https://a b/", ""),
    ],
)
def test_hosts_are_named_as_api_hosts_names_them(url, host):
    assert host_of(url) == host


def test_an_account_is_keyed_by_the_issuer_or_by_the_token_endpoint(make):
    names = ("x", "linkedin", "facebook", "instagram", "oauth2", "openid_connect")
    assert {name: make(name).account_issuer for name in names} == {
        "x": "api.x.com",
        "linkedin": "https://www.linkedin.com/oauth",
        "facebook": "graph.facebook.com",
        "instagram": "api.instagram.com",
        "oauth2": "acme.example",
        "openid_connect": "https://id.corp.example",
    }


@pytest.mark.parametrize("declared", [X, LinkedIn, Facebook, Instagram, OAuth2, OpenIDConnect])
def test_each_class_says_when_its_quirks_were_checked(declared):
    assert "2026-11-22" in declared.__doc__
