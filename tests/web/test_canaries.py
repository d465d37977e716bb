"""Nothing that a provider issued comes out: not in answers, not in logs, not in files, not on a page of an error.

Every module's traffic is searched when it ends (see conftest); here it is shown that the search would find something.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import PAGE, connection_of, query_of
from support.canaries import assert_absent_from_files, found_in
from support.servers import HostPlan

if TYPE_CHECKING:
    from pathlib import Path

    from support.browser import Browser

    from socialvault.sandbox import Sandbox

PLATFORMS = ("x", "linkedin", "facebook", "oidc")
FAILURE = b"this host fails on purpose"


class Logs:
    """What a host logs from now on."""

    def __init__(self, host: Any) -> None:
        self._server = host.server
        self._sizes = {path: path.stat().st_size for path in self._server.logs()}

    def wait_for(self, *texts: bytes) -> bytes:
        """Wait until all of `texts` are logged, which happens after the answer; return everything that is."""
        until = time.monotonic() + 10
        while True:
            fresh = b"\n".join(path.read_bytes()[self._sizes.get(path, 0) :] for path in self._server.logs())
            if all(text in fresh for text in texts):
                return fresh
            assert time.monotonic() < until, (texts, fresh.decode("utf-8", "replace"))
            time.sleep(0.01)


def test_the_search_would_find_a_code(browser: Browser, host: Any) -> None:
    callback = browser.consent(browser.start("oidc", return_to="/home") + "&response_mode=form_post")
    page = browser.post_from_provider(callback)
    assert found_in([callback["code"]], page.content), "the page that posts it again holds it, alone"
    connection_of(browser.resume(page))
    assert callback["code"] in browser.site.sandbox.issued_tokens()


@pytest.mark.parametrize("slug", PLATFORMS)
def test_the_access_log_has_each_callback_and_no_query_of_it(browser: Browser, host: Any, slug: str) -> None:
    logs = Logs(host)
    callback = browser.consent(browser.start(slug, return_to="/home"))
    headers = {**PAGE, "Referer": callback.url.partition("#")[0]}
    done = browser.request("GET", callback.url.partition("#")[0], headers=headers)
    assert connection_of(done)
    browser.request("GET", f"/oauth/{slug}/callback?state=made-up&error=made-up", headers=headers)
    shown = browser.request("GET", f"{browser.site.origin}{done.headers['location']}&marker=logged", headers=headers)
    assert shown.status_code == 200
    path = f"/oauth/{slug}/callback".encode()
    fresh = logs.wait_for(b"marker=logged", path)  # so the access log is on, and holds queries
    for secret in (*callback.values(), "state=", "code=", "made-up"):
        assert secret.encode() not in fresh


def test_a_page_of_an_error_holds_no_token(browser: Browser, host: Any, sandbox: Sandbox) -> None:
    connection_id = browser.connect("x")
    logs = Logs(host)
    answer = browser.request("GET", f"{browser.site.origin}/fail/{connection_id}", headers=PAGE)
    assert answer.status_code == 500
    assert not found_in(sandbox.issued_tokens(), logs.wait_for(FAILURE))
    assert not found_in(sandbox.issued_tokens(), answer.content)


@pytest.fixture(scope="module")
def debugging_hosts(farm: Any) -> dict[str, Any]:
    """With the pages that show a traceback, and at Django every frame's locals."""
    return {
        framework: farm.launch(
            f"{framework}-debugging",
            HostPlan(framework=framework, store="memory", options={"debug": True, "deadline_seconds": 3}),
        )
        for framework in ("fastapi", "django")
    }


@pytest.mark.parametrize("framework", ["fastapi", "django"])
def test_not_even_a_debugging_page_holds_a_token(
    debugging_hosts: dict[str, Any], framework: str, sandbox: Sandbox
) -> None:
    host = debugging_hosts[framework].ready()
    browser = host.browser()
    connection_id = browser.connect("x")
    fail = f"{browser.site.origin}/fail"
    plain = browser.request("GET", f"{fail}/{connection_id}", headers=PAGE)
    unknown = browser.request("GET", f"{fail}/no-such-connection", headers=PAGE)  # raised by the library
    sandbox.revoke_grant("x", user=browser.user)
    browser.post(f"/oauth/connections/{connection_id}/refresh")
    dead = browser.request("GET", f"{fail}/{connection_id}", headers=PAGE)
    for page, expected in ((plain, FAILURE), (unknown, b"ConnectionNotFound"), (dead, b"ReauthorizationRequired")):
        assert page.status_code == 500
        assert expected in page.content, page.text[:2000]
        assert b"Traceback" in page.content
        assert not found_in(sandbox.issued_tokens(), page.content)
    if framework == "django":
        assert b"socialvault/vault/" in unknown.content  # the library's frames, with their locals


@pytest.mark.parametrize("slug", PLATFORMS)
def test_no_file_of_the_application_holds_a_token(browser: Browser, host: Any, sandbox: Sandbox, slug: str) -> None:
    """Database, journal, sessions and logs, after a flow, a failure, a refresh and a disconnect."""
    before = sandbox.issued_tokens()
    connection_id = browser.connect(slug)
    browser.post(f"/oauth/connections/{connection_id}/refresh")
    browser.finish(slug, approve=False)
    sandbox.fault(slug, "token", body="truncated")
    assert browser.finish(slug).headers["location"] == "/home?connection_error=malformed_response"
    browser.connect(slug)
    directory: Path = host.directory
    assert host.name.endswith("memory") or (directory / "data" / "vault.db").stat().st_size
    fresh = sandbox.issued_tokens() - before
    assert len(fresh) >= 5
    assert_absent_from_files([*fresh, host.key], directory)
    browser.delete(f"/oauth/connections/{connection_id}")
    assert_absent_from_files([*fresh, host.key], directory)


def test_the_url_of_the_provider_holds_nothing_but_the_request(browser: Browser) -> None:
    for slug in PLATFORMS:
        query = query_of(browser.start(slug))
        assert query.keys() <= {
            "response_type", "client_id", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method",
            "nonce",
        }  # fmt: skip
