"""A look ahead at a callback, by a browser, a mail scanner or a link preview, does not finish it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.browser import PAGE, connection_of

if TYPE_CHECKING:
    from support.browser import Browser

    from socialvault.sandbox import Sandbox

LOOKS = {
    "sec-purpose": ("GET", {"Sec-Purpose": "prefetch"}),
    "prerender": ("GET", {"Sec-Purpose": "prefetch;prerender"}),
    "purpose": ("GET", {"Purpose": "prefetch"}),
    "x-moz": ("GET", {"X-Moz": "prefetch"}),
    "head": ("HEAD", {}),
}


@pytest.mark.parametrize("slug", ["x", "linkedin", "facebook", "oidc"])
def test_a_look_ahead_is_answered_with_nothing(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    callback = browser.consent(browser.start(slug, return_to="/home"))
    url = callback.url.partition("#")[0]
    before = len(sandbox.log)
    nobody = browser.elsewhere(owner=None)
    for look, (method, headers) in LOOKS.items():
        for who in (browser, browser, nobody):
            answer = who.request(method, url, headers={**PAGE, **headers})
            assert (answer.status_code, answer.content) == (204, b""), look
            assert "location" not in answer.headers
            assert not answer.headers.get_list("set-cookie")
    assert len(sandbox.log) == before
    connection_of(browser.deliver(callback))
    assert browser.request("HEAD", url, headers=PAGE).status_code == 204
