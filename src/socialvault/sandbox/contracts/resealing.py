"""The contract of a key store, as far as the jobs of a key rotation go: keys and records under another key."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from socialvault.exceptions import KeyNotFoundError
from socialvault.model.keys import Resealed, Rewrapped, SealedRecord
from socialvault.model.status import Status
from socialvault.sandbox.contracts.base import ROUNDS, Contract, every_key, everything, kept
from socialvault.sandbox.contracts.rows import (
    OWNER,
    TENANT,
    connection,
    in_trouble,
    revocation,
    sealed_by,
    status_write,
    token_write,
    vault_key,
    wrapped_key,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.model.keys import KeyLevel, RecordKind, WrappedKey
    from socialvault.model.rows import ConnectionRow, RevocationRow
    from socialvault.ports.store import AsyncStore

KINDS: tuple[RecordKind, ...] = ("token", "candidate", "revocation")
OLD, NEW, OTHER = "0a" * 32, "0b" * 32, "0c" * 32

#: Ids in the order of their bytes, which no language's own order is.
IDS = sorted(["B", "a", "A", "_", "b", "10", "9", "é", "z", "Z", "\U0001f600", "\uff53"])

each_kind = pytest.mark.parametrize("kind", KINDS)


def sealed_row(connection_id: str, key_id: str = OLD) -> ConnectionRow:
    """Return a connection in trouble whose token and candidate a key seals."""
    return replace(
        in_trouble(connection(connection_id, subject=connection_id)),
        generation=7,
        envelope=sealed_by(key_id, b"token of " + connection_id.encode()),
        key_id=key_id,
        candidate=sealed_by(key_id, b"candidate of " + connection_id.encode()),
    )


def sealed_revocation(revocation_id: str, key_id: str = OLD) -> RevocationRow:
    """Return a revocation whose token a key seals."""
    late = sealed_by(key_id, b"late " + revocation_id.encode())
    return replace(
        revocation(sealed_row(f"of {revocation_id}"), reach="token"), id=revocation_id, envelope=late, key_id=key_id
    )


async def seal(store: AsyncStore, kind: RecordKind, record_id: str, key_id: str = OLD) -> None:
    """Store a record of `kind` that a key seals, and what it belongs to."""
    if kind == "revocation":
        await store.queue_revocation(sealed_revocation(record_id, key_id))
    else:
        await store.insert(sealed_row(record_id, key_id))


def record_of(kind: RecordKind, record_id: str, key_id: str = OLD) -> SealedRecord:
    """Return the record that `seal` stores."""
    account = connection().account
    belongs = (TENANT, OWNER, account.provider, account.issuer)
    if kind == "revocation":
        late = sealed_revocation(record_id, key_id)
        return SealedRecord(record_id, late.connection_id, *belongs, late.generation, late.envelope)
    row = sealed_row(record_id, key_id)
    return SealedRecord(record_id, record_id, *belongs, 7, row.envelope if kind == "token" else row.candidate)


def again(record: SealedRecord, key_id: str = NEW) -> Resealed:
    """Return `record` under another key."""
    return Resealed(record.id, record.sealed, sealed_by(key_id, b"again " + record.id.encode()), key_id)


async def under(store: AsyncStore, kind: RecordKind, key_id: str) -> list[SealedRecord]:
    """Return all records of a kind that a key seals."""
    return list(await store.sealed_under(kind, key_id, "", 1000))


async def all_revocations(store: AsyncStore) -> list[RevocationRow]:
    """Return every revocation, by id."""
    return sorted(await store.find_revocations(1e12, 1000), key=lambda each: each.id)


async def page_through(store: AsyncStore, kind: RecordKind, *, limit: int) -> list[str]:
    """Return the ids of what `OLD` seals as a job reads them, page by page, each page being resealed in between."""
    found: list[str] = []
    while page := await store.sealed_under(kind, OLD, found[-1] if found else "", limit):
        assert len(page) <= limit
        found += [record.id for record in page]
        assert await store.reseal(kind, [again(record) for record in page]) == len(page)
    return found


def rewrapped(key: WrappedKey, wrapped_by: str = NEW, wrapped: bytes = b"again \x00") -> Rewrapped:
    """Return `key` under another key."""
    return Rewrapped(key.key_id, key.wrapped, wrapped, wrapped_by)


def by_id(keys: Sequence[WrappedKey]) -> list[WrappedKey]:
    """Return `keys` as a store lists them."""
    return sorted(keys, key=lambda key: key.key_id)


@pytest.mark.asyncio
class ResealingContract(Contract):
    """What every `KeyStore` must do for the jobs that follow a key rotation."""

    # keys under another key

    @pytest.mark.parametrize("level", ["vault", "data"])
    async def test_the_keys_that_a_key_wraps_are_listed_in_every_state_and_by_their_ids(
        self, store: AsyncStore, level: KeyLevel
    ) -> None:
        make = {"vault": vault_key, "data": wrapped_key}[level]
        theirs = [
            make(f"{state} {number}", tenant=str(number), state=state, wrapped_by=OLD)
            for number in range(2)
            for state in ("pre_active", "primary", "decrypt_only", "retired")
        ]
        for key in (*theirs, make("other", wrapped_by=OTHER)):
            await store.add_key(level, key)
        assert list(await store.wrapped_under(level, OLD, "", 100)) == by_id(theirs)
        assert list(await store.wrapped_under(level, OTHER, "", 100)) == [make("other", wrapped_by=OTHER)]
        assert list(await store.wrapped_under(level, NEW, "", 100)) == []
        found: list[WrappedKey] = []
        while page := await store.wrapped_under(level, OLD, found[-1].key_id if found else "", 3):
            assert len(page) <= 3
            found += page
            assert len(set(found)) == len(found)  # before it goes round for ever
        assert found == by_id(theirs)

    @pytest.mark.parametrize("level", ["vault", "data"])
    async def test_a_key_is_rewrapped_and_nothing_else_of_it_changes(self, store: AsyncStore, level: KeyLevel) -> None:
        make = {"vault": vault_key, "data": wrapped_key}[level]
        states = ("pre_active", "primary", "decrypt_only", "retired")
        keys = [make(state, state=state, wrapped_by=OLD) for state in states]
        for key in keys:
            await store.add_key(level, key)
        assert await store.rewrap(level, [rewrapped(key) for key in keys]) == 4
        after = [key._replace(wrapped=b"again \x00", wrapped_by=NEW) for key in keys]
        assert await every_key(store, level) == by_id(after)
        assert await store.primary_key(level, keys[1].tenant, keys[1].owner) == after[1]
        assert list(await store.wrapped_under(level, OLD, "", 9)) == []
        assert list(await store.wrapped_under(level, NEW, "", 9)) == by_id(after)

    async def test_a_key_that_changed_since_or_is_unknown_is_not_rewrapped(self, store: AsyncStore) -> None:
        keys = [wrapped_key(str(number), owner=str(number), wrapped_by=OLD) for number in range(3)]
        for key in keys:
            await store.add_key("data", key)
        await store.rewrap("data", [rewrapped(keys[1], OTHER, b"first")])
        before = await store.key("data", keys[1].key_id)
        batch = [rewrapped(key) for key in (keys[0], keys[1], wrapped_key("unknown"), keys[2])]
        assert await store.rewrap("data", batch) == 2
        assert await store.key("data", keys[1].key_id) == before
        assert await store.key("data", wrapped_key("unknown").key_id) is None
        assert len(await store.wrapped_under("data", NEW, "", 9)) == 2
        assert await store.rewrap("data", batch) == 0
        assert await store.rewrap("data", []) == 0

    async def test_a_batch_of_keys_is_wrapped_as_one_or_not_at_all(self, store: AsyncStore) -> None:
        keys = [wrapped_key(str(number), owner=str(number), wrapped_by=OLD) for number in range(3)]
        for key in keys:
            await store.add_key("data", key)
        await store.add_key("vault", vault_key("retired", state="retired"))
        batch = [rewrapped(keys[0]), rewrapped(keys[1], vault_key("retired").key_id), rewrapped(keys[2])]
        with pytest.raises(KeyNotFoundError):
            await store.rewrap("data", batch)
        assert await every_key(store, "data") == by_id(keys)

    async def test_keys_that_move_away_disturb_no_page(self, store: AsyncStore) -> None:
        keys = [wrapped_key(str(number), owner=str(number), wrapped_by=OLD) for number in range(10)]
        for key in keys:
            await store.add_key("data", key)
        found: list[str] = []
        while page := await store.wrapped_under("data", OLD, found[-1] if found else "", 3):
            found += [key.key_id for key in page]
            assert await store.rewrap("data", [rewrapped(key) for key in page]) == len(page)
        assert found == sorted(key.key_id for key in keys)

    async def test_of_two_rewrapping_jobs_each_key_is_moved_by_one(self, store: AsyncStore) -> None:
        rounds = ROUNDS // 4

        def key(number: int) -> WrappedKey:
            return wrapped_key(str(number), owner=str(number), wrapped_by=OLD)

        for number in range(rounds):
            await store.add_key("data", key(number))

        async def act(racer: int, number: int) -> int:
            return await store.rewrap("data", [rewrapped(key(number), (NEW, OTHER)[racer], b"by %d" % racer)])

        for number, moved in enumerate(await self.race_often(2, rounds, act)):
            assert sorted(moved) == [0, 1]
            winner = moved.index(1)
            assert await store.key("data", key(number).key_id) == key(number)._replace(
                wrapped=b"by %d" % winner, wrapped_by=(NEW, OTHER)[winner]
            )

    async def test_an_erased_owners_keys_do_not_come_back_by_any_change_of_a_key(self, store: AsyncStore) -> None:
        rounds = ROUNDS // 4

        def key(number: int) -> WrappedKey:
            return wrapped_key(str(number), owner=f"user-{number}", state="decrypt_only")

        for number in range(rounds):
            await store.add_key("data", key(number))

        async def act(racer: int, number: int) -> None:
            if racer == 0:
                await store.erase_owner(TENANT, key(number).owner)
                return
            await store.rewrap("data", [rewrapped(key(number))])
            await store.promote_key("data", key(number).key_id)
            await store.count_seals(key(number).key_id, 1)

        await self.race_often(2, rounds, act)
        assert await every_key(store, "data") == []
        assert await store.count_keys("data") == {}
        for number in range(rounds):
            assert await store.primary_key("data", TENANT, key(number).owner) is None
            assert await store.count_seals(key(number).key_id, 1) == 0

    # records under another key

    @each_kind
    async def test_the_records_that_a_key_seals_come_with_what_they_are_bound_to(
        self, store: AsyncStore, kind: RecordKind
    ) -> None:
        await seal(store, kind, "one")
        await seal(store, kind, "two", OTHER)
        await store.insert(connection("no candidate, another key"))
        await store.queue_revocation(revocation(connection("no envelope")))
        assert await under(store, kind, OLD) == [record_of(kind, "one")]
        assert await under(store, kind, OTHER) == [record_of(kind, "two", OTHER)]
        assert await under(store, kind, NEW) == []
        for other in KINDS:
            if "revocation" in (kind, other) and other != kind:
                assert await under(store, other, OLD) == []

    @each_kind
    async def test_records_come_in_pages_by_the_bytes_of_their_ids(self, store: AsyncStore, kind: RecordKind) -> None:
        for record_id in reversed(IDS):
            await seal(store, kind, record_id)
        assert [record.id for record in await under(store, kind, OLD)] == IDS
        assert [record.id for record in await store.sealed_under(kind, OLD, IDS[3], 2)] == IDS[4:6]
        assert list(await store.sealed_under(kind, OLD, IDS[-1], 9)) == []

    @each_kind
    async def test_records_that_move_away_disturb_no_page(self, store: AsyncStore, kind: RecordKind) -> None:
        for record_id in IDS:
            await seal(store, kind, record_id)
        await seal(store, kind, "other", OTHER)
        assert await page_through(store, kind, limit=5) == IDS
        assert await under(store, kind, OLD) == []
        assert [record.id for record in await under(store, kind, NEW)] == IDS
        assert await under(store, kind, OTHER) == [record_of(kind, "other", OTHER)]

    @pytest.mark.parametrize("status", Status)
    async def test_a_resealed_token_changes_nothing_else_of_its_row(self, store: AsyncStore, status: Status) -> None:
        row, bystander = replace(sealed_row("con-1"), status=status), sealed_row("con-2")
        await store.insert(row)
        await store.insert(bystander)
        await store.acquire_lease(row.id, "me", self.ttl_seconds)
        resealed = again(record_of("token", row.id))
        assert await store.reseal("token", [resealed]) == 1
        after = replace(row, envelope=resealed.sealed, key_id=NEW)
        assert await everything(store) == [after, bystander]
        read = await store.read_token(row.id, TENANT, OWNER)
        assert read is not None
        assert read.envelope == resealed.sealed
        assert not await store.acquire_lease(row.id, "another", self.ttl_seconds)
        assert await store.release_lease(row.id, "me")

    async def test_a_resealed_candidate_changes_nothing_else_of_its_row(self, store: AsyncStore) -> None:
        row, bystander = sealed_row("con-1"), sealed_row("con-2")
        await store.insert(row)
        await store.insert(bystander)
        resealed = again(record_of("candidate", row.id))
        assert await store.reseal("candidate", [resealed]) == 1
        assert await everything(store) == [replace(row, candidate=resealed.sealed), bystander]
        assert await store.count_uses("data", OLD) == 3
        assert await store.count_uses("data", NEW) == 1

    async def test_a_resealed_revocation_changes_nothing_else_of_it(self, store: AsyncStore) -> None:
        pending, bystander = sealed_revocation("rev-1"), sealed_revocation("rev-2")
        await store.queue_revocation(pending)
        await store.queue_revocation(bystander)
        await store.claim_revocation(pending.id, 0, 1_800_000_900.0)
        resealed = again(record_of("revocation", pending.id))
        assert await store.reseal("revocation", [resealed]) == 1
        after = replace(
            pending, envelope=resealed.sealed, key_id=NEW, attempt=1, next_attempt_at_seconds=1_800_000_900.0
        )
        assert await all_revocations(store) == [after, bystander]
        assert list(await store.list_revocations(pending.connection_id)) == [after]
        assert await store.claim_revocation(pending.id, 1, 1_800_000_999.0)

    @each_kind
    async def test_a_record_that_was_written_since_or_is_unknown_is_left_alone(
        self, store: AsyncStore, kind: RecordKind
    ) -> None:
        for record_id in ("1", "2", "3"):
            await seal(store, kind, record_id)
        changed = again(record_of(kind, "2"), OTHER)
        assert await store.reseal(kind, [changed]) == 1
        batch = [again(record_of(kind, record_id)) for record_id in ("1", "2", "unknown", "3")]
        assert await store.reseal(kind, batch) == 2
        assert [record.id for record in await under(store, kind, NEW)] == ["1", "3"]
        assert [record.sealed for record in await under(store, kind, OTHER)] == [changed.sealed]
        assert await store.reseal(kind, batch) == 0
        assert await store.reseal(kind, []) == 0

    @each_kind
    async def test_a_batch_of_records_is_sealed_as_one_or_not_at_all(self, store: AsyncStore, kind: RecordKind) -> None:
        await store.add_key("data", wrapped_key("retired", state="retired"))
        for record_id in ("1", "2", "3"):
            await seal(store, kind, record_id)
        batch = [again(record_of(kind, record_id)) for record_id in ("1", "2", "3")]
        batch[1] = again(record_of(kind, "2"), wrapped_key("retired").key_id)
        with pytest.raises(KeyNotFoundError):
            await store.reseal(kind, batch)
        assert await under(store, kind, OLD) == [record_of(kind, record_id) for record_id in ("1", "2", "3")]

    async def test_what_was_wiped_or_settled_does_not_come_back(self, store: AsyncStore) -> None:
        row, pending = sealed_row("con-1"), sealed_revocation("rev-1")
        await store.insert(row)
        await store.queue_revocation(pending)
        await store.write_status(status_write(row, Status.REVOKED, wipe=True))
        await store.finish_revocation(pending.id, "revoked", 1.0)
        before = await kept(store, row)
        for kind in KINDS:
            record_id = "rev-1" if kind == "revocation" else "con-1"
            assert await store.reseal(kind, [again(record_of(kind, record_id))]) == 0
        assert await everything(store) == [before]
        assert await all_revocations(store) == []

    async def test_a_large_record_of_a_long_subject_keeps_every_byte(self, store: AsyncStore) -> None:
        subjects = ["Sub" + "s" * 197, "sub" + "s" * 197]
        envelopes = [os.urandom(16 * 1024) for _ in range(4)]
        rows = [
            replace(connection(f"con-{number}", subject=subject), envelope=envelopes[number], candidate=envelopes[2])
            for number, subject in enumerate(subjects)
        ]
        for row in rows:
            assert await store.insert(row) is None  # two accounts
        assert [await kept(store, row) for row in rows] == rows
        write = token_write(rows[0], envelope=envelopes[2], key_id=OLD)
        assert await store.write_token(write) is Status.ACTIVE
        assert [record.sealed for record in await under(store, "token", OLD)] == [envelopes[2]]
        assert await store.reseal("token", [Resealed(rows[0].id, envelopes[2], envelopes[3], NEW)]) == 1
        assert (await kept(store, rows[0])).envelope == envelopes[3]
        read = await store.read_token(rows[0].id, TENANT, OWNER)
        assert read is not None
        assert read.envelope == envelopes[3]
        assert await kept(store, rows[1]) == rows[1]

    # races

    async def test_a_token_write_wins_over_a_resealing_job(self, store: AsyncStore) -> None:
        rounds = ROUNDS // 2
        rows = [sealed_row(f"con-{number}") for number in range(rounds)]
        for row in rows:
            await store.insert(row)

        async def act(racer: int, number: int) -> object:
            row = rows[number]
            if racer == 0:
                return await store.write_token(token_write(row))
            moved = await store.reseal("token", [again(record_of("token", row.id))])
            return moved + await store.reseal("candidate", [again(record_of("candidate", row.id))])

        for number, (status, moved) in enumerate(await self.race_often(2, rounds, act)):
            assert status is rows[number].status
            assert moved in (0, 1, 2)
            after, write = await kept(store, rows[number]), token_write(rows[number])
            assert (after.envelope, after.key_id, after.candidate) == (write.envelope, write.key_id, b"")
            assert (after.generation, after.status) == (8, Status.ACTIVE)
        for key_id in (OLD, NEW):
            assert await store.count_uses("data", key_id) == 0

    @each_kind
    async def test_of_two_resealing_jobs_each_record_is_moved_by_one(self, store: AsyncStore, kind: RecordKind) -> None:
        rounds = ROUNDS // 4
        for number in range(rounds):
            await seal(store, kind, str(number))

        async def act(racer: int, number: int) -> int:
            return await store.reseal(kind, [again(record_of(kind, str(number)), (NEW, OTHER)[racer])])

        moved = await self.race_often(2, rounds, act)
        assert [sorted(each) for each in moved] == [[0, 1]] * rounds
        for racer, key_id in enumerate((NEW, OTHER)):
            won = [str(number) for number, each in enumerate(moved) if each[racer]]
            assert [record.id for record in await under(store, kind, key_id)] == sorted(won)

    @each_kind
    async def test_jobs_whose_batches_overlap_do_not_stop_each_other(self, store: AsyncStore, kind: RecordKind) -> None:
        """Not even where each meets the records in its own order."""
        rounds, size = 5, 8
        batches = [[f"{number} {each}" for each in range(size)] for number in range(rounds)]
        for batch in batches:
            for record_id in batch:
                await seal(store, kind, record_id)

        async def act(racer: int, number: int) -> int:
            batch = [again(record_of(kind, record_id), (NEW, OTHER)[racer]) for record_id in batches[number]]
            return await store.reseal(kind, batch if racer == 0 else batch[::-1])

        moved = await self.race_often(2, rounds, act)
        assert [sum(each) for each in moved] == [size] * rounds
        assert await under(store, kind, OLD) == []

    async def test_rewrapping_jobs_whose_batches_overlap_do_not_stop_each_other(self, store: AsyncStore) -> None:
        rounds, size = 5, 8
        batches = [
            [wrapped_key(f"{number} {each}", owner=f"{number} {each}", wrapped_by=OLD) for each in range(size)]
            for number in range(rounds)
        ]
        for batch in batches:
            for key in batch:
                await store.add_key("data", key)

        async def act(racer: int, number: int) -> int:
            batch = [rewrapped(key, (NEW, OTHER)[racer]) for key in batches[number]]
            return await store.rewrap("data", batch if racer == 0 else batch[::-1])

        moved = await self.race_often(2, rounds, act)
        assert [sum(each) for each in moved] == [size] * rounds
        assert list(await store.wrapped_under("data", OLD, "", 100)) == []

    async def test_what_ends_during_a_resealing_job_does_not_come_back(self, store: AsyncStore) -> None:
        rounds = ROUNDS // 4
        for number in range(rounds):
            await seal(store, "token", f"con-{number}")
            await seal(store, "revocation", f"rev-{number}")

        async def act(racer: int, number: int) -> None:
            row, pending = sealed_row(f"con-{number}"), sealed_revocation(f"rev-{number}")
            if racer == 0:
                assert await store.write_status(status_write(row, Status.REVOKED, wipe=True))
                await store.finish_revocation(pending.id, "revoked", 1.0)
                return
            await store.reseal("token", [again(record_of("token", row.id))])
            await store.reseal("revocation", [again(record_of("revocation", pending.id))])

        await self.race_often(2, rounds, act)
        assert {(row.envelope, row.key_id, row.candidate) for row in await everything(store)} == {(b"", "", b"")}
        assert await all_revocations(store) == []
        for key_id in (OLD, NEW):
            assert await store.count_uses("data", key_id) == 0
