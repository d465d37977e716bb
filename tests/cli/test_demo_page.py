"""The page behind ``demo --serve``: clicked through as a browser would, forms and cookies included."""

from __future__ import annotations

import re
import signal
from contextlib import nullcontext
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import httpx
import pytest
from support.canaries import found_in

from socialvault import AsyncVault
from socialvault.cli.demo.page import build_page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = "http://127.0.0.1"


class Forms(HTMLParser):
    """The forms of a page: action, hidden fields, ticked boxes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str]]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "form":
            assert values["method"] == "post"
            self.found.append((values["action"], []))
        elif tag == "input" and (values["type"] == "hidden" or "checked" in values):
            self.found[-1][1].append((values["name"], values["value"]))

    def of(self, action: str) -> dict[str, list[str]]:
        [fields] = [fields for found, fields in self.found if found == action]
        return {name: [value for other, value in fields if other == name] for name, _ in fields}


async def click_through(
    http: httpx.AsyncClient, here: str, provider: str, *, decision: str = "allow"
) -> httpx.Response:
    """Press `Connect`, decide at the provider, and follow the browser back."""
    form = Forms((await http.get(f"{here}/")).text).of(f"/connect/{provider}")
    begun = await http.post(f"{here}/connect/{provider}", data=form)
    assert begun.status_code == 303
    async with httpx.AsyncClient(trust_env=False) as outside:  # another origin: this page's cookies stay here
        consent = await outside.get(begun.headers["location"])
        [(action, _)] = Forms(consent.text).found
        fields = Forms(consent.text).of(action)
        decided = await outside.post(action, data={**fields, "user": "grace", "decision": decision})
    return await http.get(decided.headers["location"])


@pytest.fixture
async def page(service) -> AsyncIterator[httpx.AsyncClient]:
    vault = AsyncVault(**service.options(redirect_uri=f"{HERE}/callback/{{provider}}", return_to=["/"]))
    app = build_page(vault, service.sandbox.base_url, lambda _app: nullcontext())
    async with vault, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as client:
        yield client


@pytest.mark.parametrize("provider", ["x", "facebook"])
async def test_a_person_connects_and_disconnects_by_hand(page, service, provider):
    assert "None yet." in (await page.get("/")).text
    back = await click_through(page, HERE, provider)
    assert (back.status_code, back.headers["location"]) == (303, "/")
    shown = (await page.get("/")).text
    assert f"<td>{provider}</td><td>Grace Hopper</td><td>active</td>" in shown
    [action] = [action for action, _ in Forms(shown).found if action.startswith("/disconnect/")]
    ended = await page.post(action, data=Forms(shown).of(action))
    assert (ended.status_code, ended.headers["location"]) == (303, "/")
    assert "None yet." in (await page.get("/")).text
    assert service.sandbox.log.count(provider=provider, outcome="revoked") >= 1
    assert service.sandbox.live_tokens(provider) == frozenset()


async def test_no_page_shows_a_token(page, service):
    await click_through(page, HERE, "x")
    assert service.sandbox.live_tokens("x")
    assert not found_in(service.sandbox.issued_tokens(), (await page.get("/")).content)


@pytest.mark.parametrize("data", [{}, {"token": "guessed"}, {"token": "ü"}])
async def test_a_foreign_form_begins_and_ends_nothing(page, service, data):
    assert (await page.post("/connect/x", data=data)).status_code == 403
    assert (await page.post("/disconnect/any", data=data)).status_code == 403
    assert (await page.get("/connect/x")).status_code == 405
    with service.make_vault() as vault:
        assert vault.admin.counts() == {}


async def test_another_name_for_this_machine_leads_nowhere(page):
    assert (await page.get("/", headers={"Host": "rebound.example"})).status_code == 400
    assert (await page.get("/", headers={"Host": "127.0.0.1:8080"})).status_code == 200


async def test_a_refusal_is_told_with_who_must_act(page):
    answer = await click_through(page, HERE, "x", decision="deny")
    assert answer.status_code == 400
    assert "AuthorizationDeniedError" in answer.text
    assert "(reauthorize)" in answer.text


async def test_a_callback_without_the_flow_s_cookie_is_refused(page, service):
    form = Forms((await page.get("/")).text).of("/connect/x")
    begun = await page.post("/connect/x", data=form)
    callback = service.sandbox.authorize(begun.headers["location"])
    page.cookies.clear()
    answer = await page.get(callback.url)
    assert answer.status_code == 400
    assert "StateMismatchError" in answer.text
    assert service.sandbox.log.count(endpoint="token") == 0


async def test_what_an_error_says_is_no_markup(page):
    form = Forms((await page.get("/")).text).of("/connect/x")
    answer = await page.post("/connect/<script>", data=form)
    assert answer.status_code == 400
    assert "<script>" not in answer.text
    assert "&lt;script&gt;" in answer.text


async def test_answers_are_closed_to_everything_else(page, service):
    headers = (await page.get("/")).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["form-action"] == f"'self' {service.sandbox.base_url}"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert re.fullmatch(r"'nonce-[\w-]{22}'", policy["style-src"])
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"


async def test_the_page_is_self_contained(page):
    shown = (await page.get("/")).text
    assert not re.search(r"<(script|img|link|iframe)|@import|url\(", shown)


async def test_a_flow_s_cookie_stays_with_this_browser(page):
    form = Forms((await page.get("/")).text).of("/connect/x")
    begun = await page.post("/connect/x", data=form)
    cookie = begun.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "path=/callback/x" in cookie
    assert begun.headers["cache-control"] == "no-store"


async def test_a_sub_account_without_a_fixed_end_is_shown(page, service):
    await click_through(page, HERE, "facebook")
    with service.make_vault() as vault:
        [parent] = vault.connections(owner="you")
        [first, *_] = vault.sub_accounts(parent.id, owner="you")
        vault.select_sub_accounts(parent.id, [first.id], owner="you")
    assert "<td>Page 1</td><td>active</td><td>no fixed end</td>" in (await page.get("/")).text


# --- the command ---------------------------------------------------------------------------------


async def test_serve_keeps_the_page_up_until_ctrl_c(spawn):
    process = spawn("demo", "--serve", "--json", "--callers", "2")
    said = process.stderr.readline()
    [url] = re.findall(r"click through it at (http://127\.0\.0\.1:\d+) ", said)
    async with httpx.AsyncClient(trust_env=False) as http:
        for provider in ("linkedin", "x", "facebook"):
            assert (await click_through(http, url, provider)).headers["location"] == "/"
        shown = (await http.get(f"{url}/")).text
    assert shown.count("<td>Grace Hopper</td><td>active</td>") == 3
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.startswith("{")
    async with httpx.AsyncClient(trust_env=False) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(url)
