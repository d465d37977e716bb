from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from socialvault.exceptions import (
    ClientRejectedError,
    MalformedResponseError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
)
from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet
from socialvault.protocol.client_auth import ClientCredentials
from socialvault.protocol.revocation import read_revocation, revocation_requests

URL = "https://as.example/revoke"
CREDENTIALS = ClientCredentials("id", Secret("s"), "client_secret_basic")


def test_the_refresh_token_goes_first_and_each_with_its_hint(now):
    stored = TokenSet(Secret("at"), now, refresh_token=Secret("rt"))
    requests = revocation_requests(URL, stored, CREDENTIALS, untrusted_host=True)
    assert [parse_qsl(request.body.decode()) for request in requests] == [
        [("token", "rt"), ("token_type_hint", "refresh_token")],
        [("token", "at"), ("token_type_hint", "access_token")],
    ]
    assert all(request.url == URL and "Authorization" in dict(request.headers) for request in requests)
    assert all(request.untrusted_host for request in requests)


def test_without_a_refresh_token_the_access_token_is_revoked_alone(now):
    (request,) = revocation_requests(URL, TokenSet(Secret("at"), now), CREDENTIALS)
    assert dict(parse_qsl(request.body.decode())) == {"token": "at", "token_type_hint": "access_token"}


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b"", "revoked"),
        (200, {}, "revoked"),
        (200, b"<html>ok</html>", "revoked"),
        (204, b"", "revoked"),
        (400, {"error": "invalid_token"}, "already_gone"),
        (400, {"error": "invalid_grant"}, "already_gone"),
        (200, {"error": "invalid_token"}, "already_gone"),
        (400, {"error": "unsupported_token_type"}, "unsupported"),
    ],
)
def test_an_answer_says_what_was_reached(answer, status, body, outcome):
    assert read_revocation(answer(body, status), provider="acme") == outcome


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (503, b"", ProviderUnavailableError),
        (500, {"error": "invalid_token"}, ProviderUnavailableError),
        (429, {"error": "invalid_token"}, RateLimitedError),
        (401, {"error": "invalid_client"}, ClientRejectedError),
        (400, {"error": "invalid_request"}, ProviderError),
        (200, {"error": "oops"}, ProviderError),
        (302, b"", MalformedResponseError),
        (404, b"<html>", MalformedResponseError),
    ],
)
def test_anything_else_is_an_error(answer, status, body, error):
    with pytest.raises(ProviderError) as caught:
        read_revocation(answer(body, status), provider="acme")
    assert type(caught.value) is error


def test_the_providers_map_counts_here_too(answer):
    with pytest.raises(ProviderUnavailableError):
        read_revocation(answer({"error": "odd"}, 400), provider="acme", error_map={"odd": "unavailable"})
