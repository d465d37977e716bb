from __future__ import annotations

from base64 import b64decode
from urllib.parse import parse_qsl, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socialvault.exceptions import ConfigurationError
from socialvault.model.secret import Secret
from socialvault.protocol.client_auth import ClientCredentials, Form, authenticated_post, with_credentials
from socialvault.protocol.messages import HttpRequest

URL = "https://as.example/token"
FORM = {"grant_type": "authorization_code", "code": "c0de"}


def body_of(request):
    return parse_qsl(request.body.decode(), strict_parsing=True, keep_blank_values=True)


def test_o_37_basic_encodes_each_half_on_its_own_to_these_exact_bytes():
    credentials = ClientCredentials("my:client id", Secret("a:b%/+ "), "client_secret_basic")
    request = authenticated_post(URL, FORM, credentials)
    scheme, _, encoded = dict(request.headers)["Authorization"].partition(" ")
    assert scheme == "Basic"
    assert b64decode(encoded) == b"my%3Aclient+id:a%3Ab%25%2F%2B+"
    assert dict(request.headers)["Authorization"] == "Basic bXklM0FjbGllbnQraWQ6YSUzQWIlMjUlMkYlMkIr"
    assert body_of(request) == list(FORM.items())


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_o_37_any_id_and_secret_come_out_of_basic_as_they_went_in(client_id, secret):
    request = authenticated_post(URL, {}, ClientCredentials(client_id, Secret(secret), "client_secret_basic"))
    pair = b64decode(dict(request.headers)["Authorization"].removeprefix("Basic ")).decode("ascii")
    assert pair.count(":") == 1
    assert tuple(unquote_plus(half) for half in pair.split(":")) == (client_id, secret)


def test_o_37_post_puts_both_in_the_body_and_nothing_in_the_headers():
    request = authenticated_post(URL, FORM, ClientCredentials("id", Secret("a:b%/+ "), "client_secret_post"))
    assert "Authorization" not in dict(request.headers)
    assert request.body == b"grant_type=authorization_code&code=c0de&client_id=id&client_secret=a%3Ab%25%2F%2B+"


def test_o_37_a_public_client_names_itself_in_the_body():
    request = authenticated_post(URL, FORM, ClientCredentials("id", None, "none"))
    assert "Authorization" not in dict(request.headers)
    assert body_of(request) == [*FORM.items(), ("client_id", "id")]


def test_o_37_a_public_client_never_sends_a_secret_that_it_has():
    request = authenticated_post(URL, FORM, ClientCredentials("id", Secret("s3cret"), "none"))
    assert b"s3cret" not in request.body
    assert "Authorization" not in dict(request.headers)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_o_37_the_secret_is_never_in_the_url(method):
    request = authenticated_post(URL, FORM, ClientCredentials("id", Secret("s3cret"), method), untrusted_host=True)
    assert (request.method, request.url) == ("POST", URL)
    assert request.untrusted_host
    assert dict(request.headers)["Accept"] == "application/json"
    assert dict(request.headers)["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_method_that_needs_a_secret_is_refused_without_one(method):
    with pytest.raises(ConfigurationError, match="client_secret is missing"):
        ClientCredentials("id", None, method)


def test_the_callers_form_is_left_alone():
    form = dict(FORM)
    authenticated_post(URL, form, ClientCredentials("id", Secret("s"), "client_secret_post"))
    assert form == FORM


def test_a_forms_repr_shows_names_only():
    assert repr(Form(code="c0de", code_verifier="v3rifier")) == "Form(code, code_verifier)"
    assert "s3cret" not in repr(ClientCredentials("id", Secret("s3cret"), "client_secret_basic"))


# --- another secret for the same request -----------------------------------------------------------

NEW, OLD = Secret("new&client_secret=x"), Secret("old secret")
PRESENTED = {"refresh_token": "rt&client_secret=y", "state": "client_secret=z", "my_client_secret": "kept", "empty": ""}


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("untrusted", [True, False])
def test_a_request_gets_another_secret_and_stays_the_same_otherwise(method, untrusted):
    first = authenticated_post(URL, PRESENTED, ClientCredentials("id", NEW, method), untrusted_host=untrusted)
    old = ClientCredentials("id", OLD, method)
    again = with_credentials(first, old)
    assert again == authenticated_post(URL, PRESENTED, old, untrusted_host=untrusted)
    assert again != first


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_what_would_be_sent_the_same_is_the_same_request(method):
    first = authenticated_post(URL, PRESENTED, ClientCredentials("id", NEW, method))
    assert with_credentials(first, ClientCredentials("id", Secret(NEW.reveal()), method)) is first


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
@pytest.mark.parametrize(
    "request_without",
    [
        HttpRequest("GET", URL + "?client_secret=x", headers=(("Authorization", "Bearer at"),)),
        HttpRequest("POST", URL, body=b'{"client_secret": "x"}'),
        HttpRequest("POST", URL, headers=(("X-Note", "Basic x"),), body=b"my_client_secret=x&client_id=id"),
    ],
    ids=["bearer", "json", "other_fields"],
)
def test_a_request_that_shows_no_client_secret_stays_as_it_is(method, request_without):
    assert with_credentials(request_without, ClientCredentials("id", OLD, method)) is request_without


def test_a_public_client_has_no_secret_to_show():
    first = authenticated_post(URL, PRESENTED, ClientCredentials("id", NEW, "client_secret_basic"))
    assert with_credentials(first, ClientCredentials("id", None, "none")) is first
