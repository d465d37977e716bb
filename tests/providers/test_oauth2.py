from __future__ import annotations

from datetime import UTC, datetime

import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet
from socialvault.providers import OAuth2

ENDPOINTS = {
    "slug": "acme", "authorize_url": "https://acme.example/authorize", "token_url": "https://acme.example/token",
}  # fmt: skip
ME = "https://api.acme.example:8443/me"


def build(**options):
    return OAuth2("client", "s3cret", **{**ENDPOINTS, "userinfo_url": ME, **options})


@pytest.mark.parametrize(
    ("path", "body", "subject"),
    [
        ("sub", {"sub": "a"}, "a"),
        ("id", {"id": 123, "sub": "no"}, "123"),
        ("data.user.id", {"data": {"user": {"id": "deep"}}}, "deep"),
        ("accounts.0.id", {"accounts": [{"id": 0}]}, "0"),
    ],
)
def test_the_subject_is_where_it_was_said_to_be(drive, answer, path, body, subject):
    provider = build(subject_path=path)
    assert drive(provider.fetch_identity(provider.static_server, _token(), None), answer(body)).subject == subject


def _token():
    return TokenSet(Secret("at"), datetime(2026, 11, 22, tzinfo=UTC))


def test_so_is_what_is_shown_to_people(drive, answer):
    provider = build(
        subject_path="id", name_path="profile.full", username_path="login", email_path="mails.0", picture_path="pic"
    )
    body = {"id": "1", "profile": {"full": "Ann"}, "login": "ann", "mails": ["a@b.example"], "pic": "https://p"}
    identity = drive(provider.fetch_identity(provider.static_server, _token(), None), answer(body))
    assert identity == Identity("1", "Ann", "ann", "a@b.example", "https://p")


def test_r_14_a_username_is_never_taken_for_the_subject(drive, answer):
    provider = build()
    with pytest.raises(Exception, match="the account has no id"):
        drive(
            provider.fetch_identity(provider.static_server, _token(), None),
            answer({"preferred_username": "ann", "email": "a@b.example"}),
        )


def test_tokens_go_to_the_host_of_the_user_information_and_to_no_other():
    provider = build()
    assert provider.api_hosts == {"api.acme.example:8443"}
    assert not provider.signs("https://acme.example/")
    assert build(api_hosts=["api.acme.example:8443", "files.acme.example"]).signs("https://files.acme.example/f")


def test_a_revocation_endpoint_is_used_when_there_is_one():
    assert build().revocation_style == "none"
    assert build(revoke_url="https://acme.example/revoke").revocation_style == "rfc7009"
    assert build(revoke_url="https://acme.example/revoke", revocation_style="none").revocation_style == "none"


def test_names():
    assert (build().slug, build().name, build(name="Acme!").name) == ("acme", "acme", "Acme!")
    assert repr(build()) == "OAuth2(slug='acme', client_id='client')"


def test_unknown_servers_are_expected_to_rotate():
    assert build().renewal == "rotating"
    assert build(renewal="static").renewal == "static"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slug": "Acme"}, "slug 'Acme' must match"),
        ({"authorize_url": ""}, "authorize_url is missing"),
        ({"token_url": ""}, "token_url is missing"),
        ({"userinfo_url": ""}, "userinfo_url is missing, or issuer and jwks_url"),
        ({"userinfo_url": "", "issuer": "https://acme.example"}, "userinfo_url is missing"),
        ({"userinfo_url": "http://api.acme.example/me"}, "userinfo_url must be https"),
        ({"api_hosts": ["other.example"]}, "api_hosts must hold userinfo_url's"),
    ],
)
def test_r_19_a_server_that_is_not_described_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        build(**options)


def test_an_id_token_makes_user_information_unnecessary():
    provider = build(userinfo_url="", issuer="https://acme.example", jwks_url="https://acme.example/keys")
    assert provider.uses_openid
    assert provider.api_hosts == frozenset()
    assert not build().uses_openid
