"""Nothing that arrived is lost to a store or a key that fails at the worst moment; one bad key stops no job."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.key_outage import Down
from support.world import OWNER, TENANT, World

from socialvault.exceptions import (
    ConfigurationError,
    KeyNotFoundError,
    KeyServiceUnavailableError,
    StoreError,
    StoreUnavailableError,
)
from socialvault.model.keys import Rewrapped
from socialvault.model.status import Status

if TYPE_CHECKING:
    from pathlib import Path

    from socialvault.model.connection import Connection

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}
HOURS_3 = timedelta(hours=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "escrow"


@pytest.fixture(autouse=True)
def in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait seven seconds for a store that won't come back."""
    monkeypatch.setattr("socialvault.vault.saving._WRITE_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("socialvault.vault.saving._LONGEST_PAUSE_SECONDS", 0.001)


def waiting(folder: Path, ending: str = "sealed") -> int:
    return len(list(folder.glob(f"*.{ending}")))


def core_of(facade: Any) -> Any:
    return facade.vault._cases.core


async def keys(facade: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of ``vault.keys`` in either colour."""
    target = getattr(facade.vault.keys, name)
    if asyncio.iscoroutinefunction(target):
        return await target(*args, **kwargs)
    return await asyncio.to_thread(target, *args, **kwargs)


async def stored(world: World, connection_id: str, owner: str = OWNER) -> Any:
    return await core_of(world.vault).store.get(connection_id, TENANT, owner)


async def imported(world: World, owner: str) -> Connection:
    found: Connection = await world.vault.import_tokens(
        "x", owner=owner, tenant=TENANT, access_token=f"token-of-{owner}", subject=owner
    )
    return found


async def damage(world: World, level: Any, key_id: str) -> None:
    store = core_of(world.vault).store
    row = await store.key(level, key_id)
    broken = bytearray(row.wrapped)
    broken[60] ^= 1
    assert await store.rewrap(level, [Rewrapped(key_id, row.wrapped, bytes(broken), row.wrapped_by)]) == 1


async def away(*_args: object, **_kwargs: object) -> Any:
    raise StoreUnavailableError("away")


async def renewed_into_the_escrow(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Connection:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    vault = world.build(escrow=folder)
    with monkeypatch.context() as patched:
        patched.setattr(core_of(vault).store, "write_token", away)
        await vault.token(connection.id, **MINE)
    assert waiting(folder) == 1
    return connection


# --- an owner who was erased by another process -----------------------------------------------------


async def test_an_owner_who_connects_again_after_an_erasure_elsewhere_is_readable_everywhere(world: World) -> None:
    first = await world.connect("x")
    behind = world.build()
    await behind.refresh(first.id, **MINE)  # has the owner's DEK in memory
    await world.vault.erase_owner(OWNER, tenant=TENANT)
    again = await world.connect("x", vault=behind)
    assert (await world.build().token(again.id, **MINE)).reveal()


async def test_a_renewal_by_a_process_that_missed_an_erasure_is_readable_everywhere(world: World) -> None:
    first = await world.connect("x")
    behind = world.build()
    await behind.refresh(first.id, **MINE)
    await world.vault.erase_owner(OWNER, tenant=TENANT)
    again = await world.connect("x")
    token = await behind.refresh(again.id, **MINE)
    assert (await world.build().token(again.id, **MINE)).reveal() == token.reveal()


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "unanswered"])
async def test_an_owner_erased_elsewhere_right_before_a_connection_is_stored_can_use_it(
    world: World, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    """Whether or not the store's answer to the insertion arrives."""
    first = await world.connect("x")
    behind = world.build()
    await behind.refresh(first.id, **MINE)
    store, insertions = core_of(behind).store, 0
    insert = store.insert

    async def late(row: Any) -> Any:
        nonlocal insertions
        insertions += 1
        if insertions == 1:
            await core_of(world.vault).store.erase_owner(TENANT, OWNER)  # the end of an erasure elsewhere
        found = await insert(row)
        if insertions == 1 and not answered:
            raise StoreUnavailableError("cut off")
        return found

    monkeypatch.setattr(store, "insert", late)
    again = await world.connect("x", vault=behind)
    assert insertions == (1 if answered else 2)
    token = await behind.token(again.id, **MINE)
    assert (await world.build().token(again.id, **MINE)).reveal() == token.reveal()
    assert [one.id for one in await world.vault.connections(owner=OWNER, tenant=TENANT)] == [again.id]


# --- one bad key ------------------------------------------------------------------------------------


async def test_f_33_a_former_vault_key_that_does_not_open_leaves_the_others_to_be_done(world: World) -> None:
    status = await keys(world.vault, "status")
    former = [key.key_id for key in status.vault_keys]
    for number in range(3):
        await imported(world, f"user-{number}")
        new = await keys(world.vault, "add", "vault")
        await keys(world.vault, "promote", new.key_id)
        former.append(new.key_id)
    bad = min(former[1:3])  # the canary's own one is needed to start
    await damage(world, "vault", bad)
    rotated = await keys(world.build(), "rewrap")
    assert (rotated.data_keys, rotated.refused) == (2, 1)
    assert [(record.kind, record.id, record.error) for record in rotated.bad] == [("vault_key", bad, "TamperedError")]


async def test_f_33_an_owner_whose_new_dek_does_not_open_leaves_the_others_to_be_done(world: World) -> None:
    rows = {}
    for number in range(3):
        owner = f"user-{number}"
        rows[owner] = await imported(world, owner)
        new = await keys(world.vault, "add", "data", tenant=TENANT, owner=owner)
        await keys(world.vault, "promote", new.key_id)
        if owner == "user-1":
            await damage(world, "data", new.key_id)
    before = await stored(world, rows["user-1"].id, "user-1")
    rotated = await keys(world.build(), "reseal")
    assert (rotated.records, rotated.refused) == (2, 1)
    assert [(record.kind, record.id, record.error) for record in rotated.bad] == [("token", before.id, "TamperedError")]
    assert await stored(world, before.id, "user-1") == before


async def test_f_33_a_tenant_whose_vault_key_does_not_open_leaves_the_others_to_be_done(world: World) -> None:
    for tenant in ("acme", "globex"):
        await world.vault.import_tokens("x", owner=OWNER, tenant=tenant, access_token="token-of-it", subject="1")
    by_tenant = world.build(vault_key_scope="tenant")
    new = await keys(by_tenant, "add", "vault", tenant="acme")
    await keys(by_tenant, "promote", new.key_id)
    await damage(world, "vault", new.key_id)
    rotated = await keys(world.build(vault_key_scope="tenant"), "rewrap")
    assert (rotated.data_keys, rotated.refused) == (1, 1)
    assert [(record.kind, record.tenant) for record in rotated.bad] == [("data_key", "acme")]


# --- events -----------------------------------------------------------------------------------------


async def test_a_state_that_a_key_has_already_is_not_told_again(world: World) -> None:
    told: list[str] = []

    class Observer:
        wants_keys = True

        def __call__(self, event: Any) -> None:
            told.append(event.name)

    vault = world.build(observers=[Observer()])
    [old] = (await keys(vault, "status")).vault_keys
    new = await keys(vault, "add", "vault")
    for _ in range(2):
        await keys(vault, "promote", new.key_id)
    await keys(vault, "rewrap")
    for _ in range(2):
        await keys(vault, "retire", old.key_id)
    assert told == ["vault_key_created", "key_added", "key_promoted", "key_retired"]


# --- tokens that arrived ----------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [StoreUnavailableError, StoreError])
async def test_a_token_that_lost_waits_when_nobody_can_say_to_whom(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, failure: type[Exception]
) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    vault = world.build(escrow=folder)
    await vault.open()
    store = core_of(vault).store
    write = store.write_token

    async def gone(*_args: object) -> Any:
        raise failure("gone")

    async def lose(change: Any) -> Any:
        row = await stored(world, connection.id)
        assert await write(replace(change, envelope=row.envelope, key_id=row.key_id)) is not None
        patched.setattr(store, "get", gone)
        return await write(change)

    with monkeypatch.context() as patched:
        patched.setattr(store, "write_token", lose)
        await vault.token(connection.id, **MINE)
    assert waiting(folder) == 1


async def test_a_token_that_lost_waits_when_its_key_was_retired_and_there_is_no_other(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    vault = world.build(escrow=folder)
    await vault.open()
    core = core_of(vault)
    write = core.store.write_token

    async def down(*_args: object) -> Any:
        raise KeyServiceUnavailableError("the key service does not answer")

    async def retired(*_args: object) -> Any:
        raise KeyNotFoundError("the key is retired")

    async def lose(change: Any) -> Any:
        row = await stored(world, connection.id)
        assert await write(replace(change, envelope=row.envelope, key_id=row.key_id)) is not None
        patched.setattr(core.keyring, "for_sealing", down)
        return await write(change)

    with monkeypatch.context() as patched:
        patched.setattr(core.store, "write_token", lose)
        patched.setattr(core.store, "put_candidate", retired)
        await vault.token(connection.id, **MINE)
    assert waiting(folder) == 1


async def test_an_escrow_whose_folder_was_changed_does_not_keep_the_store_from_being_asked_again(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    vault = world.build(escrow=folder)
    await vault.open()
    core, lost = core_of(vault), iter([StoreUnavailableError("away")])
    write = core.store.write_token

    async def hiccup(change: Any) -> Any:
        for failure in lost:
            raise failure
        return await write(change)

    async def closed(_record: Any) -> str:
        raise ConfigurationError("the escrow is another user's")

    monkeypatch.setattr(core.store, "write_token", hiccup)
    monkeypatch.setattr(core.escrow, "keep", closed)
    assert (await vault.token(connection.id, **MINE)).generation == 2
    assert (await stored(world, connection.id)).generation == 2


async def reconnect_that_waits(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Connect the account again through a vault whose store is away meanwhile; return that vault."""
    vault = world.build(escrow=folder)
    begun = await vault.begin("x", **MINE)
    params = await world.callback(begun, user="ada")
    with monkeypatch.context() as patched:
        for name in ("insert", "write_token", "finish_state"):
            patched.setattr(core_of(vault).store, name, away)
        with pytest.raises(StoreUnavailableError):
            await world.complete(begun, params, "x", vault=vault)
    return vault


async def test_a_reconnect_that_waited_goes_over_the_connection_it_was_for(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await world.connect("x")
    vault = await reconnect_that_waits(world, folder, monkeypatch)
    assert waiting(folder) == 1
    assert (await vault.renew_due()).escrowed == 1
    assert (await stored(world, connection.id)).generation == 2
    assert (await vault.refresh(connection.id, **MINE)).generation == 3
    assert [event.name for event in world.events] == ["connected", "reconnected", "refreshed"]


async def test_a_reconnect_that_waited_does_not_undo_a_later_one(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await world.connect("x")
    vault = await reconnect_that_waits(world, folder, monkeypatch)
    world.sandbox.clock.advance(timedelta(minutes=1))
    await world.connect("x")
    later = await stored(world, connection.id)
    assert (await vault.renew_due()).escrowed == 1
    assert await stored(world, connection.id) == later


async def test_a_reconnect_waits_when_what_it_replaces_can_not_be_read(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await world.connect("x")
    vault = world.build(escrow=folder)
    begun = await vault.begin("x", **MINE)
    params = await world.callback(begun, user="ada")

    async def down(*_args: object) -> Any:
        raise KeyServiceUnavailableError("the key service does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(core_of(vault).keyring, "for_opening", down)
        with pytest.raises(StoreUnavailableError, match="escrow"):
            await world.complete(begun, params, "x", vault=vault)
    assert waiting(folder) == 1
    assert (await vault.renew_due()).escrowed == 1
    assert (await stored(world, connection.id)).generation == 2


async def test_what_waits_under_a_retired_dek_waits_until_that_is_reinstated(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await renewed_into_the_escrow(world, folder, monkeypatch)
    old = (await stored(world, connection.id)).key_id
    new = await keys(world.vault, "add", "data", **MINE)
    await keys(world.vault, "promote", new.key_id)
    await keys(world.vault, "reseal")
    await keys(world.vault, "retire", old)
    world.sandbox.clock.advance(timedelta(hours=25))  # the machine was off
    vault = world.build(escrow=folder)
    assert (await vault.renew_due()).escrowed == 0
    assert (waiting(folder), waiting(folder, "aside")) == (1, 0)
    await keys(world.vault, "reinstate", old)
    assert (await vault.renew_due()).escrowed == 1
    assert waiting(folder) == 0


async def test_a_candidate_that_the_key_service_keeps_shut_is_not_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await world.connect("x")
    core = core_of(world.vault)
    row = await core.row(connection.id, TENANT, OWNER)
    candidate = (await core.sealers(row)).seal_kept(await core.open(row), row, row.generation)
    assert await core.store.put_candidate(row.id, row.generation, candidate)
    world.sandbox.fault("x", "token", error="invalid_grant")

    async def down(*_args: object) -> Any:
        raise KeyServiceUnavailableError("the key service does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(type(core.keyring), "for_escrow", _only_sealing(core.keyring.for_escrow, down))
        with pytest.raises(KeyServiceUnavailableError):
            await world.vault.refresh(connection.id, **MINE)
    now = await stored(world, connection.id)
    assert (now.status, bool(now.candidate)) == (Status.ACTIVE, True)


def _only_sealing(for_escrow: Any, down: Any) -> Any:
    async def either(_self: Any, sealed: bytes | None, tenant: str, owner: str) -> Any:
        return await (for_escrow(None, tenant, owner) if sealed is None else down())

    return either


# --- an outage of the key service -------------------------------------------------------------------


async def test_f_30_a_token_that_is_due_is_served_as_long_as_it_is_valid(world: World) -> None:
    connection = await world.connect("x")
    service = Down([world.keys])
    vault = world.build(keys=service, key_cache=timedelta(hours=4), vault_key_cache=timedelta(minutes=1))
    token = await vault.token(connection.id, **MINE)
    service.down = True
    world.sandbox.clock.advance(timedelta(hours=2) - timedelta(seconds=50))  # due, and still valid
    assert (await vault.token(connection.id, **MINE)).reveal() == token.reveal()
    world.sandbox.clock.advance(timedelta(minutes=1))
    with pytest.raises(KeyServiceUnavailableError):
        await vault.token(connection.id, **MINE)


async def test_a_callback_that_meets_an_outage_of_the_key_service_can_be_delivered_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = await world.vault.begin("x", **MINE)
    params = await world.callback(begun, user="ada")

    async def down(*_args: object) -> Any:
        raise KeyServiceUnavailableError("the key service does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(core_of(world.vault).keyring, "for_flow", down)
        with pytest.raises(KeyServiceUnavailableError):
            await world.complete(begun, params, "x")
    assert (await world.complete(begun, params, "x")).connection
