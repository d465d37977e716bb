"""Which branch an answer of the token endpoint is, at every provider."""

from __future__ import annotations

from datetime import timedelta

import pytest

from socialvault.exceptions import (
    ClientRejectedError,
    MalformedResponseError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    ReauthorizationRequiredError,
)

HTML = {"content_type": "text/html"}

# status, body, headers, branch, error code
EVERYWHERE = {
    "f_18_dead_grant": (400, {"error": "invalid_grant"}, {}, ReauthorizationRequiredError, "invalid_grant"),
    "dead_grant_in_a_401": (401, {"error": "invalid_grant"}, {}, ReauthorizationRequiredError, "invalid_grant"),
    "dead_grant_in_a_200": (200, {"error": "invalid_grant"}, {}, ReauthorizationRequiredError, "invalid_grant"),
    "f_19_bad_client": (401, {"error": "invalid_client"}, {}, ClientRejectedError, "invalid_client"),
    "f_19_bad_client_in_a_400": (400, {"error": "invalid_client"}, {}, ClientRejectedError, "invalid_client"),
    "f_19_client_not_allowed": (400, {"error": "unauthorized_client"}, {}, ClientRejectedError, "unauthorized_client"),
    "f_20_slow_down": (429, {}, {"retry_after": "30"}, RateLimitedError, None),
    "f_20_slow_down_in_html": (429, b"<html>", {"retry_after": "30", **HTML}, RateLimitedError, None),
    "slow_down_with_a_dead_grant": (429, {"error": "invalid_grant"}, {}, RateLimitedError, "invalid_grant"),
    "f_20_down": (503, {}, {"retry_after": "30"}, ProviderUnavailableError, None),
    "f_20_down_in_html": (502, b"<html>Bad gateway", HTML, ProviderUnavailableError, None),
    "down_with_a_dead_grant": (500, {"error": "invalid_grant"}, {}, ProviderUnavailableError, "invalid_grant"),
    "down_with_a_bad_client": (503, {"error": "invalid_client"}, {}, ProviderUnavailableError, "invalid_client"),
    "down_and_silent": (504, b"", {}, ProviderUnavailableError, None),
    "temporarily_unavailable": (
        400, {"error": "temporarily_unavailable"}, {}, ProviderUnavailableError, "temporarily_unavailable",
    ),
    "server_error": (400, {"error": "server_error"}, {}, ProviderUnavailableError, "server_error"),
    "bad_scope": (400, {"error": "invalid_scope"}, {}, ProviderError, "invalid_scope"),
    "unsupported": (400, {"error": "unsupported_grant_type"}, {}, ProviderError, "unsupported_grant_type"),
    "nothing_said": (400, {}, {}, ProviderError, None),
    "f_21_firewall": (403, b"<html>Request blocked", HTML, MalformedResponseError, None),
    "f_21_silent_401": (401, b"", {}, MalformedResponseError, None),
    "f_21_html_in_a_200": (200, b"<html>", HTML, MalformedResponseError, None),
    "f_21_nothing_in_a_200": (200, b"", {}, MalformedResponseError, None),
    "f_21_byte_order_mark": (200, b'\xef\xbb\xbf{"access_token":"at"}', {}, MalformedResponseError, None),
    "f_24_list": (200, [], {}, MalformedResponseError, None),
    "f_24_repeated": (200, b'{"access_token":"a","access_token":"b"}', {}, MalformedResponseError, None),
    "f_24_not_a_number": (200, b'{"access_token":"a","expires_in":NaN}', {}, MalformedResponseError, None),
    "no_token_in_a_200": (200, {"token_type": "bearer"}, {}, MalformedResponseError, None),
    "empty_token": (200, {"access_token": ""}, {}, MalformedResponseError, None),
    "f_26_header_injection": (200, {"access_token": "a\r\nX-Evil: 1"}, {}, MalformedResponseError, None),
    "f_26_token_of_another_type": (200, {"access_token": 7}, {}, MalformedResponseError, None),
    "o_35_strange_token_type": (200, {"access_token": "a", "token_type": "mac"}, {}, MalformedResponseError, None),
    "o_45_redirect": (307, b"", {"location": "https://evil.example"}, MalformedResponseError, None),
    "o_45_redirect_with_a_dead_grant": (302, {"error": "invalid_grant"}, {}, MalformedResponseError, None),
    "created_is_not_ok": (201, {"access_token": "a"}, {}, ProviderError, None),
}  # fmt: skip

META = {"content_type": "text/javascript; charset=UTF-8"}


def graph(code, subcode=None, **more):
    fields = {"message": "text of a stranger", "type": "OAuthException", "code": code, **more}
    return {"error": {**fields, **({"error_subcode": subcode} if subcode else {})}}


OWN = {
    "x": {
        "spent_refresh_token": (
            400, {"error": "invalid_request", "error_description": "Value passed for the token was invalid."}, {},
            ReauthorizationRequiredError, "invalid_request",
        ),
        "invalid_request_while_down": (
            503, {"error": "invalid_request"}, {}, ProviderUnavailableError, "invalid_request",
        ),
        "problem_json": (
            403, {"title": "Forbidden"}, {"content_type": "application/problem+json"}, ProviderError, None,
        ),
    },
    "linkedin": {
        "invalid_request_is_nobodys_death": (400, {"error": "invalid_request"}, {}, ProviderError, "invalid_request"),
        "rest_error": (401, {"serviceErrorCode": 65600, "message": "x", "status": 401}, {}, ProviderError, None),
    },
    "facebook": {
        "dead_190": (400, graph(190), META, ReauthorizationRequiredError, "190"),
        "dead_190_as_text": (400, graph("190"), META, ReauthorizationRequiredError, "190"),
        "dead_190_458": (400, graph(190, 458), META, ReauthorizationRequiredError, "190:458"),
        "dead_190_in_a_200": (200, graph(190, 463), META, ReauthorizationRequiredError, "190:463"),
        "dead_190_while_down": (500, graph(190, 463), META, ProviderUnavailableError, "190:463"),
        "dead_190_while_throttled": (429, graph(190), META, RateLimitedError, "190"),
        "throttled_4": (400, graph(4), {"retry_after": "30", **META}, RateLimitedError, "4"),
        "throttled_17": (400, graph(17, 2446079), META, RateLimitedError, "17:2446079"),
        "throttled_32": (403, graph(32), META, RateLimitedError, "32"),
        "throttled_613": (400, graph(613), META, RateLimitedError, "613"),
        "down_1": (400, graph(1), META, ProviderUnavailableError, "1"),
        "down_2": (400, graph(2), META, ProviderUnavailableError, "2"),
        "permission_10": (403, graph(10), META, ProviderError, "10"),
        "permission_200": (403, graph(200), META, ProviderError, "200"),
        "permission_299": (403, graph(299), META, ProviderError, "299"),
        "other_300": (400, graph(300), META, ProviderError, "300"),
        "other_100": (400, graph(100), META, ProviderError, "100"),
        "no_code": (400, {"error": {"message": "x"}}, META, ProviderError, None),
        "no_code_in_a_200": (200, {"error": {"message": "x"}}, META, ProviderError, None),
    },
    "oauth2": {
        "invalid_request_is_nobodys_death": (400, {"error": "invalid_request"}, {}, ProviderError, "invalid_request"),
        "meta_means_nothing_here": (400, graph(190), {}, ProviderError, "190"),
    },
    "openid_connect": {
        "interaction_required": (400, {"error": "interaction_required"}, {}, ProviderError, "interaction_required"),
    },
}  # fmt: skip
MATRIX = [
    pytest.param(provider, *row, id=f"{provider}-{case}")
    for provider, own in OWN.items()
    for case, row in {**EVERYWHERE, **own}.items()
]


@pytest.mark.parametrize(("name", "status", "body", "headers", "branch", "error"), MATRIX)
@pytest.mark.parametrize("during", ["exchange", "renewal"])
def test_row_11_and_12_each_answer_has_one_branch(
    make, server, serve, drive, answer, begin_exchange, tokens, during, name, status, body, headers, branch, error
):
    provider = make(name)
    found = serve(provider.resolve(), server)
    asked = begin_exchange(provider, found, "code") if during == "exchange" else provider.renew(found, tokens(), "s")
    with pytest.raises(ProviderError) as caught:
        drive(asked, answer(body, status, **headers))
    problem = caught.value
    assert type(problem) is branch
    assert (problem.error, problem.status, problem.provider) == (error, status, provider.slug)
    assert problem.retry_after == (timedelta(seconds=30) if "retry_after" in headers else None)


def test_every_provider_is_held_against_forty_answers_or_nearly():
    for own in OWN.values():
        assert len({**EVERYWHERE, **own}) >= 36


@pytest.mark.parametrize(
    ("subcode", "reason"),
    [
        (458, "app_removed"),
        (460, "password_changed"),
        (463, "expired"),
        (467, "invalid"),
        (999, "invalid"),
        (None, "invalid"),
    ],
)
def test_row_32_facebook_says_why_a_token_is_dead(make, drive, answer, tokens, subcode, reason):
    provider = make("facebook")
    with pytest.raises(ReauthorizationRequiredError) as caught:
        drive(provider.renew(provider.static_server, tokens(), "s"), answer(graph(190, subcode), 400))
    assert caught.value.reason == reason
    assert "stranger" not in str(caught.value)


def test_a_missing_permission_is_called_one(make, drive, answer, tokens):
    provider = make("facebook")
    with pytest.raises(ProviderError, match=r"a permission is missing \(error 200\)"):
        drive(provider.renew(provider.static_server, tokens(), "s"), answer(graph(200), 403))


@pytest.mark.parametrize(
    ("code", "subcode", "error_map", "branch"),
    [
        (190, 463, {"190:463": "other"}, ProviderError),
        (190, 467, {"190:463": "other"}, ReauthorizationRequiredError),
        (368, None, {"368": "rate_limited"}, RateLimitedError),
        (190, None, {"368": "rate_limited"}, ReauthorizationRequiredError),
        (102, None, {"102": "reauthorize"}, ReauthorizationRequiredError),
    ],
)
def test_an_instance_adds_to_facebooks_error_codes(make, drive, answer, tokens, code, subcode, error_map, branch):
    provider = make("facebook", error_map=error_map)
    with pytest.raises(ProviderError) as caught:
        drive(provider.renew(provider.static_server, tokens(), "s"), answer(graph(code, subcode), 400))
    assert type(caught.value) is branch


def test_an_instance_overrides_what_an_error_means(make, drive, answer, tokens):
    provider = make("x", error_map={})
    with pytest.raises(ProviderError) as caught:
        drive(provider.renew(provider.static_server, tokens(), "s"), answer({"error": "invalid_request"}, 400))
    assert type(caught.value) is ProviderError


def test_a_status_can_be_mapped_even_where_the_body_says_nothing(make, drive, answer, tokens):
    provider = make("oauth2", error_map={"status:401": "client"})
    with pytest.raises(ClientRejectedError):
        drive(provider.renew(provider.static_server, tokens(), "s"), answer(b"", 401))
