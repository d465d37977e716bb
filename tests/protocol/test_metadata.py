from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from socialvault.exceptions import (
    ConfigurationError,
    IssuerMismatchError,
    MalformedResponseError,
    ProviderError,
    ProviderUnavailableError,
    TransportError,
)
from socialvault.protocol.messages import METADATA_RESPONSE_BYTES
from socialvault.protocol.metadata import ServerMetadata, discover, metadata_requests, read_metadata

ISSUER = "https://as.example/tenant"
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": "https://as.example/authorize",
    "token_endpoint": "https://as.example/token",
    "revocation_endpoint": "https://as.example/revoke",
    "introspection_endpoint": "https://as.example/introspect",
    "userinfo_endpoint": "https://api.as.example/me?fields=id",
    "jwks_uri": "https://as.example/keys",
    "code_challenge_methods_supported": ["plain", "S256"],
    "authorization_response_iss_parameter_supported": True,
}
METADATA = ServerMetadata(
    issuer=ISSUER,
    authorize_url="https://as.example/authorize",
    token_url="https://as.example/token",
    revoke_url="https://as.example/revoke",
    introspect_url="https://as.example/introspect",
    userinfo_url="https://api.as.example/me?fields=id",
    jwks_url="https://as.example/keys",
    issuer_in_response=True,
)


def read(answer, *, loopback: bool = False, **changes: Any):
    body = {name: value for name, value in {**DOCUMENT, **changes}.items() if value is not None}
    return read_metadata(answer(body), issuer=ISSUER, provider="acme", loopback=loopback)


def exchange(issuer=ISSUER, **options):
    return discover(issuer, provider="acme", **{"untrusted_host": True, "loopback": False, **options})


def test_declared_metadata_is_copied():
    declared = SimpleNamespace(**{name: getattr(METADATA, name) for name in ServerMetadata.__slots__}, other="x")
    assert ServerMetadata.of(declared) == METADATA


@pytest.mark.parametrize(
    ("issuer", "openid", "oauth"),
    [
        (
            "https://as.example",
            "https://as.example/.well-known/openid-configuration",
            "https://as.example/.well-known/oauth-authorization-server",
        ),
        (
            "https://as.example/",
            "https://as.example/.well-known/openid-configuration",
            "https://as.example/.well-known/oauth-authorization-server",
        ),
        (
            "https://as.example:8443/a/b",
            "https://as.example:8443/a/b/.well-known/openid-configuration",
            "https://as.example:8443/.well-known/oauth-authorization-server/a/b",
        ),
    ],
)
def test_the_questions_go_where_the_two_specifications_say(issuer, openid, oauth):
    first, second = metadata_requests(issuer, untrusted_host=True)
    assert (first.url, second.url) == (openid, oauth)
    for request in (first, second):
        assert request.method == "GET"
        assert request.caching == "use"
        assert request.max_response_bytes == METADATA_RESPONSE_BYTES
        assert request.untrusted_host


def test_the_first_answer_is_enough(answer, drive):
    found, requests = drive(exchange(), [answer(DOCUMENT)])
    assert found == METADATA
    assert len(requests) == 1


def test_a_404_leads_to_the_second_place(answer, drive):
    found, requests = drive(exchange(), [answer(b"", 404), answer(DOCUMENT)])
    assert found == METADATA
    assert requests[1].url == "https://as.example/.well-known/oauth-authorization-server/tenant"


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([(b"", 404), ({}, 404)], ProviderError),
        ([(b"", 503)], ProviderUnavailableError),
        ([(b"<html>", 200)], MalformedResponseError),
    ],
)
def test_other_answers_are_errors(answer, drive, answers, error):
    with pytest.raises(error):
        drive(exchange(), [answer(*each) for each in answers])


def test_a_network_failure_passes_through(drive):
    with pytest.raises(TransportError):
        drive(exchange(), [TransportError("down", request_sent=False)])


@pytest.mark.parametrize(
    "issuer",
    [
        ISSUER + "/",
        "https://AS.example/tenant",
        "https://as.example:443/tenant",
        "http://as.example/tenant",
        "",
        5,
        None,
        [ISSUER],
    ],
)
def test_o_20_metadata_about_another_issuer_is_refused(answer, issuer):
    with pytest.raises(IssuerMismatchError):
        read(answer, issuer=issuer)


def test_o_20_another_issuer_is_not_looked_for_in_the_second_place(answer, drive):
    with pytest.raises(IssuerMismatchError):
        drive(exchange(), [answer({**DOCUMENT, "issuer": "https://evil.example"})])


BAD_URLS = {
    "http": "http://as.example/token",
    "loopback": "http://localhost/token",
    "userinfo_trick": "http://localhost:80@evil.example/",
    "userinfo": "https://user@as.example/token",
    "empty_userinfo": "https://@as.example/token",
    "flag": "--flag",
    "javascript": "javascript:alert(1)",
    "file": "file:///etc/passwd",
    "no_host": "https:///token",
    "relative": "/token",
    "protocol_relative": "//as.example/token",
    "fragment": "https://as.example/token#x",
    "space": "https://as.example/to ken",
    "newline": "https://as.example/token\nx",
    "backslash": "https://as.example\\@evil.example/",
    "bad_port": "https://as.example:99999/",
    "word_port": "https://as.example:port/",
    "bad_ipv6": "https://[::1/",
    "unicode_host": "https://\u0430s.example/token",
    "one_megabyte": "https://as.example/" + "a" * 1_000_000,
    "empty": "",
    "number": 5,
    "list": ["https://as.example/token"],
    "shouting_scheme": "HTTPS://as.example/token",
}


@pytest.mark.parametrize("field", ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"])
@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS)
def test_o_43_an_endpoint_that_is_no_plain_https_url_is_refused(answer, field, url):
    with pytest.raises(MalformedResponseError, match=field):
        read(answer, **{field: url})


@pytest.mark.parametrize("field", ["authorization_endpoint", "token_endpoint"])
def test_the_two_endpoints_of_the_flow_are_required(answer, field):
    absent: Any = {field: None}
    with pytest.raises(MalformedResponseError, match=f"{field} is missing"):
        read(answer, **absent)


def test_other_endpoints_may_be_missing(answer):
    found = read(answer, revocation_endpoint=None, introspection_endpoint=None, userinfo_endpoint=None, jwks_uri=None)
    assert (found.revoke_url, found.introspect_url, found.userinfo_url, found.jwks_url) == ("", "", "", "")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_plain_http_is_for_loopback_where_it_was_asked_for(answer, host):
    assert read(answer, loopback=True, token_endpoint=f"http://{host}:8000/t").token_url == f"http://{host}:8000/t"
    with pytest.raises(MalformedResponseError):
        read(answer, token_endpoint=f"http://{host}:8000/t")
    with pytest.raises(MalformedResponseError):
        read(answer, loopback=True, token_endpoint="http://127.0.0.2/t")


@pytest.mark.parametrize("methods", [["plain"], [], "S256", {"S256": 1}, 5])
def test_o_06_a_server_that_lists_pkce_without_s256_is_refused(answer, methods):
    with pytest.raises(ConfigurationError, match="S256"):
        read(answer, code_challenge_methods_supported=methods)


def test_a_server_that_says_nothing_about_pkce_is_accepted(answer):
    assert read(answer, code_challenge_methods_supported=None).token_url


@pytest.mark.parametrize("promise", [None, False, "true", 1])
def test_o_05_only_a_true_promise_is_a_promise(answer, promise):
    assert not read(answer, authorization_response_iss_parameter_supported=promise).issuer_in_response


@pytest.mark.parametrize(
    "issuer",
    ["http://as.example", "as.example", "", "https://as.example?x=1", "https://u@as.example", "https://as.example#f"],
)
def test_an_issuer_that_is_no_plain_https_url_is_refused_before_anything_is_sent(issuer):
    with pytest.raises(ConfigurationError):
        next(exchange(issuer))


def test_a_loopback_issuer_is_accepted_where_it_was_asked_for():
    assert next(exchange("http://127.0.0.1:9000", loopback=True)).url.startswith("http://127.0.0.1:9000/")
    with pytest.raises(ConfigurationError):
        next(exchange("http://127.0.0.1:9000"))
