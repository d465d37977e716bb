"""Who removes the application at the provider is asked again here, and nobody else is."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault.exceptions import ConfigurationError, ReauthorizationRequiredError, StoreUnavailableError
from socialvault.model.status import Status
from socialvault.webhooks.deauthorization import deauthorize

if TYPE_CHECKING:
    from collections.abc import Callable

    Handle = Callable[..., Any]

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}
FLAGGED = (Status.REAUTHORIZATION_REQUIRED, "deauthorized")
PAGES = ["public_profile", "pages_show_list"]


def heard(world: World, name: str) -> list[str]:
    return [event.connection_id for event in world.events if event.name == name]


async def test_every_connection_of_the_account_needs_its_owner_back(world: World, handle: Handle, rows: Handle) -> None:
    mine = await world.connect("facebook")
    others = [await world.connect("facebook", owner="user-43"), await world.connect("facebook", tenant="globex")]
    strangers = [await world.connect("facebook", user="grace", owner="user-44"), await world.connect("linkedin")]
    world.sandbox.revoke_grant("facebook")
    assert await handle(deauthorize) == 3
    stored = await rows()
    for connection in (mine, *others):
        assert (stored[connection.id].status, stored[connection.id].reason) == FLAGGED
        assert stored[connection.id].envelope  # no token is lost to it
    assert stored[strangers[0].id].status is Status.ACTIVE
    assert (await world.vault.connection(strangers[1].id, **MINE)).status is Status.ACTIVE
    assert sorted(heard(world, "reauthorization_required")) == sorted([mine.id, *(each.id for each in others)])
    with pytest.raises(ReauthorizationRequiredError) as refused:
        await world.vault.token(mine.id, **MINE)
    assert refused.value.reason == "deauthorized"


async def test_sub_accounts_go_with_their_parent_and_each_is_told_once(
    world: World, handle: Handle, rows: Handle
) -> None:
    parent = await world.connect("facebook", scopes=PAGES)
    pages = [page.id for page in await world.vault.sub_accounts(parent.id, **MINE)][:2]
    children = await world.vault.select_sub_accounts(parent.id, pages, **MINE)
    assert await handle(deauthorize) == 1
    stored = await rows()
    everybody = [parent.id, *(child.id for child in children)]
    assert [(stored[each].status, stored[each].reason) for each in everybody] == [FLAGGED] * 3
    assert await handle(deauthorize) == 0
    assert sorted(heard(world, "reauthorization_required")) == sorted(everybody)


async def test_a_replay_after_a_reconnect_changes_nothing(world: World, handle: Handle, rows: Handle) -> None:
    connection = await world.connect("facebook")
    removed_at = world.sandbox.clock.now()
    assert await handle(deauthorize, issued_at=removed_at) == 1
    world.sandbox.clock.advance(timedelta(minutes=2))
    again = await world.connect("facebook")
    assert again.id == connection.id
    before = await rows()
    assert await handle(deauthorize, issued_at=removed_at) == 0
    assert await rows() == before
    assert before[connection.id].status is Status.ACTIVE
    assert await handle(deauthorize) == 1


async def test_a_disconnected_connection_stays_disconnected(world: World, handle: Handle, rows: Handle) -> None:
    connection = await world.connect("facebook")
    await world.vault.disconnect(connection.id, **MINE)
    before = await rows()
    assert await handle(deauthorize) == 0
    assert await rows() == before
    assert heard(world, "reauthorization_required") == []


async def test_a_renewal_that_wins_the_race_is_flagged_as_well(world: World, handle: Handle, rows: Handle) -> None:
    connection = await world.connect("facebook")
    lists = world.store.list_for_account

    def renewed_after(found: Any) -> Any:
        world.store.list_for_account = lists
        return found

    if world.colour == "async":

        async def raced(*account: str) -> Any:
            found = renewed_after(await lists(*account))
            await world.vault.refresh(connection.id, **MINE)
            return found
    else:

        def raced(*account: str) -> Any:  # type: ignore[misc]
            found = renewed_after(lists(*account))
            world.vault.vault.refresh(connection.id, **MINE)
            return found

    world.store.list_for_account = raced
    assert await handle(deauthorize) == 1
    row = (await rows())[connection.id]
    assert (row.generation, row.status, row.reason) == (2, *FLAGGED)
    assert heard(world, "reauthorization_required") == [connection.id]


async def test_the_same_notice_twice_at_once_is_told_once(world: World, handle: Handle) -> None:
    connection = await world.connect("facebook")
    assert sum(await asyncio.gather(*(handle(deauthorize) for _ in range(4)))) == 1
    assert heard(world, "reauthorization_required") == [connection.id]


async def test_another_application_of_the_same_vaults_store_is_not_meant(
    world: World, handle: Handle, rows: Handle
) -> None:
    connection = await world.connect("facebook")
    other = world.build(providers=[world.sandbox.provider("facebook", client_id="another-app")])
    assert await handle(deauthorize, vault=other) == 0
    assert (await rows())[connection.id].status is Status.ACTIVE


async def test_a_store_that_is_away_is_said_to_be(world: World, handle: Handle) -> None:
    other = world.build(store=world.open_store())
    await other.open()
    await other.vault._cases.core.store.aclose()
    with pytest.raises(StoreUnavailableError):
        await handle(deauthorize, vault=other)


async def test_a_vault_without_the_provider_says_so(world: World, handle: Handle) -> None:
    other = world.build(providers=[world.providers["x"]])
    with pytest.raises(ConfigurationError, match="no provider 'facebook'"):
        await handle(deauthorize, vault=other)
