"""What a provider says in words of its own; what all of them say is in test_response_matrix.py."""

from __future__ import annotations

from datetime import timedelta

import pytest

from socialvault.exceptions import (
    ClientRejectedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    ReauthorizationRequiredError,
)

PROBLEM = {"content_type": "application/problem+json"}
X_PROBLEMS = "https://api.twitter.com/2/problems"
META = {"content_type": "text/javascript; charset=UTF-8"}


def graph(code, subcode=None, **more):
    fields = {"message": "text of a stranger", "type": "OAuthException", "code": code, **more}
    return {"error": {**fields, **({"error_subcode": subcode} if subcode else {})}}


def problem(kind, **more):
    return {"title": "A Title", "detail": "text of a stranger", "type": kind, "status": 403, **more}


OWN = {
    "x": {
        "spent_refresh_token": (
            400, {"error": "invalid_request", "error_description": "Value passed for the token was invalid."}, {},
            ReauthorizationRequiredError, "invalid_request",
        ),
        "invalid_request_while_down": (
            503, {"error": "invalid_request"}, {}, ProviderUnavailableError, "invalid_request",
        ),
        "problem": (403, problem("about:blank"), PROBLEM, ProviderError, None),
        "problem_while_down": (503, problem("about:blank"), PROBLEM, ProviderUnavailableError, None),
        "problem_with_the_request": (
            400, problem(f"{X_PROBLEMS}/invalid-request"), PROBLEM, ProviderError, "invalid-request",
        ),
        "problem_with_the_app": (
            403, problem(f"{X_PROBLEMS}/client-forbidden", reason="client-not-enrolled"), PROBLEM,
            ClientRejectedError, "client-forbidden",
        ),
        "problem_with_the_apps_credentials": (
            403, problem(f"{X_PROBLEMS}/unsupported-authentication"), PROBLEM,
            ClientRejectedError, "unsupported-authentication",
        ),
        "problem_with_the_apps_quota": (
            403, problem(f"{X_PROBLEMS}/usage-capped"), PROBLEM, RateLimitedError, "usage-capped",
        ),
        "problem_with_the_app_while_throttled": (
            429, problem(f"{X_PROBLEMS}/client-forbidden"), PROBLEM, RateLimitedError, "client-forbidden",
        ),
        "wrong_client_secret": (
            401, {"error": "unauthorized_client", "error_description": "Missing valid authorization header"}, {},
            ClientRejectedError, "unauthorized_client",
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
        "throttled_341": (400, graph(341), META, RateLimitedError, "341"),
        "throttled_pages": (400, graph(80001), META, RateLimitedError, "80001"),
        "dead_session_102": (400, graph(102), META, ReauthorizationRequiredError, "102"),
        "dead_190_that_calls_itself_transient": (
            400, graph(190, 463, is_transient=True), META, ProviderUnavailableError, "190:463",
        ),
        "other_that_calls_itself_transient": (
            400, graph(300, is_transient=True), META, ProviderUnavailableError, "300",
        ),
        "throttled_and_transient": (400, graph(4, is_transient=True), META, RateLimitedError, "4"),
        "transient_in_words": (400, graph(300, is_transient="true"), META, ProviderError, "300"),
        "wrong_app": (400, graph(101), META, ClientRejectedError, "101"),
        "wrong_client_secret": (
            400, graph(1, message="Error validating client secret."), META, ClientRejectedError, "1:client_secret",
        ),
        "wrong_client_secret_while_down": (
            500, graph(1, message="Error validating client secret."), META, ProviderUnavailableError,
            "1:client_secret",
        ),
        "wrong_proof": (
            400, graph(100, message="Invalid appsecret_proof provided in the API argument"), META,
            ClientRejectedError, "100:appsecret_proof",
        ),
        "permission_10": (403, graph(10), META, ProviderError, "10"),
        "permission_200": (403, graph(200), META, ProviderError, "200"),
        "permission_299": (403, graph(299), META, ProviderError, "299"),
        "other_300": (400, graph(300), META, ProviderError, "300"),
        "other_100": (400, graph(100), META, ProviderError, "100"),
        "no_code": (400, {"error": {"message": "x"}}, META, ProviderError, None),
        "no_code_in_a_200": (200, {"error": {"message": "x"}}, META, ProviderError, None),
    },
    "instagram": {
        "dead_190": (400, graph(190), META, ReauthorizationRequiredError, "190"),
        "dead_190_463": (400, graph(190, 463), META, ReauthorizationRequiredError, "190:463"),
        "throttled_4": (400, graph(4), {"retry_after": "30", **META}, RateLimitedError, "4"),
        "down_2": (400, graph(2), META, ProviderUnavailableError, "2"),
        "too_young_100": (400, graph(100), META, ProviderError, "100"),
        "flat": (
            400, {"error_type": "OAuthException", "code": 190, "error_message": "text of a stranger"}, META,
            ProviderError, "OAuthException",
        ),
        "flat_while_down": (
            500, {"error_type": "OAuthException", "code": 400}, META, ProviderUnavailableError, "OAuthException",
        ),
    },
    "oauth2": {
        "invalid_request_is_nobodys_death": (400, {"error": "invalid_request"}, {}, ProviderError, "invalid_request"),
        "a_problem_of_x_means_nothing_here": (
            403, problem(f"{X_PROBLEMS}/client-forbidden"), PROBLEM, ProviderError, "client-forbidden",
        ),
        "meta_means_nothing_here": (400, graph(190), {}, ProviderError, "190"),
    },
    "openid_connect": {
        "login_required": (400, {"error": "login_required"}, {}, ProviderError, "login_required"),
    },
}  # fmt: skip
# status, body, headers, branch, error code
MATRIX = [
    pytest.param(provider, *row, id=f"{provider}-{case}") for provider, own in OWN.items() for case, row in own.items()
]


@pytest.mark.parametrize(("name", "status", "body", "headers", "branch", "error"), MATRIX)
@pytest.mark.parametrize("during", ["exchange", "renewal"])
def test_row_12_each_dialect_is_understood(
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


@pytest.mark.parametrize(
    ("subcode", "reason"),
    [
        (458, "app_removed"),
        (459, "checkpointed"),
        (464, "unconfirmed"),
        (492, "role_lost"),
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


def test_an_instance_knows_a_server_that_calls_dead_grants_its_own_way(make, drive, answer, tokens):
    body = {"error": "unauthorized_client", "error_description": "refresh_token is invalid"}  # Atlassian, in a 403
    provider = make("oauth2", error_map={"unauthorized_client": "reauthorize"})
    with pytest.raises(ReauthorizationRequiredError):
        drive(provider.renew(provider.static_server, tokens(), "s"), answer(body, 403))
