"""Key rotation through the vault: every level, what moves and what stays, and processes that are behind."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.key_outage import Down
from support.world import OWNER, TENANT, World

from socialvault import LocalKeyring
from socialvault.exceptions import (
    ConfigurationError,
    KeyNotFoundError,
    KeyServiceUnavailableError,
    StoreUnavailableError,
    WrongKeyError,
)

if TYPE_CHECKING:
    from socialvault.model.rotation import KeyStatus, RotationProgress

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}


@pytest.fixture
def world(any_world: World) -> World:
    """Every kind of store."""
    return any_world


async def keys(facade: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a method of ``vault.keys`` in either colour."""
    target = getattr(facade.vault.keys, name)
    if asyncio.iscoroutinefunction(target):
        return await target(*args, **kwargs)
    return await asyncio.to_thread(target, *args, **kwargs)


async def stored(facade: Any, connection_id: str, owner: str = OWNER) -> Any:
    return await facade.vault._cases.core.store.get(connection_id, TENANT, owner)


async def filled(world: World, owners: int = 5) -> dict[str, str]:
    """Connect accounts for several owners; return their ids by owner."""
    ids = {}
    for number in range(owners):
        owner = f"user-{number}"
        imported = await world.vault.import_tokens(
            "x", owner=owner, tenant=TENANT, access_token=f"token-{number}", subject=str(number)
        )
        ids[owner] = imported.id
    return ids


async def reads(facade: Any, ids: dict[str, str]) -> list[str]:
    return [(await facade.token(key, owner=owner, tenant=TENANT)).reveal() for owner, key in ids.items()]


async def of_state(facade: Any, level: str, state: str) -> list[KeyStatus]:
    status = await keys(facade, "status")
    listed = status.keks if level == "kek" else status.vault_keys
    return [key for key in listed if key.state == state]


async def test_a_kek_is_rotated_online(world: World) -> None:
    ids = await filled(world)
    old, new = world.keys, LocalKeyring.generate()
    before = [(await stored(world.vault, key, owner)).envelope for owner, key in ids.items()]
    behind = world.build()  # holds the old KEK alone, and has everything loaded
    assert await reads(behind, ids) == [f"token-{n}" for n in range(5)]
    both = world.build(keys=LocalKeyring([new, old]))
    with pytest.raises(ConfigurationError, match="add and promote"):
        await keys(both, "rewrap")
    added = await keys(both, "add", "kek")
    assert (added.state, added.uses, added.safe_to_retire) == ("pre_active", 0, True)
    with pytest.raises(ConfigurationError, match="first in its keys"):
        await keys(behind, "promote", added.key_id)
    await keys(both, "promote", added.key_id[:10])
    [former] = await of_state(both, "kek", "decrypt_only")
    assert (former.uses, former.safe_to_retire) == (1, False)
    with pytest.raises(ConfigurationError, match="1 rows need it"):
        await keys(both, "retire", former.key_id)
    rotated = await keys(both, "rewrap")
    assert (rotated.vault_keys, rotated.data_keys, rotated.records, rotated.refused) == (1, 0, 0, 0)
    assert (await keys(both, "retire", former.key_id)).state == "retired"
    assert await reads(behind, ids) == await reads(both, ids)  # goes on with what it has
    assert [(await stored(world.vault, key, owner)).envelope for owner, key in ids.items()] == before
    await world.build(keys=LocalKeyring([new])).open()
    with pytest.raises(WrongKeyError):
        await world.build(keys=LocalKeyring([old])).open()


async def test_a_vault_key_is_rotated_and_the_canary_with_it(world: World) -> None:
    ids = await filled(world)
    [old] = await of_state(world.vault, "vault", "primary")
    assert old.uses == 5 + 1 + 0  # the owners' DEKs and the canary; no flow has needed the vault's own DEK yet
    new = await keys(world.vault, "add", "vault")
    await keys(world.vault, "promote", new.key_id)
    told: list[RotationProgress] = []
    rotated = await keys(world.vault, "rewrap", on_progress=told.append)
    assert rotated.data_keys == 5
    assert (told[-1].step, told[-1].done, told[-1].total) == ("data_keys", 5, 5)
    assert (await keys(world.vault, "key", old.key_id)).uses == 0
    await keys(world.vault, "retire", old.key_id)
    fresh = world.build()
    await fresh.open()
    assert await reads(fresh, ids) == [f"token-{n}" for n in range(5)]
    assert (await keys(fresh, "rewrap")).data_keys == 0


async def test_a_dek_is_rotated_and_every_kind_of_record_with_it(world: World) -> None:
    connection = await world.connect("x")
    core = world.vault.vault._cases.core
    row = await stored(world.vault, connection.id)
    sealers = await core.sealers(row)
    record = await core.open(row)
    candidate = sealers.seal_kept(record, row, row.generation)
    assert await core.store.put_candidate(row.id, row.generation, candidate)
    late = world.vault.vault._cases.outbox.entry(
        row, "token", sealers.seal_kept(record, row, row.generation), sealers.kept.key_id.hex()
    )
    await core.store.queue_revocation(late)
    new = await keys(world.vault, "add", "data", **MINE)
    await keys(world.vault, "promote", new.key_id)
    old = await keys(world.vault, "key", row.key_id)
    assert (old.state, old.uses) == ("decrypt_only", 3)
    assert (await keys(world.vault, "reseal")).records == 3
    assert (await keys(world.vault, "key", row.key_id)).safe_to_retire
    now = await stored(world.vault, connection.id)
    assert (now.key_id, now.generation, now.updated_at_seconds) == (new.key_id, row.generation, row.updated_at_seconds)
    assert (await core.open(now)).token == record.token
    assert (await core.open_kept(now.candidate, now, now.generation)).token == record.token
    [entry] = await core.store.list_revocations(row.id)
    assert (await core.open_kept(entry.envelope, now, entry.generation)).token == record.token


async def test_a_renewal_that_races_a_reseal_wins(world: World) -> None:
    connection = await world.connect("x")
    core = world.vault.vault._cases.core
    row = await stored(world.vault, connection.id)
    new = await keys(world.vault, "add", "data", **MINE)
    await keys(world.vault, "promote", new.key_id)
    reseal, won = core.store.reseal, []

    async def late(kind: Any, records: Any) -> int:
        renewed = world.vault.vault.refresh(connection.id, **MINE)
        won.append(await renewed if world.colour == "async" else renewed)
        return int(await reseal(kind, records))

    core.store.reseal = late
    try:
        rotated = await keys(world.vault, "reseal")
    finally:
        core.store.reseal = reseal
    assert rotated.records == 0
    now = await stored(world.vault, connection.id)
    assert now.generation == row.generation + 1
    assert (await world.vault.token(connection.id, **MINE)).reveal() == won[0].reveal()
    assert world.sandbox.log.count(outcome="refresh_reused") == 0


@pytest.mark.parametrize("call", ["token", "refresh"])
@pytest.mark.parametrize("level", ["data", "vault"])
async def test_who_read_something_before_its_key_was_retired_finds_it_under_the_new_one(
    world: World, level: str, call: str
) -> None:
    connection = await world.connect("x")
    row = await stored(world.vault, connection.id)
    reader = world.build()
    await reader.open()
    keyring = reader.vault._cases.core.keyring
    keyring.vault_keys._loaded.clear()
    [vault_key] = await of_state(world.vault, "vault", "primary")
    former, target, method, job, where = {
        "data": (row.key_id, keyring, "for_opening", "reseal", MINE),
        "vault": (vault_key.key_id, keyring.vault_keys, "get", "rewrap", {}),
    }[level]
    load, rotated = getattr(target, method), []

    async def change(name: str, *args: Any, **kwargs: Any) -> Any:
        changed = getattr(world.vault.vault.keys, name)(*args, **kwargs)
        return await changed if world.colour == "async" else changed

    async def slow(*args: Any) -> Any:
        if not rotated:
            rotated.append(await change("add", level, **where))
            await change("promote", rotated[0].key_id)
            await change(job)
            await change("retire", former)
        return await load(*args)

    setattr(target, method, slow)
    events, told = reader.vault._cases.core.events, []
    emit = events.emit

    async def listening(event: Any) -> None:
        told.append(event.name)
        await emit(event)

    events.emit = listening
    token = await getattr(reader, call)(connection.id, **MINE)
    assert token.reveal() in world.sandbox.live_tokens("x")
    assert (await keys(world.vault, "key", former)).state == "retired"
    assert "record_refused" not in told


async def test_a_process_with_a_retired_dek_seals_under_the_new_one_instead(world: World) -> None:
    connection = await world.connect("x")
    behind = world.build(key_cache=timedelta(days=1))
    await behind.token(connection.id, **MINE)
    await behind.refresh(connection.id, **MINE)  # its primary is cached
    row = await stored(world.vault, connection.id)
    new = await keys(world.vault, "add", "data", **MINE)
    await keys(world.vault, "promote", new.key_id)
    await keys(world.vault, "reseal")
    await keys(world.vault, "retire", row.key_id)
    token = await behind.refresh(connection.id, **MINE)
    now = await stored(world.vault, connection.id)
    assert (now.key_id, now.generation) == (new.key_id, row.generation + 1)
    assert (await world.vault.token(connection.id, **MINE)).reveal() == token.reveal()
    assert (await keys(world.vault, "key", row.key_id)).uses == 0
    again = await behind.import_tokens("x", **MINE, access_token="another-one", subject="another")
    assert (await stored(world.vault, again.id)).key_id == new.key_id


async def test_a_flow_begins_under_the_new_key_when_the_vaults_own_was_retired(world: World) -> None:
    behind = world.build(key_cache=timedelta(days=1))
    await world.connect("x", vault=behind)
    own = next(key for key in await keys(world.vault, "data_keys") if key.owner == "")
    new = await keys(world.vault, "add", "data")
    await keys(world.vault, "promote", new.key_id)
    await keys(world.vault, "retire", own.key_id)
    assert await world.connect("linkedin", vault=behind)


async def test_a_pending_flow_keeps_its_key(world: World) -> None:
    begun = await world.vault.begin("x", **MINE)
    own = next(key for key in await keys(world.vault, "data_keys") if key.owner == "")
    new = await keys(world.vault, "add", "data")
    await keys(world.vault, "promote", new.key_id)
    with pytest.raises(ConfigurationError, match="1 rows need it"):
        await keys(world.vault, "retire", own.key_id)
    params = await world.callback(begun, user="ada")
    assert (await world.complete(begun, params, "x")).connection
    assert (await keys(world.vault, "retire", own.key_id)).state == "retired"


async def test_tenants_change_from_deks_of_owners_to_one_of_their_own_and_back(world: World) -> None:
    ids = await filled(world)
    by_tenant = world.build(dek_scope="tenant")
    assert (await keys(by_tenant, "reseal")).records == 5
    assert len({(await stored(world.vault, key, owner)).key_id for owner, key in ids.items()}) == 1
    assert await reads(world.vault, ids) == await reads(by_tenant, ids)
    by_owner = world.build()
    assert (await keys(by_owner, "reseal", tenant="another")).records == 0
    assert (await keys(by_owner, "reseal", tenant=TENANT)).records == 5
    assert len({(await stored(world.vault, key, owner)).key_id for owner, key in ids.items()}) == 5
    assert await reads(by_tenant, ids) == await reads(by_owner, ids)


async def test_tenants_change_to_vault_keys_of_their_own_and_back(world: World) -> None:
    ids = await filled(world)
    by_tenant = world.build(vault_key_scope="tenant")
    assert (await keys(by_tenant, "rewrap")).data_keys == 5
    assert {key.tenant for key in await of_state(by_tenant, "vault", "primary")} == {"", TENANT}
    assert (await keys(by_tenant, "rewrap")).data_keys == 0
    assert await reads(world.build(), ids) == [f"token-{n}" for n in range(5)]
    assert (await keys(world.build(), "rewrap")).data_keys == 5


async def test_one_call_rotates_the_kek_of_this_process_and_reseals(world: World) -> None:
    ids = await filled(world)
    new = LocalKeyring.generate()
    both = world.build(keys=LocalKeyring([new, world.keys]))
    rotated = await both.rotate_keys()
    assert (rotated.vault_keys, rotated.data_keys, rotated.records) == (1, 0, 0)
    assert [key.key_id for key in await of_state(both, "kek", "primary")] == [LocalKeyring([new]).primary_id]
    assert await both.rotate_keys() == type(rotated)()
    with pytest.raises(ConfigurationError, match="was replaced"):  # a host that was forgotten takes nothing back
        await world.build(keys=LocalKeyring([world.keys, new])).rotate_keys()
    assert await reads(world.build(keys=LocalKeyring([new])), ids) == [f"token-{n}" for n in range(5)]


async def test_f_33_a_row_that_does_not_open_is_named_and_left_and_the_job_goes_on(world: World) -> None:
    ids = await filled(world)
    core = world.vault.vault._cases.core
    bad = await stored(world.vault, ids["user-2"], "user-2")
    by_tenant = world.build(dek_scope="tenant")
    await keys(by_tenant, "reseal")
    bad = await stored(world.vault, ids["user-2"], "user-2")
    broken = bytearray(bad.envelope)
    broken[60] ^= 1
    from socialvault.model.keys import Resealed

    assert await core.store.reseal("token", [Resealed(bad.id, bad.envelope, bytes(broken), bad.key_id)]) == 1
    rotated = await keys(world.build(), "reseal")
    assert (rotated.records, rotated.refused) == (4, 1)
    assert [(item.kind, item.id, item.error) for item in rotated.bad] == [("token", bad.id, "TamperedError")]
    assert (await stored(world.vault, bad.id, "user-2")).envelope == bytes(broken)
    assert (await keys(world.vault, "key", bad.key_id)).uses == 1


async def test_a_rate_slows_a_job_down(world: World) -> None:
    await filled(world, owners=6)
    new = await keys(world.vault, "add", "vault")
    await keys(world.vault, "promote", new.key_id)
    slept: list[float] = []
    core = world.vault.vault._cases.core

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    core.runtime.sleep = sleep
    told: list[RotationProgress] = []
    await keys(world.vault, "rewrap", rate=2, on_progress=told.append)
    assert [progress.done for progress in told] == [2, 4, 6]
    assert slept == [1.0, 1.0, 1.0]
    with pytest.raises(ConfigurationError, match="rate"):
        await keys(world.vault, "rewrap", rate=0)


async def test_a_batch_is_written_while_the_next_one_is_read(world: World) -> None:
    ids = await filled(world, owners=6)
    new = await keys(world.vault, "add", "vault")
    await keys(world.vault, "promote", new.key_id)
    core = world.vault.vault._cases.core
    read, write, asked, seen = core.store.wrapped_under, core.store.rewrap, [], []

    async def reading(*args: Any) -> Any:
        asked.append(args)
        return await read(*args)

    async def writing(*args: Any) -> int:
        for _ in range(500):
            if len(asked) > len(seen) + 1:
                break
            await asyncio.sleep(0.01) if world.colour == "async" else time.sleep(0.01)  # noqa: ASYNC251  # on a thread of its own
        seen.append(len(asked))
        if len(seen) == 2:
            raise StoreUnavailableError("gone")
        return int(await write(*args))

    core.runtime.sleep = no_time
    core.store.wrapped_under, core.store.rewrap = reading, writing
    try:
        with pytest.raises(StoreUnavailableError):
            await keys(world.vault, "rewrap", rate=2)
        assert seen == [2, 3]
        assert (await keys(world.vault, "rewrap")).data_keys == 4
    finally:
        core.store.wrapped_under, core.store.rewrap = read, write
    assert await reads(world.build(), ids) == [f"token-{n}" for n in range(6)]


async def no_time(seconds: float) -> None:
    """Take it instead of a runtime's sleep."""


async def test_keys_are_told_of_and_named_only_by_their_ids(world: World) -> None:
    lines: list[Any] = []

    class Observer:
        wants_keys = True

        def __call__(self, event: Any) -> None:
            lines.append((event.name, event.key_id))

    facade = world.build(observers=[Observer()])
    await facade.open()
    new = await keys(facade, "add", "vault")
    [old] = await of_state(facade, "vault", "primary")
    await keys(facade, "promote", new.key_id)
    await keys(facade, "rewrap")
    await keys(facade, "retire", old.key_id)
    await keys(facade, "reinstate", old.key_id)
    assert lines == [
        ("vault_key_created", new.key_id), ("key_added", new.key_id), ("key_promoted", new.key_id),
        ("key_retired", old.key_id), ("key_reinstated", old.key_id),
    ]  # fmt: skip


@pytest.mark.parametrize("key_id", ["", "no-such-key", "0" * 24])
async def test_a_key_that_is_not_there_is_not_found(world: World, key_id: str) -> None:
    await world.vault.open()
    for what in ("key", "promote", "retire", "reinstate"):
        with pytest.raises(KeyNotFoundError):
            await keys(world.vault, what, key_id)


async def test_f_30_health_tells_of_a_key_service_that_is_away_and_of_a_stale_process(world: World) -> None:
    new = LocalKeyring.generate()
    behind = world.build(vault_key_cache=timedelta(seconds=1), key_cache=timedelta(0))
    ids = await filled(world)
    await reads(behind, ids)
    await world.build(keys=LocalKeyring([new, world.keys])).rotate_keys()
    world.sandbox.clock.advance(timedelta(seconds=5))
    assert await reads(behind, ids) == [f"token-{n}" for n in range(5)]
    health = await behind.health()
    assert not health.ok
    assert any("restart" in check.problem for check in health.checks if check.name == "keys")


async def test_f_30_tokens_are_served_through_an_outage_of_the_key_service(world: World) -> None:
    ids = await filled(world)
    service = Down([world.keys])
    facade = world.build(keys=service, key_cache=timedelta(minutes=5), vault_key_cache=timedelta(hours=1))
    await reads(facade, ids)
    service.down = True
    for _ in range(9):
        world.sandbox.clock.advance(timedelta(minutes=6))
        assert await reads(facade, ids) == [f"token-{n}" for n in range(5)]
    world.sandbox.clock.advance(timedelta(minutes=12))
    with pytest.raises(KeyServiceUnavailableError):
        await reads(facade, ids)
    assert not (await facade.health()).ok
    for owner, key in ids.items():
        assert (await stored(world.vault, key, owner)).status.live
    service.down = False
    assert await reads(facade, ids) == [f"token-{n}" for n in range(5)]


async def test_c_17_keys_are_rotated_while_others_write_and_read(world: World) -> None:
    """Everything at once for a moment: three levels rotate while eight workers renew and read."""
    ids = await filled(world, owners=4)
    connection = await world.connect("x")
    ids[OWNER] = connection.id
    workers = [world.build(key_cache=timedelta(milliseconds=50)) for _ in range(4)]
    stop, calls, problems = threading.Event(), [0], list[Exception]()

    async def work(facade: Any, number: int) -> None:
        try:
            while not stop.is_set():
                owner = [*ids][calls[0] % len(ids)]
                await facade.token(ids[owner], owner=owner, tenant=TENANT)
                await facade.import_tokens(
                    "x",
                    owner=f"new-{number}-{calls[0]}",
                    tenant=TENANT,
                    access_token="t",
                    subject=f"n{number}-{calls[0]}",
                )
                calls[0] += 1
                await asyncio.sleep(0)  # in a memory store nothing else lets the others have their turn
        except Exception as problem:  # noqa: BLE001  # whatever it is, the test shows it
            problems.append(problem)

    async def rotate() -> None:
        try:
            while calls[0] < 12:
                for level in ("vault", "data"):
                    made = await keys(world.vault, "add", level)
                    await keys(world.vault, "promote", made.key_id)
                    await keys(world.vault, "rewrap")
                    await keys(world.vault, "reseal")
                    await asyncio.sleep(0)
        finally:
            stop.set()

    await asyncio.gather(rotate(), *(work(facade, number) for number, facade in enumerate(workers)))
    assert not problems, problems
    await keys(world.vault, "rewrap")
    await keys(world.vault, "reseal")
    for former in await of_state(world.vault, "vault", "decrypt_only"):
        assert (await keys(world.vault, "retire", former.key_id)).state == "retired"
