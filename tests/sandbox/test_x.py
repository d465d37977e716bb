"""Emulated X: each quirk shown."""

from datetime import timedelta

import pytest


def test_an_access_token_lives_two_hours(x, sandbox):
    sandbox.clock.freeze()
    tokens = x.connect()
    assert tokens["expires_in"] == 7200
    assert tokens["token_type"] == "bearer"
    sandbox.clock.advance(timedelta(seconds=7199))
    assert x.get("/2/users/me", tokens["access_token"]).status_code == 200
    sandbox.clock.advance(timedelta(seconds=1))
    refused = x.get("/2/users/me", tokens["access_token"])
    assert refused.status_code == 401
    assert refused.headers["content-type"] == "application/problem+json"
    assert (refused.json()["title"], refused.json()["status"]) == ("Unauthorized", 401)
    assert sandbox.log[-1].outcome == "expired_token"


def test_a_refresh_token_comes_with_offline_access_only(x):
    assert "refresh_token" not in x.connect(scope="users.read tweet.read")
    assert "refresh_token" in x.connect()


def test_plain_oauth_knows_no_id_token(x):
    assert "id_token" not in x.connect(scope="openid users.read tweet.read")


def test_a_refresh_token_works_once(x, sandbox):
    first = x.connect()
    second = x.refresh(first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["access_token"] != first["access_token"]
    assert second["scope"] == first["scope"]
    assert sandbox.log[-1].outcome == "refreshed"
    assert x.refresh(second["refresh_token"]).status_code == 200


def test_a_spent_refresh_token_kills_the_whole_grant(x, sandbox):
    first = x.connect()
    other = x.connect(user="grace")
    second = x.refresh(first["refresh_token"]).json()
    refused = x.refresh(first["refresh_token"])
    assert refused.status_code == 400
    assert refused.json()["error"] == "invalid_request"  # X's word for a dead grant
    assert sandbox.log.count(outcome="reuse_detected") == 1
    assert x.refresh(second["refresh_token"]).status_code == 400
    assert x.get("/2/users/me", second["access_token"]).status_code == 401
    assert sandbox.log.count(outcome="reuse_detected") == 1
    assert sandbox.live_tokens("x") == {other["access_token"], other["refresh_token"]}


def test_within_a_grace_period_a_spent_refresh_token_still_works(x, sandbox):
    sandbox.clock.freeze()
    sandbox.settings("x", reuse_grace=timedelta(seconds=30))
    first = x.connect()
    second = x.refresh(first["refresh_token"]).json()
    assert first["refresh_token"] in sandbox.live_tokens("x")
    sandbox.clock.advance(timedelta(seconds=29))
    again = x.refresh(first["refresh_token"])
    assert again.status_code == 200
    assert sandbox.log[-1].outcome == "refreshed_in_grace"
    assert x.get("/2/users/me", second["access_token"]).status_code == 200
    sandbox.clock.advance(timedelta(seconds=1))
    assert first["refresh_token"] not in sandbox.live_tokens("x")
    assert x.refresh(first["refresh_token"]).status_code == 400
    assert sandbox.log[-1].outcome == "reuse_detected"


def test_refreshes_need_basic_too(x, sandbox):
    tokens = x.connect()
    assert x.refresh(tokens["refresh_token"], auth="body").status_code == 401
    assert tokens["refresh_token"] in sandbox.live_tokens("x")


def test_a_refresh_may_ask_for_less_but_never_for_more(x):
    tokens = x.connect()
    assert x.refresh(tokens["refresh_token"], scope="users.read admin").json()["error"] == "invalid_scope"
    less = x.refresh(tokens["refresh_token"], scope="users.read").json()
    assert less["scope"] == "users.read"
    assert x.get("/2/users/me", less["access_token"]).status_code == 403


def test_a_refresh_token_of_one_application_is_nothing_to_another(x, register):
    tokens = x.connect()
    assert register("x", client_id="other-app").refresh(tokens["refresh_token"]).status_code == 400
    assert x.refresh(tokens["access_token"]).status_code == 400
    assert x.refresh(tokens["refresh_token"]).status_code == 200


def test_where_reuse_is_only_refused_the_grant_lives(x, sandbox):
    sandbox.settings("x", reuse="refused")
    first = x.connect()
    second = x.refresh(first["refresh_token"]).json()
    for _ in range(2):
        refused = x.refresh(first["refresh_token"])
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
        assert sandbox.log[-1].outcome == "spent"
    assert sandbox.log.count(outcome="reuse_detected") == 0
    assert sandbox.live_tokens("x") >= {second["access_token"], second["refresh_token"]}
    assert x.refresh(second["refresh_token"]).status_code == 200


def test_revocation_needs_the_hint(x, sandbox):
    tokens = x.connect()
    refused = x.revoke(tokens["refresh_token"], token_type_hint=None)
    assert refused.status_code == 400
    assert "token_type_hint" in refused.json()["error_description"]
    assert tokens["refresh_token"] in sandbox.live_tokens("x")
    assert x.revoke(tokens["refresh_token"]).json() == {"revoked": True}
    assert sandbox.live_tokens("x") == frozenset()
    assert sandbox.log[-1].outcome == "revoked"


def test_revoking_an_access_token_leaves_its_refresh_token(x, sandbox):
    tokens = x.connect()
    assert x.revoke(tokens["access_token"], token_type_hint="access_token").status_code == 200
    assert sandbox.live_tokens("x") == {tokens["refresh_token"]}
    assert sandbox.log[-1].outcome == "token_revoked"


@pytest.mark.parametrize(("revoked", "left"), [("refresh_token", "access_token"), ("access_token", "refresh_token")])
def test_revocation_can_reach_the_token_alone(x, sandbox, revoked, left):
    sandbox.settings("x", revocation_reach="single")
    tokens = x.connect()
    assert x.revoke(tokens[revoked]).status_code == 200
    assert sandbox.live_tokens("x") == {tokens[left]}
    assert sandbox.log[-1].outcome == "token_revoked"
    if left == "refresh_token":
        assert x.refresh(tokens[left]).status_code == 200


def test_revocation_can_reach_every_grant_of_the_person(x, sandbox):
    sandbox.settings("x", revocation_reach="account")
    first, second, other = x.connect(), x.connect(), x.connect(user="grace")
    assert x.revoke(first["access_token"]).status_code == 200
    assert sandbox.log[-1].outcome == "account_revoked"
    assert sandbox.live_tokens("x").isdisjoint(second.values())
    assert other["access_token"] in sandbox.live_tokens("x")


def test_revoking_what_is_unknown_is_no_error_but_another_applications_token_is(x, register, sandbox):
    tokens = x.connect()
    assert x.revoke("never issued").status_code == 200
    assert sandbox.log[-1].outcome == "unknown_token"
    assert x.revoke("").status_code == 400
    assert register("x", client_id="other-app").revoke(tokens["refresh_token"]).status_code == 400
    assert tokens["refresh_token"] in sandbox.live_tokens("x")


def test_the_account_is_wrapped_in_data_and_gives_what_was_asked(x, sandbox):
    tokens = x.connect(scope="users.read tweet.read users.email")
    plain = x.get("/2/users/me", tokens["access_token"]).json()
    assert set(plain["data"]) == {"id", "name", "username"}
    assert plain["data"]["username"] == "ada"
    full = x.get("/2/users/me?user.fields=profile_image_url,confirmed_email,verified,unknown", tokens["access_token"])
    assert set(full.json()["data"]) == {"id", "name", "username", "profile_image_url", "confirmed_email", "verified"}
    assert full.json()["data"]["id"] == plain["data"]["id"]
    without = x.connect()["access_token"]
    assert "confirmed_email" not in x.get("/2/users/me?user.fields=confirmed_email", without).json()["data"]


@pytest.mark.parametrize("scope", ["users.read", "tweet.read"])
def test_the_account_needs_both_scopes(x, scope):
    refused = x.get("/2/users/me", x.connect(scope=scope)["access_token"])
    assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden")


def test_a_refresh_token_or_nonsense_is_no_access_token(x):
    tokens = x.connect()
    assert x.get("/2/users/me", tokens["refresh_token"]).status_code == 401
    assert x.get("/2/users/me", "nonsense").status_code == 401
    assert x.get("/2/users/me").status_code == 401


def test_a_state_may_have_500_characters(x, sandbox):
    assert sandbox.authorize(x.login_url(state="s" * 500))["state"] == "s" * 500
    assert sandbox.authorize(x.login_url(state="s" * 501))["error"] == "invalid_request"


def test_commas_do_not_separate_scopes(x):
    assert x.connect(scope="users.read,tweet.read")["scope"] == "users.read,tweet.read"


def test_ids_are_the_same_for_every_application(x, register):
    other = register("x", client_id="other-app")
    ids = {app.get("/2/users/me", app.connect()["access_token"]).json()["data"]["id"] for app in (x, other)}
    assert len(ids) == 1


def test_the_person_removes_the_application(x, sandbox):
    tokens = x.connect()
    x.connect(user="grace")
    assert sandbox.revoke_grant("x", user="ada") == 1
    assert x.refresh(tokens["refresh_token"]).status_code == 400
    assert sandbox.log[-1].outcome == "invalid_grant"
    assert len(sandbox.live_tokens("x")) == 2
    assert sandbox.revoke_grant("x", user="ada") == 0


def test_a_code_of_a_removed_grant_is_dead(x, sandbox):
    code = x.consent()["code"]
    sandbox.revoke_grant("x")
    assert x.exchange(code).status_code == 400
