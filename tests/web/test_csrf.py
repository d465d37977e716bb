"""State-changing routes answer our own pages and programs, and no page of another site."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.browser import check_problem, connection_of

if TYPE_CHECKING:
    from support.browser import Browser

    from socialvault.sandbox import Sandbox

CHANGING = (
    ("POST", "/oauth/x/start"),
    ("POST", "/oauth/connections/{id}/refresh"),
    ("POST", "/oauth/connections/{id}/reconnect"),
    ("PUT", "/oauth/connections/{id}/sub-accounts"),
    ("DELETE", "/oauth/connections/{id}"),
)
OWN, EXTRA = "{own}", "https://spa.example"
REFUSED = {
    "no-header": {},
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "same-site": {"Sec-Fetch-Site": "same-site"},
    "cross-site-as-a-program": {"Sec-Fetch-Site": "cross-site", "X-Requested-With": "XMLHttpRequest"},
    "unknown-site": {"Sec-Fetch-Site": "SAME-ORIGIN, cross-site"},
    "foreign-origin": {"Origin": "https://evil.example"},
    "foreign-origin-as-a-program": {"Origin": "https://evil.example", "X-Requested-With": "XMLHttpRequest"},
    "null-origin": {"Origin": "null"},
    "null-origin-as-a-program": {"Origin": "null", "X-Requested-With": "XMLHttpRequest"},
    "empty-origin": {"Origin": "", "X-Requested-With": "XMLHttpRequest"},
    "own-origin-as-a-prefix": {"Origin": OWN + ".evil.example"},
    "own-host-other-port": {"Origin": "http://127.0.0.1"},
    "own-host-other-scheme": {"Origin": "https://{host}"},
    "extra-origin-over-http": {"Origin": "http://spa.example"},
    "extra-origin-below": {"Origin": "https://www.spa.example"},
    "two-origins": {"Origin": f"{OWN} https://evil.example"},
    "referer-alone": {"Referer": f"{OWN}/home"},
    "host-of-the-attacker": {"Host": "evil.example", "Origin": "https://evil.example"},
    "forwarded-host-of-the-attacker": {"X-Forwarded-Host": "evil.example", "Origin": "https://evil.example"},
}
ACCEPTED = {
    "same-origin": {"Sec-Fetch-Site": "same-origin"},
    "same-origin-without-referrer": {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
    "address-bar": {"Sec-Fetch-Site": "none"},
    "own-origin": {"Origin": OWN},
    "program": {"X-Requested-With": "anything"},
    "extra-origin": {"Origin": EXTRA},
    "extra-origin-from-another-site": {"Origin": EXTRA, "Sec-Fetch-Site": "cross-site"},
}


def filled(headers: dict[str, str], browser: Browser) -> dict[str, str]:
    own = browser.site.origin
    host = own.partition("://")[2]
    return {name: value.replace("{own}", own).replace("{host}", host) for name, value in headers.items()}


@pytest.mark.parametrize("case", REFUSED)
def test_a_request_of_another_sites_page_is_refused(browser: Browser, sandbox: Sandbox, case: str) -> None:
    connection_id = browser.connect("x")
    headers = {"Accept": "application/json", **filled(REFUSED[case], browser)}
    before = len(sandbox.log)
    for method, path in CHANGING:
        answer = browser.request(method, path.format(id=connection_id), headers=headers)
        check_problem(answer, 403, "cross_site_request", "report")
        assert not answer.headers.get_list("set-cookie")
        assert "access-control-allow-origin" not in answer.headers
    page = browser.request("POST", "/oauth/x/start", headers={**headers, "Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")
    assert len(sandbox.log) == before
    assert browser.get(f"/oauth/connections/{connection_id}").json()["status"] == "active"


@pytest.mark.parametrize("case", ACCEPTED)
def test_our_own_pages_and_programs_are_answered(browser: Browser, case: str) -> None:
    headers = {"Accept": "application/json", **filled(ACCEPTED[case], browser)}
    assert browser.request("POST", "/oauth/x/start", headers=headers).status_code == 200
    connection_id = browser.connect("facebook")
    path = f"/oauth/connections/{connection_id}"
    assert browser.request("POST", f"{path}/refresh", headers=headers).status_code == 200
    assert browser.request("POST", f"{path}/reconnect", headers=headers).status_code == 200
    assert browser.request("PUT", f"{path}/sub-accounts", headers=headers, json={"ids": []}).status_code == 200
    assert browser.request("DELETE", path, headers=headers).json()["outcome"] == "revoked"


def test_another_site_cant_resume_a_callback_of_its_own(browser: Browser, sandbox: Sandbox) -> None:
    """It is guarded as a callback is, by the flow's cookie; and a cross-site form brings no cookies along."""
    attackers = browser.consent(browser.start("oidc", return_to="/home") + "&response_mode=form_post")
    before = sandbox.log.count(endpoint="token")
    headers = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for victim in (browser.elsewhere(), browser.elsewhere(owner=None)):
        answer = victim.request("POST", "/oauth/oidc/callback/resume", headers=headers, data=dict(attackers))
        assert answer.status_code in (400, 401), answer.text
        assert "location" not in answer.headers
    assert sandbox.log.count(endpoint="token") == before
    connection_of(browser.deliver(attackers))


def test_reading_needs_no_header_and_gives_nothing_to_other_origins(browser: Browser) -> None:
    answer = browser.request("GET", "/oauth/connections", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]
