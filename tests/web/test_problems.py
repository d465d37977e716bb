"""Every way to fail that can be reached over HTTP: status, code, who must act, headers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import PAGE, PROGRAM, check_problem, connection_of, together
from support.servers import STANDARD_HOSTS

if TYPE_CHECKING:
    from conftest import Farm, Host
    from support.browser import Browser

    from socialvault.sandbox import Sandbox

BODY_LIMIT = 64 * 1024

#: fault at the token endpoint: what a callback is answered with
CALLBACK_FAULTS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "503": ({"status": 503}, 503, "provider_unavailable", "retry"),
    "500-html": ({"status": 500, "body": "html"}, 503, "provider_unavailable", "retry"),
    "429": ({"status": 429, "retry_after": 7}, 503, "rate_limited", "retry"),
    "html-200": ({"body": "html"}, 502, "malformed_response", "retry"),
    "cut-off-json": ({"body": "truncated"}, 502, "malformed_response", "retry"),
    "empty": ({"body": "empty"}, 502, "malformed_response", "retry"),
    "drop": ({"drop": "before_commit"}, 502, "transport", "retry"),
    "drop-after": ({"drop": "after_commit"}, 502, "transport", "retry"),
    "invalid-client": ({"error": "invalid_client"}, 502, "client_rejected", "fix_configuration"),
    "redirect": ({"status": 307, "headers": {"Location": "http://127.0.0.1:9/"}}, 502, "malformed_response", "retry"),
}
#: the same for a refresh
REFRESH_FAULTS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "503": ({"status": 503}, 503, "provider_unavailable", "retry"),
    "429": ({"status": 429, "retry_after": 1}, 503, "rate_limited", "retry"),
    "html-200": ({"body": "html"}, 502, "malformed_response", "retry"),
    "drop": ({"drop": "before_commit"}, 503, "outcome_unknown", "retry"),
}
OWNERS_ROUTES = (
    ("GET", "/oauth/platforms"),
    ("POST", "/oauth/x/start"),
    ("GET", "/oauth/x/callback?state=a&code=b"),
    ("POST", "/oauth/x/callback/resume"),
    ("GET", "/oauth/connections"),
    ("GET", "/oauth/connections/some-id"),
    ("DELETE", "/oauth/connections/some-id"),
    ("POST", "/oauth/connections/some-id/refresh"),
    ("POST", "/oauth/connections/some-id/reconnect"),
    ("GET", "/oauth/connections/some-id/sub-accounts"),
    ("PUT", "/oauth/connections/some-id/sub-accounts"),
)
CONNECTION_ROUTES = [(method, path.replace("some-id", "{id}")) for method, path in OWNERS_ROUTES if "some-id" in path]


@pytest.mark.parametrize("fault", CALLBACK_FAULTS)
def test_a_callback_while_the_provider_fails(browser: Browser, sandbox: Sandbox, fault: str) -> None:
    how, status, code, action = CALLBACK_FAULTS[fault]
    callback = browser.consent(browser.start("x", return_to="/home"))
    sandbox.fault("x", "token", times=None, **how)
    answer = browser.callback_as_program(callback)
    check_problem(answer, status, code, action)
    assert ("retry-after" in answer.headers) == (status == 503)
    if fault == "429":
        assert answer.headers["retry-after"] == "7"

    callback = browser.consent(browser.start("x"))
    page = browser.deliver(callback)
    assert (page.status_code, page.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert code in page.text
    sent_back = browser.finish("x")
    assert (sent_back.status_code, sent_back.headers["location"]) == (303, f"/home?connection_error={code}")
    assert browser.get("/oauth/connections").json() == {"connections": []}
    sandbox.clear_faults()
    assert browser.connect("x")  # nothing stays broken


@pytest.mark.parametrize("fault", REFRESH_FAULTS)
def test_a_refresh_while_the_provider_fails(host: Host, browser: Browser, sandbox: Sandbox, fault: str) -> None:
    how, status, code, action = REFRESH_FAULTS[fault]
    connection_id = browser.connect("x")
    sandbox.fault("x", "token", times=None, **how)
    answer = browser.post(f"/oauth/connections/{connection_id}/refresh")
    check_problem(answer, status, code, action)
    assert ("retry-after" in answer.headers) == (status == 503)
    if fault == "429":
        assert answer.headers["retry-after"] == "1"
        time.sleep(1.1)  # so long this worker leaves the provider alone, whatever the clock says
    assert browser.get(f"/oauth/connections/{connection_id}").json()["status"] == "active"
    sandbox.clear_faults()
    requests = sandbox.log.count(provider="x", endpoint="token")
    again = browser.post(f"/oauth/connections/{connection_id}/refresh")
    if fault == "429":  # what it asked for is over
        assert again.status_code == 200
        return
    assert again.status_code != 200  # the provider is left alone for a while
    assert sandbox.log.count(provider="x", endpoint="token") == requests
    with host.later(360.0):
        assert browser.post(f"/oauth/connections/{connection_id}/refresh").status_code == 200


@pytest.mark.parametrize("name", [name for name, (_, _, workers) in STANDARD_HOSTS.items() if workers == 1])
def test_a_refresh_while_the_application_is_rejected(farm: Farm, sandbox: Sandbox, name: str) -> None:
    host = farm.standard(name)
    browser = host.browser()
    connection_id = browser.connect("x")
    sandbox.fault("x", "token", error="invalid_client")
    requests = sandbox.log.count(provider="x", endpoint="token")
    for _ in range(3):  # the first one freezes the provider, and nobody's connection is to blame
        answer = browser.post(f"/oauth/connections/{connection_id}/refresh")
        check_problem(answer, 502, "client_rejected", "fix_configuration")
        assert browser.get(f"/oauth/connections/{connection_id}").json()["status"] == "active"
    assert sandbox.log.count(provider="x", endpoint="token") == requests + 1
    with host.later(360.0):
        assert browser.post(f"/oauth/connections/{connection_id}/refresh").status_code == 200


def test_a_dead_grant_asks_for_a_new_authorization(browser: Browser, sandbox: Sandbox) -> None:
    connection_id = browser.connect("oidc")
    sandbox.revoke_grant("oidc", user=browser.user)
    for _ in range(2):  # what was found out once stays true
        answer = browser.post(f"/oauth/connections/{connection_id}/refresh")
        assert check_problem(answer, 409, "reauthorization_required", "reauthorize")["reason"] == "invalid_grant"
    shown = browser.get(f"/oauth/connections/{connection_id}").json()
    assert (shown["status"], shown["reason"]) == ("reauthorization_required", "invalid_grant")
    platforms = browser.get("/oauth/platforms").json()["platforms"]
    [here] = [one for one in platforms if one["slug"] == "oidc"]
    assert here["connected"] is False

    url = browser.post(f"/oauth/connections/{connection_id}/reconnect", json={}).json()["url"]
    done = browser.callback_as_program(browser.consent(url)).json()
    assert (done["connection"]["id"], done["connection"]["status"]) == (connection_id, "active")


def test_a_code_that_the_provider_refuses(browser: Browser, sandbox: Sandbox) -> None:
    callback = browser.consent(browser.start("oidc", return_to="/home"))
    sandbox.fault("oidc", "token", error="invalid_grant")
    check_problem(browser.callback_as_program(callback), 409, "reauthorization_required", "reauthorize")


def test_a_provider_that_hangs_is_given_up_in_time(every_host: list[Any], sandbox: Sandbox) -> None:
    """In every framework at once: each waits until its deadline."""
    sandbox.fault("x", "token", times=len(every_host), hang="before_commit")
    browsers = [host.browser() for host in every_host]
    callbacks = [browser.consent(browser.start("x")) for browser in browsers]
    answers = together(
        *[lambda pair=pair: pair[0].callback_as_program(pair[1]) for pair in zip(browsers, callbacks, strict=True)]
    )
    for answer in answers:
        check_problem(answer, 502, "transport", "retry")
        assert answer.elapsed.total_seconds() < 10


@pytest.mark.parametrize("claims", [{"aud": "another"}, {"iss": "https://evil.example"}, {"nonce": "x"}], ids=str)
def test_an_id_token_that_is_not_for_this_flow(browser: Browser, sandbox: Sandbox, claims: dict[str, str]) -> None:
    callback = browser.consent(browser.start("oidc"))
    sandbox.fault("oidc", "token", claims=claims)
    answer = browser.callback_as_program(callback)
    assert answer.status_code in (400, 502), answer.text
    check_problem(answer, answer.status_code, answer.json()["code"])
    assert browser.get("/oauth/connections").json() == {"connections": []}


def test_a_start_that_needs_a_provider_which_is_away(browser: Browser) -> None:
    check_problem(browser.post("/oauth/dead/start"), 502, "transport", "retry")
    page = browser.submit("/oauth/dead/start")
    assert (page.status_code, page.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert "transport" in page.text


def test_pages_that_cant_be_listed(browser: Browser, sandbox: Sandbox) -> None:
    connection_id = browser.connect("facebook")
    path = f"/oauth/connections/{connection_id}/sub-accounts"
    sandbox.fault("facebook", "accounts", times=None, status=503)
    check_problem(browser.get(path), 503, "provider_unavailable", "retry")
    check_problem(browser.put(path, json={"ids": ["1"]}), 503, "provider_unavailable", "retry")


# --- requests that are wrong ---------------------------------------------------------------------


def test_an_unknown_platform(browser: Browser) -> None:
    for slug in ("nowhere", "X", "x%00", "%2e%2e", "x;y", "x%20"):
        started = browser.http.post(f"{browser.site.public}/oauth/{slug}/start", headers=PROGRAM)
        assert started.status_code == 404, (slug, started.text)
    check_problem(browser.post("/oauth/nowhere/start"), 404, "unknown_platform")
    check_problem(browser.get("/oauth/nowhere/callback?state=a&code=b"), 404, "unknown_platform")
    page = browser.request("GET", "/oauth/nowhere/callback?state=a&code=b", headers=PAGE)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")


JSON, FORM = "application/json", "application/x-www-form-urlencoded"
BAD_BODIES: dict[str, tuple[str, bytes, int, str]] = {
    "not-json": (JSON, b"{", 400, "invalid_request"),
    "deep-json": (JSON, b"[" * 60000, 400, "invalid_request"),
    "not-utf-8": (JSON, b'{"return_to": "\xff"}', 400, "invalid_request"),
    "a-list": (JSON, b"[]", 422, "invalid_fields"),
    "null": (JSON, b"null", 422, "invalid_fields"),
    "unknown-field": (JSON, b'{"redirect_uri": "https://evil.example"}', 422, "invalid_fields"),
    "wrong-type": (JSON, b'{"scopes": "email"}', 422, "invalid_fields"),
    "empty-scope": (JSON, b'{"scopes": [""]}', 422, "invalid_fields"),
    "scope-with-space": (JSON, b'{"scopes": ["a b"]}', 422, "invalid_fields"),
    "repeated-form-field": (FORM, b"return_to=/home&return_to=/home", 400, "invalid_request"),
    "form-not-utf-8": (FORM, b"return_to=%ff", 400, "invalid_request"),
    "text": ("text/plain", b"hello", 415, "unsupported_media_type"),
    "xml": ("application/xml", b"<a/>", 415, "unsupported_media_type"),
    "multipart": ("multipart/form-data; boundary=b", b"--b\r\n\r\n--b--", 415, "unsupported_media_type"),
    "no-type": ("", b"hello", 415, "unsupported_media_type"),
    "too-large": (FORM, b"return_to=" + b"a" * BODY_LIMIT, 413, "body_too_large"),
}


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_body_that_is_wrong(browser: Browser, sandbox: Sandbox, body: str) -> None:
    kind, content, status, code = BAD_BODIES[body]
    headers = {**PROGRAM, **({"Content-Type": kind} if kind else {})}
    before = len(sandbox.log)
    document = check_problem(browser.request("POST", "/oauth/x/start", headers=headers, content=content), status, code)
    if code == "invalid_fields":
        assert all(one.keys() == {"field", "message"} for one in document["errors"])
        assert "evil.example" not in str(document)
    assert len(sandbox.log) == before


@pytest.mark.parametrize("path", ["/oauth/x/start", "/oauth/x/callback", "/oauth/x/callback/resume",
                                  "/oauth/connections/a/refresh", "/oauth/facebook/deauthorize"])  # fmt: skip
def test_no_route_takes_a_large_body(browser: Browser, path: str) -> None:
    headers = {**PROGRAM, "Content-Type": "application/x-www-form-urlencoded"}
    body = b"a=" + b"b" * BODY_LIMIT
    check_problem(browser.request("POST", path, headers=headers, content=body), 413, "body_too_large")


def test_a_large_body_without_a_length_is_not_read_to_its_end(browser: Browser) -> None:
    headers = {**PROGRAM, "Content-Type": FORM}
    body = (b"a" * 1024 for _ in range(2 * BODY_LIMIT // 1024))
    answer = browser.request("POST", "/oauth/x/start", headers=headers, content=body)
    # FastAPI counts, Flask stops reading, and Django reads nothing that has no length
    assert answer.status_code in (413, 400, 200), answer.text
    assert "a" * 100 not in answer.text


@pytest.mark.parametrize(("method", "path"), OWNERS_ROUTES)
def test_nobody_is_signed_in(browser: Browser, sandbox: Sandbox, method: str, path: str) -> None:
    before = len(sandbox.log)
    nobody = browser.elsewhere(owner=None)
    check_problem(nobody.request(method, path, headers=PROGRAM), 401, "not_signed_in", "reauthorize")
    empty = browser.elsewhere(owner="")
    check_problem(empty.request(method, path, headers=PROGRAM), 401, "not_signed_in", "reauthorize")
    assert len(sandbox.log) == before


@pytest.mark.parametrize(("method", "path"), CONNECTION_ROUTES)
def test_an_unknown_connection_and_one_of_somebody_else(browser: Browser, method: str, path: str) -> None:
    body = {"json": {"ids": []}} if method == "PUT" else {}
    check_problem(
        browser.request(method, path.format(id="no-such-id"), headers=PROGRAM, **body), 404, "connection_not_found"
    )
    connection_id = browser.connect("facebook")
    for other in (browser.elsewhere(owner="somebody-else"), browser.elsewhere(tenant="another-tenant")):
        refused = other.request(method, path.format(id=connection_id), headers=PROGRAM, **body)
        check_problem(refused, 404, "connection_not_found")
        assert browser.user not in refused.text.replace(connection_id, "")
    assert browser.get(f"/oauth/connections/{connection_id}").json()["status"] == "active"


def test_a_connection_of_somebody_else_cant_be_reconnected_by_its_id(browser: Browser) -> None:
    connection_id = browser.connect("x")
    other = browser.elsewhere(owner="somebody-else")
    answer = other.post("/oauth/x/start", json={"connection_id": connection_id})
    check_problem(answer, 404, "connection_not_found")
    check_problem(browser.post("/oauth/oidc/start", json={"connection_id": connection_id}), 422, "invalid_fields")


def test_a_return_path_that_is_not_allowed(browser: Browser) -> None:
    for wrong in ("/elsewhere", "https://evil.example/", "//evil.example", "/home/../admin", "/homes", ""):
        document = check_problem(browser.post("/oauth/x/start", json={"return_to": wrong}), 422, "invalid_fields")
        assert [one["field"] for one in document["errors"]] == ["return_to"], document
        assert "evil.example" not in str(document)
    page = browser.submit("/oauth/x/start", return_to="https://evil.example/")
    assert (page.status_code, page.headers["content-type"]) == (422, "text/html; charset=utf-8")
    assert "location" not in page.headers


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE"])
def test_a_method_that_a_path_does_not_know(browser: Browser, method: str) -> None:
    answer = browser.request(method, "/oauth/x/callback", headers=PROGRAM)
    check_problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].replace(" ", "").split(",")) >= {"GET", "POST"}


def test_options_names_the_methods(browser: Browser) -> None:
    answer = browser.request("OPTIONS", "/oauth/x/callback", headers=PROGRAM)
    assert (answer.status_code, answer.content) == (204, b"")
    assert {"GET", "POST"} <= set(answer.headers["allow"].replace(" ", "").split(","))
    assert "access-control-allow-origin" not in answer.headers


def test_a_hook_of_the_application_that_fails_costs_nobody_the_connection(browser: Browser, host: Any) -> None:
    callback = browser.consent(browser.start("x", return_to="/home"))
    browser.http.cookies.set("fail", "1", domain="127.0.0.1")
    connection_id = connection_of(browser.deliver(callback))
    assert browser.get(f"/oauth/connections/{connection_id}").json()["status"] == "active"
    assert any(b"this host fails on purpose" in path.read_bytes() for path in host.server.logs())


def test_notices_that_nobody_signed(browser: Browser) -> None:
    nobody = browser.elsewhere(owner=None)
    for path in ("/oauth/facebook/deauthorize", "/oauth/facebook/data-deletion"):
        forged = nobody.post(path, data={"signed_request": "c2ln.eyJ1c2VyX2lkIjoiMSJ9"})
        check_problem(forged, 400, "invalid_request")
        check_problem(nobody.post(path, data={"another": "field"}), 400, "invalid_request")
        check_problem(nobody.post(path, json={"signed_request": "a.b"}), 415, "unsupported_media_type")
    check_problem(nobody.post("/oauth/x/deauthorize", data={"signed_request": "a.b"}), 404, "not_found")
    check_problem(nobody.get("/oauth/facebook/data-deletion?code=nothing"), 404, "not_found")
