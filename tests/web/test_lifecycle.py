"""An account's life over HTTP: connected, denied, renewed, reconnected, disconnected, in every framework and store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from support.browser import check_problem, connection_of, query_of

from socialvault.sandbox import page_id

if TYPE_CHECKING:
    from support.browser import Browser

    from socialvault.sandbox import Sandbox

PLATFORMS = ("x", "linkedin", "facebook", "oidc")
CONNECTION = {
    "id": str, "provider": str, "subject": str, "parent_id": str, "kind": str, "name": str, "username": str,
    "picture_url": str, "status": str, "reason": str, "scopes": list, "expires_at": (str, type(None)),
    "dies_at": (str, type(None)), "renewable": bool, "expires_soon": (int, type(None)),
    "failing_since": (str, type(None)), "created_at": str, "updated_at": str,
}  # fmt: skip
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:Z|\+00:00)")


def check_connection(document: dict[str, Any]) -> None:
    """A connection as the contract has it: every field, none more, of its type."""
    assert document.keys() == CONNECTION.keys()
    for name, kind in CONNECTION.items():
        assert isinstance(document[name], kind), (name, document[name])
    for name in ("created_at", "updated_at", "expires_at", "dies_at"):
        assert document[name] is None or INSTANT.fullmatch(document[name]), (name, document[name])
    assert document["scopes"] == sorted(document["scopes"])


@pytest.mark.parametrize("slug", PLATFORMS)
def test_connect_show_refresh_and_disconnect(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    answer = browser.finish(slug)
    connection_id = connection_of(answer)
    assert answer.headers["location"] == f"/home?connection={connection_id}"
    assert browser.request("GET", browser.site.origin + "/home").status_code == 200

    shown = browser.get(f"/oauth/connections/{connection_id}").json()
    check_connection(shown)
    assert (shown["id"], shown["provider"], shown["status"]) == (connection_id, slug, "active")
    assert shown["name"] == browser.user.title()
    listed = browser.get("/oauth/connections").json()
    assert listed == {"connections": [shown]}
    catalogue = browser.get("/oauth/platforms").json()
    assert catalogue.keys() == {"platforms"}
    by_slug = {one["slug"]: one for one in catalogue["platforms"]}
    assert by_slug.keys() == {*PLATFORMS, "npm", "dead"}
    for one in by_slug.values():
        assert one.keys() == {"slug", "name", "renewal", "sub_account_kind", "connected", "connections"}
        assert one["connected"] == (one["slug"] == slug)
    assert by_slug[slug]["connections"] == [shown]

    before = len(sandbox.log)
    renewed = browser.post(f"/oauth/connections/{connection_id}/refresh")
    assert renewed.status_code == 200, renewed.text
    check_connection(renewed.json())
    assert (renewed.json()["id"], renewed.json()["status"]) == (connection_id, "active")
    asked = [one for one in sandbox.log[before:] if one.endpoint == "token"]
    assert [(one.provider, one.user, one.outcome) for one in asked] == [
        (slug, browser.user, "exchanged" if slug == "facebook" else "refreshed")
    ]

    grant_id = asked[0].grant_id
    assert sandbox.live_tokens(slug, grant_id)
    receipt = browser.delete(f"/oauth/connections/{connection_id}")
    assert receipt.status_code == 200, receipt.text
    document = receipt.json()
    assert document.keys() == {"connection_id", "provider", "outcome", "at", "children"}
    assert INSTANT.fullmatch(document.pop("at"))
    assert document == {"connection_id": connection_id, "provider": slug, "outcome": "revoked", "children": []}
    assert not sandbox.live_tokens(slug, grant_id)
    again = browser.delete(f"/oauth/connections/{connection_id}").json()
    assert again["outcome"] == "revoked"
    gone = browser.get("/oauth/connections").json()["connections"]
    assert [one["status"] for one in gone] in ([], ["revoked"])


@pytest.mark.parametrize("slug", PLATFORMS)
def test_a_person_who_denies_is_sent_back_with_the_reason(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    answer = browser.finish(slug, approve=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/home?connection_error=authorization_denied"
    assert browser.get("/oauth/connections").json() == {"connections": []}
    assert not sandbox.log.entries(endpoint="token", user=browser.user)


@pytest.mark.parametrize("slug", PLATFORMS)
def test_without_a_page_to_return_to_a_denial_is_shown(browser: Browser, slug: str) -> None:
    callback = browser.consent(browser.start(slug), approve=False)
    answer = browser.deliver(callback)
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("text/html")
    assert "authorization_denied" in answer.text
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize("slug", PLATFORMS)
def test_a_program_starts_and_finishes_in_json(browser: Browser, slug: str) -> None:
    started = browser.post(f"/oauth/{slug}/start", json={"return_to": "/dashboard/accounts"})
    assert started.status_code == 200, started.text
    assert started.json().keys() == {"url", "expires_at"}
    assert INSTANT.fullmatch(started.json()["expires_at"])
    done = browser.callback_as_program(browser.consent(started.json()["url"]))
    assert done.status_code == 200, done.text
    document = done.json()
    assert document.keys() == {"connection", "return_to", "missing_scopes", "duplicate"}
    check_connection(document["connection"])
    assert document["return_to"] == "/dashboard/accounts"
    assert (document["missing_scopes"], document["duplicate"]) == ([], False)

    denied = browser.post(f"/oauth/{slug}/start", json={"return_to": "/home"}).json()["url"]
    refused = browser.callback_as_program(browser.consent(denied, approve=False))
    check_problem(refused, 403, "authorization_denied", "reauthorize")


def test_scopes_come_in_json_or_in_a_form_and_what_is_missing_is_said(browser: Browser) -> None:
    scopes = ["email", "public_profile", "pages_show_list"]
    urls = [
        browser.post("/oauth/facebook/start", json={"scopes": scopes, "return_to": "/home"}).json()["url"],
        browser.start("facebook", scopes=scopes, return_to="/home"),
        browser.start("facebook", scopes=" ".join(scopes), return_to="/home"),
    ]
    for url in urls:
        assert set(query_of(url)["scope"].split(",")) >= set(scopes)
    answer = browser.deliver(browser.consent(urls[1], scopes=["public_profile"]))
    query = query_of(answer.headers["location"])
    assert query.keys() == {"connection", "missing_scopes"}
    assert query["missing_scopes"] == "email pages_show_list"
    done = browser.callback_as_program(browser.consent(urls[0], scopes=["public_profile", "email"])).json()
    assert done["missing_scopes"] == ["pages_show_list"]
    assert done["connection"]["id"] == query["connection"]


def test_a_reconnect_keeps_the_id_and_refuses_another_account(browser: Browser, sandbox: Sandbox) -> None:
    for slug in PLATFORMS:
        first = browser.connect(slug)
        before = browser.get(f"/oauth/connections/{first}").json()

        answer = browser.submit(f"/oauth/connections/{first}/reconnect", return_to="/home")
        assert answer.status_code == 303, answer.text
        assert connection_of(browser.deliver(browser.consent(answer.headers["location"]))) == first

        url = browser.post(f"/oauth/connections/{first}/reconnect", json={"return_to": "/home"}).json()["url"]
        other = browser.callback_as_program(browser.consent(url, user=f"another-{browser.user}"))
        check_problem(other, 409, "account_mismatch", "reauthorize")
        url = browser.start(slug, connection_id=first, return_to="/home")
        other = browser.deliver(browser.consent(url, user=f"another-{browser.user}"))
        assert other.headers["location"] == "/home?connection_error=account_mismatch"

        after = browser.get(f"/oauth/connections/{first}").json()
        assert (after["id"], after["subject"], after["status"]) == (first, before["subject"], "active")
        connections = browser.get("/oauth/connections").json()["connections"]
        assert len([one for one in connections if one["provider"] == slug]) == 1


def test_an_account_of_another_owner_is_refused_and_that_owner_keeps_it(browser: Browser) -> None:
    first = browser.connect("x")
    colleague = browser.elsewhere(owner="colleague")
    check_problem(
        colleague.callback_as_program(colleague.consent(colleague.start("x"))), 409, "already_connected", "report"
    )
    assert colleague.get("/oauth/connections").json() == {"connections": []}
    assert browser.post(f"/oauth/connections/{first}/refresh").status_code == 200


def test_pages_are_listed_chosen_and_removed(browser: Browser, sandbox: Sandbox) -> None:
    granted = [page_id(1), page_id(2), page_id(3)]
    parent = browser.connect("facebook", pages=granted)
    path = f"/oauth/connections/{parent}/sub-accounts"
    listed = browser.get(path).json()["sub_accounts"]
    assert len(listed) == 12
    assert all(one.keys() == {"id", "name", "kind", "granted", "roles", "connection_id"} for one in listed)
    assert {one["id"] for one in listed if one["granted"]} == set(granted)
    assert {one["kind"] for one in listed} == {"page"}

    chosen = browser.put(path, json={"ids": granted[:2]})
    assert chosen.status_code == 200, chosen.text
    children = chosen.json()["connections"]
    for child in children:
        check_connection(child)
        assert (child["parent_id"], child["kind"], child["status"]) == (parent, "page", "active")
    assert {child["subject"] for child in children} == set(granted[:2])
    linked = {one["id"]: one["connection_id"] for one in browser.get(path).json()["sub_accounts"]}
    assert linked == {one["id"]: "" for one in listed} | {child["subject"]: child["id"] for child in children}
    assert browser.post(f"/oauth/connections/{children[0]['id']}/refresh").status_code == 200

    refused = browser.put(path, json={"ids": [page_id(4)]})  # listed, but not granted
    assert check_problem(refused, 422, "invalid_fields")["errors"][0]["field"] == "ids"
    unknown = browser.put(path, json={"ids": ["1"]})
    assert check_problem(unknown, 422, "invalid_fields")["errors"][0]["field"] == "ids"

    fewer = browser.put(path, json={"ids": [granted[1]]}).json()["connections"]
    assert [child["subject"] for child in fewer] == [granted[1]]
    assert browser.put(path, json={"ids": []}).json() == {"connections": []}
    alive = [one for one in browser.get("/oauth/connections").json()["connections"] if one["status"] == "active"]
    assert [one["id"] for one in alive] == [parent]

    browser.put(path, json={"ids": granted[:1]})
    receipt = browser.delete(f"/oauth/connections/{parent}").json()
    assert receipt["outcome"] == "revoked"
    assert [(child["outcome"], child["children"]) for child in receipt["children"]] == [("revoked", [])]


def test_organizations_act_with_their_parents_token(browser: Browser) -> None:
    scopes = ["openid", "profile", "r_organization_admin", "rw_organization_admin"]
    url = browser.start("linkedin", scopes=scopes, return_to="/home")
    parent = connection_of(browser.deliver(browser.consent(url)))
    path = f"/oauth/connections/{parent}/sub-accounts"
    listed = browser.get(path).json()["sub_accounts"]
    assert {one["kind"] for one in listed} == {"organization"}
    [child] = browser.put(path, json={"ids": [listed[0]["id"]]}).json()["connections"]
    assert (child["parent_id"], child["kind"]) == (parent, "organization")
    [of_it] = browser.delete(f"/oauth/connections/{parent}").json()["children"]
    assert of_it["connection_id"] == child["id"]


def test_a_posted_callback_comes_back_with_its_cookies(browser: Browser, sandbox: Sandbox) -> None:
    url = browser.start("oidc", return_to="/home") + "&response_mode=form_post"
    callback = browser.consent(url)
    assert callback.method == "POST"
    page = browser.post_from_provider(callback)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "script-src 'nonce-" in policy
    assert "unsafe-inline" not in policy
    assert "<button" in page.text  # it goes on without a script, too
    assert not page.headers.get_list("set-cookie")
    assert not sandbox.log.entries(endpoint="token", user=browser.user), "nothing may happen before it comes back"
    connection_id = connection_of(browser.resume(page))
    assert browser.get(f"/oauth/connections/{connection_id}").json()["status"] == "active"

    denied = browser.consent(browser.start("oidc", return_to="/home") + "&response_mode=form_post", approve=False)
    assert browser.deliver(denied).headers["location"] == "/home?connection_error=authorization_denied"


def test_health_needs_nobody(browser: Browser) -> None:
    nobody = browser.elsewhere(owner=None)
    assert nobody.get("/health").json() == {"status": "ok"}
    ready = nobody.get("/health/ready")
    assert ready.status_code == 200
    document = ready.json()
    assert document["status"] == "ready"
    assert {check["name"] for check in document["checks"]} >= {"store", "keys", "providers", "clock"}
    assert all(check.keys() == {"name", "status"} for check in document["checks"])
    assert {check["status"] for check in document["checks"]} <= {"pass", "off"}


def test_a_flow_goes_on_in_another_worker(browser: Browser, host: Any) -> None:
    """The worker that began a flow stands still, so another one ends it; where there is one alone, it does both."""
    started = browser.submit("/oauth/x/start", return_to="/home")
    first = started.headers["x-worker"]
    callback = browser.consent(started.headers["location"])
    with host.without(first):
        answer = browser.deliver(callback)
    assert (answer.headers["x-worker"] != first) == (host.workers > 1)
    assert browser.get(f"/oauth/connections/{connection_of(answer)}").json()["status"] == "active"
    assert urlsplit(browser.site.public).port == host.server.port
