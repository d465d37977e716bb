"""`renew_due`: a tick that any scheduler may call, in any number of processes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault.exceptions import ConfigurationError
from socialvault.model.rows import IntentWrite
from socialvault.model.status import Status
from socialvault.model.sweep import Sweep

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}
HOURS_2 = timedelta(hours=2)


async def connected(world: World, slug: str, count: int) -> list[str]:
    ids = []
    people = [f"person-{number}" for number in range(count)]
    for issued in world.sandbox.issue_many(slug, people, client_id=world.providers[slug].client_id):
        connection = await world.vault.import_tokens(
            slug, access_token=issued.access_token, refresh_token=issued.refresh_token, expires_at=issued.expires_at,
            scopes=issued.scopes, subject=issued.subject, **MINE,
        )  # fmt: skip
        ids.append(connection.id)
    return ids


async def generations(world: World) -> list[int]:
    return sorted(connection.generation for connection in await world.vault.connections(**MINE))


async def counts(world: World) -> dict[str, int]:
    return dict(await world.vault.vault._cases.core.store.count_by_status())


def names(world: World) -> list[str]:
    return [event.name for event in world.events if event.name != "imported"]


async def test_what_is_not_due_is_left_alone(world: World) -> None:
    await connected(world, "x", 5)
    assert await world.vault.renew_due() == Sweep()
    assert world.token_requests("x") == 0


async def test_what_is_due_is_renewed_once_however_often_it_is_called(world: World) -> None:
    await connected(world, "x", 8)
    world.sandbox.clock.advance(HOURS_2)
    swept = await world.vault.renew_due()
    assert (swept.due, swept.renewed, swept.failed, swept.deferred) == (8, 8, 0, 0)
    assert await world.vault.renew_due() == Sweep()
    assert await generations(world) == [2] * 8
    assert world.token_requests("x") == 8


async def test_many_processes_share_the_work_and_none_does_it_twice(world: World) -> None:
    await connected(world, "x", 12)
    world.sandbox.clock.advance(HOURS_2)
    swept = await asyncio.gather(*(world.build().renew_due() for _ in range(4)))
    assert sum(sweep.failed for sweep in swept) == 0
    assert await generations(world) == [2] * 12
    assert world.token_requests("x") == 12
    assert world.sandbox.log.count(outcome="reuse_detected") == 0


async def test_a_limit_takes_the_longest_due_first_and_the_rest_later(world: World) -> None:
    ids = await connected(world, "x", 6)
    store = world.vault.vault._cases.core.store
    world.sandbox.clock.advance(HOURS_2)
    due = [row.id for row in await store.find_due("x", "sandbox-x", world.sandbox.clock.now_seconds(), 10)]
    assert sorted(due) == sorted(ids)
    swept = await world.vault.renew_due(limit=4)
    assert (swept.due, swept.renewed) == (4, 4)
    left = [row.id for row in await store.find_due("x", "sandbox-x", world.sandbox.clock.now_seconds(), 10)]
    assert left == due[4:]
    assert (await world.vault.renew_due(limit=4)).renewed == 2
    with pytest.raises(ConfigurationError, match="limit"):
        await world.vault.renew_due(limit=0)


async def test_a_budget_holds_for_each_provider(world: World) -> None:
    await connected(world, "x", 4)
    await connected(world, "linkedin", 4)
    world.sandbox.clock.advance(timedelta(days=61))
    swept = await world.vault.renew_due(budget={"x": 1})
    assert (swept.renewed, swept.deferred) == (5, 3)
    assert (world.token_requests("x"), world.token_requests("linkedin")) == (1, 4)
    assert (await world.vault.renew_due(budget=2)).renewed == 2


async def test_a_provider_that_is_down_keeps_nobody_else_waiting(world: World) -> None:
    await connected(world, "x", 30)
    await connected(world, "linkedin", 3)
    world.sandbox.clock.advance(timedelta(days=61))
    world.sandbox.fault("x", "token", status=503, times=None)
    for _ in range(5):
        await world.vault.renew_due(limit=10)
    assert await counts(world) == {"active": 33}
    assert world.token_requests("linkedin") == 3
    assert world.token_requests("x") <= 12  # then it was left alone
    swept = await world.vault.renew_due(limit=10)
    assert (swept.due, swept.deferred) == (0, 10)


async def test_a_dead_grant_is_counted_and_told_once(world: World) -> None:
    await connected(world, "x", 2)
    world.sandbox.revoke_grant("x", user="person-0")
    world.sandbox.clock.advance(HOURS_2)
    swept = await world.vault.renew_due()
    assert (swept.renewed, swept.reauthorization_required) == (1, 1)
    assert names(world).count("reauthorization_required") == 1
    assert await world.vault.renew_due() == Sweep()


async def test_a_connection_of_another_application_is_nobodys_turn_here(world: World) -> None:
    await connected(world, "x", 3)
    world.sandbox.clock.advance(HOURS_2)
    world.provider("x", client_id="another-application")
    assert await world.build().renew_due() == Sweep()


async def test_what_another_process_is_at_is_left_to_it(world: World) -> None:
    [mine] = await connected(world, "x", 1)
    world.sandbox.clock.advance(HOURS_2)
    assert await world.vault.vault._cases.core.store.open_intent(IntentWrite(mine, 1, 0, b"digest", 45.0))
    swept = await world.vault.renew_due()
    assert (swept.due, swept.busy, swept.renewed) == (1, 1, 0)


async def test_due_times_are_spread_and_the_same_in_every_process(world: World) -> None:
    ids = await connected(world, "linkedin", 20)
    core = world.vault.vault._cases.core
    due = {mine: (await core.row(mine, TENANT, OWNER)).due_at_seconds for mine in ids}
    assert len({round(at) for at in due.values()}) > 10
    world.sandbox.clock.advance(timedelta(days=61))
    await world.vault.renew_due()
    again = {mine: (await core.row(mine, TENANT, OWNER)).due_at_seconds for mine in ids}
    leads = {round(again[mine] - due[mine], -2) for mine in ids}
    assert len(leads) == 1  # each keeps its own distance


# --- warnings -------------------------------------------------------------------------------------


async def test_a_death_that_is_coming_is_told_14_7_and_1_days_ahead_once_by_all_processes(world: World) -> None:
    world.provider("linkedin", refresh_tokens=False)
    vault = world.build()
    connection = await world.connect("linkedin", vault=vault)
    others = [world.build() for _ in range(3)]
    told: dict[int, list[str]] = {}
    for day in range(60):
        await asyncio.gather(*(other.renew_due() for other in others))
        told[day] = [event.reason for event in world.events if event.name == "expires_soon"]
        world.events.clear()
        world.sandbox.clock.advance(timedelta(days=1))
    assert {day: reasons for day, reasons in told.items() if reasons} == {46: ["14"], 53: ["7"], 59: ["1"]}
    found = await vault.connection(connection.id, **MINE)
    assert (found.expires_soon, found.dies_at) == (1, connection.expires_at)


async def test_a_warning_says_when(world: World) -> None:
    world.provider("linkedin", refresh_tokens=False)
    connection = await world.connect("linkedin", vault=world.build())
    world.sandbox.clock.advance(timedelta(days=50))
    assert (await world.vault.renew_due()).warned == 1
    [event] = [event for event in world.events if event.name == "expires_soon"]
    assert (event.connection_id, event.dies_at, event.reason) == (connection.id, connection.dies_at, "14")
    assert (await world.vault.renew_due()).warned == 0


async def test_a_token_that_is_extended_in_time_is_no_reason_for_a_warning(world: World) -> None:
    await world.connect("facebook")
    for _ in range(50):
        world.sandbox.clock.advance(timedelta(days=1))
        await world.vault.renew_due()
    assert names(world) == ["connected", "refreshed"]


async def test_a_reconnect_begins_the_warnings_anew(world: World) -> None:
    world.provider("linkedin", refresh_tokens=False)
    vault = world.build()
    connection = await world.connect("linkedin", vault=vault)
    world.sandbox.clock.advance(timedelta(days=50))
    assert (await vault.renew_due()).warned == 1
    again = await world.connect("linkedin", vault=vault, connection_id=connection.id)
    assert (again.id, again.expires_soon, again.status) == (connection.id, None, Status.ACTIVE)
    assert (await vault.renew_due()).warned == 0
    world.sandbox.clock.advance(timedelta(days=50))
    assert (await vault.renew_due()).warned == 1
