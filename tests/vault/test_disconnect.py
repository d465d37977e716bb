"""Disconnecting: unusable at once, revoked where possible, and a receipt that is true."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from support.world import OWNER, SLUGS, TENANT, World

from socialvault.exceptions import ConnectionNotFoundError

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}


@pytest.mark.parametrize("slug", SLUGS)
async def test_i6_a_disconnected_connection_is_gone_here_and_at_the_provider(world: World, slug: str) -> None:
    connection = await world.connect(slug)
    receipt = await world.vault.disconnect(connection.id, **MINE)
    assert (receipt.connection_id, receipt.outcome) == (connection.id, "revoked")
    assert world.sandbox.live_tokens(slug) == frozenset()
    for call in ("token", "refresh", "connection", "sub_accounts"):
        with pytest.raises(ConnectionNotFoundError):
            await getattr(world.vault, call)(connection.id, **MINE)
    assert await world.vault.connections(**MINE) == ()
    assert (await world.vault.disconnect(connection.id, **MINE)).outcome == "revoked"
    assert (await world.vault.receipt(connection.id, **MINE)).outcome == "revoked"
    assert [event.name for event in world.events] == ["connected", "disconnected", "revoked"]
    again = await world.connect(slug)
    assert again.id != connection.id


async def test_o_47_the_refresh_token_is_revoked_first_with_a_hint(world: World) -> None:
    connection = await world.connect("x")
    await world.vault.disconnect(connection.id, **MINE)
    revoked = world.sandbox.log.entries(provider="x", endpoint="revoke")
    assert [entry.status for entry in revoked] == [200, 200]
    token = next(
        secret for secret in world.sandbox.issued_tokens() if world.sandbox.log.about(secret)[-1:] == revoked[:1]
    )
    assert "rt" in token.split("-")


async def test_a_provider_that_is_down_leaves_a_pending_revocation_that_can_be_retried(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.fault("x", "revoke", status=503, times=None)
    receipt = await world.vault.disconnect(connection.id, **MINE)
    assert receipt.outcome == "pending"
    with pytest.raises(ConnectionNotFoundError):
        await world.vault.token(connection.id, **MINE)
    assert world.sandbox.live_tokens("x")
    world.sandbox.clear_faults()
    assert (await world.vault.disconnect(connection.id, **MINE)).outcome == "revoked"
    assert world.sandbox.live_tokens("x") == frozenset()


@pytest.mark.parametrize("at", ["before_commit", "after_commit"])
async def test_f_36_a_disconnect_wins_over_a_refresh_in_flight(world: World, at: Any) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(timedelta(hours=3))
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=300), at=at)
    refresh = asyncio.create_task(world.vault.token(connection.id, **MINE))
    await asyncio.sleep(0.1)
    await world.vault.disconnect(connection.id, **MINE)
    with pytest.raises(ConnectionNotFoundError):
        await refresh
    assert await world.vault.connections(**MINE) == ()
    assert world.sandbox.live_tokens("x") == frozenset()


async def test_a_grant_is_kept_while_a_sibling_lives_on_it(world: World) -> None:
    first = await world.connect("facebook", tenant="one")
    second = await world.connect("facebook", tenant="two")
    receipt = await world.vault.disconnect(first.id, owner=OWNER, tenant="one")
    assert receipt.outcome == "kept_for_sibling"
    token = await world.vault.token(second.id, owner=OWNER, tenant="two")
    assert token.reveal() in world.sandbox.live_tokens("facebook")
    assert (await world.vault.disconnect(second.id, owner=OWNER, tenant="two")).outcome == "revoked"


async def test_pages_go_with_their_parent(world: World) -> None:
    parent = await world.connect("facebook", scopes=["public_profile", "pages_show_list"])
    pages = await world.vault.sub_accounts(parent.id, **MINE)
    children = await world.vault.select_sub_accounts(parent.id, [page.id for page in pages[:2]], **MINE)
    receipt = await world.vault.disconnect(parent.id, **MINE)
    assert receipt.outcome == "revoked"
    assert {child.connection_id for child in receipt.children} == {child.id for child in children}
    assert {child.outcome for child in receipt.children} == {"revoked"}
    for child in children:
        with pytest.raises(ConnectionNotFoundError):
            await world.vault.token(child.id, **MINE)
    assert world.sandbox.live_tokens("facebook") == frozenset()


async def test_a_page_alone_cannot_be_revoked_and_the_receipt_says_so(world: World) -> None:
    parent = await world.connect("facebook", scopes=["public_profile", "pages_show_list"])
    pages = await world.vault.sub_accounts(parent.id, **MINE)
    (child,) = await world.vault.select_sub_accounts(parent.id, [pages[0].id], **MINE)
    assert (await world.vault.disconnect(child.id, **MINE)).outcome == "unsupported"
    assert [c.id for c in await world.vault.connections(**MINE)] == [parent.id]


async def test_a_server_without_revocation_is_reported_as_such(world: World) -> None:
    connection = await world.connect("x")
    world.provider("x", revocation_style="none")
    assert (await world.build().disconnect(connection.id, **MINE)).outcome == "unsupported"


async def test_a_grant_that_ended_before_is_reported_as_gone(world: World) -> None:
    connection = await world.connect("facebook")
    world.sandbox.revoke_grant("facebook")
    assert (await world.vault.disconnect(connection.id, **MINE)).outcome == "already_gone"


async def test_a_vault_without_the_provider_still_takes_the_connection_out_of_use(world: World) -> None:
    connection = await world.connect("x")
    bare = world.build(providers=[])
    assert (await bare.disconnect(connection.id, **MINE)).outcome == "pending"
    with pytest.raises(ConnectionNotFoundError):
        await world.vault.token(connection.id, **MINE)
    assert (await world.vault.disconnect(connection.id, **MINE)).outcome == "revoked"
