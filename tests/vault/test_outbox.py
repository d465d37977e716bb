"""Revocations: queued with the tombstone, tried until the provider answers, and never at somebody else's expense."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault.exceptions import ConnectionNotFoundError

PAGES = ("public_profile", "pages_show_list")
MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}


def ends(world: World) -> list[tuple[str, str]]:
    return [(event.name, event.reason) for event in world.events if event.name in ("disconnected", "revoked")]


async def test_f_35_a_revocation_is_tried_again_by_any_process_until_it_is_confirmed(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.fault("x", "revoke", status=503, times=None)
    assert (await world.vault.disconnect(connection.id, **MINE)).outcome == "pending"
    assert (await world.vault.receipt(connection.id, **MINE)).outcome == "pending"
    restarted = world.build()
    asked = world.sandbox.log.count(provider="x", endpoint="revoke")
    assert (await restarted.renew_due()).revoked == 0  # not yet
    assert world.sandbox.log.count(provider="x", endpoint="revoke") == asked
    for _ in range(10):
        world.sandbox.clock.advance(timedelta(minutes=10))
        await restarted.renew_due()
    assert 3 <= world.sandbox.log.count(provider="x", endpoint="revoke") - asked <= 10
    world.sandbox.clear_faults()
    world.sandbox.clock.advance(timedelta(hours=9))
    assert (await restarted.renew_due()).revoked == 1
    assert (await restarted.receipt(connection.id, **MINE)).outcome == "revoked"
    assert world.sandbox.live_tokens("x") == frozenset()
    assert (await restarted.renew_due()).revoked == 0
    assert ends(world) == [("disconnected", ""), ("revoked", "revoked")]


async def test_f_35_what_can_not_be_revoked_for_a_week_is_given_up_and_said(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.fault("x", "revoke", drop="before_commit", times=None)
    await world.vault.disconnect(connection.id, **MINE)
    for _ in range(40):
        world.sandbox.clock.advance(timedelta(hours=6))
        await world.vault.renew_due()
    receipt = await world.vault.receipt(connection.id, **MINE)
    assert receipt.outcome == "gave_up"
    assert (await world.vault.disconnect(connection.id, **MINE)).outcome == "gave_up"
    row = await world.vault.vault._cases.core.store.get(connection.id, TENANT, OWNER)
    assert (row.envelope, row.candidate, row.status) == (b"", b"", "revoked")
    assert ends(world) == [("disconnected", ""), ("revoked", "gave_up")]


async def test_of_many_processes_one_asks_the_provider(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.fault("x", "revoke", status=503)
    await world.vault.disconnect(connection.id, **MINE)
    world.sandbox.clock.advance(timedelta(hours=1))
    world.sandbox.fault("x", "revoke", latency=timedelta(milliseconds=300))
    swept = await asyncio.gather(*(world.build().renew_due() for _ in range(4)))
    assert sum(sweep.revoked for sweep in swept) == 1
    assert world.sandbox.log.count(provider="x", endpoint="revoke", status=200) == 2  # refresh and access token


async def test_a_receipt_is_of_a_disconnected_connection_of_the_same_owner(world: World) -> None:
    connection = await world.connect("x")
    with pytest.raises(ConnectionNotFoundError):
        await world.vault.receipt(connection.id, **MINE)
    await world.vault.disconnect(connection.id, **MINE)
    with pytest.raises(ConnectionNotFoundError):
        await world.vault.receipt(connection.id, owner="user-43", tenant=TENANT)
    assert (await world.vault.receipt(connection.id, **MINE)).provider == "x"


async def test_a_reconnect_is_spared_by_the_revocation_of_what_it_follows(world: World) -> None:
    """At Facebook revoking ends everything that the person ever granted to the application."""
    first = await world.connect("facebook")
    world.sandbox.fault("facebook", "revoke", status=503, times=None)
    assert (await world.vault.disconnect(first.id, **MINE)).outcome == "pending"
    second = await world.connect("facebook")
    world.sandbox.clear_faults()
    world.sandbox.clock.advance(timedelta(days=1))
    await world.vault.renew_due()
    assert (await world.vault.token(second.id, **MINE)).reveal() in world.sandbox.live_tokens("facebook")
    assert (await world.vault.receipt(first.id, **MINE)).outcome == "kept_for_sibling"
    assert world.sandbox.log.count(provider="facebook", endpoint="revoke", status=200) == 0


async def test_a_sibling_that_came_later_is_spared_too(world: World) -> None:
    first = await world.connect("facebook", tenant="one")
    world.sandbox.fault("facebook", "revoke", status=503)
    await world.vault.disconnect(first.id, owner=OWNER, tenant="one")
    second = await world.connect("facebook", tenant="two")
    world.sandbox.clock.advance(timedelta(days=1))
    await world.vault.renew_due()
    assert (await world.vault.token(second.id, owner=OWNER, tenant="two")).reveal() in world.sandbox.live_tokens(
        "facebook"
    )


async def test_a_reconnect_that_a_revocation_in_flight_has_ended_is_found_out_at_once(async_world: World) -> None:
    """It came between our last look at the siblings and the provider's answer: nobody can prevent that from here."""
    world = async_world
    first = await world.connect("facebook")
    store = world.vault.vault._cases.core.store
    looked, other = store.count_grant_siblings, world.build()

    async def look_and_be_overtaken(row: Any) -> int:
        siblings: int = await looked(row)
        store.count_grant_siblings = looked
        await world.connect("facebook", vault=other)
        return siblings

    store.count_grant_siblings = look_and_be_overtaken
    await world.vault.disconnect(first.id, **MINE)
    [second] = await world.vault.connections(**MINE)
    assert world.sandbox.live_tokens("facebook") == frozenset()
    assert (second.id != first.id, second.status) == (True, "reauthorization_required")


async def test_a_token_that_comes_after_the_disconnect_is_revoked_even_if_the_provider_is_down_then(
    world: World,
) -> None:
    connection = await world.connect("x")
    world.sandbox.settings("x", revocation_reach="single")
    world.sandbox.clock.advance(timedelta(hours=3))
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=500), at="after_commit")
    late = asyncio.create_task(world.vault.token(connection.id, **MINE))
    await asyncio.sleep(0.2)
    world.sandbox.fault("x", "revoke", status=503, times=None)
    await world.build().disconnect(connection.id, **MINE)
    with pytest.raises(ConnectionNotFoundError):
        await late
    assert world.sandbox.live_tokens("x")
    world.sandbox.clear_faults()
    world.sandbox.clock.advance(timedelta(hours=1))
    assert (await world.build().renew_due()).revoked == 2
    assert world.sandbox.live_tokens("x") == frozenset()
    assert ends(world) == [("disconnected", ""), ("revoked", "revoked")]


async def test_children_end_with_their_parent_in_one_step(world: World) -> None:
    parent = await world.connect("facebook", scopes=PAGES)
    pages = await world.vault.sub_accounts(parent.id, **MINE)
    children = await world.vault.select_sub_accounts(parent.id, [page.id for page in pages[:2]], **MINE)
    receipt = await world.vault.disconnect(parent.id, **MINE)
    assert [child.outcome for child in receipt.children] == ["revoked", "revoked"]
    for child in children:
        with pytest.raises(ConnectionNotFoundError):
            await world.vault.token(child.id, **MINE)
    assert world.sandbox.live_tokens("facebook") == frozenset()


# --- owners ---------------------------------------------------------------------------------------


async def test_an_owner_is_erased_with_everything_but_the_receipt(world: World) -> None:
    mine = [
        await world.connect(slug, scopes=scopes)
        for slug, scopes in (("x", None), ("linkedin", None), ("facebook", PAGES))
    ]
    pages = await world.vault.sub_accounts(mine[2].id, **MINE)
    await world.vault.select_sub_accounts(mine[2].id, [pages[0].id], **MINE)
    theirs = await world.connect("x", owner="user-43", user="grace")
    world.sandbox.fault("linkedin", "revoke", status=503, times=None)
    pending = await world.vault.begin("x", **MINE)
    erasure = await world.vault.erase_owner(OWNER, tenant=TENANT)
    outcomes = {receipt.provider: receipt.outcome for receipt in erasure.receipts}
    assert outcomes == {"x": "revoked", "linkedin": "gave_up", "facebook": "revoked"}
    assert (erasure.erased, erasure.owner, erasure.tenant) == (4, OWNER, TENANT)
    store = world.vault.vault._cases.core.store
    assert await store.find(tenant=TENANT, owner=OWNER, provider=None, status=None, after_id="", limit=10) == []
    assert await store.primary_key("data", TENANT, OWNER) is None
    with pytest.raises(Exception, match="unknown"):
        await world.complete(pending, await world.callback(pending), "x")
    assert (await world.vault.token(theirs.id, owner="user-43", tenant=TENANT)).reveal()
    assert [event.name for event in world.events].count("owner_erased") == 1
    assert (await world.vault.erase_owner(OWNER, tenant=TENANT)).erased == 0


async def test_what_is_erased_leaves_no_key_in_memory_that_would_open_a_copy(world: World) -> None:
    connection = await world.connect("x")
    core = world.vault.vault._cases.core
    row = await core.row(connection.id, TENANT, OWNER)
    await world.vault.erase_owner(OWNER, tenant=TENANT)
    with pytest.raises(Exception, match="not stored"):
        await core.open(row)
    again = await world.connect("x")  # and the owner may come back
    assert (await world.vault.token(again.id, **MINE)).reveal() in world.sandbox.live_tokens("x")
