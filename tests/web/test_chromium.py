"""What only a real browser can show: SameSite cookies, CSP, Fetch Metadata, and pages that can be clicked through.

Applications are found at localhost, the platforms and the attacker's pages at 127.0.0.1: another site.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)
from support.examples import PASSWORD, USER, launch_example
from support.servers import free_port, launch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Server

    from socialvault.sandbox import Sandbox

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-component-update",
    "--disable-background-networking", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    assert CHROMIUM.exists(), f"these tests need {CHROMIUM}: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Tab:
    """A tab of a fresh profile, and everything in it that should not have happened."""

    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    @classmethod
    def open(cls, context: BrowserContext) -> Tab:
        tab = cls(context, context.new_page())
        tab.page.on("console", tab._heard)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        tab.page.on("request", lambda request: tab.requests.append(request))  # noqa: PLW0108  (no builtins there)
        tab.page.set_default_timeout(15_000)
        return tab

    def _heard(self, said: ConsoleMessage) -> None:
        if said.type in ("error", "warning"):
            self.complaints.append(said.text)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def allow(self, user: str) -> None:
        """Sign in at the provider, and let it post the answer; then wait for the way back to end."""
        self.page.get_by_label("Sign in as").fill(user)
        self.press("Allow")
        self.page.wait_for_url(re.compile(r"/home\?connection="))

    def follow(self, name: str) -> None:
        self.page.get_by_role("link", name=name, exact=True).click()

    def sees(self, text: str) -> None:
        expect(self.page.get_by_text(text).first).to_be_visible()

    def sent(self, method: str, path: str) -> Request:
        """The one request of this kind."""
        [found] = [one for one in self.requests if one.method == method and one.url.partition("?")[0].endswith(path)]
        return found


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Tab]:
    context = chromium.new_context()
    yield Tab.open(context)
    context.close()


# --- the examples -------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["fastapi_app", "flask_app"])
def example_url(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp(request.param)
    example = launch_example(request.param, folder, host="localhost", SANDBOX_URL=sandbox.base_url)
    try:
        example.server.wait()
        yield example.url
    finally:
        example.server.stop()


def test_an_example_is_clicked_through(example_url: str, tab: Tab) -> None:
    page = tab.page
    page.goto(example_url)
    page.get_by_label("Name").fill(USER)
    page.get_by_label("Password").fill(PASSWORD)
    tab.press("Sign in")
    tab.sees("Nothing here is real.")

    tab.press("Connect X")
    tab.sees("This is not X.")
    tab.press("Allow")
    tab.sees("Ada Lovelace is connected.")
    assert page.url.startswith(f"{example_url}/accounts?connection=")
    tab.follow("Use X")
    tab.sees('"username": "ada"')
    tab.follow("Back to the accounts")

    tab.press("Connect Facebook")
    tab.press("Allow")
    tab.follow("Choose Pages")
    page.get_by_label("Page 2", exact=True).check()
    page.get_by_label("Page 12", exact=True).check()
    tab.press("Save")
    tab.follow("Use Page 12")
    tab.sees('"name": "Page 12"')
    tab.follow("Back to the accounts")

    tab.press("Reconnect X")
    tab.press("Allow")
    tab.sees("Ada Lovelace is connected.")
    assert page.get_by_role("article").count() == 2

    tab.press("Connect LinkedIn")
    tab.press("Deny")
    tab.sees("You turned the request down, so nothing was connected.")
    assert page.get_by_role("article").count() == 2

    tab.press("Disconnect X")
    tab.sees("The platform confirmed that our access has ended.")
    tab.follow("Back to the accounts")
    tab.press("Disconnect Facebook")
    tab.sees("2 disconnected with it")
    tab.follow("Back to the accounts")
    tab.sees("None yet.")
    tab.press("Sign out")
    page.goto(f"{example_url}/accounts")
    assert page.url == f"{example_url}/sign-in"
    assert tab.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_example_fits_a_small_screen(example_url: str, chromium: Browser, scheme: str) -> None:
    context = chromium.new_context(viewport={"width": 360, "height": 640}, color_scheme=scheme)
    tab = Tab.open(context)
    tab.page.goto(example_url)
    tab.page.get_by_label("Name").fill(USER)
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.press("Sign in")
    tab.press("Connect Facebook")
    tab.press("Allow")
    tab.sees("Ada Lovelace is connected.")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    colour, background = tab.page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (luminance(colour) < luminance(background)) == (scheme == "light")
    tab.press("Disconnect Facebook")
    tab.sees("The platform confirmed")
    assert tab.complaints == []
    context.close()


def luminance(colour: str) -> int:
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(",")))


# --- callbacks that a platform's page posts -----------------------------------------------------


@pytest.fixture(scope="module")
def host(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a host is found whose provider answers with a form."""
    port, folder = free_port(), tmp_path_factory.mktemp("chromium")
    url = f"http://localhost:{port}"
    command = [sys.executable, "-m", "uvicorn", "--factory", "chromium:create_app", "--port", str(port)]
    server: Server = launch(
        "chromium", command, folder, port=port, ready_url=f"http://127.0.0.1:{port}/api/v1/health",
        environment={"CHROMIUM_PUBLIC": url, "CHROMIUM_SANDBOX": sandbox.base_url},
        working_directory=Path(__file__).parent,
    )  # fmt: skip
    try:
        server.wait()
        yield url
        assert "code=" not in server.output()
    finally:
        server.stop()


def connections(tab: Tab, host: str) -> list[str]:
    """The ids of what the tab's user has connected."""
    answer = tab.context.request.get(f"{host}/api/v1/oauth/connections")
    return [one["id"] for one in answer.json()["connections"]]


def test_a_posted_callback_ends_well_though_lax_cookies_stay_at_home(host: str, tab: Tab) -> None:
    tab.page.goto(f"{host}/login/ada")
    tab.press("Connect")
    tab.sees("This is not OpenID provider.")
    tab.allow("ada")
    posted = tab.sent("POST", "/callback").all_headers()
    assert posted["sec-fetch-site"] == "cross-site"
    assert "cookie" not in posted
    resumed = tab.sent("POST", "/callback/resume").all_headers()
    assert resumed["sec-fetch-site"] == "same-origin"
    assert resumed["origin"] == "null"
    assert "session=ada" in resumed["cookie"]
    assert "socialvault_" in resumed["cookie"]
    assert connections(tab, host) == [tab.page.url.partition("connection=")[2]]
    assert tab.complaints == []


def test_without_scripts_its_button_does_the_same(host: str, chromium: Browser) -> None:
    context = chromium.new_context(java_script_enabled=False)
    tab = Tab.open(context)
    tab.page.goto(f"{host}/login/grace")
    tab.press("Connect")
    tab.page.get_by_label("Sign in as").fill("grace")
    tab.press("Allow")
    tab.press("Continue")  # on the provider's page
    tab.sees("your account is being connected")
    assert tab.page.url == f"{host}/api/v1/oauth/oidc/callback"
    tab.press("Continue")
    tab.page.wait_for_url(re.compile(r"/home\?connection="))
    context.close()


def test_turning_a_posted_flow_down_comes_back_too(host: str, tab: Tab) -> None:
    tab.page.goto(f"{host}/login/katherine")
    tab.press("Connect")
    tab.press("Deny")
    tab.page.wait_for_url(f"{host}/home?connection_error=authorization_denied")
    assert connections(tab, host) == []


# --- requests of other sites' pages -------------------------------------------------------------


@pytest.fixture(scope="module")
def foreign() -> Iterator[str]:
    """A site of somebody else: a page that posts a form with the fields of its query to the address in `to`."""

    class Trap(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fields = dict(parse_qsl(urlsplit(self.path).query))
            target = fields.pop("to", "")
            hidden = "".join(
                f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields.items()
            )
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            form = f'<form method="post" action="{escape(target)}">{hidden}<button>Win a prize</button></form>'
            self.wfile.write(f"<!doctype html>{form}".encode())

        def log_message(self, *_said: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Trap)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def lured(tab: Tab, foreign: str, query: dict[str, str]) -> Response:
    """Somebody presses the button of the foreign page; this is what it leads to."""
    tab.page.goto(f"{foreign}/?{urlencode(query)}")
    with tab.page.expect_navigation() as navigation:
        tab.press("Win a prize")
    assert navigation.value is not None
    return navigation.value


@pytest.mark.parametrize("path", ["oidc/start", "connections/ID/reconnect", "connections/ID/refresh"])
def test_another_sites_form_changes_nothing_even_with_cookies(
    host: str, foreign: str, tab: Tab, sandbox: Sandbox, path: str
) -> None:
    """The session's cookie is SameSite=None here, so that nothing but the routes' own check stands in between."""
    user = f"victim-of-{path.replace('/', '-')}"
    tab.page.goto(f"{host}/login/{user}?samesite=none")
    tab.press("Connect")
    tab.allow(user)
    [connection] = connections(tab, host)
    before = list(sandbox.log)

    answer = lured(tab, foreign, {"to": f"{host}/api/v1/oauth/{path.replace('ID', connection)}"})
    assert answer.status == 403
    assert "cross_site_request" in tab.page.content()
    sent = answer.request.all_headers()
    assert sent["sec-fetch-site"] == "cross-site"
    assert f"session={user}" in sent["cookie"]
    assert "set-cookie" not in answer.all_headers()
    assert list(sandbox.log) == before
    assert connections(tab, host) == [connection]


@pytest.mark.parametrize("path", ["callback", "callback/resume"])
def test_an_attackers_account_is_not_connected_to_whoever_looks_at_their_page(
    host: str, foreign: str, tab: Tab, chromium: Browser, sandbox: Sandbox, path: str
) -> None:
    """The attacker consents with an account of their own, and lets the victim's browser deliver that."""
    attackers = chromium.new_context()
    attackers.request.get(f"{host}/login/attacker")
    program = {"Accept": "application/json", "X-Requested-With": "tests"}
    begun = attackers.request.post(f"{host}/api/v1/oauth/oidc/start", headers=program)
    callback = sandbox.authorize(begun.json()["url"], user=f"attacker-{path}")
    before = sandbox.log.count(endpoint="token")

    tab.page.goto(f"{host}/login/lured-{path.replace('/', '-')}?samesite=none")
    lured(tab, foreign, {"to": f"{host}/api/v1/oauth/oidc/{path}", **callback})
    if path == "callback":  # which our own page posts again, with this browser's cookies
        tab.page.wait_for_url(f"{host}/api/v1/oauth/oidc/callback/resume")
    expect(tab.page.get_by_role("alert")).to_be_visible()
    assert connections(tab, host) == []
    assert sandbox.log.count(endpoint="token") == before
    attackers.close()


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_another_sites_script_changes_nothing_even_with_cookies(
    host: str, foreign: str, tab: Tab, sandbox: Sandbox, method: str
) -> None:
    tab.page.goto(f"{host}/login/victim-of-{method}?samesite=none")
    tab.press("Connect")
    tab.allow(f"victim-of-{method}")
    [connection] = connections(tab, host)
    before = list(sandbox.log)
    tab.page.goto(f"{foreign}/")
    for path in ("oidc/start", f"connections/{connection}", f"connections/{connection}/sub-accounts"):
        for mode in ("cors", "no-cors"):
            outcome = tab.page.evaluate(
                """([url, method, mode]) =>
                    fetch(url, {method, mode, credentials: "include"}).then(answer => answer.type, () => "blocked")""",
                [f"{host}/api/v1/oauth/{path}", method, mode],
            )
            assert outcome in ("blocked", "opaque")
    assert list(sandbox.log) == before
    assert connections(tab, host) == [connection]


def test_a_form_of_an_own_page_that_sends_no_referrer_is_accepted(host: str, tab: Tab) -> None:
    tab.page.goto(f"{host}/login/quiet")
    tab.page.goto(f"{host}/quiet")
    tab.press("Connect")
    tab.sees("This is not OpenID provider.")
    sent = tab.sent("POST", "/oidc/start").all_headers()
    assert (sent["origin"], sent["sec-fetch-site"]) == ("null", "same-origin")
    tab.allow("quiet")
