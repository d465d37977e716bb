"""Faults strike where they are told to, and the log still tells what was really done."""

import time
from datetime import timedelta

import httpx
import pytest

from socialvault.exceptions import ConfigurationError


def test_drop_before_commit_leaves_the_refresh_token_alive(x, sandbox):
    tokens = x.connect()
    sandbox.fault("x", "token", drop="before_commit")
    with pytest.raises(httpx.RemoteProtocolError):
        x.refresh(tokens["refresh_token"])
    assert sandbox.log[-1].outcome == "not_run"
    assert sandbox.log[-1].fault == "drop before_commit"
    assert x.refresh(tokens["refresh_token"]).status_code == 200
    assert sandbox.log.count(outcome="refreshed") == 1


def test_drop_after_commit_really_commits(x, sandbox):
    tokens = x.connect()
    sandbox.fault("x", "token", drop="after_commit")
    with pytest.raises(httpx.RemoteProtocolError):
        x.refresh(tokens["refresh_token"])
    dropped = sandbox.log[-1]
    assert (dropped.outcome, dropped.fault, len(dropped.issued)) == ("refreshed", "drop after_commit", 2)
    assert tokens["refresh_token"] not in sandbox.live_tokens("x")
    assert x.refresh(tokens["refresh_token"]).status_code == 400
    assert sandbox.log[-1].outcome == "reuse_detected"


@pytest.mark.parametrize(("moment", "outcome"), [("before_commit", "not_run"), ("after_commit", "refreshed")])
def test_hang_answers_nothing_at_all(x, sandbox, moment, outcome):
    tokens = x.connect()
    sandbox.fault("x", "token", hang=moment)
    with httpx.Client(timeout=0.5, trust_env=False) as impatient, pytest.raises(httpx.ReadTimeout):
        x.http, patient = impatient, x.http
        x.refresh(tokens["refresh_token"])
    x.http = patient
    assert sandbox.log[-1].outcome == outcome


def test_latency_delays_the_work_itself(x, sandbox):
    tokens = x.connect()
    sandbox.fault("x", "token", latency=timedelta(milliseconds=500))
    started = time.perf_counter()
    assert x.refresh(tokens["refresh_token"]).status_code == 200
    assert time.perf_counter() - started >= 0.5
    started = time.perf_counter()
    assert x.get("/2/users/me", tokens["access_token"]).status_code == 200
    assert time.perf_counter() - started < 0.5


def test_latency_after_commit_delays_the_answer_alone(x, sandbox):
    tokens = x.connect()
    sandbox.fault("x", "token", latency=timedelta(seconds=2), at="after_commit")
    with httpx.Client(timeout=0.5, trust_env=False) as impatient, pytest.raises(httpx.ReadTimeout):
        x.http = impatient
        x.refresh(tokens["refresh_token"])
    assert sandbox.log[-1].outcome == "refreshed"


def test_a_dripping_body_keeps_the_client_waiting(x, sandbox):
    tokens = x.connect()
    sandbox.fault("x", "token", drip=timedelta(milliseconds=1))
    started = time.perf_counter()
    response = x.refresh(tokens["refresh_token"])
    assert time.perf_counter() - started > 0.001 * len(response.content)
    assert response.json()["access_token"] in sandbox.live_tokens("x")


@pytest.mark.parametrize(
    ("body", "content_type", "content"),
    [
        ("html", "text/html", b"<!doctype html>"),
        ("malformed", "application/json", b'{"access_token": "'),
        ("empty", "", b""),
        (b'{"expires_in": NaN}', "application/json", b'{"expires_in": NaN}'),
    ],
    ids=["html", "malformed", "empty", "own bytes"],
)
def test_f_21_a_useless_body_comes_instead_of_the_work(x, sandbox, body, content_type, content):
    tokens = x.connect()
    sandbox.fault("x", "token", body=body)
    response = x.refresh(tokens["refresh_token"])
    assert response.status_code == 200
    assert response.headers.get("content-type", "") == content_type
    assert response.content.startswith(content)
    assert len(response.content) >= len(content) or body == "html"
    assert (sandbox.log[-1].outcome, sandbox.log[-1].fault) == ("not_run", "body before_commit")
    assert tokens["refresh_token"] in sandbox.live_tokens("x")


def test_a_truncated_body_is_the_right_one_cut_off(x, sandbox):
    tokens = x.connect()
    sandbox.fault("x", "token", body="truncated")
    response = x.refresh(tokens["refresh_token"])
    assert response.status_code == 200
    assert response.content.startswith(b'{"access_token": "x-at-')
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        response.json()
    assert sandbox.log[-1].outcome == "refreshed"


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
def test_f_20_a_503_with_retry_after_may_or_may_not_have_committed(x, sandbox, moment):
    tokens = x.connect()
    sandbox.fault("x", "token", status=503, retry_after=30, at=moment)
    response = x.refresh(tokens["refresh_token"])
    assert (response.status_code, response.headers["retry-after"]) == (503, "30")
    assert response.json()["error"] == "temporarily_unavailable"
    assert (tokens["refresh_token"] in sandbox.live_tokens("x")) is (moment == "before_commit")


def test_a_502_page_after_commit_hides_a_rotated_token(x, sandbox):
    tokens = x.connect()
    sandbox.fault("x", "token", status=502, body="html", at="after_commit")
    response = x.refresh(tokens["refresh_token"])
    assert (response.status_code, response.headers["content-type"]) == (502, "text/html")
    assert sandbox.log[-1].outcome == "refreshed"


@pytest.mark.parametrize(
    ("provider", "error", "status", "expected"),
    [
        ("x", "invalid_grant", 400, {"error": "invalid_grant"}),
        ("linkedin", "invalid_client", 401, {"error": "invalid_client"}),
        ("oidc", "server_error", 400, {"error": "server_error"}),
    ],
)
def test_an_error_is_said_in_the_token_endpoints_dialect(register, sandbox, provider, error, status, expected):
    app = register(provider)
    sandbox.fault(provider, "token", error=error)
    response = app.refresh("anything")
    assert response.status_code == status
    assert expected.items() <= response.json().items()
    assert sandbox.log[-1].outcome == "not_run"


@pytest.mark.parametrize(
    ("error", "code", "subcode"), [("190.460", 190, 460), ("613", 613, None), ("nonsense", 100, None)]
)
def test_an_error_at_facebook_is_code_and_subcode(facebook, sandbox, error, code, subcode):
    sandbox.fault("facebook", "userinfo", error=error)
    answer = facebook.graph("/me", "anything")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"].get("error_subcode") == subcode


def test_a_429_at_facebook_says_code_4(facebook, sandbox):
    sandbox.fault("facebook", "userinfo", status=429, retry_after="Wed, 01 Jan 2031 00:00:00 GMT")
    answer = facebook.graph("/me", "anything")
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, 4)
    assert answer.headers["retry-after"] == "Wed, 01 Jan 2031 00:00:00 GMT"


def test_replace_sets_and_leaves_out_fields_of_a_committed_answer(x, sandbox):
    tokens = x.connect()
    sandbox.fault("x", "token", replace={"expires_in": "3600", "refresh_token": None, "scope": None, "extra": [1]})
    answer = x.refresh(tokens["refresh_token"]).json()
    assert answer["expires_in"] == "3600"
    assert answer["extra"] == [1]
    assert "refresh_token" not in answer
    assert "scope" not in answer
    assert sandbox.log[-1].outcome == "refreshed"


def test_headers_are_added_so_that_a_token_endpoint_can_redirect(x, sandbox):
    tokens = x.connect()
    sandbox.fault("x", "token", status=307, headers={"Location": "https://evil.example/"})
    response = x.refresh(tokens["refresh_token"])
    assert (response.status_code, response.headers["location"]) == (307, "https://evil.example/")
    assert sandbox.log[-1].outcome == "not_run"


def test_the_authorization_response_can_lie(oidc, sandbox):
    sandbox.fault("oidc", "authorize", replace={"iss": "https://evil.example", "state": None})
    callback = oidc.consent()
    assert callback["iss"] == "https://evil.example"
    assert "state" not in callback
    assert "code" in callback


def test_an_error_at_authorize_comes_back_through_the_callback(oidc, sandbox):
    sandbox.fault("oidc", "authorize", error="temporarily_unavailable")
    callback = oidc.consent()
    assert callback["error"] == "temporarily_unavailable"
    assert callback["state"] == "state-1"
    assert "code" not in callback
    assert sandbox.log[-1].outcome == "denied"


def test_a_status_at_authorize_shows_no_callback(oidc, sandbox):
    sandbox.fault("oidc", "authorize", status=500)
    with pytest.raises(ConfigurationError, match="500"):
        oidc.consent()
    assert sandbox.log[-1].outcome == "not_run"


def test_faults_are_counted_off_in_order_and_cleared(x, sandbox):
    sandbox.fault("x", "token", status=500, times=2)
    sandbox.fault("x", "token", status=503)
    assert [x.refresh("r").status_code for _ in range(4)] == [500, 500, 503, 400]
    sandbox.fault("x", "token", status=500, times=None)
    assert {x.refresh("r").status_code for _ in range(3)} == {500}
    sandbox.clear_faults()
    assert x.refresh("r").status_code == 400


def test_a_fault_of_one_endpoint_spares_the_others(x, oidc, sandbox):
    tokens = x.connect()
    sandbox.fault("x", "token", status=500, times=None)
    assert x.get("/2/users/me", tokens["access_token"]).status_code == 200
    assert oidc.refresh("r").status_code == 400


@pytest.mark.parametrize(
    ("provider", "endpoint", "how"),
    [
        ("myspace", "token", {}),
        ("x", "jwks", {"status": 500}),
        ("x", "token", {"drop": "sometimes"}),
        ("x", "token", {"at": "later"}),
        ("x", "token", {"body": "xml"}),
    ],
)
def test_a_fault_that_can_never_strike_is_refused(sandbox, provider, endpoint, how):
    with pytest.raises(ConfigurationError):
        sandbox.fault(provider, endpoint, **how)
