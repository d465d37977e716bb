"""Forty answers of a token endpoint, and what each means at every provider: who must act, and when to ask again."""

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
from socialvault.protocol.errors import may_have_committed
from socialvault.providers import registry

CANARY = "CANARY7f3a9c51"

HTML = {"content_type": "text/html; charset=UTF-8"}
PROBLEM = {"content_type": "application/problem+json"}
BASIC = {"www_authenticate": 'Bearer realm="api", Basic realm="token"'}
WAF = f"<html><title>Access denied</title>Reference {CANARY}</html>".encode()
NGINX = f"<html>502 Bad Gateway {CANARY}</html>".encode()
TOKENS = {"access_token": CANARY, "refresh_token": CANARY, "token_type": "bearer", "expires_in": 3600}


def says(error, **more):
    return {"error": error, "error_description": f"of {CANARY}", **more}


# status, headers, body, branch
DEAD = {
    "f_18_dead_grant": (400, {}, says("invalid_grant")),
    "f_18_dead_grant_in_a_401": (401, {}, says("invalid_grant")),
    "f_18_dead_grant_in_a_401_that_asks_for_basic": (401, BASIC, says("invalid_grant")),
    "f_18_dead_grant_in_a_403": (403, {}, says("invalid_grant")),
    "row_12_dead_grant_in_a_200": (200, {}, says("invalid_grant")),
    "row_12_github": (200, {}, says("bad_refresh_token", error_uri="https://docs.github.example")),
    "row_12_slack": (200, {}, {"ok": False, "error": "invalid_refresh_token"}),
    "row_12_hubspot": (400, {}, {"status": "BAD_REFRESH_TOKEN", "message": f"invalid: {CANARY}"}),
    "row_12_supabase": (400, {}, {"code": 400, "error_code": "refresh_token_not_found", "msg": CANARY}),
    "row_12_microsoft": (400, {}, says("interaction_required", error_codes=[50076], suberror="basic_action")),
}
CLIENT = {
    "f_19_bad_client": (401, {}, says("invalid_client")),
    "f_19_bad_client_in_a_400": (400, {}, says("invalid_client")),
    "f_19_bad_client_in_a_200": (200, {}, says("invalid_client")),
    "row_13_another_client": (400, {}, says("unauthorized_client")),
    "row_13_another_client_in_a_401": (401, {}, says("unauthorized_client")),
    "row_13_github": (200, {}, says("incorrect_client_credentials")),
    "f_19_401_on_client_authentication": (401, BASIC, {"message": CANARY}),
}
RATE_LIMITED = {
    "f_20_slow_down": (429, {"retry_after": "30"}, {}),
    "f_20_slow_down_until": (429, {"retry_after": "Sun, 22 Nov 2026 12:00:30 GMT"}, b""),
    "f_20_slow_down_in_html": (429, {"retry_after": "30", **HTML}, WAF),
    "f_20_slow_down_with_a_dead_grant": (429, {}, says("invalid_grant")),
    "f_20_slow_down_with_a_bad_client": (429, BASIC, says("invalid_client")),
    "x_too_many_requests": (429, PROBLEM, {"title": "Too Many Requests", "type": "about:blank", "status": 429}),
}
UNAVAILABLE = {
    "f_20_down": (503, {"retry_after": "30"}, {}),
    "f_20_down_in_html": (502, HTML, NGINX),
    "f_20_down_and_silent": (504, {}, b""),
    "f_20_down_with_a_dead_grant": (500, {}, says("invalid_grant")),
    "f_20_down_with_a_bad_client": (503, {}, says("invalid_client")),
    "f_20_down_with_tokens": (500, {}, TOKENS),
    "f_20_too_slow": (408, {}, says("invalid_grant")),
    "f_20_too_early": (425, {}, {}),
    "temporarily_unavailable": (400, {"retry_after": "30"}, says("temporarily_unavailable")),
    "server_error_in_a_200": (200, {}, says("server_error")),
}
MALFORMED = {
    "f_21_firewall": (403, HTML, WAF),
    "f_21_firewall_at_401": (401, {**BASIC, **HTML}, WAF),
    "f_21_silent_400": (400, {}, b""),
    "f_21_silent_401": (401, {}, b""),
    "f_21_no_such_place": (404, {"content_type": "text/plain"}, b"not found"),
    "o_45_redirect_with_a_dead_grant": (302, {"location": "https://evil.example"}, says("invalid_grant")),
    "f_21_html_in_a_200": (200, HTML, WAF),
    "f_21_nothing_in_a_200": (200, {}, b""),
    "f_21_nothing_in_a_204": (204, {}, b""),
    "f_21_cut_off": (200, {}, f'{{"access_token": "{CANARY}", "refr'.encode()),
    "f_24_repeated": (200, {}, f'{{"access_token": "{CANARY}", "access_token": "b"}}'.encode()),
    "f_21_byte_order_mark": (200, {}, b'\xef\xbb\xbf{"access_token":"at"}'),
    "f_24_null": (200, {}, b"null"),
    "f_24_list": (200, {}, [TOKENS]),
    "f_24_not_a_number": (200, {}, f'{{"access_token":"{CANARY}","expires_in":NaN}}'.encode()),
    "empty_token": (200, {}, {**TOKENS, "access_token": ""}),
    "no_token_in_a_200": (200, {}, {"token": CANARY, "token_type": "bearer"}),
    "f_26_header_injection": (200, {}, {**TOKENS, "access_token": f"{CANARY}\r\nX-Evil: 1"}),
    "f_26_refresh_token_of_another_type": (200, {}, {**TOKENS, "refresh_token": [CANARY]}),
    "o_35_strange_token_type": (200, {}, {**TOKENS, "token_type": "mac"}),
}
OTHER = {
    "bad_scope": (400, {}, says("invalid_scope")),
    "unsupported": (400, {}, says("unsupported_grant_type")),
    "unheard_of": (400, {}, says("out_of_cheese")),
    "nothing_said": (400, {}, {}),
    "no_error_field": (400, {}, {"status": 400, "message": f"Invalid refresh token {CANARY}"}),
    "unheard_of_in_a_200": (200, {}, says("out_of_cheese")),
    "x_problem": (403, PROBLEM, {"title": "Forbidden", "detail": CANARY, "type": "about:blank", "status": 403}),
    "x_problem_at_401": (401, PROBLEM, {"title": "Unauthorized", "detail": CANARY, "type": "about:blank"}),
    "a_401_that_asks_for_a_bearer": (401, {"www_authenticate": 'Bearer realm="basic"'}, {"message": CANARY}),
    "a_gateway": (403, {}, {"message": "Forbidden"}),
}
MEANINGS = {
    ReauthorizationRequiredError: DEAD,
    ClientRejectedError: CLIENT,
    RateLimitedError: RATE_LIMITED,
    ProviderUnavailableError: UNAVAILABLE,
    MalformedResponseError: MALFORMED,
    ProviderError: OTHER,
}
ACTIONS = {
    ReauthorizationRequiredError: "reauthorize",
    ClientRejectedError: "fix_configuration",
    RateLimitedError: "retry",
    ProviderUnavailableError: "retry",
    MalformedResponseError: "retry",
    ProviderError: "report",
}
ROWS = {case: (branch, *row) for branch, rows in MEANINGS.items() for case, row in rows.items()}


@pytest.fixture(params=["exchange", "renewal"])
def ask(request, make, server, serve, begin_exchange, tokens):
    """Begin what presents a code or a token to the token endpoint of a provider."""

    def begin(name):
        provider = make(name)
        found = serve(provider.resolve(), server)
        if request.param == "exchange":
            return begin_exchange(provider, found, "code")
        return provider.renew(found, tokens(), "subject")

    return begin


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_row_11_to_13_each_answer_has_one_meaning(ask, name, drive, answer, frames_of_the_library, row):
    branch, status, headers, body = row
    with pytest.raises(ProviderError) as caught:
        drive(ask(name), answer(body, status, **headers))
    problem = caught.value
    assert type(problem) is branch
    assert problem.action == ACTIONS[branch]
    assert problem.status == status
    assert problem.retry_after == (timedelta(seconds=30) if "retry_after" in headers else None)
    assert may_have_committed(problem) is (status >= 500 or (branch is MalformedResponseError and status < 300))
    story = frames_of_the_library(problem)
    assert CANARY not in story
    assert "response" in story  # the frames that read the answer were searched


def test_row_11_there_are_forty_answers_at_the_least_and_every_provider_there_is_gets_them(make):
    assert len(ROWS) == sum(map(len, MEANINGS.values())) >= 40
    for slug in (*registry.known_slugs(), "oauth2", "openid_connect"):
        assert make(slug)  # what the `name` fixture runs over


@pytest.mark.parametrize("status", [200, 201, 203])
def test_a_token_that_arrived_counts_whatever_success_is_called(make, drive, answer, tokens, status):
    provider = make("oauth2")
    exchange = provider.renew(provider.static_server, tokens(), "subject")
    renewed = drive(exchange, answer({"access_token": "new", "refresh_token": "rt-1"}, status))
    assert (renewed.access_token.reveal(), renewed.refresh_token.reveal()) == ("new", "rt-1")
