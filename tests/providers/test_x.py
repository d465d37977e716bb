from __future__ import annotations

import pytest

from socialvault.exceptions import MalformedResponseError, ProviderError
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.providers import X

TOKEN = {
    "token_type": "bearer", "expires_in": 7200, "access_token": "at", "refresh_token": "rt",
    "scope": "users.read tweet.read offline.access",
}  # fmt: skip
ME = {
    "data": {
        "id": "2244994945", "name": "Ann", "username": "ann", "profile_image_url": "https://pbs.example/a.png",
        "confirmed_email": "ann@mail.example",
    }
}  # fmt: skip


@pytest.fixture
def x():
    return X("client", "s3cret")


def login(provider):
    return provider.exchange_code(
        provider.static_server, Secret("code"), "https://app.example/cb", Secret("verifier"), None
    )


def test_an_account_is_connected(x, drive, answer, read):
    sent = []
    grant = drive(login(x), answer(TOKEN), answer(ME), requests=sent)
    assert grant.identity == Identity("2244994945", "Ann", "ann", "ann@mail.example", "https://pbs.example/a.png")
    assert grant.token.scopes == {"users.read", "tweet.read", "offline.access"}
    assert (grant.token.expires_at - grant.token.obtained_at).total_seconds() == 7200
    token, me = sent
    assert (token.method, token.url) == ("POST", "https://api.x.com/2/oauth2/token")
    assert read.form(token)["code_verifier"] == "verifier"
    assert (me.method, read.place(me)) == ("GET", "https://api.x.com/2/users/me")
    assert read.headers(me)["authorization"] == "Bearer at"


def test_without_offline_access_there_is_no_refresh_token(x, drive, answer):
    token = {name: value for name, value in TOKEN.items() if name != "refresh_token"}
    assert drive(login(x), answer(token), answer(ME)).token.refresh_token is None


def test_refreshes_use_basic_and_replace_the_refresh_token(x, drive, answer, read, tokens):
    sent = []
    renewed = drive(
        x.renew(x.static_server, tokens(), "2244994945"), answer({**TOKEN, "refresh_token": "rt-1"}), requests=sent
    )
    assert renewed.refresh_token.reveal() == "rt-1"
    assert read.headers(sent[0])["authorization"].startswith("Basic ")
    assert read.form(sent[0]) == {"grant_type": "refresh_token", "refresh_token": "rt-0"}


def test_a_public_client_revokes_with_its_id_in_the_form(drive, answer, read, tokens):
    sent = []
    provider = X("client")
    assert drive(provider.revoke(provider.static_server, tokens()), answer(), answer(), requests=sent) == "revoked"
    assert [read.form(request)["client_id"] for request in sent] == ["client", "client"]
    assert [read.form(request)["token_type_hint"] for request in sent] == ["refresh_token", "access_token"]


def test_a_revocation_that_x_does_not_understand_is_an_error_and_no_dead_grant(x, drive, answer, tokens):
    with pytest.raises(ProviderError) as caught:
        drive(x.revoke(x.static_server, tokens()), answer({"error": "invalid_request"}, 400))
    assert type(caught.value) is ProviderError


def test_an_account_that_may_not_be_read_is_no_account(x, drive, answer):
    with pytest.raises(MalformedResponseError, match="the account has no id"):
        drive(login(x), answer(TOKEN), answer({"errors": [{"title": "Forbidden"}]}))


def test_the_reach_of_a_revocation_and_the_fields_of_an_account_stay_overridable():
    url = "https://api.x.com/2/users/me?user.fields=profile_image_url,confirmed_email"
    provider = X("client", "s3cret", revocation_reach="grant", userinfo_url=url)
    assert (X("client", "s3cret").revocation_reach, provider.revocation_reach) == ("token", "grant")
    assert provider.static_server.userinfo_url == url
