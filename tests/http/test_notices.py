"""What a provider tells about an account, over HTTP: believed when it is signed and fresh, answered as it asks."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from support.world import OWNER, TENANT

from socialvault.exceptions import StoreUnavailableError
from socialvault.model.status import Status

MINE = {"owner": OWNER, "tenant": TENANT}
BOTH = ["/oauth/facebook/deauthorize", "/oauth/facebook/data-deletion"]
both_paths = pytest.mark.parametrize("path", BOTH)


@pytest.fixture
def post(desk):
    """Post a form as the provider does: for nobody."""

    async def post(path, form=None, **how):
        how = {"owner": None, "tenant": None, "form": form or {}, **how}
        return await desk.ask("POST", path, **how)

    return post


@pytest.fixture
def signed(world):
    def signed(**how):
        return {"signed_request": world.sandbox.signed_request("facebook", **how)}

    return signed


async def facts(world):
    return [(one.status, one.reason) for one in await world.vault.connections(**MINE)]


# --- deauthorisation ------------------------------------------------------------------------------


async def test_a_deauthorisation_is_taken_note_of_and_needs_no_answer(post, signed, world):
    await world.connect("facebook")
    answer = await post("/oauth/facebook/deauthorize", signed())
    assert (answer.status, answer.text, answer.content_type) == (204, "", "")
    assert await facts(world) == [(Status.REAUTHORIZATION_REQUIRED, "deauthorized")]


async def test_a_deauthorisation_may_come_again_and_for_nobody(post, signed, world):
    await world.connect("facebook")
    form = signed()
    assert [(await post("/oauth/facebook/deauthorize", form)).status for _ in range(2)] == [204, 204]
    assert (await post("/oauth/facebook/deauthorize", signed(user="grace"))).status == 204


async def test_other_accounts_are_not_touched(post, signed, world):
    await world.connect("facebook")
    await post("/oauth/facebook/deauthorize", signed(user="grace"))
    await post("/oauth/facebook/data-deletion", signed(user="grace"))
    assert await facts(world) == [(Status.ACTIVE, "")]


# --- data deletion --------------------------------------------------------------------------------


async def test_a_deletion_is_done_and_answered_with_where_to_look(post, signed, desk, world):
    await world.connect("facebook")
    answer = await post("/oauth/facebook/data-deletion", signed())
    assert (answer.status, answer.content_type, set(answer.json)) == (
        200, "application/json", {"url", "confirmation_code"},
    )  # fmt: skip
    code, url = answer.json["confirmation_code"], answer.json["url"]
    assert url == f"http://127.0.0.1:9/oauth/facebook/data-deletion?code={code}"
    assert await facts(world) == []
    status = await desk.ask("GET", url.removeprefix("http://127.0.0.1:9"), owner=None)
    assert (status.status, set(status.json)) == (200, {"status", "platform", "deleted_at"})
    assert (status.json["status"], status.json["platform"]) == ("deleted", "facebook")
    assert abs(datetime.fromisoformat(status.json["deleted_at"]) - world.sandbox.clock.now()) < timedelta(seconds=5)


async def test_a_person_sees_a_page(post, signed, desk):
    code = (await post("/oauth/facebook/data-deletion", signed())).json["confirmation_code"]
    page = await desk.ask("GET", f"/oauth/facebook/data-deletion?code={code}", owner=None, browser=True)
    assert (page.status, page.content_type) == (200, "text/html; charset=utf-8")
    assert re.search(r"your Facebook account was deleted at \d{4}-\d\d-\d\d \d\d:\d\d UTC", page.text)
    assert "frame-ancestors 'none'" in page.header("Content-Security-Policy")


@pytest.mark.parametrize("code", ["0" * 58, "canary", "f" * 58, "%00", "é"])
async def test_a_code_that_nobody_gave_out_is_not_found(desk, code):
    for browser in (False, True):
        answer = await desk.ask("GET", f"/oauth/facebook/data-deletion?code={code}", owner=None, browser=browser)
        assert answer.status == 404
        assert "canary" not in answer.text
        assert "<form" not in answer.text


@pytest.mark.parametrize("query", ["", "code=", "code=a&code=b", "other=1", "code=%FF"])
async def test_a_code_is_given_once(desk, query):
    answer = await desk.ask("GET", f"/oauth/facebook/data-deletion?{query}", owner=None)
    assert (answer.status, answer.code) == (400, "invalid_request")


# --- whom to believe ------------------------------------------------------------------------------


@both_paths
async def test_what_was_not_signed_by_the_provider_changes_nothing(post, signed, world, path):
    await world.connect("facebook")
    good = signed()["signed_request"]
    signature, payload = good.split(".")
    forged = [
        f"{signature[::-1]}.{payload}",
        f"{signature}.{payload[:-2]}",
        f"{signature}.",
        f".{payload}",
        payload,
        "canary",
        "a.b.c",
        good + good,
        "\x00",
    ]
    for text in forged:
        answer = await post(path, {"signed_request": text})
        assert (answer.status, answer.code) == (400, "invalid_request"), text
        assert "canary" not in answer.text
    assert await facts(world) == [(Status.ACTIVE, "")]


@both_paths
async def test_what_was_signed_for_another_application_changes_nothing(post, world, path):
    await world.connect("facebook")
    other = world.sandbox.register("facebook", client_id="another-app")
    posted = world.sandbox.signed_request("facebook", client_id=other.id)
    assert (await post(path, {"signed_request": posted})).status == 400
    assert await facts(world) == [(Status.ACTIVE, "")]


@both_paths
async def test_what_was_signed_long_ago_or_in_the_future_changes_nothing(post, signed, world, path):
    world.sandbox.clock.freeze()
    await world.connect("facebook")
    world.sandbox.clock.advance(timedelta(days=3))
    for age in (timedelta(days=2), timedelta(days=1, minutes=1), timedelta(minutes=-6)):
        answer = await post(path, signed(issued_at=world.sandbox.clock.now() - age))
        assert (answer.status, answer.code) == (400, "invalid_request"), age
    assert await facts(world) == [(Status.ACTIVE, "")]


@both_paths
async def test_a_notice_without_its_one_field_is_refused(post, path):
    for form in ({}, {"signed_request": ""}, {"other": "x"}, [("signed_request", "a")] * 2):
        answer = await post(path, form)
        assert (answer.status, answer.json["detail"]) == (400, "signed_request must be given once")


@both_paths
async def test_a_notice_is_a_form(desk, signed, path):
    answer = await desk.ask("POST", path, owner=None, data=signed())
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


@both_paths
async def test_a_signed_notice_may_come_from_any_site(post, signed, path):
    answer = await post(path, signed(), headers={"origin": "https://www.facebook.com", "sec-fetch-site": "cross-site"})
    assert answer.status in (200, 204)


# --- platforms that send none ---------------------------------------------------------------------


@pytest.mark.parametrize("slug", ["x", "linkedin", "oidc"])
async def test_a_platform_that_sends_no_notices_has_no_such_routes(post, desk, signed, slug):
    for path in (f"/oauth/{slug}/deauthorize", f"/oauth/{slug}/data-deletion"):
        answer = await post(path, signed())
        assert (answer.status, answer.code) == (404, "not_found")
    assert (await desk.ask("GET", f"/oauth/{slug}/data-deletion?code=x", owner=None)).code == "not_found"


async def test_a_platform_that_there_is_not_has_none_either(post, desk, signed):
    for path in ("/oauth/myspace/deauthorize", "/oauth/myspace/data-deletion"):
        assert (await post(path, signed())).code == "unknown_platform"
    assert (await desk.ask("GET", "/oauth/myspace/data-deletion?code=x", owner=None)).code == "unknown_platform"


# --- what goes wrong here -------------------------------------------------------------------------


@both_paths
async def test_a_store_that_is_away_lets_the_provider_try_again(post, signed, world, path, monkeypatch):
    await world.connect("facebook")

    def fail(*args):
        raise StoreUnavailableError("canary of the store")

    async def fail_later(*args):
        fail()

    monkeypatch.setattr(world.store, "list_for_account", fail if world.colour == "sync" else fail_later)
    answer = await post(path, signed())
    assert (answer.status, answer.code, answer.json["action"]) == (503, "store_unavailable", "retry")
    assert answer.header("Retry-After")
    assert "canary" not in answer.text
    monkeypatch.undo()
    assert (await post(path, signed())).status in (200, 204)
