"""An owner's connections over HTTP: the catalogue, the list, sub-accounts, renewal and the end."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from support.world import OWNER, SLUGS, TENANT

MINE = {"owner": OWNER, "tenant": TENANT}
PAGES = ["public_profile", "pages_show_list"]
FIELDS = {
    "id", "provider", "subject", "parent_id", "kind", "name", "username", "picture_url", "status", "reason", "scopes",
    "expires_at", "dies_at", "renewable", "expires_soon", "failing_since", "created_at", "updated_at",
}  # fmt: skip
STRANGERS = [{"owner": "user-43"}, {"tenant": "globex"}, {"tenant": ""}]


async def connected_page(world):
    parent = await world.connect("facebook", scopes=PAGES)
    offered = await world.vault.sub_accounts(parent.id, **MINE)
    return parent, offered


# --- the catalogue --------------------------------------------------------------------------------


async def test_the_catalogue_lists_every_platform_with_what_is_connected_there(desk, world):
    mine = await world.connect("x")
    await world.connect("linkedin", owner="user-43")
    found = {one["slug"]: one for one in (await desk.ask("GET", "/oauth/platforms")).json["platforms"]}
    assert list(found) == list(SLUGS)
    assert {slug for slug, one in found.items() if one["connected"]} == {"x"}
    assert [one["id"] for one in found["x"]["connections"]] == [mine.id]
    assert found["linkedin"]["connections"] == []
    assert set(found["x"]) == {"slug", "name", "renewal", "sub_account_kind", "connected", "connections"}
    assert (found["x"]["renewal"], found["facebook"]["sub_account_kind"]) == ("rotating", "page")
    assert all(one["name"] for one in found.values())


async def test_a_dead_connection_is_listed_and_does_not_count_as_connected(desk, world):
    mine = await world.connect("x")
    world.sandbox.revoke_grant("x")
    await desk.ask("POST", f"/oauth/connections/{mine.id}/refresh")
    [found] = [one for one in (await desk.ask("GET", "/oauth/platforms")).json["platforms"] if one["slug"] == "x"]
    assert found["connected"] is False
    assert [one["status"] for one in found["connections"]] == ["reauthorization_required"]


# --- one and all ----------------------------------------------------------------------------------


async def test_a_connection_shows_what_its_owner_may_know_and_nothing_else(desk, world):
    mine = await world.connect("x")
    answer = await desk.ask("GET", f"/oauth/connections/{mine.id}")
    assert (answer.status, set(answer.json)) == (200, FIELDS)
    found = answer.json
    assert (found["id"], found["provider"], found["status"], found["renewable"]) == (mine.id, "x", "active", True)
    assert found["scopes"] == sorted(mine.scopes)
    assert (found["parent_id"], found["kind"], found["reason"]) == ("", "", "")
    for name in ("expires_at", "created_at", "updated_at"):
        assert datetime.fromisoformat(found[name]) == getattr(mine, name)
        assert found[name].endswith("Z")
    assert OWNER not in answer.text
    assert TENANT not in answer.text
    assert "sandbox-x" not in answer.text


async def test_all_connections_of_an_owner_are_listed(desk, world):
    ids = [(await world.connect(slug)).id for slug in ("x", "linkedin")]
    await world.connect("x", owner="user-43", user="grace")
    found = (await desk.ask("GET", "/oauth/connections")).json["connections"]
    assert sorted(one["id"] for one in found) == sorted(ids)
    assert all(set(one) == FIELDS for one in found)


@pytest.mark.parametrize("who", STRANGERS, ids=str)
async def test_what_somebody_else_has_is_not_there(desk, world, who):
    mine = await world.connect("x")
    assert (await desk.ask("GET", "/oauth/connections", **who)).json == {"connections": []}
    where = f"/oauth/connections/{mine.id}"
    for method, path, how in (
        ("GET", where, {}),
        ("DELETE", where, {}),
        ("POST", f"{where}/refresh", {}),
        ("POST", f"{where}/reconnect", {}),
        ("GET", f"{where}/sub-accounts", {}),
        ("PUT", f"{where}/sub-accounts", {"data": {"ids": []}}),
    ):
        answer = await desk.ask(method, path, **who, **how)
        assert (answer.status, answer.code) == (404, "connection_not_found"), (method, path)
    assert (await desk.ask("GET", where)).json["status"] == "active"


@pytest.mark.parametrize("connection_id", ["con-unknown", "%00", "..", "a" * 2000, "'--", "ü"])
async def test_an_unknown_id_is_not_found_whatever_it_looks_like(desk, connection_id):
    answer = await desk.ask("GET", f"/oauth/connections/{connection_id}")
    assert (answer.status, answer.code) == (404, "connection_not_found")


# --- renewal --------------------------------------------------------------------------------------


async def test_a_renewal_answers_with_the_connection_as_it_is_now(desk, world):
    mine = await world.connect("x")
    world.sandbox.clock.advance(timedelta(hours=1))
    answer = await desk.ask("POST", f"/oauth/connections/{mine.id}/refresh")
    assert (answer.status, answer.json["id"]) == (200, mine.id)
    assert datetime.fromisoformat(answer.json["expires_at"]) > mine.expires_at
    assert world.token_requests("x", grant_type="refresh_token") == 1


async def test_a_dead_grant_says_that_its_owner_must_sign_in_again(desk, world):
    mine = await world.connect("x")
    world.sandbox.revoke_grant("x")
    for _ in range(2):
        answer = await desk.ask("POST", f"/oauth/connections/{mine.id}/refresh")
        assert (answer.status, answer.code) == (409, "reauthorization_required")
        assert (answer.json["action"], bool(answer.json["reason"])) == ("reauthorize", True)
    assert (await desk.ask("GET", f"/oauth/connections/{mine.id}")).json["status"] == "reauthorization_required"


async def test_a_provider_that_is_busy_says_when_to_come_back(desk, world):
    mine = await world.connect("x")
    world.sandbox.fault("x", "token", status=429, retry_after=17, times=None)
    answer = await desk.ask("POST", f"/oauth/connections/{mine.id}/refresh")
    assert (answer.status, answer.code, answer.header("Retry-After")) == (503, "rate_limited", "17")
    assert (await desk.ask("GET", f"/oauth/connections/{mine.id}")).json["status"] == "active"


# --- sub-accounts ---------------------------------------------------------------------------------


async def test_sub_accounts_are_listed_with_what_is_selected(desk, world):
    parent, offered = await connected_page(world)
    [child] = await world.vault.select_sub_accounts(parent.id, [offered[0].id], **MINE)
    answer = await desk.ask("GET", f"/oauth/connections/{parent.id}/sub-accounts")
    assert answer.status == 200
    found = answer.json["sub_accounts"]
    assert [one["id"] for one in found] == [one.id for one in offered]
    assert set(found[0]) == {"id", "name", "kind", "granted", "roles", "connection_id"}
    assert (found[0]["connection_id"], found[0]["kind"], found[0]["granted"]) == (child.id, "page", True)
    assert {one["connection_id"] for one in found[1:]} == {""}


async def test_a_selection_replaces_what_was_selected_before(desk, world):
    parent, offered = await connected_page(world)
    where, ids = f"/oauth/connections/{parent.id}/sub-accounts", [one.id for one in offered]
    first = await desk.ask("PUT", where, data={"ids": ids[:2]})
    assert first.status == 200
    children = first.json["connections"]
    assert [(one["subject"], one["parent_id"], one["kind"]) for one in children] == [
        (one, parent.id, "page") for one in ids[:2]
    ]
    second = await desk.ask("PUT", where, data={"ids": ids[1:2]})
    assert [one["id"] for one in second.json["connections"]] == [children[1]["id"]]
    assert (await desk.ask("GET", f"/oauth/connections/{children[0]['id']}")).status == 404
    assert (await desk.ask("PUT", where, form=[])).status == 422
    assert (await desk.ask("PUT", where, data={"ids": []})).json == {"connections": []}


async def test_a_selection_may_come_from_a_form(desk, world):
    parent, offered = await connected_page(world)
    form = [("ids", one.id) for one in offered[:2]]
    answer = await desk.ask("PUT", f"/oauth/connections/{parent.id}/sub-accounts", form=form)
    assert len(answer.json["connections"]) == 2


async def test_a_sub_account_that_there_is_not_is_a_field_that_is_wrong(desk, world):
    parent, offered = await connected_page(world)
    where = f"/oauth/connections/{parent.id}/sub-accounts"
    answer = await desk.ask("PUT", where, data={"ids": [offered[0].id, "page-unknown"]})
    assert (answer.status, answer.code) == (422, "invalid_fields")
    assert [one["field"] for one in answer.json["errors"]] == ["ids"]
    assert {one["connection_id"] for one in (await desk.ask("GET", where)).json["sub_accounts"]} == {""}


async def test_a_sub_account_that_was_not_granted_is_one_too(desk, world):
    _, offered = await connected_page(world)
    parent = await world.connect("facebook", scopes=PAGES, pages=[offered[0].id])
    where = f"/oauth/connections/{parent.id}/sub-accounts"
    found = {one["id"]: one["granted"] for one in (await desk.ask("GET", where)).json["sub_accounts"]}
    assert found == {one.id: one is offered[0] for one in offered}
    answer = await desk.ask("PUT", where, data={"ids": [offered[0].id, offered[1].id]})
    assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (422, ["ids"])


async def test_a_sub_account_has_none_of_its_own(desk, world):
    parent, offered = await connected_page(world)
    [child] = await world.vault.select_sub_accounts(parent.id, [offered[0].id], **MINE)
    answer = await desk.ask("GET", f"/oauth/connections/{child.id}/sub-accounts")
    assert (answer.status, [one["field"] for one in answer.json["errors"]]) == (422, ["connection_id"])


async def test_a_platform_without_sub_accounts_has_an_empty_list(desk, world):
    mine = await world.connect("x")
    where = f"/oauth/connections/{mine.id}/sub-accounts"
    assert (await desk.ask("GET", where)).json == {"sub_accounts": []}
    assert (await desk.ask("PUT", where, data={"ids": ["page-1"]})).status == 422


async def test_a_dead_connection_lists_no_sub_accounts(desk, world):
    mine = await world.connect("x")
    world.sandbox.revoke_grant("x")
    await desk.ask("POST", f"/oauth/connections/{mine.id}/refresh")
    answer = await desk.ask("GET", f"/oauth/connections/{mine.id}/sub-accounts")
    assert (answer.status, answer.code) == (409, "reauthorization_required")


# --- the end --------------------------------------------------------------------------------------


async def test_a_disconnect_says_what_was_reached_at_the_provider(desk, world):
    mine = await world.connect("x")
    answer = await desk.ask("DELETE", f"/oauth/connections/{mine.id}")
    assert (answer.status, set(answer.json)) == (200, {"connection_id", "provider", "outcome", "at", "children"})
    assert (answer.json["connection_id"], answer.json["outcome"], answer.json["children"]) == (mine.id, "revoked", [])
    assert datetime.fromisoformat(answer.json["at"]).tzinfo is not None
    assert world.sandbox.live_tokens("x") == frozenset()
    assert (await desk.ask("GET", f"/oauth/connections/{mine.id}")).status == 404


async def test_a_disconnect_takes_the_sub_accounts_along(desk, world):
    parent, offered = await connected_page(world)
    children = await world.vault.select_sub_accounts(parent.id, [one.id for one in offered[:2]], **MINE)
    answer = await desk.ask("DELETE", f"/oauth/connections/{parent.id}")
    assert sorted(one["connection_id"] for one in answer.json["children"]) == sorted(child.id for child in children)
    assert all(one["children"] == [] for one in answer.json["children"])
    assert (await desk.ask("GET", "/oauth/connections")).json == {"connections": []}


async def test_a_disconnect_succeeds_while_the_provider_is_away(desk, world):
    mine = await world.connect("x")
    world.sandbox.fault("x", "revoke", status=503, times=None)
    answer = await desk.ask("DELETE", f"/oauth/connections/{mine.id}")
    assert (answer.status, answer.json["outcome"]) == (200, "pending")
    assert (await desk.ask("GET", "/oauth/connections")).json == {"connections": []}
