"""What holds in every framework alike."""

from __future__ import annotations

import httpx
import pytest
from support.world import OWNER, TENANT

SAFE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
MINE = {"owner": OWNER, "tenant": TENANT}
both_colours = pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "coroutine"])


def is_safe(answer):
    return {name: answer.header(name) for name in SAFE} == SAFE


def is_problem(answer, status, code):
    return (answer.status, answer.json.get("code"), answer.header("Content-Type")) == (
        status, code, "application/problem+json",
    ) and is_safe(answer)  # fmt: skip


# --- whole flows ----------------------------------------------------------------------------------


@both_colours
async def test_an_account_is_connected_and_the_application_is_told_once(host, asynchronous):
    await host.mount(asynchronous=asynchronous)
    params, cookie = await host.begin()
    path = f"/oauth/x/callback?{httpx.QueryParams(dict(params))}"
    first = await host.ask("GET", path, cookie=cookie)
    second = await host.ask("GET", path, cookie=cookie)
    assert (first.status, first.json["duplicate"], second.json["duplicate"]) == (200, False, True)
    assert is_safe(first)
    [told] = host.heard
    assert told[-1].connection.id == first.json["connection"]["id"]
    found = await host.ask("GET", "/oauth/connections")
    assert [one["id"] for one in found.json["connections"]] == [first.json["connection"]["id"]]


async def test_a_browser_goes_to_the_provider_and_back(host):
    await host.mount()
    begun = await host.ask(
        "POST", "/oauth/x/start", browser=True, body=b"return_to=%2Fsettings",
        headers={"content-type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert (begun.status, begun.body) == (303, b"")
    assert begun.header("Location").startswith(host.world.sandbox.url("x", "/"))
    assert "&code_challenge_method=S256" in begun.header("Location")
    assert is_safe(begun)
    back = await host.connect(browser=True)
    assert back.status == 303
    assert back.header("Location").startswith("/settings?connection=")
    assert is_safe(back)


async def test_the_flows_cookie_and_the_applications_own_are_both_set(host):
    await host.mount()
    answer = await host.ask("POST", "/oauth/x/start", browser=True, headers={"x-session": "1"})
    cookies = {one.partition("=")[0]: one for one in answer.all("Set-Cookie")}
    assert len(cookies) == len(answer.all("Set-Cookie")) == 2
    [flow] = [one for name, one in cookies.items() if name.startswith("socialvault_")]
    attributes = flow.split("; ")[1:]
    assert sorted(attributes) == ["HttpOnly", "Max-Age=600", "Path=/api/v1/oauth/x/callback", "SameSite=Lax"]


async def test_cookies_of_others_do_not_hide_the_flows(host):
    await host.mount()
    params, cookie = await host.begin()
    path = f"/oauth/x/callback?{httpx.QueryParams(dict(params))}"
    answer = await host.ask("GET", path, cookie=f'a=1; b="2"; {cookie}; {cookie.partition("=")[0]}=later; c')
    assert answer.status == 200


async def test_a_posted_callback_is_resumed(host):
    await host.mount()
    params, cookie = await host.begin()
    form = {"body": str(httpx.QueryParams(dict(params))).encode()}
    kind = {"content-type": "application/x-www-form-urlencoded"}
    foreign = {**kind, "x-owner": "", "origin": "null", "sec-fetch-site": "cross-site"}
    page = await host.ask("POST", "/oauth/x/callback", browser=True, headers=foreign, **form)
    assert (page.status, page.header("Content-Type")) == (200, "text/html; charset=utf-8")
    assert 'action="/api/v1/oauth/x/callback/resume"' in page.text
    assert "nonce-" in page.header("Content-Security-Policy")
    done = await host.ask("POST", "/oauth/x/callback/resume", browser=True, headers=kind, cookie=cookie, **form)
    assert done.header("Location").startswith("/settings?connection=")


async def test_every_kind_of_answer_comes_through(host):
    await host.mount()
    connection = (await host.connect()).json["connection"]["id"]
    where = f"/oauth/connections/{connection}"
    assert (await host.ask("GET", where)).json["id"] == connection
    assert (await host.ask("POST", f"{where}/refresh")).status == 200
    assert (await host.ask("PUT", f"{where}/sub-accounts", data={"ids": []})).json == {"connections": []}
    assert (await host.ask("DELETE", where)).json["outcome"] == "revoked"
    assert is_problem(await host.ask("GET", where), 404, "connection_not_found")
    posted = await host.ask(
        "POST", "/oauth/facebook/deauthorize", headers={"content-type": "application/x-www-form-urlencoded"},
        body=f"signed_request={host.world.sandbox.signed_request('facebook')}".encode(),
    )  # fmt: skip
    assert (posted.status, posted.body, posted.header("Content-Type")) == (204, b"", "")
    assert is_safe(posted)


# --- whom the application names -------------------------------------------------------------------


@both_colours
async def test_owner_and_tenant_are_asked_for_every_request(host, asynchronous):
    await host.mount(asynchronous=asynchronous)
    mine = await host.world.connect("x")
    found = {}
    for who in (OWNER, "user-43", ""):
        for tenant in (TENANT, "globex", ""):
            answer = await host.ask("GET", "/oauth/connections", headers={"x-owner": who, "x-tenant": tenant})
            found[who, tenant] = [one["id"] for one in answer.json.get("connections", [])]
    assert {key: ids for key, ids in found.items() if ids} == {(OWNER, TENANT): [mine.id]}


async def test_without_a_tenant_function_there_is_none(host):
    await host.mount(tenant=None)
    mine = await host.world.connect("x", tenant="")
    await host.world.connect("linkedin")
    answer = await host.ask("GET", "/oauth/connections")
    assert [one["id"] for one in answer.json["connections"]] == [mine.id]


async def test_nobody_is_told_to_sign_in(host):
    await host.mount()
    assert is_problem(await host.ask("GET", "/oauth/connections", headers={"x-owner": ""}), 401, "not_signed_in")


async def test_who_is_refused_before_is_asked_for_nothing(host):
    asked = []
    reader = host.reader("x-owner", asynchronous=False)

    def owner(*args, **kwargs):
        asked.append(1)
        return reader(*args, **kwargs)

    owner.__annotations__ = getattr(reader, "__annotations__", {})
    owner.__wrapped__ = reader  # FastAPI reads the signature
    await host.mount(owner=owner)
    for headers in ({"sec-fetch-site": "cross-site"}, {"x-requested-with": ""}):
        assert is_problem(await host.ask("POST", "/oauth/x/start", headers=headers), 403, "cross_site_request")
    assert (await host.ask("GET", "/health")).status == 200
    assert asked == []
    await host.ask("GET", "/oauth/connections")
    assert asked == [1]


async def test_a_refusal_of_the_application_is_its_answer(host):
    await host.mount(owner=host.refusing())
    answer = await host.ask("GET", "/oauth/connections")
    assert (answer.status, is_safe(answer)) == (403, True)
    assert "canary" not in answer.text
    assert (await host.ask("GET", "/health")).status == 200


async def test_a_mistake_of_the_application_is_its_own_to_answer(host):
    await host.mount(owner=host.failing())
    answer = await host.ask("GET", "/oauth/connections")
    assert answer.status == 500
    assert "canary" not in answer.text


# --- refusals of ours -----------------------------------------------------------------------------


async def test_what_nobody_expected_is_a_problem_without_its_text(host, monkeypatch, caplog):
    await host.mount()

    async def fail(*args, **kwargs):
        raise RuntimeError("canary")

    monkeypatch.setattr(host.vault._cases.connections, "list", fail)
    answer = await host.ask("GET", "/oauth/connections")
    assert is_problem(answer, 500, "internal_error")
    assert "canary" not in answer.text
    assert "GET /oauth/connections failed" in caplog.text


async def test_methods_that_a_path_has_not_are_refused_with_those_it_has(host):
    await host.mount()
    for path, allow in (
        ("/oauth/platforms", "GET, HEAD, OPTIONS"),
        ("/oauth/x/start", "OPTIONS, POST"),
        ("/oauth/x/callback", "GET, HEAD, OPTIONS, POST"),
        ("/oauth/connections/con-1", "DELETE, GET, HEAD, OPTIONS"),
        ("/oauth/connections/con-1/sub-accounts", "GET, HEAD, OPTIONS, PUT"),
        ("/health", "GET, HEAD, OPTIONS"),
    ):
        for headers in ({}, {"x-owner": ""}):
            refused = await host.ask("PATCH", path, headers=headers)
            assert is_problem(refused, 405, "method_not_allowed"), path
            assert refused.header("Allow") == allow
            asked = await host.ask("OPTIONS", path, headers=headers)
            assert (asked.status, asked.body, asked.header("Allow")) == (204, b"", allow)
            assert is_safe(asked)


async def test_flows_do_not_begin_by_a_link(host):
    await host.mount()
    assert is_problem(await host.ask("GET", "/oauth/x/start", browser=True), 405, "method_not_allowed")


async def test_a_look_at_a_callback_by_head_or_prefetch_changes_nothing(host):
    await host.mount()
    params, cookie = await host.begin()
    path = f"/oauth/x/callback?{httpx.QueryParams(dict(params))}"
    for method, headers in (("HEAD", {}), ("GET", {"sec-purpose": "prefetch;prerender"})):
        answer = await host.ask(method, path, headers=headers, cookie=cookie, browser=True)
        assert (answer.status, answer.body, answer.header("Location")) == (204, b"", "")
        assert is_safe(answer)
    assert host.world.token_requests("x") == 0
    assert (await host.ask("GET", path, cookie=cookie)).json["duplicate"] is False


async def test_a_body_has_its_bounds(host):
    await host.mount()
    kind = {"content-type": "application/json"}
    most = b'{"return_to": "/settings"}'.ljust(64 * 1024)
    assert (await host.ask("POST", "/oauth/x/start", headers=kind, body=most)).status == 200
    assert is_problem(await host.ask("POST", "/oauth/x/start", headers=kind, body=most + b" "), 413, "body_too_large")
    huge = await host.ask("POST", "/oauth/x/callback", headers=kind, body=b"a" * 3_000_000)
    assert is_problem(huge, 413, "body_too_large")


async def test_other_media_types_and_broken_bodies_are_refused(host):
    await host.mount()
    for kind, body, status, code in (
        ("text/plain", b"x", 415, "unsupported_media_type"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n--b--", 415, "unsupported_media_type"),
        ("application/json", b"{", 400, "invalid_request"),
        ("application/json", b'{"owner": "canary"}', 422, "invalid_fields"),
    ):
        answer = await host.ask("POST", "/oauth/x/start", headers={"content-type": kind}, body=body)
        assert is_problem(answer, status, code)
        assert "canary" not in answer.text


async def test_ids_of_every_shape_are_not_found(host):
    await host.mount()
    for connection_id in ("%00", "%FF", "a%2Fb", "%E2%82%AC", "..", "%25"):
        answer = await host.ask("GET", f"/oauth/connections/{connection_id}")
        assert answer.status == 404, connection_id


async def test_a_head_is_answered_as_the_get_without_a_body(host):
    await host.mount()
    for path, headers, status in (("/health", {}, 200), ("/oauth/platforms", {}, 200), ("/health/ready", {}, 200),
                                  ("/oauth/platforms", {"x-owner": ""}, 401)):  # fmt: skip
        answer = await host.ask("HEAD", path, headers=headers)
        assert (answer.status, is_safe(answer)) == (status, True)


async def test_a_tenant_that_cannot_be_told_is_refused(host):
    await host.mount()
    answer = await host.ask("GET", "/oauth/connections", headers={"x-tenant": ""})
    assert is_problem(answer, 403, "no_tenant")


async def test_a_path_with_a_slash_too_many_is_no_path(host):
    await host.mount()
    for method in ("GET", "POST"):
        answer = await host.ask(method, "/oauth/x/callback/?code=c&state=s")
        assert (answer.status, answer.header("Location")) == (404, "")


async def test_a_prefix_that_callbacks_do_not_come_to_is_noticed_once(host, caplog):
    host.build_vault(redirect_uri="http://127.0.0.1:9/elsewhere/oauth/{provider}/callback")
    await host.mount()
    for _ in range(2):
        await host.ask("GET", "/oauth/platforms")
    told = [record.getMessage() for record in caplog.records if "mounted at" in record.getMessage()]
    assert told == ["the routes are mounted at '/api/v1', but redirect_uri leads to '/elsewhere'"]


async def test_options_are_passed_on(host):
    await host.mount(allow_ips=["192.0.2.0/24"])
    assert is_problem(await host.ask("GET", "/oauth/connections"), 403, "address_not_allowed")
    assert (await host.ask("GET", "/health")).status == 200


async def test_trusted_proxies_say_who_asks(host):
    await host.mount(allow_ips=["192.0.2.0/24"], trusted_proxies=["127.0.0.1"])
    headers = {"x-forwarded-for": "192.0.2.1"}
    assert (await host.ask("GET", "/oauth/connections", headers=headers)).status == 200


async def test_limits_are_on_unless_they_are_turned_off(host):
    from socialvault.http.limits import RateLimits

    await host.mount(rate_limits=RateLimits(per_ip=None, per_owner="2/minute"))
    answers = [await host.ask("GET", "/oauth/connections") for _ in range(3)]
    assert [one.status for one in answers] == [200, 200, 429]
    assert int(answers[2].header("Retry-After")) > 0


async def test_the_description_and_the_health_of_the_vault_need_nobody(host):
    await host.mount()
    nobody = {"x-owner": "", "x-tenant": "", "x-requested-with": ""}
    assert (await host.ask("GET", "/oauth/openapi.json", headers=nobody)).json["info"]["title"] == "socialvault"
    assert (await host.ask("GET", "/health/ready", headers=nobody)).json["status"] == "ready"
