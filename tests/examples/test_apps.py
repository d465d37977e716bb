from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from support.examples import EXAMPLES, USER, Example, Page, Visitor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socialvault.sandbox import Sandbox

larger = pytest.mark.parametrize("example", ["fastapi_app", "flask_app"], indirect=True)

SLUGS = {"X": "x", "LinkedIn": "linkedin", "Facebook": "facebook"}


def offered(page: Page) -> list[str]:
    return [form.button.removeprefix("Connect ") for form in page.forms if form.button.startswith("Connect ")]


def connection_id(page: Page) -> str:
    """Of the account that has just been connected, as the address bar shows it."""
    return page.answer.url.params["connection"]


def use(visitor: Visitor, connection: str) -> str:
    page = visitor.accounts()
    if visitor.example.name == "django_app":
        return visitor.submit(page.form("Use", connection)).answer.text
    return visitor.see(f"/accounts/{connection}/profile").answer.text


def test_accounts_are_connected_used_reconnected_and_disconnected(visitor: Visitor, sandbox: Sandbox) -> None:
    platforms = offered(visitor.accounts())
    assert platforms == (["X", "LinkedIn"] if visitor.example.name == "django_app" else list(SLUGS))
    for platform in platforms:
        slug = SLUGS[platform]
        page = visitor.connect(platform)
        assert page.messages[-1] == "Ada Lovelace is connected."
        connection = connection_id(page)
        assert "Ada Lovelace" in use(visitor, connection)

        again = visitor.pass_through(visitor.accounts().form("Reconnect", connection))
        assert connection_id(again) == connection

        ended = visitor.submit(visitor.accounts().form("Disconnect", connection))
        assert "revoked" in ended.answer.text
        grant = sandbox.log.entries(provider=slug, endpoint="revoke", status=200)[-1].grant_id
        assert not sandbox.live_tokens(slug, grant)
        assert connection not in visitor.accounts().answer.text


@larger
def test_pages_are_chosen_and_act_with_tokens_of_their_own(visitor: Visitor, sandbox: Sandbox) -> None:
    connection = connection_id(visitor.connect("Facebook"))
    chooser = visitor.see(f"/accounts/{connection}/pages").form("Save")
    assert len(chooser.choices) == 12
    page = visitor.submit(chooser, ids=chooser.choices[:2])
    links = {text: path for text, path in page.links.items() if text in ("Use Page 1", "Use Page 2")}
    assert len(links) == 2
    assert "&#34;Page 2&#34;" in visitor.see(links["Use Page 2"]).answer.text

    page = visitor.submit(chooser, ids=chooser.choices[1])
    assert "Use Page 1" not in page.links
    assert page.links["Use Page 2"] == links["Use Page 2"]

    ended = visitor.submit(visitor.accounts().form("Disconnect", connection))
    assert "1 disconnected with it" in ended.answer.text


def test_who_turns_the_request_down_is_told_so(visitor: Visitor) -> None:
    page = visitor.connect("X", approve=False)
    assert re.search("nothing was connected|was not connected", page.messages[-1])
    assert page.answer.url.params["connection_error"] == "authorization_denied"


@larger
def test_a_dead_grant_leads_to_reconnecting(visitor: Visitor, sandbox: Sandbox) -> None:
    connection = connection_id(visitor.connect("X"))
    sandbox.revoke_grant("x")
    answer = visitor.see(f"/accounts/{connection}/profile")
    assert (answer.status, answer.messages) == (
        409, ["The platform does not accept our access any more. Please reconnect the account."],
    )  # fmt: skip
    assert "reauthorization required" in visitor.accounts().answer.text
    visitor.pass_through(visitor.accounts().form("Reconnect", connection))
    assert visitor.see(f"/accounts/{connection}/profile").status == 200


def test_nobody_gets_in_with_a_wrong_password(example: Example) -> None:
    with Visitor(example) as visitor:
        for name, password in ((USER, "wrong"), ("nobody", "wrong"), (USER, "")):
            refused = visitor.sign_in(name, password)
            assert refused.answer.url.path == "/sign-in"
            assert refused.status == (200 if example.name == "django_app" else 403)
        assert example.cookie not in visitor.http.cookies
        assert visitor.see(example.home).answer.url.path == "/sign-in"
        program = visitor.http.get("/api/v1/oauth/connections", headers={"Accept": "application/json"})
        assert program.status_code == 401


def test_another_sites_page_signs_nobody_in(example: Example) -> None:
    """Else people connect their accounts to somebody else's user."""
    with Visitor(example) as visitor:
        form = visitor.see("/sign-in").form("Sign in")
        fields = {**form.fields, "name": USER, "username": USER, "password": "analytical engine"}
        for headers in (
            {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
            {"Origin": "null"},
            {},
        ):
            if example.name == "django_app":
                fields["csrfmiddlewaretoken"] = "guessed"
            refused = visitor.http.post("/sign-in", data=fields, headers=headers)
            assert refused.status_code == 403
            assert example.cookie not in visitor.http.cookies


def session_of(visitor: Visitor) -> str:
    return str(visitor.http.cookies[visitor.example.cookie])


def signed_in_with(example: Example, session_id: str) -> bool:
    with httpx.Client(
        base_url=example.url, trust_env=False, verify=False, cookies={example.cookie: session_id}
    ) as http:
        answer = http.get("/api/v1/oauth/connections")
    assert answer.status_code in (200, 401)
    return answer.status_code == 200


def database_of(example: Example) -> Path:
    return example.server.directory.parents[1] / f"{example.name}.db"


def let_pass(example: Example, seconds: float) -> None:
    """Let time pass for sessions: each ends that much earlier."""
    with sqlite3.connect(database_of(example), timeout=10) as db:
        db.execute("UPDATE sessions SET ends_at = ends_at - ?", (seconds,))
    db.close()


def test_a_session_that_somebody_planted_is_not_the_one_that_begins(example: Example) -> None:
    with Visitor(example) as visitor:
        visitor.http.cookies.set(example.cookie, "planted", domain="127.0.0.1", path="/")
        visitor.sign_in()
        assert signed_in_with(example, session_of(visitor))
        assert not signed_in_with(example, "planted")
        first = session_of(visitor)
        visitor.sign_in()
        assert session_of(visitor) != first or example.name == "django_app"  # Django keeps the same user's


def test_connecting_changes_the_sessions_id_and_the_old_one_ends(visitor: Visitor) -> None:
    example, old = visitor.example, session_of(visitor)
    visitor.connect("X")
    renewed = session_of(visitor)
    assert renewed != old
    assert signed_in_with(example, renewed)
    if example.name != "django_app":  # which ends the old one at once
        assert signed_in_with(example, old), "a request that was on its way is signed out"
        let_pass(example, 10.5)
    assert not signed_in_with(example, old)
    assert signed_in_with(example, renewed)


def test_signing_out_ends_the_session_under_all_its_ids(visitor: Visitor) -> None:
    old = session_of(visitor)
    visitor.connect("X")
    renewed = session_of(visitor)
    left = visitor.submit(visitor.accounts().form("Sign out"))
    assert left.answer.url.path == "/sign-in"
    assert not signed_in_with(visitor.example, old)
    assert not signed_in_with(visitor.example, renewed)


@larger
def test_a_session_ends_by_itself(visitor: Visitor) -> None:
    let_pass(visitor.example, 12 * 60 * 60 + 1)
    assert not signed_in_with(visitor.example, session_of(visitor))


@larger
def test_a_callback_that_comes_twice_signs_nobody_out(visitor: Visitor, sandbox: Sandbox) -> None:
    old = dict(visitor.http.cookies)
    answer = visitor.send(visitor.accounts().form("Connect X"))
    old.update(visitor.http.cookies)
    back = sandbox.authorize(answer.headers["location"])
    first = visitor.http.get(back.url)
    with httpx.Client(trust_env=False, verify=False, cookies=old, headers={"Accept": "text/html"}) as late:
        second = late.get(back.url)
    assert first.headers["location"] == second.headers["location"]
    assert visitor.accounts().status == 200


def test_neither_passwords_nor_session_ids_are_in_the_database(visitor: Visitor) -> None:
    visitor.connect("X")
    files = [path.read_bytes() for path in database_of(visitor.example).parent.glob(f"{visitor.example.name}.db*")]
    assert files
    for data in files:
        assert b"analytical engine" not in data
        assert visitor.example.name == "django_app" or session_of(visitor).encode() not in data


def test_the_sessions_cookie_is_for_this_site_and_no_script(example: Example) -> None:
    with Visitor(example) as visitor:
        form = visitor.see("/sign-in").form("Sign in")
        form.action = "/sign-in"
        answer = visitor.send(form, name=USER, username=USER, password="analytical engine")
    [cookie] = [one for one in answer.headers.get_list("set-cookie") if one.startswith(f"{example.cookie}=")]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/"} <= attributes


def test_pages_hold_no_script_and_nothing_from_elsewhere(visitor: Visitor) -> None:
    visitor.connect("X")
    for path in ("/sign-in", visitor.example.home):
        answer = visitor.http.get(path)
        assert not re.search(r"<script|<style|\son\w+=|style=|javascript:", answer.text)
        assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", answer.text)
        assert '<html lang="en">' in answer.text
        assert "no-store" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        if visitor.example.name != "django_app":
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
    assert "Nothing here is real" in visitor.accounts().answer.text


def test_a_link_with_a_made_up_message_shows_none_of_it(visitor: Visitor) -> None:
    if visitor.example.name != "django_app":
        page = visitor.see("/accounts?connection_error=call+0800+123456&missing_scopes=<b>call")
        assert page.messages == ["The account was not connected."]
    assert "call" not in visitor.see(f"{visitor.example.home}?connection=call&missing_scopes=call").answer.text


def test_what_the_two_larger_ones_share_is_the_same(examples: Mapping[str, Example]) -> None:
    """Each is there to be copied alone, so they share no code; but they must not drift apart."""
    one, other = EXAMPLES / "fastapi_app", EXAMPLES / "flask_app"
    shared = ["settings.py", "database.py", "users.py", "sessions.py", "demo.py", "wording.py"]
    shared += [str(path.relative_to(one)) for folder in ("templates", "static") for path in (one / folder).iterdir()]
    for name in shared:
        assert (one / name).read_text("utf-8") == (other / name).read_text("utf-8"), name
    assert len(list((other / "templates").iterdir())) == len(list((one / "templates").iterdir()))
