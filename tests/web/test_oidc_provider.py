"""Against npm's oidc-provider, a certified authorization server, through every framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin

import httpx
import pytest
from support.browser import check_problem, connection_of

if TYPE_CHECKING:
    from support.browser import Browser


@pytest.fixture(autouse=True)
def running(farm: Any, host: Any, every_host: list[Any]) -> None:
    farm.oidc_provider()


def consent(browser: Browser, url: str, user: str) -> str:
    """Go through the server's pages up to the callback's URL."""
    url = f"{url}&{urlencode({'login_hint': user, 'prompt': 'consent'})}"
    with httpx.Client(trust_env=False) as at_the_provider:
        for _ in range(10):
            answer = at_the_provider.get(url)
            assert answer.is_redirect, answer.text
            url = urljoin(url, answer.headers["location"])
            if url.startswith(browser.site.public):
                return url
    raise AssertionError("the server never came back to the callback")


def test_connect_refresh_and_disconnect(browser: Browser) -> None:
    callback = consent(browser, browser.start("npm", return_to="/home"), browser.user)
    connection_id = connection_of(browser.request("GET", callback, headers={"Accept": "text/html"}))
    shown = browser.get(f"/oauth/connections/{connection_id}").json()
    assert (shown["subject"], shown["name"]) == (browser.user, f"Name of {browser.user}")
    assert {"openid", "profile"} <= set(shown["scopes"])
    assert shown["renewable"]
    for _ in range(2):  # the refresh token was rotated, and the new one kept
        renewed = browser.post(f"/oauth/connections/{connection_id}/refresh")
        assert renewed.status_code == 200, renewed.text
    assert renewed.json()["expires_at"] >= shown["expires_at"]
    assert browser.delete(f"/oauth/connections/{connection_id}").json()["outcome"] == "revoked"
    assert browser.post(f"/oauth/connections/{connection_id}/refresh").status_code == 404


def test_a_denial_and_a_mixed_up_issuer(browser: Browser) -> None:
    denied = consent(browser, browser.start("npm", return_to="/home"), "nobody")
    answer = browser.request("GET", denied, headers={"Accept": "text/html"})
    assert answer.headers["location"] == "/home?connection_error=authorization_denied"
    callback = consent(browser, browser.start("npm"), browser.user)
    assert "iss=" in callback
    mixed_up = callback.replace("iss=http%3A%2F%2F127.0.0.1", "iss=http%3A%2F%2F127.0.0.2")
    assert mixed_up != callback
    check_problem(browser.get(mixed_up), 400, "issuer_mismatch", "report")
