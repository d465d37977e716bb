"""From a request to its response: who is let in, who is asked for, and what goes out whatever goes wrong."""

from __future__ import annotations

import asyncio

import pytest

from socialvault.exceptions import ConfigurationError, RefreshBusyError, SocialVaultError, StoreUnavailableError
from socialvault.http.endpoints import SAFE_HEADERS, other_method, safe, too_large
from socialvault.http.limits import RateLimits
from socialvault.http.messages import Response
from socialvault.http.routes import ROUTES, by_path

OF_OWNERS = [route for route in ROUTES if route.needs_owner]
OF_ANYBODY = [route for route in ROUTES if not route.needs_owner]
CHANGING = [route for route in ROUTES if route.changes]


def named(routes):
    return pytest.mark.parametrize("route", routes, ids=lambda route: route.name)


@pytest.fixture(params=[("sync", "memory"), ("async", "memory")], ids="-".join)
def world(world):
    """The store is no concern here."""
    return world


def path_of(route):
    return route.path.replace("{platform}", "x").replace("{connection_id}", "con-unknown")


def fail_with(monkeypatch, desk, problem):
    """Let the listing of connections, and the first look into the store, raise."""

    async def fail(*args, **kwargs):
        raise problem

    monkeypatch.setattr(desk.world.vault.vault._cases.connections, "list", fail)
    monkeypatch.setattr(desk.world.vault.vault._cases.flows, "begin", fail)


# --- headers --------------------------------------------------------------------------------------


@named(ROUTES)
async def test_every_answer_of_every_route_is_kept_by_nobody_and_followed_by_nothing(desk, route):
    for how in ({}, {"browser": True}, {"owner": None}, {"headers": {"sec-fetch-site": "cross-site"}}):
        answer = await desk.ask(route.method, path_of(route), **how)
        assert [answer.response.headers.count(header) for header in SAFE_HEADERS] == [1, 1, 1]


def test_the_safe_headers_are_these():
    assert dict(SAFE_HEADERS) == {
        "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
    }  # fmt: skip


def test_an_answer_keeps_what_it_was():
    answer = safe(Response(303, b"x", "text/plain", (("Location", "/"), ("Set-Cookie", "a=1"))))
    assert (answer.status, answer.body, answer.content_type) == (303, b"x", "text/plain")
    assert answer.headers == (("Location", "/"), ("Set-Cookie", "a=1"), *SAFE_HEADERS)


# --- who is asked for -----------------------------------------------------------------------------


@named(OF_OWNERS)
async def test_nobody_is_told_to_sign_in(desk, route):
    for owner in (None, "", " \t"):
        answer = await desk.ask(route.method, path_of(route), owner=owner)
        assert (answer.status, answer.code, answer.json["action"]) == (401, "not_signed_in", "reauthorize")


async def test_a_browser_of_nobody_is_told_on_a_page_without_a_button(desk):
    answer = await desk.ask("POST", "/oauth/x/start", browser=True, owner=None)
    assert (answer.status, answer.content_type) == (401, "text/html; charset=utf-8")
    assert "<form" not in answer.text


@pytest.mark.parametrize(
    "who", [{"owner": 42}, {"owner": b"user-42"}, {"tenant": 7}, {"owner": object()}, {"owner": 0}]
)
async def test_an_id_that_is_no_text_is_a_mistake_of_the_application(desk, caplog, who):
    answer = await desk.ask("GET", "/oauth/connections", **who)
    assert (answer.status, answer.code) == (500, "configuration")
    assert "must return a str or None" in caplog.text
    assert "must return" not in answer.text


@pytest.mark.parametrize("who", [{"owner": "user\ud800"}, {"tenant": "\udfff"}])
async def test_an_id_that_is_no_unicode_is_one_too(desk, who):
    answer = await desk.ask("GET", "/oauth/connections", **who)
    assert (answer.status, answer.code) == (500, "configuration")


async def test_no_tenant_is_a_tenant_of_its_own(desk, world):
    mine = await world.connect("x", tenant="")
    found = (await desk.ask("GET", "/oauth/connections", tenant="")).json["connections"]
    assert [one["id"] for one in found] == [mine.id]
    assert (await desk.ask("GET", "/oauth/connections")).json == {"connections": []}


@named(OF_OWNERS)
async def test_a_tenant_that_the_application_could_not_tell_is_not_the_empty_one(desk, route):
    answer = await desk.ask(route.method, path_of(route), tenant=None)
    assert (answer.status, answer.code) == (403, "no_tenant")


# --- addresses ------------------------------------------------------------------------------------


@named(OF_OWNERS)
async def test_addresses_that_are_not_allowed_use_no_route_of_owners(desk_of, route):
    desk = desk_of(allow_ips=["192.0.2.0/24"])
    for peer in ("203.0.113.7", "", "::1"):
        answer = await desk.ask(route.method, path_of(route), peer=peer)
        assert (answer.status, answer.code) == (403, "address_not_allowed")


@named(OF_ANYBODY)
async def test_providers_and_checks_may_come_from_anywhere(desk_of, route):
    answer = await desk_of(allow_ips=[]).ask(route.method, path_of(route))
    assert answer.status != 403


async def test_addresses_that_are_allowed_use_every_route(desk_of):
    desk = desk_of(allow_ips=["192.0.2.0/24", "2001:db8::/32"], trusted_proxies=["10.0.0.1"])
    for peer in ("192.0.2.9", "2001:db8::5", "::ffff:192.0.2.9"):
        assert (await desk.ask("GET", "/oauth/platforms", peer=peer)).status == 200
    through = {"x-forwarded-for": "192.0.2.9"}
    assert (await desk.ask("GET", "/oauth/platforms", peer="10.0.0.1", headers=through)).status == 200
    assert (await desk.ask("GET", "/oauth/platforms", peer="10.0.0.2", headers=through)).status == 403
    assert (await desk.ask("GET", "/oauth/platforms", peer="10.0.0.1")).status == 403


# --- other sites ----------------------------------------------------------------------------------


def test_what_changes_something_for_an_owner_is_known_as_such():
    assert {route.name for route in CHANGING} == {
        "start", "disconnect", "refresh", "reconnect", "select_sub_accounts",
    }  # fmt: skip


@named(CHANGING)
async def test_pages_of_other_sites_change_nothing(desk, route):
    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ):
        answer = await desk.ask(route.method, path_of(route), headers=headers)
        assert (answer.status, answer.code) == (403, "cross_site_request")


@named(CHANGING)
async def test_our_own_origins_are_let_through(desk_of, route):
    desk = desk_of(origins=["https://spa.example"])
    for headers in (
        {"origin": "http://127.0.0.1:9"},
        {"origin": "https://spa.example", "sec-fetch-site": "cross-site"},
    ):
        answer = await desk.ask(route.method, path_of(route), headers=headers)
        assert answer.status != 403


async def test_other_sites_may_link_to_what_changes_nothing(desk):
    for path in ("/oauth/platforms", "/oauth/connections"):
        assert (await desk.ask("GET", path, headers={"sec-fetch-site": "cross-site"})).status == 200


async def test_a_refused_browser_gets_a_page_without_a_button(desk):
    answer = await desk.ask("POST", "/oauth/x/start", browser=True, headers={"sec-fetch-site": "cross-site"})
    assert (answer.status, answer.content_type) == (403, "text/html; charset=utf-8")
    assert "<form" not in answer.text


async def test_a_refusal_counts_for_its_address(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute"))
    cross = {"headers": {"sec-fetch-site": "cross-site"}}
    assert [(await desk.ask("POST", "/oauth/x/start", **cross)).status for _ in range(2)] == [403, 429]


# --- looking ahead --------------------------------------------------------------------------------


async def test_a_look_ahead_needs_no_owner_and_no_address(desk_of):
    desk = desk_of(allow_ips=[], rate_limits=RateLimits(per_ip="1/minute"))
    for _ in range(3):
        for method, headers in (("HEAD", {}), ("GET", {"sec-purpose": "prefetch"})):
            answer = await desk.ask(method, "/oauth/x/callback?state=s&code=c", owner=None, headers=headers)
            assert (answer.status, answer.text, answer.content_type) == (204, "", "")


async def test_only_the_callback_minds_being_looked_at(desk):
    assert (await desk.ask("GET", "/oauth/platforms", headers={"sec-purpose": "prefetch"})).status == 200
    assert (await desk.ask("HEAD", "/health", owner=None)).status == 200


# --- whatever goes wrong --------------------------------------------------------------------------


async def test_what_nobody_expected_is_logged_and_shows_nothing(desk, monkeypatch, caplog):
    fail_with(monkeypatch, desk, RuntimeError("canary"))
    answer = await desk.ask("GET", "/oauth/connections")
    assert (answer.status, answer.code, answer.json["action"]) == (500, "internal_error", "report")
    page = await desk.ask("POST", "/oauth/x/start", browser=True)
    assert (page.status, page.content_type) == (500, "text/html; charset=utf-8")
    assert "canary" not in answer.text + page.text
    said = [record.getMessage() for record in caplog.records if record.exc_info]
    assert said == ["GET /oauth/connections failed", "POST /oauth/{platform}/start failed"]


async def test_a_browser_gets_documents_where_there_are_no_pages(desk, monkeypatch):
    fail_with(monkeypatch, desk, RuntimeError("canary"))
    for method, path in (("GET", "/oauth/connections"), ("DELETE", "/oauth/connections/con-unknown")):
        answer = await desk.ask(method, path, browser=True)
        assert answer.content_type == "application/problem+json"


async def test_what_only_an_operator_can_mend_is_in_the_log_alone(desk, monkeypatch, caplog):
    fail_with(monkeypatch, desk, StoreUnavailableError("the disk of canary is full"))
    answer = await desk.ask("GET", "/oauth/connections")
    assert (answer.status, answer.code, answer.header("Retry-After")) == (503, "store_unavailable", "5")
    assert "canary" not in answer.text
    assert "GET /oauth/connections: StoreUnavailableError: the disk of canary is full" in caplog.text


async def test_what_a_caller_did_wrong_is_no_error_of_ours(desk, caplog):
    await desk.ask("GET", "/oauth/connections/con-unknown")
    await desk.ask("POST", "/oauth/x/start", data={"return_to": "/elsewhere"})
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    ("problem", "status"),
    [(SocialVaultError("x"), 500), (ConfigurationError("x"), 500), (RefreshBusyError("x", retry_after=None), 503)],
)
async def test_every_error_of_the_vault_is_answered_to_programs_and_browsers(desk, monkeypatch, problem, status):
    fail_with(monkeypatch, desk, problem)
    assert (await desk.ask("POST", "/oauth/x/start")).status == status
    assert (await desk.ask("POST", "/oauth/x/start", browser=True)).status == status


async def test_what_stops_a_request_is_no_failure(desk, monkeypatch):
    fail_with(monkeypatch, desk, asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await desk.ask("GET", "/oauth/connections")


async def test_what_goes_wrong_while_a_request_is_let_in_is_answered(desk, monkeypatch):
    monkeypatch.setattr("socialvault.http.endpoints.client_address", lambda *args: 1 / 0)
    answer = await desk.ask("GET", "/oauth/connections")
    assert (answer.status, answer.code) == (500, "internal_error")


# --- methods and bodies ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", by_path())
def test_options_names_the_methods_of_a_path(path):
    answer = other_method("OPTIONS", by_path()[path])
    assert (answer.status, answer.body, answer.content_type) == (204, b"", "")
    looks = {"HEAD"} if "GET" in by_path()[path] else set()
    assert dict(answer.headers)["Allow"] == ", ".join(sorted({*by_path()[path], *looks, "OPTIONS"}))
    assert set(SAFE_HEADERS) <= set(answer.headers)


def test_another_method_is_refused_with_those_there_are():
    answer = other_method("PATCH", ["POST", "GET"])
    assert (answer.status, answer.content_type) == (405, "application/problem+json")
    assert dict(answer.headers)["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert b'"code":"method_not_allowed"' in answer.body
    assert set(SAFE_HEADERS) <= set(answer.headers)


def test_a_body_that_is_too_large_is_refused_with_what_is_allowed():
    answer = too_large()
    assert answer.status == 413
    assert b'"code":"body_too_large"' in answer.body
    assert b"65536" in answer.body
    assert set(SAFE_HEADERS) <= set(answer.headers)
