"""Several processes renew one connection: here each is a vault of its own over one store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault.exceptions import ProviderUnavailableError, ReauthorizationRequiredError, RefreshBusyError
from socialvault.model.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.model.connection import Connection
    from socialvault.model.token import AccessToken

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}
HOURS_3 = timedelta(hours=3)
NO_LEASE = timedelta(0)


def names(world: World) -> list[str]:
    return [event.name for event in world.events]


async def everybody(vaults: Iterable[Any], connection: Connection, callers: int) -> list[AccessToken | Exception]:
    calls = [vault.token(connection.id, **MINE) for vault in vaults for _ in range(callers)]
    outcomes: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    return outcomes


async def holds_newest(world: World, connection: Connection) -> bool:
    core = world.vault.vault._cases.core
    token = (await core.open(await core.row(connection.id, TENANT, OWNER))).token
    return token.refresh_token.reveal() in world.sandbox.live_tokens("x")


@pytest.mark.parametrize("lease", [timedelta(seconds=30), NO_LEASE], ids=["leased", "without a lease"])
async def test_f_13_callers_of_three_processes_make_one_request(world: World, lease: timedelta) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=300))
    tokens = await everybody([world.build(lease=lease) for _ in range(3)], connection, 8)
    assert len({token.reveal() for token in tokens}) == 1  # type: ignore[union-attr]
    assert world.token_requests("x", grant_type="refresh_token") == 1
    assert world.sandbox.log.count(outcome="reuse_detected") == 0
    assert names(world) == ["connected", "refreshed"]


@pytest.mark.parametrize("lease", [timedelta(seconds=30), NO_LEASE], ids=["leased", "without a lease"])
async def test_f_13_a_renewal_that_fails_is_sent_once_and_everybody_learns_of_it(
    world: World, lease: timedelta
) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    world.sandbox.fault("x", "token", times=None, status=503, latency=timedelta(milliseconds=200))
    requests = world.token_requests("x")
    outcomes = await everybody([world.build(lease=lease) for _ in range(3)], connection, 5)
    assert {type(outcome) for outcome in outcomes} == {ProviderUnavailableError}
    assert world.token_requests("x") == requests + 1
    assert names(world) == ["connected", "renewal_failing"]


async def test_f_13_a_dead_grant_is_asked_for_once_and_everybody_learns_of_it(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.revoke_grant("x")
    world.sandbox.clock.advance(HOURS_3)
    outcomes = await everybody([world.build() for _ in range(3)], connection, 5)
    assert {type(outcome) for outcome in outcomes} == {ReauthorizationRequiredError}
    assert world.token_requests("x", grant_type="refresh_token") == 1
    assert names(world) == ["connected", "reauthorization_required"]


async def test_f_14_somebody_elses_lease_is_waited_for_and_never_taken_away(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    store = world.vault.vault._cases.core.store
    assert await store.acquire_lease(connection.id, "another process", 30.0)
    hasty = world.build(patience=timedelta(milliseconds=200))
    with pytest.raises(RefreshBusyError) as caught:
        await hasty.token(connection.id, **MINE)
    assert (caught.value.action, caught.value.retry_after) == ("retry", timedelta(seconds=1))
    assert world.token_requests("x", grant_type="refresh_token") == 0
    assert not await store.acquire_lease(connection.id, "a third one", 30.0)  # it is still the other's
    world.sandbox.clock.advance(timedelta(seconds=31))  # the other one died: nobody prolongs it
    assert (await hasty.token(connection.id, **MINE)).generation == 2
    assert await store.acquire_lease(connection.id, "another process", 30.0)  # and ours is given back


async def test_pain_3_a_lease_of_another_is_no_reason_to_withhold_a_valid_token(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(timedelta(hours=2) - timedelta(seconds=50))  # due, and still valid
    assert await world.vault.vault._cases.core.store.acquire_lease(connection.id, "another process", 3600.0)
    hasty = world.build(patience=timedelta(milliseconds=100))
    assert (await hasty.token(connection.id, **MINE)).generation == 1
    assert (await hasty.connection(connection.id, **MINE)).status is Status.ACTIVE


async def test_f_14_a_lease_is_prolonged_while_the_provider_takes_its_time(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=900))
    vaults = [world.build(lease=timedelta(milliseconds=300)) for _ in range(2)]
    tokens = await everybody(vaults, connection, 3)
    assert len({token.reveal() for token in tokens}) == 1  # type: ignore[union-attr]
    assert world.token_requests("x", grant_type="refresh_token") == 1


async def test_i8_a_lease_that_is_lost_costs_no_token(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=400))
    core = world.vault.vault._cases.core
    first = asyncio.create_task(world.build().token(connection.id, **MINE))
    await asyncio.sleep(0.15)
    lost = [await core.store.release_lease(connection.id, holder) for holder in await holders(world, connection)]
    assert lost == [True]
    tokens = [await world.build().token(connection.id, **MINE), await first]
    assert len({token.reveal() for token in tokens}) == 1
    assert world.sandbox.log.count(outcome="reuse_detected") == 0
    assert await holds_newest(world, connection)


async def holders(world: World, connection: Connection) -> list[str]:
    """Read who holds the lease; no port tells."""
    store = world.store
    inner = getattr(store, "_store", store)
    if world.kind == "memory":
        return [inner._leases[connection.id][0]]
    with inner.database.patient.handle as execute:
        rows = execute("SELECT lease_holder FROM connections WHERE id = ?", (connection.id,)).fetchall()
    return [holder for (holder,) in rows]


# --- answers that come late -----------------------------------------------------------------------


async def test_f_11_f_29_a_winner_that_comes_after_its_deadline_ends_the_verdict_of_another(world: World) -> None:
    """It was stopped with the answer on its way; another one presented the spent token meanwhile."""
    connection = await world.connect("x")
    world.sandbox.settings("x", reuse="refused")
    world.sandbox.clock.advance(HOURS_3)
    world.sandbox.fault("x", "token", latency=timedelta(seconds=2.5), at="after_commit")
    slow = asyncio.create_task(world.build().token(connection.id, **MINE))
    await asyncio.sleep(0.3)
    world.sandbox.clock.advance(timedelta(minutes=1))  # its lease and its intent are over
    with pytest.raises(ReauthorizationRequiredError) as caught:
        await world.build().token(connection.id, **MINE)
    assert caught.value.reason == "refresh_interrupted"
    assert (await world.vault.connection(connection.id, **MINE)).reason == "refresh_interrupted"
    late = await slow
    assert (await world.vault.token(connection.id, **MINE)).reveal() == late.reveal()
    assert await holds_newest(world, connection)
    renewed_again = ["refreshed"]  # a token that comes late is tried out at once
    assert names(world) == ["connected", "reauthorization_required", "refreshed", "recovered", *renewed_again]


async def late_and_stored(world: World) -> tuple[Connection, AccessToken]:
    """Make a connection whose late token is kept beside the stored one; return the stored one."""
    connection = await world.connect("x")
    world.sandbox.settings("x", reuse_grace=timedelta(hours=1))
    world.sandbox.clock.advance(HOURS_3)
    world.sandbox.fault("x", "token", latency=timedelta(seconds=1), at="after_commit")
    slow = asyncio.create_task(world.build().token(connection.id, **MINE))
    await asyncio.sleep(0.3)
    world.sandbox.clock.advance(timedelta(minutes=1))
    stored: AccessToken = await world.build().token(connection.id, **MINE)
    assert (await slow).reveal() == stored.reveal()  # nobody is handed what is not the stored one
    core = world.vault.vault._cases.core
    assert (await core.row(connection.id, TENANT, OWNER)).candidate
    return connection, stored


async def end_at_the_provider(world: World, connection: Connection) -> None:
    """Revoke the stored tokens alone."""
    world.sandbox.settings("x", revocation_reach="single")
    core = world.vault.vault._cases.core
    row = await core.row(connection.id, TENANT, OWNER)
    provider, record = core.provider_of(row), await core.open(row)
    await core.conversations.run(provider.revoke(provider.static_server, record.token))


async def test_a_late_token_is_tried_before_a_connection_is_called_dead(world: World) -> None:
    connection, stored = await late_and_stored(world)
    await end_at_the_provider(world, connection)
    world.sandbox.clock.advance(HOURS_3)
    token = await world.vault.token(connection.id, **MINE)
    assert token.reveal() != stored.reveal()
    assert token.reveal() in world.sandbox.live_tokens("x")
    assert "reauthorization_required" not in names(world)
    row = await world.vault.vault._cases.core.row(connection.id, TENANT, OWNER)
    assert (row.status, row.candidate) == (Status.ACTIVE, b"")


async def test_a_late_token_is_tried_once_and_then_the_grant_is_dead(world: World) -> None:
    connection, _ = await late_and_stored(world)
    world.sandbox.revoke_grant("x")
    world.sandbox.clock.advance(HOURS_3)
    requests = world.token_requests("x", grant_type="refresh_token")
    for _ in range(3):
        with pytest.raises(ReauthorizationRequiredError):
            await world.vault.token(connection.id, **MINE)
    assert world.token_requests("x", grant_type="refresh_token") == requests + 2  # the stored one, and the late one
    assert names(world).count("reauthorization_required") == 1


async def test_a_late_token_that_was_moved_here_from_another_row_is_no_help(world: World) -> None:
    connection, _ = await late_and_stored(world)
    core = world.vault.vault._cases.core
    row = await core.row(connection.id, TENANT, OWNER)
    assert await core.store.put_candidate(row.id, row.generation, row.envelope)  # sealed, but for another purpose
    await end_at_the_provider(world, connection)
    world.sandbox.clock.advance(HOURS_3)
    with pytest.raises(ReauthorizationRequiredError):
        await world.vault.token(connection.id, **MINE)


async def test_a_late_token_is_revoked_with_its_connection(world: World) -> None:
    connection, _ = await late_and_stored(world)
    world.sandbox.settings("x", revocation_reach="single")
    core = world.vault.vault._cases.core
    row = await core.row(connection.id, TENANT, OWNER)
    late = (await core.open_kept(row.candidate, row, row.generation)).token
    await world.vault.disconnect(connection.id, **MINE)
    live = world.sandbox.live_tokens("x")
    assert not {late.access_token.reveal(), late.refresh_token.reveal()} & live


async def test_c_05_a_candidate_opens_for_its_own_row_and_generation_alone(world: World) -> None:
    connection, _ = await late_and_stored(world)
    core = world.vault.vault._cases.core
    row = await core.row(connection.id, TENANT, OWNER)
    assert await core.open_kept(row.candidate, row, row.generation)
    for other, generation in (
        (row, row.generation + 1),
        (replace(row, id="another"), row.generation),
        (replace(row, owner="user-43"), row.generation),
        (replace(row, account=row.account._replace(issuer="another")), row.generation),
    ):
        with pytest.raises(Exception, match=r"key|altered|moved|tag") as caught:
            await core.open_kept(row.candidate, other, generation)
        assert type(caught.value).__name__ in ("TamperedError", "KeyNotFoundError")
