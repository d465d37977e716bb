"""The contract of a token store, as far as renewal goes: leases, intents, failures, what is due."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from socialvault.model.rows import DueRow
from socialvault.model.status import Status
from socialvault.sandbox.contracts.base import RACERS, ROUNDS, Advance, Contract, kept, stored
from socialvault.sandbox.contracts.rows import (
    APPLICATION,
    DEAD,
    LIVE,
    connection,
    failure,
    in_trouble,
    intent,
    token_write,
)

if TYPE_CHECKING:
    from socialvault.model.rows import ConnectionRow
    from socialvault.ports.store import AsyncStore

DUE = {"a": 300.0, "b": 100.0, "c": 200.0, "at_the_moment": 1000.0, "later": 1000.5, "never": None}


async def several(store: AsyncStore) -> list[ConnectionRow]:
    """Store a row for every round of a race."""
    rows = [connection(f"con-{number}", subject=str(number)) for number in range(ROUNDS)]
    for row in rows:
        await store.insert(row)
    return rows


@pytest.mark.asyncio
class RenewalContract(Contract):
    """What every `TokenStore` must do when several processes renew one connection."""

    async def _attempted(self, store: AsyncStore, **changes: object) -> ConnectionRow:
        """Return a stored row whose token has just been presented."""
        row = connection()
        await store.insert(row)
        assert await store.open_intent(intent(row, **({"lifetime_seconds": self.ttl_seconds} | changes)))
        return await kept(store, row)

    # leases

    async def test_a_lease_is_taken_once_until_it_ends(self, store: AsyncStore, advance: Advance) -> None:
        await store.insert(connection())
        assert await store.acquire_lease("con-1", "first", self.ttl_seconds)
        advance(self.ttl_seconds / 2)
        assert not await store.acquire_lease("con-1", "second", self.ttl_seconds)
        advance(self.ttl_seconds / 2)
        assert await store.acquire_lease("con-1", "second", self.ttl_seconds)
        assert not await store.acquire_lease("con-1", "first", self.ttl_seconds)
        assert not await store.release_lease("con-1", "first")
        assert not await store.acquire_lease("con-1", "first", self.ttl_seconds)
        assert await store.release_lease("con-1", "second")
        assert not await store.release_lease("con-1", "second")
        assert await store.acquire_lease("con-1", "first", self.ttl_seconds)

    async def test_a_holder_prolongs_its_lease(self, store: AsyncStore, advance: Advance) -> None:
        await store.insert(connection())
        assert await store.acquire_lease("con-1", "first", self.ttl_seconds)
        advance(self.ttl_seconds * 0.75)
        assert await store.acquire_lease("con-1", "first", self.ttl_seconds)
        advance(self.ttl_seconds * 0.75)
        assert not await store.acquire_lease("con-1", "second", self.ttl_seconds)

    async def test_a_free_lease_is_nobodys_to_release(self, store: AsyncStore) -> None:
        await store.insert(connection())
        assert not await store.release_lease("con-1", "first")
        assert not await store.release_lease("con-1", "")

    async def test_a_lease_does_not_touch_the_row(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)
        await store.acquire_lease("con-1", "first", self.ttl_seconds)
        assert await stored(store, row) == row

    async def test_of_racing_holders_one_gets_the_lease(self, store: AsyncStore) -> None:
        rows = await several(store)

        async def acquire(number: int, turn: int) -> bool:
            return await store.acquire_lease(rows[turn].id, f"holder-{number}", self.ttl_seconds)

        for answers in await self.race_often(3, ROUNDS, acquire):
            assert answers.count(True) == 1

    async def test_of_racing_holders_one_gets_a_lease_that_ended(self, store: AsyncStore, advance: Advance) -> None:
        await store.insert(connection())
        await store.acquire_lease("con-1", "before", self.ttl_seconds)
        advance(self.ttl_seconds)

        async def acquire(number: int) -> bool:
            return await store.acquire_lease("con-1", f"holder-{number}", self.ttl_seconds)

        assert (await self.race(RACERS, acquire)).count(True) == 1

    async def test_a_deleted_connection_takes_its_lease_along(self, store: AsyncStore) -> None:
        await store.insert(replace(connection(), status=Status.REVOKED))
        await store.acquire_lease("con-1", "first", self.ttl_seconds)
        await store.delete("con-1")
        assert not await store.release_lease("con-1", "first")
        await store.insert(connection())
        assert await store.acquire_lease("con-1", "second", self.ttl_seconds)

    # intents

    @pytest.mark.parametrize("status", LIVE)
    async def test_an_intent_is_recorded_and_changes_nothing_else(self, store: AsyncStore, status: Status) -> None:
        row = replace(connection(), status=status, candidate=b"a candidate", failures=2)
        await store.insert(row)
        assert await store.open_intent(intent(row, lifetime_seconds=self.ttl_seconds))
        read = await kept(store, row)
        assert read.intent_digest == intent(row).digest
        assert read.intent_attempt == 1
        assert (
            replace(
                read, intent_digest=b"", intent_sent_at_seconds=None, intent_deadline_seconds=None, intent_attempt=0
            )
            == row
        )

    async def test_an_intent_runs_by_the_stores_clock(self, store: AsyncStore, advance: Advance) -> None:
        first = await self._attempted(store)
        assert first.intent_sent_at_seconds is not None
        assert first.intent_deadline_seconds == pytest.approx(
            first.intent_sent_at_seconds + self.ttl_seconds, rel=0, abs=0.001
        )
        advance(self.ttl_seconds)
        assert await store.open_intent(intent(first, lifetime_seconds=self.ttl_seconds * 2))
        second = await kept(store, first)
        assert second.intent_sent_at_seconds is not None
        assert second.intent_sent_at_seconds >= first.intent_sent_at_seconds + self.ttl_seconds - 0.001
        assert second.intent_deadline_seconds == pytest.approx(
            second.intent_sent_at_seconds + self.ttl_seconds * 2, rel=0, abs=0.001
        )

    @pytest.mark.parametrize(
        "change",
        [{"expected_attempt": 0}, {"expected_attempt": 2}, {"expected_generation": 0}, {"expected_generation": 2}],
        ids=lambda change: "-".join(f"{name}-{value}" for name, value in change.items()),
    )
    @pytest.mark.parametrize("replay", [False, True], ids=["another", "replay"])
    async def test_an_intent_of_another_attempt_or_generation_is_not_opened(
        self, store: AsyncStore, change: dict[str, object], *, replay: bool
    ) -> None:
        row = replace(connection(), intent_attempt=1)
        await store.insert(row)
        assert not await store.open_intent(intent(row, replay=replay, **change))
        assert await stored(store, row) == row
        assert await store.open_intent(intent(row, replay=replay))

    async def test_while_an_intent_is_open_nobody_else_presents_that_token(
        self, store: AsyncStore, advance: Advance
    ) -> None:
        row = await self._attempted(store)
        assert not await store.open_intent(intent(row))
        advance(self.ttl_seconds / 2)
        assert not await store.open_intent(intent(row))
        assert await stored(store, row) == row
        advance(self.ttl_seconds / 2)
        assert await store.open_intent(intent(row))
        assert (await kept(store, row)).intent_attempt == 2

    async def test_its_sender_may_replay_within_an_open_intent(self, store: AsyncStore, advance: Advance) -> None:
        row = await self._attempted(store)
        advance(self.ttl_seconds / 2)
        assert await store.open_intent(intent(row, replay=True, lifetime_seconds=self.ttl_seconds))
        replayed = await kept(store, row)
        assert replayed.intent_attempt == 2
        assert not await store.open_intent(intent(row, replay=True))
        advance(self.ttl_seconds / 2)
        assert not await store.open_intent(intent(replayed))  # the replay's own time counts

    @pytest.mark.parametrize("status", DEAD)
    async def test_no_token_of_a_tombstone_is_presented(self, store: AsyncStore, status: Status) -> None:
        row = replace(connection(), status=status)
        await store.insert(row)
        assert not await store.open_intent(intent(row))
        assert not await store.open_intent(intent(row, replay=True))
        assert await stored(store, row) == row

    async def test_a_token_write_starts_the_attempts_over(self, store: AsyncStore) -> None:
        row = await self._attempted(store)
        assert await store.write_token(token_write(row))
        assert await store.open_intent(intent(row, expected_generation=2, expected_attempt=0))

    async def test_of_racing_attempts_one_may_send(self, store: AsyncStore) -> None:
        rows = await several(store)

        async def attempt(number: int, turn: int) -> bool:
            return await store.open_intent(intent(rows[turn], digest=b"digest-%d" % number))

        for row, sent in zip(rows, await self.race_often(3, ROUNDS, attempt), strict=True):
            assert sent.count(True) == 1
            assert (await kept(store, row)).intent_digest == b"digest-%d" % sent.index(True)

    async def test_of_racing_settlers_and_a_late_replay_one_may_send(self, store: AsyncStore, advance: Advance) -> None:
        row = await self._attempted(store)
        advance(self.ttl_seconds)

        async def attempt(number: int) -> bool:
            return await store.open_intent(intent(row, replay=number == 0))

        assert (await self.race(RACERS, attempt)).count(True) == 1

    # failures

    async def test_a_failure_closes_the_intent_and_puts_the_next_attempt_off(self, store: AsyncStore) -> None:
        row = await self._attempted(store)
        write = failure(row)
        assert await store.write_failure(write)
        assert await stored(store, row) == replace(
            connection(),
            due_at_seconds=write.retry_at_seconds,
            failing_since_seconds=write.at_seconds,
            failing_with=write.failing_with,
            failures=1,
            refusals=write.refusals,
            intent_attempt=1,
        )

    @pytest.mark.parametrize("still_open", [False, True], ids=["answered", "unanswered"])
    async def test_a_failure_that_may_have_spent_the_token_keeps_its_digest(
        self, store: AsyncStore, *, still_open: bool
    ) -> None:
        row = in_trouble(connection())
        await store.insert(row)
        write = failure(row, uncertain=True, open=still_open)
        assert await store.write_failure(write)
        assert await stored(store, row) == replace(
            row,
            due_at_seconds=write.retry_at_seconds,
            failing_with=write.failing_with,
            failures=5,
            refusals=write.refusals,
            intent_deadline_seconds=row.intent_deadline_seconds if still_open else None,
        )

    async def test_failures_are_dated_from_the_first_and_named_after_the_last(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)
        for number in range(3):
            write = failure(row, at_seconds=1000.0 + number, failing_with=f"Error{number}", refusals=3 - number)
            assert await store.write_failure(write)
        read = await kept(store, row)
        assert read.failing_since_seconds == 1000.0
        assert (read.failures, read.failing_with, read.refusals) == (3, "Error2", 1)

    async def test_what_failed_is_due_when_it_may_be_tried_again(self, store: AsyncStore) -> None:
        row = replace(connection(), due_at_seconds=1.0)
        await store.insert(row)
        assert await store.write_failure(failure(row, retry_at_seconds=2000.0))
        assert list(await store.find_due(*APPLICATION, 1999.0, 10)) == []
        assert [each.id for each in await store.find_due(*APPLICATION, 2000.0, 10)] == [row.id]

    async def test_an_answered_attempt_frees_the_token_at_once(self, store: AsyncStore) -> None:
        row = await self._attempted(store)
        assert await store.write_failure(failure(row, uncertain=True))
        assert await store.open_intent(intent(row))

    async def test_an_unanswered_attempt_keeps_others_off_until_its_deadline(
        self, store: AsyncStore, advance: Advance
    ) -> None:
        row = await self._attempted(store)
        assert await store.write_failure(failure(row, uncertain=True, open=True))
        assert not await store.open_intent(intent(row))
        advance(self.ttl_seconds)
        assert await store.open_intent(intent(row))

    @pytest.mark.parametrize(
        "change",
        [{"expected_attempt": 2}, {"expected_attempt": 4}, {"expected_generation": 0}, {"expected_generation": 2}],
        ids=lambda change: "-".join(f"{name}-{value}" for name, value in change.items()),
    )
    async def test_a_failure_of_another_attempt_or_generation_changes_nothing(
        self, store: AsyncStore, change: dict[str, object]
    ) -> None:
        row = in_trouble(connection())
        await store.insert(row)
        assert not await store.write_failure(failure(row, **change))
        assert await stored(store, row) == row

    @pytest.mark.parametrize("status", DEAD)
    async def test_no_failure_is_written_to_a_tombstone(self, store: AsyncStore, status: Status) -> None:
        row = replace(in_trouble(connection()), status=status)
        await store.insert(row)
        assert not await store.write_failure(failure(row))
        assert await stored(store, row) == row

    async def test_racing_failures_are_all_counted(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)

        async def fail(_number: int) -> bool:
            return await store.write_failure(failure(row))

        assert all(await self.race(RACERS, fail))
        assert (await kept(store, row)).failures == RACERS

    async def test_a_failure_races_a_token_write_and_no_failure_survives_it(self, store: AsyncStore) -> None:
        rows = await several(store)

        async def act(number: int, turn: int) -> bool:
            if number == 0:
                return await store.write_token(token_write(rows[turn])) is not None
            return await store.write_failure(failure(rows[turn], uncertain=True))

        for row, answers in zip(rows, await self.race_often(3, ROUNDS, act), strict=True):
            assert answers[0]
            read = await kept(store, row)
            assert (read.generation, read.failures, read.failing_with, read.intent_digest) == (2, 0, "", b"")
            assert read.failing_since_seconds is None
            assert read.due_at_seconds == token_write(row).due_at_seconds

    # candidates

    async def test_a_candidate_is_kept_beside_the_token(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)
        assert await store.put_candidate(row.id, row.generation, b"lost the race")
        assert await stored(store, row) == replace(row, candidate=b"lost the race")

    async def test_a_candidate_is_kept_for_the_generation_that_it_was_sealed_for(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)
        for generation in (row.generation - 1, row.generation + 1):
            assert not await store.put_candidate(row.id, generation, b"lost the race")
        assert await stored(store, row) == row

    # what is due

    async def test_due_rows_are_active_and_come_longest_due_first(self, store: AsyncStore) -> None:
        for name, due_at_seconds in DUE.items():
            await store.insert(replace(connection(name, subject=name), due_at_seconds=due_at_seconds))
        for status in [*DEAD, Status.REAUTHORIZATION_REQUIRED]:
            row = connection(status.value, subject=status.value)
            await store.insert(replace(row, status=status, due_at_seconds=1.0))
        assert [row.id for row in await store.find_due(*APPLICATION, 1000.0, 10)] == ["b", "c", "a", "at_the_moment"]
        assert [row.id for row in await store.find_due(*APPLICATION, 1000.0, 2)] == ["b", "c"]
        row = connection()
        first = DueRow("b", row.account.tenant, row.owner, row.generation, 100.0)
        assert list(await store.find_due(*APPLICATION, 1000.0, 1)) == [first]
        assert list(await store.find_due(*APPLICATION, 99.0, 10)) == []

    async def test_what_is_due_is_due_for_one_application_at_one_provider(self, store: AsyncStore) -> None:
        others = {"provider": "other", "client_id": "another"}
        await store.insert(replace(connection("ours"), due_at_seconds=1.0))
        for part, value in others.items():
            row = connection(value, subject=value)
            await store.insert(replace(row, account=row.account._replace(**{part: value}), due_at_seconds=0.5))
        assert [row.id for row in await store.find_due(*APPLICATION, 1000.0, 10)] == ["ours"]

    # warnings

    async def test_warnings_are_of_active_rows_and_come_longest_due_first(self, store: AsyncStore) -> None:
        for name, warn_at_seconds in DUE.items():
            row = connection(name, subject=name)
            await store.insert(replace(row, warn_at_seconds=warn_at_seconds, due_at_seconds=None))
        for status in [*DEAD, Status.REAUTHORIZATION_REQUIRED]:
            row = connection(status.value, subject=status.value)
            await store.insert(replace(row, status=status, warn_at_seconds=1.0))
        assert [row.id for row in await store.find_warnings(1000.0, 10)] == ["b", "c", "a", "at_the_moment"]
        assert [row.id for row in await store.find_warnings(1000.0, 2)] == ["b", "c"]
        assert list(await store.find_warnings(99.0, 10)) == []

    async def test_a_warning_is_given_once_and_followed_by_the_next(self, store: AsyncStore) -> None:
        row = replace(connection(), warn_at_seconds=1000.125)
        await store.insert(row)
        assert await store.write_warning(row.id, 1000.125, 2000.0)
        assert await stored(store, row) == replace(row, warn_at_seconds=2000.0)
        assert not await store.write_warning(row.id, 1000.125, 2000.0)
        assert list(await store.find_warnings(1999.0, 10)) == []
        assert await store.write_warning(row.id, 2000.0, None)
        assert await stored(store, row) == replace(row, warn_at_seconds=None)
        assert list(await store.find_warnings(1e12, 10)) == []

    @pytest.mark.parametrize("status", [*DEAD, Status.REAUTHORIZATION_REQUIRED])
    async def test_what_is_not_active_is_not_warned_about(self, store: AsyncStore, status: Status) -> None:
        row = replace(connection(), status=status, warn_at_seconds=1000.0)
        await store.insert(row)
        assert not await store.write_warning(row.id, 1000.0, None)
        assert await stored(store, row) == row

    async def test_of_racing_warners_one_warns(self, store: AsyncStore) -> None:
        rows = await several(store)

        async def warn(_number: int, turn: int) -> bool:
            return await store.write_warning(rows[turn].id, rows[turn].warn_at_seconds or 0.0, 2000.0)

        for answers in await self.race_often(3, ROUNDS, warn):
            assert answers.count(True) == 1
