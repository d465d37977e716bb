from __future__ import annotations

import pytest

from socialvault.exceptions import ConfigurationError, IssuerMismatchError, MalformedResponseError
from socialvault.model.identity import Identity
from socialvault.model.secret import Secret
from socialvault.protocol.algorithms import SIGNATURES
from socialvault.protocol.metadata import ServerMetadata
from socialvault.providers import OpenIDConnect

ISSUER = "https://id.corp.example"


def build(**options):
    return OpenIDConnect("client", "s3cret", **{"slug": "corp", "issuer": ISSUER, **options})


def login(provider, found):
    return provider.exchange_code(found, Secret("code"), "https://app.example/cb", Secret("v"), Secret("n0nce"))


def test_the_endpoints_are_discovered(drive, answer, metadata):
    provider, sent = build(), []
    found = drive(provider.resolve(), answer(metadata), requests=sent)
    assert found == ServerMetadata(
        issuer=ISSUER,
        authorize_url="https://id.corp.example/authorize",
        token_url="https://id.corp.example/token",
        revoke_url="https://id.corp.example/revoke",
        userinfo_url="https://users.corp.example/me",
        jwks_url="https://id.corp.example/keys",
    )
    assert [request.url for request in sent] == [f"{ISSUER}/.well-known/openid-configuration"]


def test_before_that_only_the_issuer_is_known():
    provider = build(authorize_url="https://id.corp.example/a", token_url="https://id.corp.example/t")
    assert provider.static_server == ServerMetadata(issuer=ISSUER)
    assert provider.uses_openid


def test_an_endpoint_that_is_given_counts_before_the_discovered_one(drive, answer, metadata):
    provider = build(token_url="https://proxy.example/token", issuer_in_response=True)
    found = drive(provider.resolve(), answer(metadata))
    assert (found.token_url, found.issuer_in_response) == ("https://proxy.example/token", True)
    assert found.jwks_url == "https://id.corp.example/keys"


@pytest.mark.parametrize("issuer", [f"{ISSUER}/", "https://ID.corp.example", f"{ISSUER}:443", "https://evil.example"])
def test_o_20_metadata_about_another_issuer_is_refused(drive, answer, metadata, issuer):
    with pytest.raises(IssuerMismatchError):
        drive(build().resolve(), answer({**metadata, "issuer": issuer}))


def test_metadata_without_keys_is_refused(drive, answer, metadata):
    del metadata["jwks_uri"]
    with pytest.raises(MalformedResponseError, match="jwks_uri is missing"):
        drive(build().resolve(), answer(metadata))


def test_an_account_is_connected_by_its_id_token_and_the_discovered_user_information(
    drive, answer, metadata, signer, read
):
    provider, sent = build(), []
    found = drive(provider.resolve(), answer(metadata))
    grant = drive(
        login(provider, found),
        answer({"access_token": "at", "refresh_token": "rt", "id_token": signer.sign(iss=ISSUER)}),
        answer(signer.keys), answer({"sub": "subject", "name": "Ann"}),
        requests=sent,
    )  # fmt: skip
    assert grant.identity == Identity("subject", "Ann")
    assert [request.url for request in sent[1:]] == ["https://id.corp.example/keys", "https://users.corp.example/me"]
    assert read.headers(sent[2])["authorization"] == "Bearer at"


def test_without_user_information_the_id_token_says_it_all(drive, answer, metadata, signer):
    del metadata["userinfo_endpoint"]
    provider = build()
    found = drive(provider.resolve(), answer(metadata))
    token = {"access_token": "at", "id_token": signer.sign(iss=ISSUER, name="Ann")}
    assert drive(login(provider, found), answer(token), answer(signer.keys)).identity == Identity("subject", "Ann")


def test_the_discovered_host_gets_no_token_of_the_users_own_calls():
    assert not build().signs("https://users.corp.example/me")
    assert build(api_hosts=["users.corp.example"]).signs("https://users.corp.example/me")


def test_an_answer_without_an_id_token_is_refused(drive, answer, metadata):
    provider = build()
    found = drive(provider.resolve(), answer(metadata))
    with pytest.raises(MalformedResponseError, match="no ID token for this flow"):
        drive(login(provider, found), answer({"access_token": "at"}))


def test_o_23_a_flow_without_a_nonce_cannot_be_finished(drive, answer, metadata, signer):
    provider = build()
    found = drive(provider.resolve(), answer(metadata))
    exchange = provider.exchange_code(found, Secret("code"), "https://app.example/cb", Secret("v"), None)
    with pytest.raises(MalformedResponseError, match="no ID token for this flow"):
        drive(exchange, answer({"access_token": "at", "id_token": signer.sign(iss=ISSUER)}))


@pytest.mark.parametrize(
    ("scopes", "asked"),
    [(("openid",), "openid"), (("calendar",), "openid calendar"), (("email", "openid"), "openid email")],
)
def test_openid_is_always_asked_for(drive, answer, metadata, scopes, asked):
    provider = build()
    found = drive(provider.resolve(), answer(metadata))
    url = provider.authorization_prefix(found, "https://app.example/cb", scopes)
    assert f"scope={asked.replace(' ', '+')}" in url.split("&")


def test_offline_access_is_asked_for_when_it_is_wished(drive, answer, metadata):
    provider = build(offline_scopes=("offline_access",))
    found = drive(provider.resolve(), answer(metadata))
    url = provider.authorization_prefix(found, "https://app.example/cb", provider.scopes)
    assert url.endswith("&scope=openid+offline_access")


def test_a_revocation_endpoint_is_used_when_the_metadata_names_one(drive, answer, metadata, tokens):
    provider = build()
    found = drive(provider.resolve(), answer(metadata))
    assert drive(provider.revoke(found, tokens()), answer(), answer()) == "revoked"
    del metadata["revocation_endpoint"]
    silent = drive(provider.resolve(), answer(metadata))
    assert drive(provider.revoke(silent, tokens())) == "unsupported"


@pytest.mark.parametrize(
    ("options", "untrusted"),
    [({}, True), ({"untrusted_hosts": False}, False), ({"allow_loopback_http": True}, False),
     ({"allow_loopback_http": True, "untrusted_hosts": True}, True)],
)  # fmt: skip
def test_o_43_what_a_document_names_obeys_the_address_policy(drive, answer, metadata, signer, options, untrusted):
    provider, sent = build(**options), []
    found = drive(provider.resolve(), answer(metadata), requests=sent)
    drive(
        login(provider, found),
        answer({"access_token": "at", "id_token": signer.sign(iss=ISSUER)}), answer(signer.keys),
        answer({"sub": "subject"}),
        requests=sent,
    )  # fmt: skip
    assert [request.untrusted_host for request in sent] == [untrusted] * 4


def test_o_25_only_signatures_of_the_servers_own_key_are_allowed():
    assert set(build().id_token_algorithms) <= set(SIGNATURES)
    assert build().nonce_policy == "required"
    assert build(id_token_algorithms=["ES256"]).id_token_algorithms == ("ES256",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"issuer": ""}, "issuer is missing"),
        ({"issuer": "http://id.corp.example"}, "issuer must be https"),
        ({"slug": "Corp"}, "slug 'Corp' must match"),
        ({"userinfo_url": "https://users.corp.example/me"}, "api_hosts must hold userinfo_url's"),
    ],
)
def test_r_19_a_server_that_is_not_named_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        build(**options)
