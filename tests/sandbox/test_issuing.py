"""Grants without a browser: the tokens work as if somebody had consented."""

from datetime import timedelta

import pytest

from socialvault.exceptions import ConfigurationError

CLIENTS = {"x": None, "linkedin": "sandbox-linkedin-partner", "facebook": None, "instagram": None, "oidc": None}


@pytest.mark.parametrize(("slug", "client_id"), CLIENTS.items(), ids=CLIENTS)
def test_issued_tokens_are_what_an_application_would_keep(sandbox, http, slug, client_id):
    sandbox.clock.freeze()
    issued = sandbox.issue(slug, client_id=client_id)
    assert issued.access_token.reveal() in sandbox.live_tokens(slug, issued.grant_id)
    assert len(sandbox.log) == 0
    now = sandbox.clock.now()
    if slug in ("facebook", "instagram"):
        assert issued.refresh_token is None
        assert issued.refresh_expires_at is None
        assert issued.expires_at == now + timedelta(days=60)
    else:
        assert issued.refresh_token.reveal() in sandbox.live_tokens(slug, issued.grant_id)
        assert (issued.refresh_expires_at == now + timedelta(days=365)) is (slug == "linkedin")
    shown = f"{issued!r} {issued}"
    assert not [secret for secret in sandbox.issued_tokens() if secret in shown]


def test_an_issued_refresh_token_refreshes_like_any_other(x, sandbox):
    issued = sandbox.issue("x", user="grace")
    assert issued.scopes == ("users.read", "tweet.read", "offline.access")
    assert issued.subject == x.get("/2/users/me", issued.access_token.reveal()).json()["data"]["id"]
    assert x.refresh(issued.refresh_token.reveal()).status_code == 200
    assert sandbox.log[-1].user == "grace"
    assert sandbox.log.count(outcome="refreshed", grant_id=issued.grant_id) == 1
    assert x.refresh(issued.refresh_token.reveal()).status_code == 400
    assert sandbox.log[-1].outcome == "reuse_detected"


def test_facebooks_is_the_long_lived_one_and_opens_pages_that_do_not_expire(facebook, sandbox):
    issued = sandbox.issue("facebook", scopes=["public_profile", "pages_show_list"])
    assert issued.subject == facebook.graph("/me", issued.access_token.reveal()).json()["id"]
    page = facebook.graph("/me/accounts", issued.access_token.reveal()).json()["data"][0]["access_token"]
    sandbox.clock.advance(timedelta(days=59))
    assert facebook.graph("/me", page).status_code == 200
    assert facebook.long_lived(issued.access_token.reveal()).status_code == 200


def test_instagrams_can_be_extended_after_a_day(instagram, sandbox):
    token = sandbox.issue("instagram").access_token.reveal()
    assert instagram.extended(token).status_code == 400
    sandbox.clock.advance(timedelta(days=1))
    assert instagram.extended(token).status_code == 200


def test_scopes_and_the_application_decide_whether_there_is_a_refresh_token(sandbox):
    assert sandbox.issue("x", scopes=["users.read"]).refresh_token is None
    assert sandbox.issue("linkedin").refresh_token is None
    sandbox.register("x", client_id="mine")
    assert sandbox.issue("x", client_id="mine").refresh_token is not None


def test_many_are_issued_at_once_each_to_a_person_of_its_own(sandbox):
    issued = sandbox.issue_many("x", (f"user-{number}" for number in range(1000)))
    assert len({one.subject for one in issued}) == len({one.grant_id for one in issued}) == 1000
    assert len(sandbox.live_tokens("x")) == 2000
    assert sandbox.revoke_grant("x", user="user-7") == 1
    assert sandbox.live_tokens("x", issued[7].grant_id) == frozenset()


def test_nobody_is_issued_anything_for_an_unknown_application(sandbox):
    with pytest.raises(ConfigurationError, match="register it first"):
        sandbox.issue("x", client_id="nobody")
    with pytest.raises(ConfigurationError, match="myspace"):
        sandbox.issue("myspace")
