"""Browser flows: begun by programs and browsers, finished once, and failed so that a person knows what to do."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from html import unescape
from urllib.parse import parse_qs, urlsplit

import pytest
from support.world import OWNER, TENANT

from socialvault.exceptions import StoreUnavailableError
from socialvault.model.status import Status

MINE = {"owner": OWNER, "tenant": TENANT}


def query_of(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def scopes_of(url):
    return set(query_of(url)["scope"].split())


def retry_path(page):
    """Where the page's button leads, "" when it has none."""
    found = re.findall(r'<form method="post" action="([^"]*)">', page.text)
    assert len(found) <= 1
    return found[0] if found else ""


def fail_store(monkeypatch, world, method):
    def fail(*args, **kwargs):
        raise StoreUnavailableError("canary of the store")

    async def fail_later(*args, **kwargs):
        fail()

    monkeypatch.setattr(world.store, method, fail if world.colour == "sync" else fail_later)


# --- start ----------------------------------------------------------------------------------------


async def test_a_program_is_told_where_to_send_the_browser_and_until_when(desk, world):
    world.sandbox.clock.freeze()
    answer = await desk.ask("POST", "/oauth/x/start", data={"return_to": "/settings"})
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert set(answer.json) == {"url", "expires_at"}
    assert answer.json["url"].startswith(world.sandbox.url("x", "/"))
    assert datetime.fromisoformat(answer.json["expires_at"]) == world.sandbox.clock.now() + timedelta(minutes=10)
    assert answer.header("Set-Cookie").startswith("socialvault_")


async def test_a_browser_is_sent_to_the_provider_with_the_flows_cookie(desk, world):
    answer = await desk.ask("POST", "/oauth/x/start", browser=True, form={"return_to": "/settings"})
    assert (answer.status, answer.text) == (303, "")
    assert answer.header("Location").startswith(world.sandbox.url("x", "/"))
    assert answer.header("Set-Cookie").startswith("socialvault_")


@pytest.mark.parametrize(
    "said",
    [
        {"data": {"scopes": ["tweet.read", "tweet.write"]}},
        {"form": [("scopes", "tweet.read"), ("scopes", "tweet.write")]},
        {"form": [("scopes", "tweet.read tweet.write")]},
    ],
    ids=["json", "repeated", "spaced"],
)
async def test_scopes_are_taken_from_json_and_from_both_kinds_of_form(desk, said):
    flow = await desk.start(**said)
    assert {"tweet.read", "tweet.write"} <= scopes_of(flow.url)


async def test_start_needs_no_body(desk):
    assert (await desk.ask("POST", "/oauth/x/start")).status == 200


async def test_start_for_a_connection_of_somebody_else_finds_none(desk, world):
    theirs = await world.connect("x", owner="user-43")
    for connection_id in (theirs.id, "con-unknown"):
        answer = await desk.ask("POST", "/oauth/x/start", data={"connection_id": connection_id})
        assert (answer.status, answer.code) == (404, "connection_not_found")


async def test_start_reconnects_the_connection_it_names(desk, world):
    mine = await world.connect("x")
    flow = await desk.start(data={"connection_id": mine.id})
    answer = await desk.callback("x", flow, await desk.consent(flow))
    assert answer.json["connection"]["id"] == mine.id


async def test_a_return_to_that_was_not_allowed_is_a_field_that_is_wrong(desk):
    answer = await desk.ask("POST", "/oauth/x/start", data={"return_to": "/elsewhere"})
    assert (answer.status, answer.code) == (422, "invalid_fields")
    assert [one["field"] for one in answer.json["errors"]] == ["return_to"]


@pytest.mark.parametrize("return_to", ["https://evil.example/", "//evil.example", "/dashboard/../x", "settings"])
async def test_a_flow_never_ends_elsewhere(desk, return_to):
    answer = await desk.ask("POST", "/oauth/x/start", data={"return_to": return_to})
    assert (answer.status, answer.code) == (422, "invalid_fields")
    assert not answer.header("Set-Cookie")


async def test_another_connection_than_one_of_this_platform_is_a_field_that_is_wrong(desk, world):
    mine = await world.connect("x")
    answer = await desk.ask("POST", "/oauth/linkedin/start", data={"connection_id": mine.id})
    assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (422, ["connection_id"])


async def test_nobody_can_start_at_a_platform_that_there_is_not(desk):
    answer = await desk.ask("POST", "/oauth/myspace/start")
    assert (answer.status, answer.code) == (404, "unknown_platform")


async def test_a_browser_whose_start_fails_gets_a_page(desk):
    answer = await desk.ask("POST", "/oauth/myspace/start", browser=True)
    assert (answer.status, answer.content_type) == (404, "text/html; charset=utf-8")
    assert "There is no such platform." in answer.text


# --- callback: program ----------------------------------------------------------------------------


async def test_a_program_gets_the_connection_and_where_the_flow_was_to_end(desk):
    flow = await desk.start(data={"return_to": "/dashboard/today"})
    answer = await desk.callback("x", flow, await desk.consent(flow))
    assert (answer.status, answer.content_type) == (200, "application/json")
    found = answer.json
    assert (found["return_to"], found["missing_scopes"], found["duplicate"]) == ("/dashboard/today", [], False)
    assert (found["connection"]["provider"], found["connection"]["status"]) == ("x", "active")


async def test_a_program_gets_a_problem_for_a_denial(desk):
    flow = await desk.start(data={"return_to": "/settings"})
    answer = await desk.callback("x", flow, await desk.consent(flow, approve=False))
    assert (answer.status, answer.code, answer.json["action"]) == (403, "authorization_denied", "reauthorize")


async def test_scopes_that_were_not_granted_are_named(desk):
    flow = await desk.start(
        "facebook", data={"scopes": ["public_profile", "pages_show_list"], "return_to": "/settings"}
    )
    params = await desk.consent(flow, scopes=["public_profile"])
    program = await desk.callback("facebook", flow, params)
    browser = await desk.callback("facebook", flow, params, browser=True)
    assert program.json["missing_scopes"] == ["pages_show_list"]
    assert query_of(browser.header("Location"))["missing_scopes"] == "pages_show_list"


async def test_several_missing_scopes_are_one_query_parameter(desk):
    wanted = ["public_profile", "pages_show_list", "pages_manage_posts"]
    flow = await desk.start("facebook", data={"scopes": wanted, "return_to": "/settings"})
    answer = await desk.callback("facebook", flow, await desk.consent(flow, scopes=["public_profile"]), browser=True)
    assert answer.header("Location").endswith("&missing_scopes=pages_manage_posts+pages_show_list")


# --- callback: browser ----------------------------------------------------------------------------


async def test_a_browser_comes_back_to_where_the_flow_was_begun(desk, world):
    flow = await desk.start(data={"return_to": "/settings"})
    answer = await desk.callback("x", flow, await desk.consent(flow), browser=True)
    [mine] = await world.vault.connections(**MINE)
    assert (answer.status, answer.header("Location")) == (303, f"/settings?connection={mine.id}")


async def test_a_query_of_the_return_path_is_kept(desk, world):
    flow = await desk.start(data={"return_to": "/settings?tab=accounts"})
    answer = await desk.callback("x", flow, await desk.consent(flow), browser=True)
    [mine] = await world.vault.connections(**MINE)
    assert answer.header("Location") == f"/settings?tab=accounts&connection={mine.id}"


async def test_a_browser_without_a_return_path_comes_to_the_root(desk):
    flow = await desk.start()
    answer = await desk.callback("x", flow, await desk.consent(flow), browser=True)
    assert answer.header("Location").startswith("/?connection=")


async def test_a_denial_is_told_to_the_page_the_flow_came_from(desk):
    flow = await desk.start(data={"return_to": "/settings"})
    answer = await desk.callback("x", flow, await desk.consent(flow, approve=False), browser=True)
    assert (answer.status, answer.header("Location")) == (303, "/settings?connection_error=authorization_denied")


async def test_a_denial_without_a_return_path_is_a_page_that_begins_again(desk, world):
    flow = await desk.start()
    answer = await desk.callback("x", flow, await desk.consent(flow, approve=False), browser=True)
    assert (answer.status, answer.content_type) == (403, "text/html; charset=utf-8")
    assert retry_path(answer) == "/oauth/x/start"
    assert "form-action 'self' https: http://127.0.0.1:*" in answer.header("Content-Security-Policy")


async def test_an_expired_flow_is_told_to_the_page_it_came_from(desk, world):
    flow = await desk.start(data={"return_to": "/settings"})
    params = await desk.consent(flow)
    world.sandbox.clock.advance(timedelta(minutes=11))
    answer = await desk.callback("x", flow, params, browser=True)
    assert (answer.status, answer.header("Location")) == (303, "/settings?connection_error=state_expired")


@pytest.mark.parametrize("cookie", ["", "socialvault_0=x"])
async def test_without_its_cookie_a_flow_tells_nobody_where_it_was_to_end(desk, cookie):
    flow = await desk.start(data={"return_to": "/settings"})
    params = await desk.consent(flow)
    answer = await desk.callback("x", flow, params, browser=True, cookie=cookie)
    assert (answer.status, answer.header("Location")) == (400, "")
    assert "state_mismatch" in answer.text
    assert retry_path(answer) == "/oauth/x/start"
    assert (await desk.callback("x", flow, params)).status == 200  # nothing was used up


async def test_another_owner_is_refused_and_told_nothing_of_the_flow(desk):
    flow = await desk.start(data={"return_to": "/settings"})
    params = await desk.consent(flow)
    for how in ({"owner": "user-43"}, {"tenant": "globex"}, {"tenant": ""}):
        answer = await desk.callback("x", flow, params, **how)
        assert (answer.status, answer.code) == (403, "owner_mismatch")
        assert (await desk.callback("x", flow, params, browser=True, **how)).header("Location") == ""
    assert (await desk.callback("x", flow, params)).status == 200


async def test_a_flow_is_finished_only_where_it_was_begun(desk):
    flow = await desk.start("x")
    answer = await desk.callback("linkedin", flow, await desk.consent(flow))
    assert (answer.status, answer.code) == (400, "state_mismatch")


@pytest.mark.parametrize(
    "query", ["", "code=c", "state=s", "state=s&state=t&code=c", "state=s&code=c&error=e", "state=%FF&code=c", "%%%"]
)
async def test_a_callback_that_is_none_is_refused(desk, query):
    program = await desk.ask("GET", f"/oauth/x/callback?{query}")
    assert (program.status, program.code) == (400, "state_mismatch")
    page = await desk.ask("GET", f"/oauth/x/callback?{query}", browser=True)
    assert (page.status, retry_path(page)) == (400, "/oauth/x/start")


async def test_a_callback_of_a_platform_that_there_is_not_has_no_button(desk):
    answer = await desk.ask("GET", "/oauth/myspace/callback?state=s&code=c", browser=True)
    assert (answer.status, retry_path(answer)) == (404, "")


async def test_what_the_callback_said_is_in_no_answer(desk):
    query = "state=state-canary&error=error-canary%3Cscript%3E&error_description=text-canary"
    for browser in (False, True):
        answer = await desk.ask("GET", f"/oauth/x/callback?{query}", browser=browser)
        assert answer.status == 400
        assert "canary" not in answer.text + str(answer.response.headers)


async def test_the_error_of_a_denial_is_told_but_never_as_markup(desk):
    flow = await desk.start()
    state = query_of(flow.url)["state"]
    params = {"state": state, "error": "<script>alert(1)</script>", "error_description": "text-canary"}
    answer = await desk.callback("x", flow, params, browser=True)
    assert answer.status == 403
    assert "<script>" not in answer.text
    assert "text-canary" not in answer.text


async def test_a_provider_that_is_away_is_told_to_the_page_the_flow_came_from(desk, world, caplog):
    flow = await desk.start(data={"return_to": "/settings"})
    world.sandbox.fault("x", "token", status=503, retry_after=30)
    params = await desk.consent(flow)
    for _ in range(2):  # what the first delivery ended in is told to the second
        answer = await desk.callback("x", flow, params, browser=True)
        assert (answer.status, answer.header("Location")) == (303, "/settings?connection_error=provider_unavailable")
    assert "ProviderUnavailableError" in caplog.text


async def test_a_provider_that_is_away_is_else_a_page_that_says_when_to_try_again(desk, world):
    flow = await desk.start()
    world.sandbox.fault("x", "token", status=503, retry_after=30)
    answer = await desk.callback("x", flow, await desk.consent(flow), browser=True)
    assert (answer.status, answer.header("Retry-After")) == (503, "30")
    assert retry_path(answer) == "/oauth/x/start"


async def test_a_program_is_told_of_a_provider_that_is_away_and_for_how_long(desk, world):
    flow = await desk.start(data={"return_to": "/settings"})
    world.sandbox.fault("x", "token", status=503, retry_after=30)
    answer = await desk.callback("x", flow, await desk.consent(flow))
    assert (answer.status, answer.code, answer.header("Retry-After")) == (503, "provider_unavailable", "30")


async def test_a_store_that_fails_at_the_end_of_a_flow_is_a_page_without_its_message(desk, world, monkeypatch):
    flow = await desk.start(data={"return_to": "/settings"})
    params = await desk.consent(flow)
    fail_store(monkeypatch, world, "get_state")
    answer = await desk.callback("x", flow, params, browser=True)
    assert (answer.status, answer.header("Location")) == (503, "")
    assert "canary" not in answer.text


async def test_the_account_of_another_owner_of_the_tenant_is_refused(desk, world):
    await world.connect("x", owner="user-43")
    flow = await desk.start()
    params = await desk.consent(flow)
    answer = await desk.callback("x", flow, params)
    assert (answer.status, answer.code, answer.json["action"]) == (409, "already_connected", "report")


async def test_trying_again_is_not_offered_where_it_would_not_help(desk, world):
    await world.connect("x", owner="user-43")
    flow = await desk.start()
    answer = await desk.callback("x", flow, await desk.consent(flow), browser=True)
    assert (answer.status, retry_path(answer)) == (409, "")
    assert "form-action 'none';" in answer.header("Content-Security-Policy")


async def test_another_account_at_a_reconnect_is_refused(desk, world):
    mine = await world.connect("x")
    flow = await desk.start(data={"connection_id": mine.id, "return_to": "/settings"})
    answer = await desk.callback("x", flow, await desk.consent(flow, user="grace"), browser=True)
    assert answer.header("Location") == "/settings?connection_error=account_mismatch"


# --- once -----------------------------------------------------------------------------------------


async def test_a_second_delivery_is_a_duplicate_with_the_same_answer(desk, world):
    flow = await desk.start(data={"return_to": "/settings"})
    params = await desk.consent(flow)
    first, second = await desk.callback("x", flow, params), await desk.callback("x", flow, params)
    assert (first.json["duplicate"], second.json["duplicate"]) == (False, True)
    assert first.json["connection"]["id"] == second.json["connection"]["id"]
    assert world.token_requests("x") == 1


async def test_a_denial_that_is_delivered_twice_ends_at_the_same_place(desk):
    flow = await desk.start(data={"return_to": "/settings"})
    params = await desk.consent(flow, approve=False)
    first, second = [await desk.callback("x", flow, params, browser=True) for _ in range(2)]
    assert first.header("Location") == second.header("Location") == "/settings?connection_error=authorization_denied"


async def test_deliveries_at_the_same_time_exchange_the_code_once(desk, world):
    flow = await desk.start()
    params = await desk.consent(flow)
    answers = await asyncio.gather(*(desk.callback("x", flow, params) for _ in range(4)))
    assert [one.status for one in answers] == [200] * 4
    assert sorted(one.json["duplicate"] for one in answers) == [False, True, True, True]
    assert world.token_requests("x") == len(desk.told) == 1


@pytest.mark.parametrize("said", [{"sec-purpose": "prefetch"}, {"purpose": "prefetch"}, {"x-moz": "prefetch"}])
async def test_a_prefetch_changes_nothing(desk, world, said):
    flow = await desk.start()
    params = await desk.consent(flow)
    ahead = await desk.callback("x", flow, params, browser=True, headers=said)
    assert (ahead.status, ahead.text, ahead.header("Location")) == (204, "", "")
    assert world.token_requests("x") == 0
    assert (await desk.callback("x", flow, params)).json["duplicate"] is False


# --- a callback that was posted -------------------------------------------------------------------


async def test_a_posted_callback_comes_back_from_our_own_page_with_its_cookie(desk, world):
    flow = await desk.start(data={"return_to": "/settings"})
    params = await desk.consent(flow)
    page = await desk.ask(
        "POST", "/oauth/x/callback", owner=None, form=params, headers={"accept": "text/html", "origin": "null"}
    )
    assert (page.status, page.content_type) == (200, "text/html; charset=utf-8")
    assert world.token_requests("x") == 0
    action = retry_path(page)
    assert action == "/oauth/x/callback/resume"
    fields = {
        unescape(name): unescape(value) for name, value in re.findall(r'name="([^"]*)" value="([^"]*)"', page.text)
    }
    assert fields == dict(params)
    answer = await desk.ask("POST", action, browser=True, form=fields, cookie=flow.cookie)
    assert answer.header("Location").startswith("/settings?connection=")


async def test_a_posted_callback_is_a_form_and_nothing_else(desk):
    answer = await desk.ask("POST", "/oauth/x/callback", owner=None, data={"state": "s", "code": "c"})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    broken = await desk.ask(
        "POST",
        "/oauth/x/callback",
        owner=None,
        body=b"state=%FF",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert (broken.status, broken.code) == (400, "invalid_request")


async def test_only_what_a_callback_needs_is_posted_again(desk):
    form = [("state", "s"), ("code", "c"), ("iss", "i"), ("error", "e"), ("submit", "canary"), ("id_token", "canary")]
    page = await desk.ask("POST", "/oauth/x/callback", owner=None, form=form, browser=True)
    assert re.findall(r'name="(\w+)" value="(\w+)"', page.text) == form[:4]
    assert "canary" not in page.text


async def test_a_callback_posted_to_a_platform_that_there_is_not_is_refused(desk):
    answer = await desk.ask("POST", "/oauth/myspace/callback", owner=None, form={"state": "s", "code": "c"})
    assert (answer.status, answer.code) == (404, "unknown_platform")


async def test_another_site_resumes_no_callback_that_this_browser_did_not_begin(desk, world):
    flow = await desk.start()
    params = await desk.consent(flow)
    answer = await desk.ask(
        "POST", "/oauth/x/callback/resume", form=params,
        headers={"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    )  # fmt: skip
    assert (answer.status, answer.code) == (400, "state_mismatch")
    assert world.token_requests("x") == 0


async def test_what_the_page_is_told_is_not_said_by_who_begins(desk):
    flow = await desk.start(data={"return_to": "/settings?connection=fake&tab=2&connection_error=x"})
    answer = await desk.callback("x", flow, await desk.consent(flow), browser=True)
    path, _, query = answer.header("Location").partition("&connection=")
    assert (path, len(query)) == ("/settings?tab=2", 32)


async def test_a_program_may_resume_a_callback(desk):
    flow = await desk.start()
    answer = await desk.ask("POST", "/oauth/x/callback/resume", form=await desk.consent(flow), cookie=flow.cookie)
    assert (answer.status, answer.json["connection"]["provider"]) == (200, "x")


# --- on_connected ---------------------------------------------------------------------------------


async def test_the_application_is_told_once_with_its_own_request(desk):
    flow = await desk.start()
    params = await desk.consent(flow)
    for number in range(2):
        await desk.callback("x", flow, params, native=f"request-{number}")
    [(native, done)] = desk.told
    assert (native, done.connection.provider, done.duplicate) == ("request-0", "x", False)


async def test_the_application_is_told_nothing_of_a_failure(desk):
    flow = await desk.start()
    await desk.callback("x", flow, await desk.consent(flow, approve=False))
    assert desk.told == []


async def test_what_the_application_raises_is_logged_and_the_account_is_connected(desk_of, world, caplog):
    def fail(native, done):
        raise RuntimeError("canary of the application")

    async def fail_later(native, done):
        fail(native, done)

    desk = desk_of(on_connected=fail if world.colour == "sync" else fail_later)
    flow = await desk.start()
    answer = await desk.callback("x", flow, await desk.consent(flow))
    assert (answer.status, answer.json["connection"]["status"]) == (200, "active")
    assert "canary" not in answer.text
    assert [record.getMessage() for record in caplog.records if record.exc_info] == ["on_connected failed"]


# --- reconnect ------------------------------------------------------------------------------------


async def test_a_reconnect_asks_for_what_was_granted_before_and_keeps_the_id(desk, world):
    mine = await world.connect("facebook", scopes=["public_profile", "pages_show_list"])
    answer = await desk.ask("POST", f"/oauth/connections/{mine.id}/reconnect", data={"return_to": "/settings"})
    assert (answer.status, set(answer.json)) == (200, {"url", "expires_at"})
    assert "pages_show_list" in re.split(r"[ ,]", query_of(answer.json["url"])["scope"])
    cookie = answer.header("Set-Cookie").partition(";")[0]
    params = await asyncio.to_thread(lambda: world.sandbox.authorize(answer.json["url"]))
    back = await desk.ask(
        "GET",
        "/oauth/facebook/callback?" + "&".join(f"{k}={v}" for k, v in params.items()),
        browser=True,
        cookie=cookie,
    )
    assert back.header("Location") == f"/settings?connection={mine.id}"


async def test_a_browser_that_reconnects_is_sent_to_the_provider(desk, world):
    mine = await world.connect("x")
    answer = await desk.ask("POST", f"/oauth/connections/{mine.id}/reconnect", browser=True)
    assert (answer.status, answer.text) == (303, "")
    assert answer.header("Location").startswith(world.sandbox.url("x", "/"))


async def test_a_reconnect_of_a_sub_account_is_one_of_its_parent(desk, world):
    parent = await world.connect("facebook", scopes=["public_profile", "pages_show_list"])
    [page, *_] = await world.vault.sub_accounts(parent.id, **MINE)
    [child] = await world.vault.select_sub_accounts(parent.id, [page.id], **MINE)
    answer = await desk.ask("POST", f"/oauth/connections/{child.id}/reconnect")
    cookie = answer.header("Set-Cookie").partition(";")[0]
    params = await asyncio.to_thread(lambda: world.sandbox.authorize(answer.json["url"]))
    query = "&".join(f"{name}={value}" for name, value in params.items())
    done = await desk.ask("GET", f"/oauth/facebook/callback?{query}", cookie=cookie)
    assert done.json["connection"]["id"] == parent.id


async def test_a_reconnect_revives_a_dead_connection(desk, world):
    mine = await world.connect("x")
    world.sandbox.revoke_grant("x")
    assert (await desk.ask("POST", f"/oauth/connections/{mine.id}/refresh")).status == 409
    flow = await desk.start(data={"connection_id": mine.id})
    assert (await desk.callback("x", flow, await desk.consent(flow))).json["connection"]["id"] == mine.id
    [now] = await world.vault.connections(**MINE)
    assert now.status is Status.ACTIVE


async def test_a_reconnect_of_what_somebody_else_has_finds_nothing(desk, world):
    theirs = await world.connect("x", owner="user-43")
    for how in ({}, {"owner": "user-43", "tenant": "globex"}):
        answer = await desk.ask("POST", f"/oauth/connections/{theirs.id}/reconnect", **how)
        assert (answer.status, answer.code) == (404, "connection_not_found")


async def test_a_reconnect_takes_no_other_connection(desk, world):
    mine = await world.connect("x")
    answer = await desk.ask("POST", f"/oauth/connections/{mine.id}/reconnect", data={"connection_id": "con-other"})
    assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (422, ["connection_id"])


async def test_a_page_of_a_reconnect_that_fails_has_no_button(desk):
    answer = await desk.ask("POST", "/oauth/connections/con-unknown/reconnect", browser=True)
    assert (answer.status, retry_path(answer)) == (404, "")
