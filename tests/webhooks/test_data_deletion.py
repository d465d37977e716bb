"""Who asks the provider for it is forgotten here: rows gone, grant revoked, the application told."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault.exceptions import ConfigurationError, GenerationConflictError, StoreUnavailableError
from socialvault.model.notice import AccountNotice
from socialvault.model.rows import StatusWrite, TokenWrite
from socialvault.model.status import Status
from socialvault.runtimes.threads import run
from socialvault.webhooks.data_deletion import delete_account_data, deleted_at
from socialvault.webhooks.deauthorization import deauthorize

if TYPE_CHECKING:
    from collections.abc import Callable

    Handle = Callable[..., Any]

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}
PAGES = ["public_profile", "pages_show_list"]


def heard(world: World, name: str) -> list[str]:
    return [event.connection_id for event in world.events if event.name == name]


async def written(world: World, method: str, *args: Any) -> Any:
    found = getattr(world.store, method)(*args)
    return await found if world.colour == "async" else found


async def test_every_connection_of_the_account_is_gone_here_and_at_the_provider(
    world: World, handle: Handle, rows: Handle
) -> None:
    mine = [
        await world.connect("facebook"),
        await world.connect("facebook", owner="user-43"),
        await world.connect("facebook", tenant="globex"),
    ]
    stranger = await world.connect("facebook", user="grace", owner="user-44")
    code = await handle(delete_account_data)
    assert list(await rows()) == [stranger.id]
    assert world.sandbox.log.count(provider="facebook", endpoint="revoke", outcome="revoked") == 1
    alive = await world.vault.token(stranger.id, owner="user-44", tenant=TENANT)
    assert alive.reveal() in world.sandbox.live_tokens("facebook")
    assert sorted(heard(world, "data_deletion_requested")) == sorted(connection.id for connection in mine)
    assert deleted_at(world.providers["facebook"], code) == world.sandbox.clock.now().replace(microsecond=0)


async def test_the_application_is_told_before_anything_is_gone(world: World, handle: Handle) -> None:
    connection = await world.connect("facebook")
    await handle(delete_account_data)
    names = [(event.name, event.reason) for event in world.events if event.connection_id == connection.id]
    assert names == [("connected", ""), ("data_deletion_requested", ""), ("disconnected", ""), ("revoked", "revoked")]


async def test_sub_accounts_go_with_their_parent_and_are_told_of(world: World, handle: Handle, rows: Handle) -> None:
    parent = await world.connect("facebook", scopes=PAGES)
    pages = [page.id for page in await world.vault.sub_accounts(parent.id, **MINE)][:3]
    children = await world.vault.select_sub_accounts(parent.id, pages, **MINE)
    await world.vault.select_sub_accounts(parent.id, pages[:2], **MINE)
    await handle(delete_account_data)
    assert await rows() == {}
    told = heard(world, "data_deletion_requested")
    assert told[0] == parent.id
    assert sorted(told[1:]) == sorted(child.id for child in children[:2])


async def test_a_grant_that_is_gone_already_is_no_obstacle(world: World, handle: Handle, rows: Handle) -> None:
    await world.connect("facebook")
    world.sandbox.revoke_grant("facebook")
    assert await handle(delete_account_data)
    assert await rows() == {}


async def test_a_provider_that_is_down_does_not_keep_the_data(world: World, handle: Handle, rows: Handle) -> None:
    connection = await world.connect("facebook")
    world.sandbox.fault("facebook", "revoke", status=503, times=None)
    await handle(delete_account_data)
    assert world.sandbox.log.count(provider="facebook", endpoint="revoke") >= 1
    assert await rows() == {}
    assert heard(world, "data_deletion_requested") == [connection.id]


async def test_what_waits_for_its_revocation_or_was_disconnected_goes_too(
    world: World, handle: Handle, rows: Handle
) -> None:
    connections = [await world.connect("facebook")]
    await world.vault.disconnect(connections[0].id, **MINE)
    connections.append(await world.connect("facebook"))
    world.sandbox.fault("facebook", "revoke", status=503)
    assert (await world.vault.disconnect(connections[1].id, **MINE)).outcome == "pending"
    assert [row.status for row in (await rows()).values() if row.envelope] == [Status.REVOCATION_PENDING]
    await handle(delete_account_data, issued_at=world.sandbox.clock.now() - timedelta(hours=3))
    assert await rows() == {}
    assert world.sandbox.live_tokens("facebook") == frozenset()
    assert sorted(heard(world, "data_deletion_requested")) == sorted(each.id for each in connections)


async def test_a_deauthorisation_handled_in_between_keeps_nothing_from_deletion(
    world: World, handle: Handle, rows: Handle
) -> None:
    await world.connect("facebook")
    removed_at = world.sandbox.clock.now()
    world.sandbox.clock.advance(timedelta(hours=1))
    assert await handle(deauthorize, issued_at=removed_at) == 1
    await handle(delete_account_data, issued_at=removed_at)
    assert await rows() == {}


@pytest.mark.parametrize("dies", [False, True], ids=["alive", "died_since"])
async def test_a_replay_after_a_reconnect_deletes_nothing(
    world: World, handle: Handle, rows: Handle, dies: bool
) -> None:
    await world.connect("facebook")
    asked_at = world.sandbox.clock.now()
    await handle(delete_account_data, issued_at=asked_at)
    world.sandbox.clock.advance(timedelta(minutes=2))
    again = await world.connect("facebook")
    if dies:
        assert await handle(deauthorize) == 1
    before, told = await rows(), len(world.events)
    with pytest.raises(GenerationConflictError, match="younger"):  # what is still here is not said to be gone
        await handle(delete_account_data, issued_at=asked_at)
    assert await rows() == before
    assert list(before) == [again.id]
    assert len(world.events) == told


async def test_a_connection_that_came_later_keeps_the_grant(world: World, handle: Handle, rows: Handle) -> None:
    await world.connect("facebook", tenant="globex")
    asked_at = world.sandbox.clock.now()
    world.sandbox.clock.advance(timedelta(minutes=2))
    later = await world.connect("facebook")
    with pytest.raises(GenerationConflictError, match="younger"):
        await handle(delete_account_data, issued_at=asked_at)
    assert list(await rows()) == [later.id]
    assert (await world.vault.token(later.id, **MINE)).reveal() in world.sandbox.live_tokens("facebook")


async def test_an_account_that_is_not_connected_is_confirmed_all_the_same(world: World, handle: Handle) -> None:
    code = await handle(delete_account_data, user="grace")
    assert deleted_at(world.providers["facebook"], code)
    assert world.events == []


async def test_the_same_request_several_times_at_once_ends_well(world: World, handle: Handle, rows: Handle) -> None:
    await world.connect("facebook", scopes=PAGES)
    codes = await asyncio.gather(*(handle(delete_account_data) for _ in range(4)))
    assert len(set(codes)) == 4
    assert await rows() == {}


async def test_a_connection_that_another_request_has_just_deleted_is_no_obstacle(
    world: World, handle: Handle, rows: Handle
) -> None:
    await world.connect("facebook")
    seen = list((await rows()).values())
    await handle(delete_account_data)
    lists = world.store.list_for_account

    def stale(*_: str) -> Any:
        world.store.list_for_account = lists
        return seen

    async def stale_too(*_: str) -> Any:
        return stale()

    world.store.list_for_account = stale_too if world.colour == "async" else stale
    assert await handle(delete_account_data)
    assert await rows() == {}


async def test_a_sub_account_that_outlived_its_parent_goes_too(world: World, handle: Handle, rows: Handle) -> None:
    parent = await world.connect("facebook", scopes=PAGES)
    page = (await world.vault.sub_accounts(parent.id, **MINE))[0]
    (child,) = await world.vault.select_sub_accounts(parent.id, [page.id], **MINE)
    row = (await rows())[parent.id]
    revoked = StatusWrite(row.id, row.generation, (row.status,), Status.REVOKED, "", row.updated_at_seconds, wipe=True)
    assert await written(world, "write_status", revoked)
    assert (await rows())[child.id].envelope
    await handle(delete_account_data)
    assert await rows() == {}


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.REAUTHORIZATION_REQUIRED])
async def test_a_record_that_does_not_open_is_deleted_too(
    world: World, handle: Handle, rows: Handle, status: Status
) -> None:
    connection = await world.connect("facebook")
    row = (await rows())[connection.id]
    other = await world.connect("facebook", user="grace")
    moved = (await rows())[other.id].envelope
    assert await written(
        world, "write_token", TokenWrite(row.id, 1, moved, row.key_id, row.updated_at_seconds, None, None)
    )
    await written(world, "write_status", StatusWrite(row.id, 2, (Status.ACTIVE,), status, "", row.updated_at_seconds))
    await handle(delete_account_data)
    assert list(await rows()) == [other.id]


async def test_a_store_that_goes_away_confirms_nothing_and_a_second_request_finishes(
    world: World, handle: Handle, rows: Handle
) -> None:
    await world.connect("facebook", scopes=PAGES)
    delete, asked_at = world.store.delete, world.sandbox.clock.now()

    def fails(*args: Any) -> Any:
        raise StoreUnavailableError("the database is not available")

    async def fails_too(*args: Any) -> Any:
        fails()

    world.store.delete = fails_too if world.colour == "async" else fails
    world.sandbox.clock.advance(timedelta(minutes=5))
    with pytest.raises(StoreUnavailableError):
        await handle(delete_account_data, issued_at=asked_at)
    assert [(row.status, row.envelope) for row in (await rows()).values()] == [(Status.REVOKED, b"")]
    world.store.delete = delete
    await handle(delete_account_data, issued_at=asked_at)
    assert await rows() == {}


async def test_what_can_not_be_deleted_is_not_confirmed(world: World, handle: Handle) -> None:
    await world.connect("facebook")

    def nothing(*args: Any) -> int:
        return 0

    async def nothing_either(*args: Any) -> int:
        return 0

    world.store.delete = nothing_either if world.colour == "async" else nothing
    with pytest.raises(GenerationConflictError):
        await handle(delete_account_data)


async def test_nothing_is_deleted_that_can_not_be_confirmed(world: World) -> None:
    public = world.build(providers=[world.sandbox.provider("x", public=True)])
    notice = AccountNotice("1234", world.sandbox.clock.now())
    with pytest.raises(ConfigurationError, match="client_secret is missing"):
        run(delete_account_data(public.vault._cases, "x", notice))
