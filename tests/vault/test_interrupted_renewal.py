"""A token that was presented, and what became of it nobody knows: who may present it again, and when."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault.exceptions import (
    OutcomeUnknownError,
    ProviderError,
    ProviderUnavailableError,
    ReauthorizationRequiredError,
)
from socialvault.model.rows import IntentWrite
from socialvault.model.status import Status

if TYPE_CHECKING:
    from socialvault.model.connection import Connection

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}
HOURS_3 = timedelta(hours=3)
GRACE = timedelta(seconds=30)


def names(world: World) -> list[str]:
    return [event.name for event in world.events]


def renewals(world: World) -> int:
    """Count what reached the token endpoint after the code."""
    return world.token_requests("x") - 1


async def crashed(world: World, connection: Connection, *, after_sending: bool) -> None:
    """Leave what a process leaves that dies between its intent and the answer."""
    core = world.vault.vault._cases.core
    row = await core.row(connection.id, TENANT, OWNER)
    assert await core.store.open_intent(IntentWrite(row.id, row.generation, row.intent_attempt, b"digest", 45.0))
    if after_sending:
        provider, record = core.provider_of(row), await core.open(row)
        await core.conversations.run(provider.renew(provider.static_server, record.token, row.account.subject))


async def due(world: World, **options: Any) -> tuple[Connection, Any]:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    return connection, world.build(patience=timedelta(milliseconds=100), **options)


async def test_f_09_a_process_that_died_before_it_sent_costs_its_deadline_and_nothing_else(world: World) -> None:
    connection, vault = await due(world)
    await crashed(world, connection, after_sending=False)
    for _ in range(3):
        with pytest.raises(OutcomeUnknownError):
            await vault.token(connection.id, **MINE)
    assert renewals(world) == 0
    world.sandbox.clock.advance(timedelta(seconds=46))
    assert (await vault.token(connection.id, **MINE)).generation == 2
    assert (await vault.connection(connection.id, **MINE)).status is Status.ACTIVE


async def test_f_10_a_process_that_died_after_it_sent_is_settled_once_and_named(world: World) -> None:
    connection, vault = await due(world)
    await crashed(world, connection, after_sending=True)
    with pytest.raises(OutcomeUnknownError):
        await vault.token(connection.id, **MINE)
    assert renewals(world) == 1
    assert (await vault.connection(connection.id, **MINE)).status is Status.ACTIVE
    world.sandbox.clock.advance(timedelta(seconds=46))
    for _ in range(3):
        with pytest.raises(ReauthorizationRequiredError) as caught:
            await vault.token(connection.id, **MINE)
        assert caught.value.reason == "refresh_interrupted"
    assert renewals(world) == 2
    assert names(world) == ["connected", "reauthorization_required"]


async def test_f_10_within_the_providers_grace_the_settling_attempt_succeeds(world: World) -> None:
    connection, vault = await due(world)
    world.sandbox.settings("x", reuse_grace=timedelta(hours=1))
    await crashed(world, connection, after_sending=True)
    world.sandbox.clock.advance(timedelta(seconds=46))
    assert (await vault.token(connection.id, **MINE)).reveal() in world.sandbox.live_tokens("x")


async def test_a_valid_token_is_served_while_nobody_knows(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(timedelta(hours=2) - timedelta(seconds=50))
    await crashed(world, connection, after_sending=True)
    vault = world.build(patience=timedelta(milliseconds=100))
    assert (await vault.token(connection.id, **MINE)).generation == 1
    assert renewals(world) == 1


@pytest.mark.parametrize("fault", [{"drop": "after_commit"}, {"body": "truncated"}], ids=str)
async def test_f_20_a_lost_answer_is_asked_for_again_at_once_where_the_grace_allows_it(
    world: World, fault: dict[str, Any]
) -> None:
    world.provider("x", replay_grace=GRACE)
    connection, vault = await due(world)
    world.sandbox.settings("x", reuse_grace=GRACE)
    world.sandbox.fault("x", "token", **fault)
    token = await vault.token(connection.id, **MINE)
    assert token.reveal() in world.sandbox.live_tokens("x")
    assert renewals(world) == 2
    assert names(world) == ["connected", "refreshed"]


async def test_f_20_it_is_asked_for_again_once_and_not_for_ever(world: World) -> None:
    world.provider("x", replay_grace=GRACE)
    connection, vault = await due(world)
    world.sandbox.settings("x", reuse_grace=GRACE)
    world.sandbox.fault("x", "token", times=None, drop="before_commit")
    with pytest.raises(OutcomeUnknownError):
        await vault.token(connection.id, **MINE)
    assert renewals(world) == 2


@pytest.mark.parametrize("callers", [10])
async def test_pain_6_without_a_grace_a_lost_answer_is_never_asked_for_before_its_time(
    world: World, callers: int
) -> None:
    connection, vault = await due(world)
    world.sandbox.fault("x", "token", drop="after_commit")
    for _ in range(2):
        calls = (vault.token(connection.id, **MINE) for _ in range(callers))
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {OutcomeUnknownError}
    assert renewals(world) == 1
    found = await vault.connection(connection.id, **MINE)
    assert (found.status, found.failing_with) == (Status.ACTIVE, "OutcomeUnknownError")
    world.sandbox.clock.advance(timedelta(minutes=2))
    for _ in range(2):
        with pytest.raises(ReauthorizationRequiredError) as caught:
            await vault.token(connection.id, **MINE)
        assert caught.value.reason == "refresh_interrupted"
    assert renewals(world) == 2
    assert names(world) == ["connected", "renewal_failing", "reauthorization_required"]


async def test_f_20_a_dead_grant_after_an_error_that_may_have_committed_is_called_interrupted(world: World) -> None:
    connection, vault = await due(world)
    world.sandbox.fault("x", "token", status=500, at="after_commit")
    with pytest.raises(ProviderUnavailableError):
        await vault.token(connection.id, **MINE)
    world.sandbox.clock.advance(timedelta(minutes=1))
    with pytest.raises(ReauthorizationRequiredError) as caught:
        await vault.token(connection.id, **MINE)
    assert caught.value.reason == "refresh_interrupted"


async def test_f_20_an_error_that_committed_nothing_leaves_no_doubt(world: World) -> None:
    connection, vault = await due(world)
    world.sandbox.fault("x", "token", status=429)
    with pytest.raises(ProviderError):
        await vault.token(connection.id, **MINE)
    world.sandbox.revoke_grant("x")
    world.sandbox.clock.advance(timedelta(minutes=1))
    with pytest.raises(ReauthorizationRequiredError) as caught:
        await vault.token(connection.id, **MINE)
    assert caught.value.reason == "invalid_grant"


async def test_unanswered_attempts_keep_their_distance_however_long_it_takes(world: World) -> None:
    connection, vault = await due(world)
    world.sandbox.fault("x", "token", times=None, drop="before_commit")
    for _ in range(60):  # a caller a minute
        with pytest.raises(OutcomeUnknownError):
            await vault.token(connection.id, **MINE)
        world.sandbox.clock.advance(timedelta(minutes=1))
    assert 5 <= renewals(world) <= 15
    assert (await vault.connection(connection.id, **MINE)).status is Status.ACTIVE
    world.sandbox.clear_faults()
    world.sandbox.clock.advance(timedelta(minutes=16))
    assert (await vault.token(connection.id, **MINE)).generation == 2
    assert names(world) == ["connected", "renewal_failing", "refreshed", "renewal_recovered"]


async def test_an_unknown_refusal_is_tried_a_bounded_number_of_times(world: World) -> None:
    """Pain 12: a provider that never says invalid_grant is not asked for ever."""
    connection, vault = await due(world)
    world.sandbox.fault("x", "token", times=None, error="something_of_its_own", status=400)
    ends: list[str] = []
    for _ in range(300):
        with pytest.raises(ProviderError) as caught:
            await vault.token(connection.id, **MINE)
        ends.append(getattr(caught.value, "reason", "refused"))
        world.sandbox.clock.advance(timedelta(minutes=2))
    assert renewals(world) == 5
    assert (ends[0], ends[-1]) == ("refused", "unclassified")
    assert names(world) == ["connected", "renewal_failing", "reauthorization_required"]


async def test_f_17_what_is_not_due_yet_is_not_renewed_by_a_reconnect_either(world: World) -> None:
    """A reconnect ends an open intent: the new grant has nothing to do with the token that was presented."""
    connection, vault = await due(world)
    await crashed(world, connection, after_sending=True)
    await world.connect("x", connection_id=connection.id)
    assert (await vault.token(connection.id, **MINE)).reveal() in world.sandbox.live_tokens("x")
    row = await world.vault.vault._cases.core.row(connection.id, TENANT, OWNER)
    assert (row.intent_digest, row.intent_attempt, row.intent_deadline_seconds) == (b"", 0, None)


async def test_nothing_is_sent_once_its_time_is_over(world: World) -> None:
    """A process that was stopped between its intent and its request must not send when it wakes."""
    connection, vault = await due(world)
    core = vault.vault._cases.core
    opened = core.store.open_intent

    async def open_and_sleep(intent: IntentWrite) -> bool:
        done: bool = await opened(intent)
        world.sandbox.clock.advance(timedelta(minutes=1))
        return done

    core.store.open_intent = open_and_sleep
    try:
        with pytest.raises(Exception, match="over"):
            await vault.token(connection.id, **MINE)
    finally:
        core.store.open_intent = opened
    assert renewals(world) == 0
