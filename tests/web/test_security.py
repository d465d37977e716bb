"""Attacks on the browser flow, by the ids of the security checklist, through every framework, store and provider."""

from __future__ import annotations

import html
import random
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from support.browser import OWN_FORM, PAGE, PROGRAM, check_headers, check_problem, connection_of, query_of, together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from support.browser import Browser

    from socialvault.sandbox import Sandbox

PLATFORMS = ("x", "linkedin", "facebook", "oidc")
CODE_CHALLENGE = {"x": True, "linkedin": False, "facebook": True, "oidc": True}

FORGED = {
    "Host": "evil.example",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "444",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Uri": "/evil",
    "X-Forwarded-For": "192.0.2.66",
    "X-Forwarded-Server": "evil.example",
    "X-Original-Url": "/evil",
    "X-Rewrite-Url": "/evil",
    "X-Script-Name": "/evil",
    "Forwarded": "for=192.0.2.66;host=evil.example;proto=https",
}
#: What has been taken for a path and was none, or led elsewhere.
HOSTILE_PATHS = (
    "//evil.example", "/\\evil.example", "\\\\evil.example", "///evil.example", "/\t/evil.example", "/\n/evil.example",
    "\x01//evil.example", " //evil.example", "/%5cevil.example", "https:evil.example", "https:///evil.example",
    "javascript:alert(1)", "a@evil.example", "%0d%0aLocation:https://evil.example", "/home\r\nLocation: //evil.example",
    "/home//evil.example", "/home/../../evil", "/home/%2e%2e/evil", "/home@evil.example", "/home#//evil.example",
    "/dashboard/%2f%2fevil.example", "/dashboard/../..", "/home?next=https://evil.example", "/home\u2028",
    "//home", "/home;@evil.example", "/.evil.example", "http://127.0.0.1/home", "/\u2215evil.example", "/" + "a" * 2000,
)  # fmt: skip


def token_requests(sandbox: Sandbox) -> int:
    return sandbox.log.count(endpoint="token")


def deliver(browser: Browser, slug: str, params: Mapping[str, str] | Sequence[tuple[str, str]]) -> httpx.Response:
    """Deliver parameters of an attacker's making."""
    return browser.get(f"/oauth/{slug}/callback?{urlencode(params)}")


def refused(answer: httpx.Response, code: str = "state_mismatch", status: int = 400) -> None:
    check_problem(answer, status, code)


# --- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_01_r_01_r_03_r_04_an_attackers_callback_in_a_victims_browser(
    browser: Browser, sandbox: Sandbox, slug: str
) -> None:
    """Login CSRF: the victim's browser is made to finish the flow that the attacker began, as the same owner even."""
    callback = browser.consent(browser.start(slug, return_to="/home"))
    before = token_requests(sandbox)
    victim = browser.elsewhere()
    victim.start(slug)  # a flow of its own does not help
    refused(victim.callback_as_program(callback))
    page = victim.deliver(callback)
    assert page.status_code == 400
    assert "location" not in page.headers
    assert token_requests(sandbox) == before
    connection_of(browser.deliver(callback))  # it was not spent


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_01_o_07_a_state_is_256_bits_and_never_the_same(browser: Browser, slug: str) -> None:
    states = {query_of(browser.start(slug))["state"] for _ in range(5)}
    assert len(states) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", state) for state in states)


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_01_another_flows_cookie_does_not_fit(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    first, second = browser.consent(browser.start(slug)), browser.start(slug)
    jar = {cookie.name: cookie.value for cookie in browser.http.cookies.jar}
    flows = [name for name in jar if name.startswith("socialvault_")]
    assert len(flows) == 2
    swapped = browser.elsewhere()
    for name, other in zip(flows, reversed(flows), strict=True):
        swapped.http.cookies.set(name, jar[other] or "", domain="127.0.0.1", path="/")
    before = token_requests(sandbox)
    refused(swapped.callback_as_program(first))
    assert token_requests(sandbox) == before
    assert query_of(second)["state"] != first["state"]


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_02_r_02_a_state_that_is_missing_altered_or_made_up(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    callback = browser.consent(browser.start(slug, return_to="/home"))
    state = callback["state"]
    made_up = "eyJhbGciOiJIUzI1NiJ9.eyJvd25lciI6InZpY3RpbSJ9.c2lnbmF0dXJl"  # a signed state is nothing here
    altered = state[:-1] + ("A" if state[-1] != "A" else "B")
    before = token_requests(sandbox)
    for wrong in ("", altered, state + "A", state[:20], state.swapcase(), f" {state}", f"{state}\x00", made_up):
        refused(deliver(browser, slug, {**callback, "state": wrong}))
    refused(deliver(browser, slug, {name: value for name, value in callback.items() if name != "state"}))
    refused(deliver(browser, slug, [*callback.items(), ("state", state)]))
    assert token_requests(sandbox) == before
    connection_of(browser.deliver(callback))


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_03_a_flow_that_another_user_finishes(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    """The attacker's link, opened by a victim who is signed in as somebody else, cookie and all."""
    callback = browser.consent(browser.start(slug, return_to="/home"))
    victim = browser.elsewhere(owner="victim")
    for cookie in browser.http.cookies.jar:
        if cookie.name.startswith("socialvault_"):
            victim.http.cookies.jar.set_cookie(cookie)
    before = token_requests(sandbox)
    check_problem(victim.callback_as_program(callback), 403, "owner_mismatch", "reauthorize")
    assert token_requests(sandbox) == before
    assert victim.get("/oauth/connections").json() == {"connections": []}
    connection_of(browser.deliver(callback))


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_04_r_13_a_flow_that_ends_on_another_platform_or_tenant(
    browser: Browser, sandbox: Sandbox, slug: str
) -> None:
    callback = browser.consent(browser.start(slug, return_to="/home"))
    elsewhere = browser.elsewhere(tenant="another-tenant")
    everywhere = browser.elsewhere()
    for cookie in list(browser.http.cookies.jar):
        if cookie.name.startswith("socialvault_"):
            cookie.path = "/"  # a browser would keep it from other platforms; that must not be all
            elsewhere.http.cookies.jar.set_cookie(cookie)
            everywhere.http.cookies.jar.set_cookie(cookie)
    before = token_requests(sandbox)
    for other in PLATFORMS:
        if other != slug:
            refused(deliver(everywhere, other, callback))
    check_problem(elsewhere.callback_as_program(callback), 403, "owner_mismatch")
    assert token_requests(sandbox) == before
    connection_of(everywhere.deliver(callback))


# --- the response --------------------------------------------------------------------------------


def test_o_05_an_issuer_that_is_wrong_or_missing(browser: Browser, sandbox: Sandbox) -> None:
    issuer = sandbox.url("oidc", "")
    before = token_requests(sandbox)
    for wrong in ("https://evil.example", issuer + "/", issuer.upper(), issuer[:-1]):
        callback = browser.consent(browser.start("oidc"))
        check_problem(deliver(browser, "oidc", {**callback, "iss": wrong}), 400, "issuer_mismatch", "report")
    callback = browser.consent(browser.start("oidc"))
    without = {name: value for name, value in callback.items() if name != "iss"}
    check_problem(deliver(browser, "oidc", without), 400, "issuer_mismatch", "report")
    denied = browser.consent(browser.start("oidc"), approve=False)
    check_problem(deliver(browser, "oidc", {**denied, "iss": "https://evil.example"}), 400, "issuer_mismatch")
    assert token_requests(sandbox) == before


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_06_pkce_is_s256_and_fresh_for_each_flow(browser: Browser, slug: str) -> None:
    asked = [query_of(browser.start(slug)) for _ in range(3)]
    if not CODE_CHALLENGE[slug]:
        assert all("code_challenge" not in query for query in asked)
        return
    assert {query["code_challenge_method"] for query in asked} == {"S256"}
    assert len({query["code_challenge"] for query in asked}) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", query["code_challenge"]) for query in asked)


def test_o_06_a_code_that_was_put_in_place_of_another_is_refused_by_its_challenge(
    browser: Browser, sandbox: Sandbox
) -> None:
    """Code injection: a stolen code in a flow that the attacker owns."""
    stolen = browser.consent(browser.start("x"), user="the-victim")
    attacker = browser.elsewhere(owner="attacker")
    own = attacker.consent(attacker.start("x"))
    answer = deliver(attacker, "x", {**own, "code": stolen["code"]})
    assert answer.status_code >= 400
    check_problem(answer, answer.status_code, answer.json()["code"])
    assert attacker.get("/oauth/connections").json() == {"connections": []}
    assert not sandbox.log.entries(endpoint="token", outcome="issued", user="the-victim")


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_08_a_token_in_a_url_is_ignored(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    url = browser.start(slug, return_to="/home")
    assert query_of(url).get("response_type", "code") == "code"
    before = token_requests(sandbox)
    state = query_of(url)["state"]
    planted = {"access_token": "planted-access-token", "id_token": "planted-id-token", "token_type": "bearer"}
    refused(deliver(browser, slug, {"state": state, **planted}))
    assert token_requests(sandbox) == before
    callback = browser.consent(url)
    answer = deliver(browser, slug, {**callback, **planted})
    assert answer.status_code == 200
    assert "planted" not in answer.text
    assert token_requests(sandbox) > before


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_09_r_25_forged_headers_change_nothing(browser: Browser, slug: str) -> None:
    own = f"{browser.site.public}/oauth/{slug}/callback"
    answer = browser.request(
        "POST", f"/oauth/{slug}/start", headers={**OWN_FORM, **FORGED}, data={"return_to": "/home"}
    )
    assert answer.status_code == 303, answer.text
    url = answer.headers["location"]
    assert query_of(url)["redirect_uri"] == own
    assert f"redirect_uri={urlencode({'': own})[1:]}" in url
    assert "evil" not in str(answer.headers.multi_items())
    [cookie] = answer.headers.get_list("set-cookie")
    assert f"Path={urlsplit(own).path};" in cookie
    assert "Domain" not in cookie
    assert "Secure" not in cookie

    program = browser.request("POST", f"/oauth/{slug}/start", headers={**PROGRAM, **FORGED})
    assert query_of(program.json()["url"])["redirect_uri"] == own
    callback = browser.consent(url)
    failure = browser.request(
        "GET", f"/oauth/{slug}/callback?state=unknown&code=made-up-code", headers={**PAGE, **FORGED}
    )
    assert failure.status_code == 400
    assert "evil" not in failure.text
    assert f'action="{urlsplit(browser.site.public).path}/oauth/{slug}/start"' in failure.text
    done = browser.request("GET", callback.url.partition("#")[0], headers={**PAGE, **FORGED})
    assert done.headers["location"] == f"/home?connection={connection_of(done)}"


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_10_parameters_that_come_twice(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    callback = browser.consent(browser.start(slug, return_to="/home"))
    before = token_requests(sandbox)
    for name in ("code", "state"):
        refused(deliver(browser, slug, [*callback.items(), (name, callback[name])]))
        refused(deliver(browser, slug, [*callback.items(), (name, "another")]))
    refused(deliver(browser, slug, [*callback.items(), ("iss", "a"), ("iss", "a")]))
    assert token_requests(sandbox) == before
    connection_of(browser.deliver(callback))


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_11_code_and_error_together_or_neither(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    callback = browser.consent(browser.start(slug, return_to="/home"))
    before = token_requests(sandbox)
    refused(deliver(browser, slug, {**callback, "error": "access_denied"}))
    refused(deliver(browser, slug, {name: value for name, value in callback.items() if name != "code"}))
    refused(deliver(browser, slug, {**callback, "code": ""}))
    assert token_requests(sandbox) == before
    connection_of(browser.deliver(callback))


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_12_what_the_provider_says_is_text_and_no_page(browser: Browser, slug: str) -> None:
    for error in (
        "<script>alert(1)</script>",
        "\r\nSet-Cookie: planted=1",
        '"><img src=x onerror=alert(1)>',
        "e" * 900,
    ):
        denied = browser.consent(browser.start(slug), approve=False)
        said = {
            **denied,
            "error": error,
            "error_description": "<b>described</b>" * 20,
            "error_uri": "https://evil.example",
        }
        page = browser.request("GET", f"/oauth/{slug}/callback?{urlencode(said)}", headers=PAGE)
        assert page.status_code == 403, page.text
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "described" not in page.text
        assert "evil.example" not in page.text
        assert "planted" not in str(page.headers.multi_items())
        assert "e" * 201 not in page.text
    again = browser.consent(browser.start(slug, return_to="/home"), approve=False)
    sent_back = browser.request(
        "GET", f"/oauth/{slug}/callback?{urlencode({**again, 'error': '//evil.example'})}", headers=PAGE
    )
    assert sent_back.headers["location"] == "/home?connection_error=authorization_denied"


# --- where browsers are sent ---------------------------------------------------------------------


def test_o_13_o_44_r_18_return_paths_that_lead_elsewhere(browser: Browser) -> None:
    for path in HOSTILE_PATHS:
        as_json = browser.post("/oauth/x/start", json={"return_to": path})
        errors = check_problem(as_json, 422, "invalid_fields")["errors"]
        assert [one["field"] for one in errors] == ["return_to"], path
        as_form = browser.submit("/oauth/x/start", return_to=path)
        assert as_form.status_code == 422, path
        assert "location" not in as_form.headers
        assert not as_form.headers.get_list("set-cookie")


def test_o_13_o_44_a_callback_cant_say_where_to_go(browser: Browser) -> None:
    callback = browser.consent(browser.start("x", return_to="/home"))
    more = urlencode({"return_to": "https://evil.example", "next": "//evil.example", "redirect_uri": "//evil.example"})
    answer = browser.request("GET", f"{callback.url}&{more}", headers=PAGE)
    assert answer.headers["location"] == f"/home?connection={connection_of(answer)}"
    without = browser.deliver(browser.consent(browser.start("x")))
    assert without.headers["location"].startswith("/?connection=")
    deep = browser.deliver(browser.consent(browser.start("x", return_to="/dashboard/a/b?tab=1")))
    assert re.fullmatch(r"/dashboard/a/b\?tab=1&connection=[^&]+", deep.headers["location"])


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_14_every_redirect_is_a_303(browser: Browser, slug: str) -> None:
    started = browser.submit(f"/oauth/{slug}/start", return_to="/home")
    done = browser.deliver(browser.consent(started.headers["location"]))
    denied = browser.finish(slug, approve=False)
    again = browser.submit(f"/oauth/connections/{connection_of(done)}/reconnect", return_to="/home")
    assert [answer.status_code for answer in (started, done, denied, again)] == [303] * 4
    assert not any(answer.content for answer in (started, done, denied, again))


@pytest.mark.parametrize("slug", PLATFORMS)
def test_o_15_r_23_a_callback_leaves_nothing_behind(browser: Browser, slug: str) -> None:
    """The code is stripped from the URL; on every answer the headers are looked at as it comes in."""
    callback = browser.consent(browser.start(slug, return_to="/home"))
    done = browser.deliver(callback)
    assert callback["code"] not in str(done.headers.multi_items())
    assert callback["state"] not in str(done.headers.multi_items())
    for answer in (
        done,
        browser.deliver(callback),
        browser.elsewhere().deliver(callback),
        browser.elsewhere(owner=None).deliver(callback),
        browser.get(f"/oauth/{slug}/callback"),
        browser.get("/oauth/connections"),
        browser.get("/oauth/platforms"),
        browser.get("/oauth/openapi.json"),
    ):
        check_headers(answer)
        assert "etag" not in answer.headers
        assert "last-modified" not in answer.headers
        assert callback["code"] not in answer.text
        assert callback["state"] not in answer.text


def test_o_15_a_failed_flow_offers_to_begin_again_with_a_form_of_our_own(browser: Browser) -> None:
    page = browser.elsewhere().deliver(browser.consent(browser.start("x")))
    assert re.search(r'<form method="post" action="[^"]*/oauth/x/start"', page.text)
    policy = page.headers["content-security-policy"]
    [leads_to] = re.findall(r"form-action ([^;]+)", policy)
    assert leads_to.split()[0] == "'self'"
    assert not {"*", "http:", "data:", "blob:", "javascript:"} & set(leads_to.split())
    assert html.unescape(page.text).count("<form") == 1


def test_o_16_r_17_the_session_id_is_another_one_after_a_connection(browser: Browser) -> None:
    signed_in = browser.elsewhere(owner=None)
    login = signed_in.request("POST", f"{browser.site.origin}/login?owner=session-{browser.owner}")
    assert login.status_code == 200
    before = signed_in.http.cookies["session"]
    assert signed_in.get("/oauth/connections").json() == {"connections": []}
    connection_id = signed_in.connect("x")
    after = signed_in.http.cookies["session"]
    assert after != before
    assert signed_in.get(f"/oauth/connections/{connection_id}").status_code == 200

    thief = browser.elsewhere(owner=None)
    thief.http.cookies.set("session", before, domain="127.0.0.1", path="/")
    check_problem(thief.get("/oauth/connections"), 401, "not_signed_in")
    kept = signed_in.http.cookies["session"]
    denied = signed_in.finish("x", approve=False)
    assert denied.status_code == 303
    assert signed_in.http.cookies["session"] == kept  # nothing was connected


@pytest.mark.parametrize("slug", [*PLATFORMS, "nowhere"])
def test_o_17_a_flow_cant_be_begun_by_a_link(browser: Browser, slug: str) -> None:
    for headers in (PAGE, PROGRAM, {**PAGE, "Sec-Fetch-Site": "cross-site"}):
        answer = browser.request("GET", f"/oauth/{slug}/start", headers=headers)
        check_problem(answer, 405, "method_not_allowed")
        assert "POST" in answer.headers["allow"]
        assert not answer.headers.get_list("set-cookie")
    assert browser.request("HEAD", f"/oauth/{slug}/start", headers=PAGE).status_code == 405


# --- mixing people up, and nonsense ----------------------------------------------------------------


def test_r_12_forty_logins_at_once_get_their_own_accounts(browser: Browser, sandbox: Sandbox) -> None:
    people = [
        browser.elsewhere(owner=f"{browser.owner}-{number}", user=f"{browser.user}n{number}") for number in range(40)
    ]
    slugs = [random.Random(number).choice(PLATFORMS) for number in range(40)]

    def log_in(person: Browser, slug: str) -> Any:
        done = person.callback_as_program(person.consent(person.start(slug)))
        assert done.status_code == 200, done.text
        return done.json()["connection"]

    calls = [lambda pair=pair: log_in(*pair) for pair in zip(people, slugs, strict=True)]
    for person, slug, mine in zip(people, slugs, together(*calls), strict=True):
        assert (mine["provider"], mine["name"]) == (slug, person.user.title())
        assert person.get("/oauth/connections").json() == {"connections": [mine]}


NONSENSE: dict[str, list[tuple[bytes, bytes]]] = {
    "cookie-without-names": [(b"Cookie", b'owner=someone; =;;; ==; a; socialvault_=; "')],
    "cookie-of-bytes": [(b"Cookie", b"owner=\xff\xfe; tenant=\xc3\x28")],
    "cookie-twice": [(b"Cookie", b"owner=someone"), (b"Cookie", b"owner=another")],
    "long-cookie": [(b"Cookie", b"owner=someone; a=" + b"a" * 7000)],
    "accept": [(b"Cookie", b"owner=someone"), (b"Accept", b"\xff/;q=;,,*/*;q=9")],
    "origin": [(b"Cookie", b"owner=someone"), (b"Origin", b"http://[::1")],
    "fetch-site": [(b"Cookie", b"owner=someone"), (b"Sec-Fetch-Site", b"\xff")],
    "forwarded-for": [(b"Cookie", b"owner=someone"), (b"X-Forwarded-For", b"],,[::1, 1.2.3.4.5, %0a, \xff")],
    "content-type": [(b"Cookie", b"owner=someone"), (b"Content-Type", b"application/json; charset=\xff;;;=")],
    "form": [(b"Cookie", b"owner=someone"), (b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-7")],
    "purpose": [(b"Cookie", b"owner=someone"), (b"Sec-Purpose", b"\xff;")],
    "authorization": [(b"Cookie", b"owner=someone"), (b"Authorization", b"Basic \xff")],
}  # fmt: skip


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_r_19_headers_of_nonsense_are_refused_or_ignored(browser: Browser, nonsense: str) -> None:
    headers = [*NONSENSE[nonsense], (b"X-Requested-With", b"tests")]
    bare = httpx.Client(trust_env=False, verify=False, timeout=30)  # plain http
    with bare:
        for method, path, content in (
            ("GET", "/oauth/connections", b""),
            ("POST", "/oauth/x/start", b"{}"),
            ("GET", "/oauth/x/callback?state=a&code=made-up", b""),
            ("POST", "/oauth/x/callback/resume", b"state=a&code=made-up"),
            ("DELETE", "/oauth/connections/a", b""),
        ):
            answer = bare.request(method, browser.site.public + path, headers=headers, content=content)
            assert answer.status_code < 500, (method, path, answer.text)


@pytest.mark.parametrize("slug", PLATFORMS)
def test_r_19_queries_of_nonsense_are_refused(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    before = len(sandbox.log)
    for query in (
        "", "&", "=&=", "state", "%", "%ff=%ff", "state=%ff&code=a", "state[]=a&code[]=b", "state=a;code=b",
        "a=b&" * 100, f"state={'a' * 600}&code=b", "state=a&code=%0d%0a", "state=a&code=%00", "state=%E2%80%A8&code=a",
    ):  # fmt: skip
        refused(browser.get(f"/oauth/{slug}/callback?{query}"))
    assert len(sandbox.log) == before


def test_r_19_posted_callbacks_of_nonsense(browser: Browser, sandbox: Sandbox) -> None:
    before = len(sandbox.log)
    headers = {**PAGE, "Content-Type": "application/x-www-form-urlencoded"}
    for body in (b"", b"\xff\xfe", b"%ff=%ff", b"a=b&" * 100):
        answer = browser.request("POST", "/oauth/x/callback", headers=headers, content=body)
        assert answer.status_code in (200, 400), answer.text
    planted = browser.request(
        "POST", "/oauth/x/callback", headers=headers, content=urlencode({'"><script>alert(1)</script>': "'\"<b>"})
    )
    assert "<script>alert" not in planted.text
    assert "<b>" not in planted.text
    as_json = browser.request(
        "POST", "/oauth/x/callback", headers={**PROGRAM, "Content-Type": "application/json"}, content=b"{}"
    )
    check_problem(as_json, 415, "unsupported_media_type")
    assert len(sandbox.log) == before
