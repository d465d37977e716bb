"""Emulated Instagram: each rule shown."""

from datetime import timedelta

import pytest

DAY = timedelta(days=1)


def error_of(response):
    assert response.status_code in (400, 403)
    error = response.json()["error"]
    assert error["type"] == "OAuthException"
    return error["code"], error.get("error_subcode")


@pytest.fixture
def short(instagram):
    return instagram.connect()["access_token"]


@pytest.fixture
def long_lived(instagram, short):
    return instagram.prolonged(short).json()["access_token"]


def test_the_callback_has_its_odd_fragment(instagram):
    assert instagram.consent().url.endswith("#_")


@pytest.mark.parametrize("permissions", ["list", "text"])
@pytest.mark.parametrize("answer", ["data", "flat"])
def test_a_code_brings_a_short_lived_token_in_either_shape(instagram, sandbox, answer, permissions):
    sandbox.settings("instagram", answer=answer, permissions=permissions)
    document = instagram.exchange(instagram.consent()["code"]).json()
    token = document["data"][0] if answer == "data" else document
    assert set(token) == {"access_token", "user_id", "permissions"}
    assert isinstance(token["user_id"], int)
    assert isinstance(token["permissions"], list if permissions == "list" else str)
    assert sandbox.log[-1].outcome == "issued"


def test_a_short_lived_token_lives_an_hour_and_is_exchanged_for_sixty_days(instagram, sandbox):
    sandbox.clock.freeze()
    short = instagram.connect()["access_token"]
    sandbox.clock.advance(timedelta(seconds=3599))
    answer = instagram.prolonged(short).json()
    assert (answer["token_type"], answer["expires_in"]) == ("bearer", 60 * 86400)
    assert sandbox.log[-1].outcome == "exchanged"
    sandbox.clock.advance(timedelta(seconds=1))
    assert error_of(instagram.prolonged(short)) == (190, 463)
    sandbox.clock.advance(60 * DAY - timedelta(seconds=2))
    assert instagram.get("/me", answer["access_token"]).status_code == 200
    sandbox.clock.advance(timedelta(seconds=1))
    assert error_of(instagram.get("/me", answer["access_token"])) == (190, 463)


def test_the_exchange_needs_the_applications_secret_and_a_short_lived_token(instagram, short, long_lived, sandbox):
    assert error_of(instagram.prolonged(short, client_secret="wrong")) == (101, None)
    assert sandbox.log[-1].outcome == "invalid_client"
    assert error_of(instagram.prolonged(long_lived)) == (100, None)
    assert sandbox.log[-1].outcome == "not_short_lived"
    assert error_of(instagram.prolonged("nonsense")) == (190, 467)
    assert error_of(instagram.query_token("/access_token", "ig_refresh_token", short)) == (100, None)


@pytest.mark.parametrize("extension", ["same", "new"])
def test_an_extension_gives_sixty_days_from_now_and_only_to_who_waited_a_day(instagram, sandbox, extension):
    sandbox.clock.freeze()
    sandbox.settings("instagram", extension=extension)
    held = instagram.prolonged(instagram.connect()["access_token"]).json()["access_token"]
    sandbox.clock.advance(DAY - timedelta(seconds=1))
    assert error_of(instagram.extended(held)) == (100, None)
    assert sandbox.log[-1].outcome == "too_young"
    sandbox.clock.advance(timedelta(seconds=1))
    answer = instagram.extended(held).json()
    assert answer["expires_in"] == 60 * 86400
    assert (answer["access_token"] == held) is (extension == "same")
    assert (sandbox.log[-1].outcome, sandbox.log[-1].grant_type) == ("extended", "ig_refresh_token")
    assert error_of(instagram.extended(answer["access_token"])) == (100, None)  # it is young again
    sandbox.clock.advance(60 * DAY - timedelta(seconds=1))
    assert instagram.get("/me", answer["access_token"]).status_code == 200
    sandbox.clock.advance(timedelta(seconds=1))
    assert error_of(instagram.extended(answer["access_token"])) == (190, 463)
    assert sandbox.log[-1].outcome == "expired_token"


def test_a_new_token_leaves_the_old_one_its_own_days(instagram, long_lived, sandbox):
    sandbox.settings("instagram", extension="new")
    sandbox.clock.advance(30 * DAY)
    fresh = instagram.extended(long_lived).json()["access_token"]
    assert sandbox.live_tokens("instagram") == {long_lived, fresh}
    sandbox.clock.advance(30 * DAY)
    assert sandbox.live_tokens("instagram") == {fresh}


def test_a_short_lived_token_is_never_extended(instagram, short, sandbox):
    sandbox.settings("instagram", minimum_age=timedelta(0))
    assert error_of(instagram.extended(short)) == (100, None)
    assert sandbox.log[-1].outcome == "not_long_lived"


def test_an_extension_whose_answer_is_lost_was_made_all_the_same(instagram, long_lived, sandbox):
    sandbox.clock.advance(DAY)
    sandbox.fault("instagram", "token", status=502, body="html", at="after_commit")
    assert instagram.extended(long_lived).status_code == 502
    assert sandbox.log[-1].outcome == "extended"
    assert error_of(instagram.extended(long_lived)) == (100, None)
    sandbox.clock.advance(59 * DAY + timedelta(hours=23))
    assert instagram.get("/me", long_lived).status_code == 200


def test_a_lifetime_may_stay_untold(instagram, short, sandbox):
    sandbox.settings("instagram", expires_in="absent")
    assert "expires_in" not in instagram.prolonged(short).json()


def test_an_account_has_two_ids_and_one_differs_per_application(instagram, long_lived, register):
    path = "/v24.0/me?fields=id,user_id,username,name,account_type,profile_picture_url,unknown"
    record = instagram.get(path, long_lived).json()
    assert set(record) == {"id", "user_id", "username", "name", "account_type", "profile_picture_url"}
    assert record["id"] != record["user_id"]
    assert set(instagram.get("/me", long_lived).json()) == {"id"}
    other = register("instagram", client_id="other-app")
    others = other.get(path, other.connect()["access_token"]).json()
    assert (others["user_id"] == record["user_id"], others["id"] == record["id"]) == (True, False)


def test_the_account_needs_the_basic_permission(instagram):
    token = instagram.connect(scopes=["instagram_business_content_publish"])["access_token"]
    assert error_of(instagram.get("/me", token)) == (200, None)


@pytest.mark.parametrize(("end", "subcode"), [("change_password", 460), ("revoke_grant", 458)])
def test_a_dead_grant_says_how_it_died(instagram, long_lived, sandbox, end, subcode):
    assert getattr(sandbox, end)("instagram") == 1
    sandbox.clock.advance(DAY)
    assert error_of(instagram.extended(long_lived)) == (190, subcode)


def test_the_codes_endpoint_says_errors_flat(instagram, sandbox):
    refused = instagram.exchange("nonsense")
    assert refused.status_code == 400
    assert set(refused.json()) == {"error_type", "code", "error_message"}
    assert sandbox.log[-1].outcome == "invalid_grant"
    wrong = instagram.exchange("nonsense", grant_type="refresh_token")
    assert (wrong.status_code, sandbox.log[-1].outcome) == (400, "invalid_request")


def test_an_error_of_a_fault_is_said_in_the_dialect_of_where_it_strikes(instagram, long_lived, sandbox):
    sandbox.fault("instagram", "token", error="190.460", times=2)
    assert error_of(instagram.extended(long_lived)) == (190, 460)
    assert instagram.exchange("anything").json()["error_type"] == "OAuthException"
