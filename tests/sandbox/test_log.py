"""The log tells what happened, holds no secret, and is safe to read while it is written."""

import threading
from datetime import timedelta

import httpx
import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.sandbox import token_fingerprint


def test_the_log_tells_a_whole_life_in_order(x, sandbox):
    tokens = x.connect()
    fresh = x.refresh(tokens["refresh_token"]).json()
    x.get("/2/users/me", fresh["access_token"])
    x.revoke(fresh["refresh_token"])
    assert [(entry.endpoint, entry.outcome) for entry in sandbox.log] == [
        ("consent_page", "shown"),
        ("authorize", "granted"),
        ("token", "issued"),
        ("token", "refreshed"),
        ("userinfo", "answered"),
        ("revoke", "revoked"),
    ]
    assert {entry.provider for entry in sandbox.log} == {"x"}
    assert {entry.client_id for entry in sandbox.log} == {"sandbox-x"}
    assert len({entry.grant_id for entry in sandbox.log[1:]}) == 1
    assert [entry.user for entry in sandbox.log[1:]] == ["ada"] * 5
    assert [entry.grant_type for entry in sandbox.log.entries(endpoint="token")] == [
        "authorization_code",
        "refresh_token",
    ]


def test_the_log_holds_no_secret(app, sandbox):
    app.connect()
    everything = repr(list(sandbox.log)) + repr(sandbox)
    issued = sandbox.issued_tokens()
    assert len(issued) >= 2
    assert not [secret for secret in issued if secret in everything]
    assert app.secret not in everything


def test_what_was_issued_and_presented_is_found_by_the_secret_itself(x, sandbox):
    tokens = x.connect()
    x.refresh(tokens["refresh_token"])
    assert [entry.outcome for entry in sandbox.log.about(tokens["refresh_token"])] == ["issued", "refreshed"]
    assert sandbox.log[-1].presented == token_fingerprint(tokens["refresh_token"])
    assert sandbox.log.about("never seen") == []


def test_entries_are_counted_by_any_field(x, oidc, sandbox):
    x.connect()
    oidc.connect()
    assert sandbox.log.count(endpoint="token") == 2
    assert sandbox.log.count(endpoint="token", provider="x") == 1
    assert sandbox.log.count(outcome="refreshed") == 0
    assert sandbox.log.count(sandbox.log[0]) == 1
    with pytest.raises(ConfigurationError, match="outcom"):
        sandbox.log.count(outcom="issued")


def test_times_are_the_sandboxs(x, sandbox):
    sandbox.clock.freeze()
    sandbox.clock.advance(timedelta(days=400))
    x.connect()
    assert {entry.at for entry in sandbox.log} == {sandbox.clock.now()}


def test_issued_tokens_know_every_kind(facebook, oidc, sandbox):
    code = facebook.consent()["code"]
    token = facebook.exchange(code).json()["access_token"]
    page_token = facebook.graph("/me/accounts", token).json()["data"][0]["access_token"]
    tokens = oidc.connect()
    expected = {code, token, page_token, tokens["access_token"], tokens["refresh_token"], tokens["id_token"]}
    assert expected <= sandbox.issued_tokens()
    assert {token, page_token} <= sandbox.live_tokens("facebook")
    assert code not in sandbox.live_tokens("facebook")
    for secret in expected - {tokens["id_token"]}:
        assert sandbox.log.about(secret)


def test_reading_while_writing_breaks_nothing(x, sandbox):
    tokens = x.connect()["access_token"]
    stop, seen = threading.Event(), []

    def read():
        while not stop.is_set():
            seen.append((len(list(sandbox.log)), len(sandbox.live_tokens("x")), len(sandbox.issued_tokens())))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        assert x.get("/2/users/me", tokens).status_code == 200
    stop.set()
    reader.join()
    assert seen
    assert sandbox.log.count(endpoint="userinfo") == 20


def test_a_request_is_worked_on_while_nobody_reads(x, sandbox):
    token = x.connect()["access_token"]
    with sandbox._world.lock, httpx.Client(timeout=0.15, trust_env=False) as impatient:
        x.http, patient = impatient, x.http
        with pytest.raises(httpx.ReadTimeout):
            x.get("/2/users/me", token)
        assert sandbox.log.count(endpoint="userinfo") == 0
    assert patient.get(sandbox.base_url).status_code == 200
    assert sandbox.log.count(endpoint="userinfo") == 1
