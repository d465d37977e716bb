"""The store is away just when the provider has answered: what arrived waits, and nothing is asked twice."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault.exceptions import (
    ConfigurationError,
    ReauthorizationRequiredError,
    StoreUnavailableError,
    TokenAtRiskError,
)
from socialvault.model.status import Status

if TYPE_CHECKING:
    from pathlib import Path

    from socialvault.model.connection import Connection

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}
HOURS_3 = timedelta(hours=3)
WRITES = (
    "write_token", "insert", "put_candidate", "queue_revocation", "finish_state", "release_lease", "write_failure",
)  # fmt: skip


class Outage:
    """A store that is away for writes; reading goes on, as from a replica."""

    def __init__(self, vault: Any, *methods: str) -> None:
        self._store = vault.vault._cases.core.store
        self._kept = {name: getattr(self._store, name) for name in methods}

    def __enter__(self) -> None:
        async def away(*_args: object, **_kwargs: object) -> Any:
            raise StoreUnavailableError("away")

        for name in self._kept:
            setattr(self._store, name, away)

    def __exit__(self, *_problem: object) -> None:
        for name, method in self._kept.items():
            setattr(self._store, name, method)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "escrow"


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait seven seconds for a store that won't come back."""
    monkeypatch.setattr("socialvault.vault.saving._WRITE_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("socialvault.vault.saving._LONGEST_PAUSE_SECONDS", 0.001)


def names(world: World) -> list[str]:
    return [event.name for event in world.events]


def waiting(folder: Path, ending: str = "sealed") -> int:
    return len(list(folder.glob(f"*.{ending}")))


async def renewed_into_the_escrow(world: World, folder: Path) -> tuple[Connection, str]:
    """Renew a connection while the store takes nothing; return it, and the token that waits."""
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    vault = world.build(escrow=folder)
    with Outage(vault, *WRITES):
        token = await vault.token(connection.id, **MINE)
    assert waiting(folder) == 1
    return connection, token.reveal()


async def test_f_12_a_token_that_arrived_is_served_and_kept_and_stored_by_the_next_start(
    world: World, folder: Path
) -> None:
    connection, token = await renewed_into_the_escrow(world, folder)
    assert token in world.sandbox.live_tokens("x")
    assert names(world) == ["connected", "token_escrowed"]
    restarted = world.build(escrow=folder)
    await restarted.open()
    assert waiting(folder) == 0
    assert (await restarted.token(connection.id, **MINE)).reveal() == token
    assert world.token_requests("x", grant_type="refresh_token") == 1
    assert names(world)[2:] == ["refreshed"]
    await restarted.open()
    assert world.sandbox.log.count(outcome="reuse_detected") == 0


async def test_f_12_renew_due_brings_it_home_too(world: World, folder: Path) -> None:
    vault = world.build(escrow=folder)
    await vault.open()
    connection, token = await renewed_into_the_escrow(world, folder)
    swept = await vault.renew_due()
    assert (swept.escrowed, swept.renewed) == (1, 0)
    assert (await vault.token(connection.id, **MINE)).reveal() == token
    assert waiting(folder) == 0


async def test_f_12_the_spent_token_is_never_presented_while_the_new_one_waits(world: World, folder: Path) -> None:
    connection, token = await renewed_into_the_escrow(world, folder)
    other = world.build(escrow=folder)  # of another process on the same machine
    with Outage(other, *WRITES):
        await other.open()
        for _ in range(3):  # it is durable, so it can be had as long as the store can be read
            assert (await other.token(connection.id, **MINE)).reveal() == token
        assert (await other.refresh(connection.id, **MINE)).reveal() == token  # newer than the stored one
        world.sandbox.clock.advance(HOURS_3)
        with pytest.raises(StoreUnavailableError):
            await other.token(connection.id, **MINE)
        world.sandbox.clock.advance(-HOURS_3)
    assert world.token_requests("x", grant_type="refresh_token") == 1
    assert (await other.token(connection.id, **MINE)).reveal() == token
    assert world.sandbox.log.count(outcome="reuse_detected") == 0


async def test_f_12_a_hiccup_leaves_nothing_behind(world: World, folder: Path) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    vault = world.build(escrow=folder)
    store = vault.vault._cases.core.store
    write, failures = store.write_token, iter([StoreUnavailableError("away")] * 3)

    async def hiccup(change: Any) -> Any:
        for failure in failures:
            raise failure
        return await write(change)

    store.write_token = hiccup
    assert (await vault.token(connection.id, **MINE)).generation == 2
    assert waiting(folder) == 0
    assert names(world) == ["connected", "refreshed"]


async def test_a_write_whose_answer_was_lost_is_recognised_as_our_own(world: World, folder: Path) -> None:
    """The store committed, and then the line went dead: the retry meets its own write."""
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    vault = world.build(escrow=folder)
    store = vault.vault._cases.core.store
    write, lost = store.write_token, iter([True])

    async def committed_and_lost(change: Any) -> Any:
        done = await write(change)
        if next(lost, False):
            raise StoreUnavailableError("the line went dead")
        return done

    store.write_token = committed_and_lost
    assert (await vault.token(connection.id, **MINE)).generation == 2
    row = await vault.vault._cases.core.row(connection.id, TENANT, OWNER)
    assert (row.generation, row.candidate) == (2, b"")
    assert waiting(folder) == 0
    assert names(world) == ["connected", "refreshed"]


async def test_f_12_store_and_escrow_both_failing_is_said(world: World, folder: Path) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    vault = world.build(escrow=folder)
    await vault.open()
    escrow = vault.vault._cases.core.escrow

    async def full(_record: object) -> str:
        raise StoreUnavailableError("no space left")

    kept, escrow.keep = escrow.keep, full
    with Outage(vault, "write_token"), pytest.raises(TokenAtRiskError) as caught:
        await vault.token(connection.id, **MINE)
    assert caught.value.action == "report"
    escrow.keep = kept
    assert (await vault.connection(connection.id, **MINE)).status is Status.ACTIVE


async def test_an_escrow_that_can_not_be_kept_refuses_to_start(world: World, folder: Path) -> None:
    os.mkdir(folder)
    os.chmod(folder, 0o755)
    vault = world.build(escrow=folder)
    with pytest.raises(ConfigurationError, match="700"):
        await vault.open()


async def test_f_04_a_new_connection_waits_too_and_appears_when_the_store_is_back(world: World, folder: Path) -> None:
    vault = world.build(escrow=folder)
    await vault.open()
    login = await vault.begin("x", **MINE)
    params = await world.callback(login)
    with Outage(vault, *WRITES), pytest.raises(StoreUnavailableError):
        await world.complete(login, params, "x", vault=vault)
    assert waiting(folder) == 1
    assert await vault.connections(**MINE) == ()
    await vault.renew_due()
    [connection] = await vault.connections(**MINE)
    assert (await vault.token(connection.id, **MINE)).reveal() in world.sandbox.live_tokens("x")
    assert (connection.name, waiting(folder)) == ("Ada Lovelace", 0)
    assert names(world) == ["connected"]


async def test_a_token_in_the_escrow_is_revoked_when_its_connection_is_gone(world: World, folder: Path) -> None:
    connection, _ = await renewed_into_the_escrow(world, folder)
    world.sandbox.settings("x", revocation_reach="single")
    await world.vault.disconnect(connection.id, **MINE)
    vault = world.build(escrow=folder)
    await vault.open()
    assert waiting(folder) == 0
    assert world.sandbox.live_tokens("x") == frozenset()


async def test_a_token_in_the_escrow_is_a_candidate_when_the_store_has_gone_on(world: World, folder: Path) -> None:
    world.sandbox.settings("x", reuse_grace=timedelta(hours=1))
    connection, _ = await renewed_into_the_escrow(world, folder)
    world.sandbox.clock.advance(timedelta(minutes=1))
    assert (await world.vault.token(connection.id, **MINE)).generation == 2  # a host without this escrow
    await world.build(escrow=folder).open()
    row = await world.vault.vault._cases.core.row(connection.id, TENANT, OWNER)
    assert (row.generation, bool(row.candidate), waiting(folder)) == (2, True, 0)


async def test_a_token_in_the_escrow_ends_the_verdict_of_a_host_that_did_not_know_it(
    world: World, folder: Path
) -> None:
    connection, token = await renewed_into_the_escrow(world, folder)
    world.sandbox.settings("x", reuse="refused")
    world.sandbox.clock.advance(timedelta(minutes=1))
    with pytest.raises(ReauthorizationRequiredError):
        await world.vault.token(connection.id, **MINE)
    await world.build(escrow=folder).open()
    assert (await world.vault.token(connection.id, **MINE)).reveal() == token
    assert names(world)[-2:] == ["refreshed", "recovered"]


async def test_health_tells_of_an_escrow_that_nobody_empties(world: World, folder: Path) -> None:
    vault = world.build(escrow=folder)
    await vault.open()
    states = {check.name: check.state for check in (await vault.health()).checks}
    assert states["escrow"] == "pass"
    await renewed_into_the_escrow(world, folder)
    world.sandbox.clock.advance(timedelta(minutes=11))
    [check] = [check for check in (await vault.health()).checks if check.name == "escrow"]
    assert (check.state, check.problem[:2]) == ("fail", "1 ")
    assert {check.name: check.state for check in (await world.vault.health()).checks}["escrow"] == "off"


async def test_what_waits_is_kept_once_however_often_it_is_tried(world: World, folder: Path) -> None:
    connection, token = await renewed_into_the_escrow(world, folder)
    vault = world.build(escrow=folder)
    with Outage(vault, *WRITES):
        for _ in range(4):
            assert (await vault.token(connection.id, **MINE)).reveal() == token
            assert (await vault.renew_due()).escrowed == 0
        assert waiting(folder) == 1
    assert (await vault.renew_due()).escrowed == 1


async def test_what_nobody_can_open_is_set_aside_and_never_deleted(world: World, folder: Path) -> None:
    """The owner was erased by a host that does not know of this escrow."""
    await renewed_into_the_escrow(world, folder)
    await world.vault.erase_owner(OWNER, tenant=TENANT)
    vault = world.build(escrow=folder)
    await vault.open()
    assert waiting(folder) == 1
    world.sandbox.clock.advance(timedelta(hours=25))
    assert (await vault.renew_due()).escrowed == 0
    assert (waiting(folder), waiting(folder, "aside")) == (0, 1)
    assert (await vault.health()).ok


async def test_a_store_that_takes_no_lease_does_not_hide_a_valid_token(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(timedelta(hours=2) - timedelta(seconds=50))  # due, and still valid
    with Outage(world.vault, "acquire_lease", "open_intent"):
        assert (await world.vault.token(connection.id, **MINE)).generation == 1
    with Outage(world.vault, "acquire_lease", "release_lease"):
        assert (await world.vault.token(connection.id, **MINE)).generation == 2
