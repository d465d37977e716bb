"""The contract of a token store, as far as disconnecting goes: tombstones, their revocations, erasure."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from socialvault.exceptions import StoreError
from socialvault.model.status import Status
from socialvault.sandbox.contracts.base import RACERS, ROUNDS, Contract, everything, kept, stored
from socialvault.sandbox.contracts.rows import (
    DEAD,
    LIVE,
    OWNER,
    STRANGERS,
    TENANT,
    connection,
    failure,
    flow,
    in_trouble,
    intent,
    revocation,
    status_write,
    token_write,
    wrapped_key,
)

if TYPE_CHECKING:
    from socialvault.model.rows import ConnectionRow, RevocationRow, StatusWrite
    from socialvault.ports.store import AsyncStore

LATER = 1_800_000_950.75


def disconnect(row: ConnectionRow, **changes: object) -> StatusWrite:
    """Return the write that turns `row` into a tombstone."""
    return status_write(row, Status.REVOCATION_PENDING, **({"expected": tuple(LIVE)} | changes))


def revoked(row: ConnectionRow, reason: str, at_seconds: float) -> ConnectionRow:
    """Return what is left of `row` once it is revoked: nothing sealed, no intent."""
    return replace(
        row,
        status=Status.REVOKED,
        reason=reason,
        updated_at_seconds=at_seconds,
        envelope=b"",
        key_id="",
        candidate=b"",
        intent_digest=b"",
        intent_sent_at_seconds=None,
        intent_deadline_seconds=None,
        intent_attempt=0,
    )


async def bury(store: AsyncStore, row: ConnectionRow, *pending: RevocationRow) -> ConnectionRow:
    """Store `row` as a tombstone with these revocations."""
    tombstone = replace(row, status=Status.REVOCATION_PENDING, reason="disconnected")
    await store.insert(tombstone)
    for each in pending:
        await store.queue_revocation(each)
    return tombstone


async def seen(store: AsyncStore, row: ConnectionRow) -> None:
    """Look until `row` is there with its status."""
    for _ in range(100_000):
        read = await stored(store, row)
        if read is not None and read.status is row.status:
            return
        await asyncio.sleep(0)
    pytest.fail("it never came")


async def queued(store: AsyncStore) -> list[str]:
    """Return the ids of all revocations."""
    return sorted(each.id for each in await store.find_revocations(1e12, 1000))


@pytest.mark.asyncio
class RevocationContract(Contract):
    """What every `TokenStore` must do when connections end."""

    # tombstones

    @pytest.mark.parametrize("status", LIVE)
    async def test_a_tombstone_its_children_and_its_revocation_are_written_in_one_step(
        self, store: AsyncStore, status: Status
    ) -> None:
        row = replace(in_trouble(connection()), status=status)
        older = in_trouble(connection("con-3", parent_id="con-1", subject="page-1"))
        younger = replace(connection("con-2", parent_id="con-1", subject="page-2"), created_at_seconds=1_800_000_009.0)
        for each in (row, younger, older):
            await store.insert(each)
        write = disconnect(row)
        assert await store.tombstone(write, revocation(row)) == [older, younger]
        assert await stored(store, row) == replace(
            row, status=write.status, reason=write.reason, updated_at_seconds=write.updated_at_seconds
        )
        for child in (older, younger):
            assert await stored(store, child) == revoked(child, "parent_disconnected", write.updated_at_seconds)
        assert list(await store.list_revocations(row.id)) == [revocation(row)]
        assert await store.insert(connection("con-9", subject="page-1", parent_id="con-1")) is None

    async def test_a_tombstone_leaves_alone_who_is_no_live_child_of_it(self, store: AsyncStore) -> None:
        def child(name: str, parent_id: str, status: Status) -> ConnectionRow:
            return replace(in_trouble(connection(name, parent_id=parent_id, subject=name)), status=status)

        row = connection()
        others = [child("others", "con-9", Status.ACTIVE), connection("nobodys", subject="nobodys")]
        others += [child(status.value, "con-1", status) for status in DEAD]
        for each in (row, *others):
            await store.insert(each)
        assert await store.tombstone(disconnect(row), revocation(row)) == []
        for other in others:
            assert await stored(store, other) == other

    @pytest.mark.parametrize(
        "change", [{"expected_generation": 2}, {"expected": (Status.REVOCATION_PENDING,)}], ids=["generation", "status"]
    )
    async def test_a_tombstone_that_does_not_fit_changes_nothing(
        self, store: AsyncStore, change: dict[str, object]
    ) -> None:
        row, child = connection(), connection("con-2", parent_id="con-1")
        await store.insert(row)
        await store.insert(child)
        assert await store.tombstone(disconnect(row, **change), revocation(row)) is None
        assert await everything(store) == [row, child]
        assert await queued(store) == []

    async def test_an_unknown_connection_is_not_disconnected(self, store: AsyncStore) -> None:
        row = connection("con-9")
        assert await store.tombstone(disconnect(row), revocation(row)) is None
        assert await queued(store) == []

    async def test_r_24_a_revocation_without_an_owner_is_refused_and_changes_nothing(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)
        with pytest.raises(StoreError):
            await store.queue_revocation(revocation(row, owner=None))
        with pytest.raises(StoreError):
            await store.tombstone(disconnect(row), revocation(row, owner=None))
        assert await everything(store) == [row]
        assert await queued(store) == []

    async def test_of_racing_disconnects_one_wins_and_one_revocation_is_queued(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)
        await store.insert(connection("con-2", parent_id="con-1"))

        async def act(number: int) -> bool:
            return await store.tombstone(disconnect(row), revocation(row, f"-{number}")) is not None

        won = await self.race(RACERS, act)
        assert won.count(True) == 1
        assert await queued(store) == [f"rev-con-1-{won.index(True)}"]

    async def test_a_disconnect_races_renewals_and_none_comes_after_it(self, store: AsyncStore) -> None:
        rows = [connection(f"con-{number}", subject=str(number)) for number in range(ROUNDS)]
        for row in rows:
            await store.insert(row)

        async def act(number: int, turn: int) -> bool:
            row = rows[turn]
            if number == 0:
                return await store.write_token(token_write(row)) is not None
            return await store.tombstone(disconnect(row), revocation(row)) is not None

        for row, (renewed, disconnected) in zip(rows, await self.race_often(2, ROUNDS, act), strict=True):
            assert renewed != disconnected  # whoever comes second meets another generation, or a tombstone
            read = await kept(store, row)
            assert (read.status, read.generation) == ((Status.ACTIVE, 2) if renewed else (Status.REVOCATION_PENDING, 1))
            assert len(await store.list_revocations(row.id)) == disconnected

    async def test_nobody_sees_half_a_disconnect(self, store: AsyncStore) -> None:
        rows = [connection(f"con-{number}", subject=str(number)) for number in range(ROUNDS)]
        for row in rows:
            await store.insert(row)
            await store.insert(connection(f"child-{row.id}", parent_id=row.id))

        async def act(number: int, turn: int) -> None:
            row = rows[turn]
            if number == 0:
                await store.tombstone(disconnect(row), revocation(row))
                return
            await seen(store, replace(row, status=Status.REVOCATION_PENDING))
            assert list(await store.list_children(row.id, TENANT, OWNER)) == []
            assert list(await store.list_revocations(row.id)) == [revocation(row)]

        await self.race_often(2, ROUNDS, act)

    # the queue

    async def test_a_revocation_is_read_back_as_it_was_queued(self, store: AsyncStore) -> None:
        late = revocation(
            connection(),
            "-late",
            reach="token",
            generation=7,
            envelope=b"sealed \x00 late",
            key_id="cd" * 32,
            attempt=3,
        )
        late = replace(late, next_attempt_at_seconds=1000.125, created_at_seconds=999.5)
        await store.queue_revocation(late)
        assert list(await store.list_revocations("con-1")) == [late]
        assert list(await store.find_revocations(1000.125, 10)) == [late]

    async def test_a_revocation_is_queued_once(self, store: AsyncStore) -> None:
        first = revocation(connection(), attempt=3)
        await store.queue_revocation(first)
        await store.queue_revocation(replace(first, attempt=0, connection_id="con-2"))
        assert list(await store.find_revocations(1e12, 10)) == [first]

    async def test_a_disconnect_keeps_a_revocation_that_is_queued_already(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)
        first = revocation(row, attempt=3)
        await store.queue_revocation(first)
        assert await store.tombstone(disconnect(row), revocation(row)) == []
        assert list(await store.list_revocations(row.id)) == [first]

    async def test_revocations_come_longest_due_first(self, store: AsyncStore) -> None:
        due = {"a": 300.0, "b": 100.0, "c": 200.0, "at_the_moment": 1000.0, "later": 1000.5}
        for name, at_seconds in due.items():
            await store.queue_revocation(revocation(connection(name), next_attempt_at_seconds=at_seconds))
        found = [each.connection_id for each in await store.find_revocations(1000.0, 10)]
        assert found == ["b", "c", "a", "at_the_moment"]
        assert [each.connection_id for each in await store.find_revocations(1000.0, 2)] == ["b", "c"]
        assert list(await store.find_revocations(99.0, 10)) == []

    async def test_a_connection_lists_its_own_revocations_oldest_first(self, store: AsyncStore) -> None:
        for name, at_seconds in (("-a", 300.0), ("-b", 100.0), ("-c", 200.0)):
            await store.queue_revocation(revocation(connection(), name, created_at_seconds=at_seconds))
        await store.queue_revocation(revocation(connection("con-2")))
        assert [each.id[-1] for each in await store.list_revocations("con-1")] == ["b", "c", "a"]
        assert list(await store.list_revocations("con-9")) == []

    async def test_a_claimed_revocation_is_counted_and_put_off(self, store: AsyncStore) -> None:
        first = revocation(connection(), next_attempt_at_seconds=100.0)
        other = revocation(connection("con-2"), next_attempt_at_seconds=50.0)
        await store.queue_revocation(first)
        await store.queue_revocation(other)
        assert await store.claim_revocation(first.id, 0, 500.25)
        assert not await store.claim_revocation(first.id, 0, 900.0)
        assert not await store.claim_revocation("nowhere", 0, 900.0)
        claimed = replace(first, attempt=1, next_attempt_at_seconds=500.25)
        assert list(await store.find_revocations(1000.0, 10)) == [other, claimed]
        assert await store.claim_revocation(first.id, 1, 900.0)

    async def test_of_racing_workers_one_claims_a_revocation(self, store: AsyncStore) -> None:
        await store.queue_revocation(revocation(connection()))

        async def claim(_number: int) -> bool:
            return await store.claim_revocation("rev-con-1", 0, 1e10)

        assert (await self.race(RACERS, claim)).count(True) == 1

    # settling

    async def test_the_last_revocation_settles_its_tombstone(self, store: AsyncStore) -> None:
        row = in_trouble(connection())
        pending = [revocation(row), revocation(row, "-late", reach="token")]
        tombstone = await bury(store, row, *pending)
        other = await bury(store, connection("con-2", subject="2"), revocation(connection("con-2", subject="2")))
        bare = await bury(store, connection("con-3", subject="3"))
        assert not await store.finish_revocation(pending[0].id, "revoked", LATER)
        assert await stored(store, row) == tombstone
        assert list(await store.list_revocations(row.id)) == pending[1:]
        assert await store.finish_revocation(pending[1].id, "already_gone", LATER)
        assert await stored(store, row) == revoked(tombstone, "already_gone", LATER)
        assert await stored(store, other) == other
        assert await stored(store, bare) == bare
        assert await queued(store) == ["rev-con-2"]

    async def test_a_revocation_is_finished_once(self, store: AsyncStore) -> None:
        row = connection()
        await bury(store, row, revocation(row))
        assert not await store.finish_revocation("nowhere", "revoked", LATER)
        assert await store.finish_revocation("rev-con-1", "revoked", LATER)
        assert not await store.finish_revocation("rev-con-1", "gave_up", LATER + 1)
        assert (await kept(store, row)).reason == "revoked"
        assert not await store.claim_revocation("rev-con-1", 0, LATER)

    @pytest.mark.parametrize("status", [*LIVE, Status.REVOKED])
    async def test_a_finished_revocation_settles_only_a_tombstone_that_waits_for_it(
        self, store: AsyncStore, status: Status
    ) -> None:
        row = replace(in_trouble(connection()), status=status)
        await store.insert(row)
        await store.queue_revocation(revocation(row, reach="token"))
        assert not await store.finish_revocation("rev-con-1", "revoked", LATER)
        assert await stored(store, row) == row
        assert await queued(store) == []

    async def test_a_revocation_may_outlive_its_connection(self, store: AsyncStore) -> None:
        await store.queue_revocation(revocation(connection()))
        assert not await store.finish_revocation("rev-con-1", "revoked", LATER)
        assert await queued(store) == []

    async def test_of_the_last_two_revocations_one_settles_the_tombstone(self, store: AsyncStore) -> None:
        rows = [connection(f"con-{number}", subject=str(number)) for number in range(ROUNDS)]
        for row in rows:
            await bury(store, row, revocation(row, "-0"), revocation(row, "-1"))

        async def finish(number: int, turn: int) -> bool:
            return await store.finish_revocation(f"rev-{rows[turn].id}-{number}", "revoked", LATER)

        for one, two in await self.race_often(2, ROUNDS, finish):
            assert one != two
        assert {row.status for row in await everything(store)} == {Status.REVOKED}
        assert await queued(store) == []

    # a new connection keeps its grant

    @pytest.mark.parametrize("status", LIVE)
    async def test_a_new_connection_cancels_what_would_end_its_grant(self, store: AsyncStore, status: Status) -> None:
        row, elsewhere = in_trouble(connection()), connection("con-2", tenant="globex", shared_with="user-7")
        tombstone = await bury(store, row, revocation(row), revocation(row, "-late"))
        far = await bury(store, replace(elsewhere, owner="user-7"), revocation(elsewhere, owner="user-7"))
        new = replace(connection("new"), owner="user-9", status=status, updated_at_seconds=LATER)
        assert await store.insert(new) is None
        for each in (tombstone, far):
            assert await stored(store, each) == revoked(each, "kept_for_sibling", LATER)
        assert await stored(store, new) == new
        assert await queued(store) == []

    @pytest.mark.parametrize("field", ["provider", "client_id", "issuer", "subject"])
    async def test_a_new_connection_of_another_grant_cancels_nothing(self, store: AsyncStore, field: str) -> None:
        row = connection()
        tombstone = await bury(store, row, revocation(row))
        assert await store.insert(connection("new", **{field: "another"})) is None
        assert await stored(store, row) == tombstone
        assert await queued(store) == ["rev-con-1"]

    async def test_what_reaches_a_token_only_is_not_cancelled(self, store: AsyncStore) -> None:
        row = connection()
        tombstone = await bury(store, row, revocation(row, reach="token"), revocation(row, "-late"))
        assert await store.insert(connection("new")) is None
        assert await stored(store, row) == tombstone
        assert await queued(store) == ["rev-con-1"]

    @pytest.mark.parametrize(
        "new",
        [connection("new", parent_id="con-9"), *(replace(connection("new"), status=status) for status in DEAD)],
        ids=["child", *DEAD],
    )
    async def test_what_holds_no_grant_cancels_nothing(self, store: AsyncStore, new: ConnectionRow) -> None:
        row = connection()
        tombstone = await bury(store, row, revocation(row))
        assert await store.insert(new) is None
        assert await stored(store, row) == tombstone
        assert await queued(store) == ["rev-con-1"]

    async def test_a_connection_that_is_not_inserted_cancels_nothing(self, store: AsyncStore) -> None:
        holder, row = connection("holder"), connection()
        await store.insert(holder)
        tombstone = await bury(store, row, revocation(row))
        assert await store.insert(connection("new")) == holder
        with pytest.raises(StoreError):
            await store.insert(connection("holder", tenant="globex"))
        assert await stored(store, row) == tombstone
        assert await queued(store) == ["rev-con-1"]

    @pytest.mark.parametrize("status", [*LIVE, Status.REVOKED])
    async def test_a_cancelled_revocation_settles_only_a_tombstone_that_waits_for_it(
        self, store: AsyncStore, status: Status
    ) -> None:
        row = replace(in_trouble(connection()), status=status)
        await store.insert(row)
        await store.queue_revocation(revocation(row))
        assert await store.insert(connection("new", tenant="globex")) is None
        assert await stored(store, row) == row
        assert await queued(store) == []

    async def test_a_new_connection_that_is_older_does_not_turn_back_a_tombstones_time(self, store: AsyncStore) -> None:
        row = replace(connection(), updated_at_seconds=LATER)
        await bury(store, row, revocation(row))
        await store.insert(replace(connection("new"), updated_at_seconds=1.0))
        assert (await kept(store, row)).updated_at_seconds == LATER

    async def test_a_new_connection_races_a_worker_and_one_of_them_settles_the_tombstone(
        self, store: AsyncStore
    ) -> None:
        rows = [connection(f"con-{number}", subject=str(number)) for number in range(ROUNDS)]
        for row in rows:
            await bury(store, row, revocation(row))

        async def act(number: int, turn: int) -> bool:
            row = rows[turn]
            if number == 0:
                return await store.insert(replace(row, id=f"new-{row.id}")) is None
            return await store.finish_revocation(f"rev-{row.id}", "revoked", LATER)

        for row, (connected, by_worker) in zip(rows, await self.race_often(2, ROUNDS, act), strict=True):
            assert connected
            read = await kept(store, row)
            assert (read.status, read.envelope) == (Status.REVOKED, b"")
            assert read.reason == ("revoked" if by_worker else "kept_for_sibling")
        assert await queued(store) == []

    async def test_a_reconnect_races_a_disconnect_and_no_revocation_hangs_over_a_new_connection(
        self, store: AsyncStore
    ) -> None:
        rows = [connection(f"con-{number}", subject=str(number)) for number in range(ROUNDS)]
        for row in rows:
            await store.insert(row)

        async def act(number: int, turn: int) -> bool:
            row = rows[turn]
            if number == 0:
                return await store.insert(replace(row, id=f"new-{row.id}")) is None
            return await store.tombstone(disconnect(row), revocation(row)) is not None

        for row, (connected, _) in zip(rows, await self.race_often(2, ROUNDS, act), strict=True):
            status = (await kept(store, row)).status
            assert status is (Status.REVOKED if connected else Status.REVOCATION_PENDING)
            assert len(await store.list_revocations(row.id)) == (not connected)

    async def test_nobody_sees_a_new_connection_under_a_revocation(self, store: AsyncStore) -> None:
        rows = [connection(f"con-{number}", subject=str(number)) for number in range(ROUNDS)]
        for row in rows:
            await bury(store, row, revocation(row))

        async def act(number: int, turn: int) -> None:
            new = replace(rows[turn], id=f"new-{turn}")
            if number == 0:
                await store.insert(new)
                return
            await seen(store, new)
            assert list(await store.list_revocations(rows[turn].id)) == []
            assert (await kept(store, rows[turn])).status is Status.REVOKED

        await self.race_often(2, ROUNDS, act)

    # what is left

    async def test_a_deleted_connection_takes_its_revocations_along(self, store: AsyncStore) -> None:
        row = replace(connection(), status=Status.REVOKED)
        child = replace(connection("con-2", parent_id="con-1"), status=Status.REVOKED)
        other = replace(connection("con-3"), status=Status.REVOKED)
        for each in (row, child, other):
            await store.insert(each)
            await store.queue_revocation(revocation(each))
        assert await store.delete("con-1") == 2
        assert await queued(store) == ["rev-con-3"]

    async def test_what_is_not_deleted_keeps_its_revocations(self, store: AsyncStore) -> None:
        row = connection()
        await bury(store, row, revocation(row))
        assert await store.delete("con-1") == 0
        assert await queued(store) == ["rev-con-1"]

    async def test_an_erased_owner_leaves_nothing(self, store: AsyncStore) -> None:
        for number, status in enumerate(Status):
            await store.insert(replace(connection(f"con-{number}", subject=status.value), status=status))
        await store.insert(connection("child", parent_id="con-0"))
        await store.queue_revocation(revocation(connection("con-2")))
        await store.queue_revocation(revocation(connection("gone")))
        await store.acquire_lease("con-0", "me", self.ttl_seconds)
        await store.put_state(flow(), self.ttl_seconds)
        old, new = wrapped_key("old"), wrapped_key("new")
        await store.add_key("data", old)
        await store.replace_key("data", new, old.key_id)
        assert await store.erase_owner(TENANT, OWNER) == 5
        assert await everything(store) == []
        assert await queued(store) == []
        assert await store.get_state(flow().state_hash) is None
        for key in (old, new):
            assert await store.key("data", key.key_id) is None
        assert await store.primary_key("data", TENANT, OWNER) is None
        assert await store.erase_owner(TENANT, OWNER) == 0

    async def test_an_erased_owner_may_come_back(self, store: AsyncStore) -> None:
        row, key = connection(), wrapped_key("new")
        await store.insert(row)
        await store.acquire_lease(row.id, "before", self.ttl_seconds)
        await store.add_key("data", wrapped_key("old"))
        await store.erase_owner(TENANT, OWNER)
        assert await store.insert(row) is None
        assert await store.acquire_lease(row.id, "after", self.ttl_seconds)
        assert await store.add_key("data", key)

    @pytest.mark.parametrize(
        ("tenant", "owner"),
        [*((tenant, owner) for tenant, owner in STRANGERS if owner), (TENANT, OWNER + " "), (TENANT.upper(), OWNER)],
    )
    async def test_r_24_erasing_a_stranger_touches_nobody_else(
        self, store: AsyncStore, tenant: str, owner: str
    ) -> None:
        row, key = connection(), wrapped_key()
        tombstone = await bury(store, connection("con-2", subject="2"), revocation(connection("con-2", subject="2")))
        await store.insert(row)
        await store.put_state(flow(), self.ttl_seconds)
        await store.add_key("data", key)
        assert await store.erase_owner(tenant, owner) == 0
        assert await everything(store) == [row, tombstone]
        assert await queued(store) == ["rev-con-2"]
        assert await store.get_state(flow().state_hash) is not None
        assert await store.key("data", key.key_id) == key

    @pytest.mark.parametrize("tenant", ["", TENANT])
    @pytest.mark.parametrize("owner", ["", None], ids=["empty", "none"])
    async def test_the_keys_of_the_vault_and_of_a_tenant_are_nobodys_to_erase(
        self, store: AsyncStore, tenant: str, owner: str
    ) -> None:
        key = wrapped_key(tenant=tenant, owner="")
        await store.add_key("data", key)
        with pytest.raises(StoreError):
            await store.erase_owner(tenant, owner)
        await store.erase_owner(tenant, OWNER)
        assert await store.primary_key("data", tenant, "") == key

    async def test_an_erasure_races_renewals_and_nothing_comes_back(self, store: AsyncStore) -> None:
        rows = [
            replace(connection(f"con-{number}", subject=str(number)), owner=f"user-{number}")
            for number in range(ROUNDS)
        ]
        for row in rows:
            await store.insert(row)

        async def act(number: int, turn: int) -> None:
            row = rows[turn]
            if number == 0:
                assert await store.erase_owner(TENANT, row.owner) == 1
                return
            await store.open_intent(intent(row))
            await store.write_failure(failure(row, expected_attempt=1))
            await store.put_candidate(row.id, row.generation, b"late")
            await store.write_token(token_write(row))

        await self.race_often(2, ROUNDS, act)
        assert await everything(store) == []
