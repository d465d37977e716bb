"""The contract of a token store."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from socialvault.exceptions import ConfigurationError, StoreError, StoreUnavailableError
from socialvault.model.rows import AccountKey, ConnectionRow, TokenRow
from socialvault.model.status import Status
from socialvault.sandbox.contracts.base import RACERS, Contract, OpenStore, everything, opened, stored
from socialvault.sandbox.contracts.renewal import RenewalContract
from socialvault.sandbox.contracts.revocations import RevocationContract
from socialvault.sandbox.contracts.rows import (
    APPLICATION,
    DEAD,
    LIVE,
    OWNER,
    STRANGERS,
    TENANT,
    connection,
    failure,
    in_trouble,
    intent,
    revocation,
    status_write,
    token_write,
)

if TYPE_CHECKING:
    from socialvault.ports.store import AsyncStore

# Two spellings that a person, a database collation or Unicode might take for one.
LOOK_ALIKES = {
    "case": ("Sub", "sub"),
    "sharp_s": ("stra\u00dfe", "strasse"),
    "normal_form": ("caf\u00e9", "cafe\u0301"),
    "trailing_space": ("sub", "sub "),
    "leading_zero": ("7", "007"),
    "number": ("1e3", "1000"),
    "nul": ("sub", "sub\x00"),
    "after_nul": ("sub\x00a", "sub\x00b"),
    "wide": ("\uff53ub", "sub"),
    "empty": ("", " "),
}


@pytest.mark.asyncio
class TokenStoreContract(RenewalContract, RevocationContract):
    """What every `TokenStore` must do."""

    # what was written is what is read

    @pytest.mark.parametrize("row", [connection(), in_trouble(connection())], ids=["plain", "every_field_set"])
    async def test_a_row_is_read_back_as_it_was_inserted(self, store: AsyncStore, row: ConnectionRow) -> None:
        assert await store.insert(row) is None
        assert await stored(store, row) == row

    async def test_read_token_returns_its_part_of_the_row(self, store: AsyncStore) -> None:
        row = replace(
            connection(parent_id="con-0"), status=Status.REAUTHORIZATION_REQUIRED, reason="expired", generation=7
        )
        await store.insert(row)
        read = await store.read_token(row.id, TENANT, OWNER)
        assert read == TokenRow(
            "reauthorization_required", 7, "linkedin", "https://issuer.example", "con-0", row.envelope
        )
        assert isinstance(read, TokenRow)

    @pytest.mark.parametrize("envelope", [b"", b"\x00", os.urandom(64 * 1024)], ids=["empty", "nul", "64_kib"])
    async def test_an_envelope_keeps_every_byte(self, store: AsyncStore, envelope: bytes) -> None:
        row = replace(connection(), envelope=envelope)
        await store.insert(row)
        read = await store.read_token(row.id, TENANT, OWNER)
        assert read is not None
        assert bytes(read.envelope) == envelope
        assert await store.write_token(token_write(row, envelope=envelope[::-1]))
        again = await store.read_token(row.id, TENANT, OWNER)
        assert again is not None
        assert bytes(again.envelope) == envelope[::-1]

    @pytest.mark.parametrize(
        "text", ["\u00fc\u4e2d\U0001f511", "a\x00b", " padded ", "'; DROP TABLE x; --", "%_\\", "x" * 4096]
    )
    async def test_any_text_can_name_an_owner_a_tenant_and_a_subject(self, store: AsyncStore, text: str) -> None:
        row = replace(connection(tenant=text, subject=text, issuer=text), owner=text)
        if "\x00" in text and not self.keeps_nul:
            await self._is_refused(store, row)
            return
        await store.insert(row)
        assert await store.get(row.id, text, text) == row
        assert await store.list_for_owner(text, text) == [row]

    async def _is_refused(self, store: AsyncStore, row: ConnectionRow) -> None:
        """Try to store what the database can't have."""
        with pytest.raises(StoreError) as raised:
            await store.insert(row)
        assert not isinstance(raised.value, StoreUnavailableError)
        assert await everything(store) == []

    async def test_text_that_is_no_unicode_is_kept_exactly_or_refused_by_type(self, store: AsyncStore) -> None:
        row = connection(subject="lone \ud800 surrogate")
        try:
            await store.insert(row)
        except (ConfigurationError, StoreError):
            assert await everything(store) == []
        else:
            assert await stored(store, row) == row

    # owner and tenant are part of every look-up

    @pytest.mark.parametrize(("tenant", "owner"), STRANGERS)
    async def test_r_24_a_stranger_sees_nothing(self, store: AsyncStore, tenant: str, owner: str) -> None:
        await store.insert(connection("con-1"))
        await store.insert(connection("con-2", parent_id="con-1"))
        for connection_id in ("con-1", "con-2"):
            assert await store.read_token(connection_id, tenant, owner) is None
            assert await store.get(connection_id, tenant, owner) is None
        assert list(await store.list_for_owner(tenant, owner)) == []
        assert list(await store.list_children("con-1", tenant, owner)) == []

    async def test_r_24_a_row_without_an_owner_is_refused(self, store: AsyncStore) -> None:
        with pytest.raises(StoreError):
            await store.insert(replace(connection(), owner=None))  # type: ignore[arg-type]  # from a caller who checks no types
        assert await everything(store) == []

    async def test_tenants_with_equal_owners_and_accounts_keep_apart(self, store: AsyncStore) -> None:
        ours, theirs = connection("con-1"), connection("con-2", tenant="globex")
        assert await store.insert(ours) is None
        assert await store.insert(theirs) is None
        assert await store.list_for_owner(TENANT, OWNER) == [ours]
        assert await store.list_for_owner("globex", OWNER) == [theirs]
        assert await store.get("con-2", TENANT, OWNER) is None

    async def test_an_unknown_connection_is_not_there(self, store: AsyncStore) -> None:
        assert await store.read_token("con-9", TENANT, OWNER) is None
        assert await store.get("con-9", TENANT, OWNER) is None
        assert not await store.write_token(token_write(connection("con-9")))
        assert not await store.write_status(status_write(connection("con-9"), Status.REVOKED))
        assert not await store.put_candidate("con-9", 1, b"x")
        assert not await store.acquire_lease("con-9", "me", 30.0)
        assert not await store.release_lease("con-9", "me")
        assert not await store.open_intent(intent(connection("con-9")))
        assert not await store.write_failure(failure(connection("con-9")))
        assert not await store.write_warning("con-9", 1.0, 2.0)

    # lists

    async def test_an_owner_lists_live_connections_oldest_first_and_children_after_parents(
        self, store: AsyncStore
    ) -> None:
        def made_at(seconds: float, name: str, **account: str) -> ConnectionRow:
            return replace(connection(name, subject=name, **account), created_at_seconds=seconds)

        rows = [
            made_at(20.0, "b"),
            made_at(10.0, "z"),
            made_at(10.0, "a", parent_id="z"),
            made_at(5.0, "older-than-its-parent", parent_id="b"),
            made_at(30.0, "c", parent_id="b"),
        ]
        for row in [*rows, replace(made_at(1.0, "gone"), status=Status.REVOKED)]:
            await store.insert(row)
        names = [row.id for row in await store.list_for_owner(TENANT, OWNER)]
        assert sorted(names) == ["a", "b", "c", "older-than-its-parent", "z"]
        assert names.index("z") < names.index("b")
        assert names.index("z") < names.index("a")
        assert names.index("b") < names.index("older-than-its-parent") < names.index("c")

    async def test_children_are_listed_oldest_first_while_they_live(self, store: AsyncStore) -> None:
        for seconds, name, status in ((30.0, "a", LIVE[0]), (20.0, "b", LIVE[1]), (10.0, "c", DEAD[0])):
            child = connection(name, parent_id="con-0", subject=name)
            await store.insert(replace(child, created_at_seconds=seconds, status=status))
        await store.insert(connection("other", parent_id="con-9"))
        assert [row.id for row in await store.list_children("con-0", TENANT, OWNER)] == ["b", "a"]

    async def test_no_parent_is_nobodys_parent(self, store: AsyncStore) -> None:
        await store.insert(connection())
        assert list(await store.list_children("", TENANT, OWNER)) == []

    # one live connection per account

    @pytest.mark.parametrize("field", AccountKey._fields)
    async def test_accounts_differ_when_any_part_of_their_key_does(self, store: AsyncStore, field: str) -> None:
        await store.insert(connection("con-1"))
        assert await store.insert(connection("con-2", **{field: "another"})) is None

    @pytest.mark.parametrize("subjects", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
    async def test_o_34_subjects_are_told_apart_byte_by_byte(
        self, store: AsyncStore, subjects: tuple[str, str]
    ) -> None:
        rows = [connection(f"con-{number}", subject=subject) for number, subject in enumerate(subjects)]
        if "\x00" in subjects[1] and not self.keeps_nul:
            await self._is_refused(store, rows[1])
            return
        for row in rows:
            assert await store.insert(row) is None
        assert [await stored(store, row) for row in rows] == rows
        for row in rows:
            assert await store.insert(replace(row, id="con-9")) == row
            assert await store.count_grant_siblings(row) == 0

    @pytest.mark.parametrize("status", LIVE)
    async def test_a_taken_account_returns_its_holder_and_writes_nothing(
        self, store: AsyncStore, status: Status
    ) -> None:
        holder = replace(connection("con-1"), owner="user-1", status=status)
        await store.insert(holder)
        assert await store.insert(replace(connection("con-2"), owner="user-2")) == holder
        assert await everything(store) == [holder]

    @pytest.mark.parametrize("status", DEAD)
    async def test_a_tombstone_frees_its_account(self, store: AsyncStore, status: Status) -> None:
        old, new = connection("con-1"), replace(connection("con-2"), owner="user-2")
        await store.insert(old)
        assert await store.write_status(status_write(old, status, wipe=True))
        assert await store.insert(new) is None
        assert await store.insert(connection("con-3")) == new
        tombstone = await store.read_token("con-1", TENANT, OWNER)
        assert tombstone is not None
        assert tombstone.status == status.value

    async def test_a_tombstone_may_be_stored_beside_the_holder(self, store: AsyncStore) -> None:
        holder, tombstone = connection("con-1"), replace(connection("con-2"), status=Status.REVOKED)
        await store.insert(holder)
        assert await store.insert(tombstone) is None
        assert await everything(store) == [holder, tombstone]

    async def test_a_tombstone_does_not_come_back_to_an_account_that_was_taken(self, store: AsyncStore) -> None:
        old, new = connection("con-1"), connection("con-2")
        await store.insert(old)
        await store.write_status(status_write(old, Status.REVOCATION_PENDING))
        await store.insert(new)
        back = status_write(replace(old, status=Status.REVOCATION_PENDING), Status.ACTIVE)
        with pytest.raises(StoreError):
            await store.write_status(back)
        assert await stored(store, new) == new

    async def test_a_tombstone_comes_back_to_a_free_account(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)
        await store.write_status(status_write(row, Status.REVOCATION_PENDING))
        back = status_write(replace(row, status=Status.REVOCATION_PENDING), Status.ACTIVE)
        assert await store.write_status(back)
        assert await store.insert(connection("con-2")) is not None

    async def test_a_connection_id_is_used_once(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)
        with pytest.raises(StoreError) as raised:
            await store.insert(replace(connection(subject="another"), owner="user-2"))
        assert not isinstance(raised.value, StoreUnavailableError)
        assert await everything(store) == [row]

    async def test_two_owners_race_for_an_account_and_one_gets_it(self, store: AsyncStore) -> None:
        rounds = 200
        together = threading.Barrier(2)

        async def connect(number: int) -> list[ConnectionRow | None]:
            answers = []
            for account in range(rounds):
                row = connection(f"con-{account}-{number}", subject=f"subject-{account}")
                if self.race is Contract.race:
                    together.wait(timeout=30)
                answers.append(await store.insert(replace(row, owner=f"user-{number}")))
            return answers

        first, second = await self.race(2, connect)
        for account, (one, two) in enumerate(zip(first, second, strict=True)):
            assert (one is None) != (two is None)
            winner = "user-0" if one is None else "user-1"
            loser_saw = one or two
            assert loser_saw is not None
            assert (loser_saw.owner, loser_saw.account.subject) == (winner, f"subject-{account}")
        assert (
            len(await store.find(tenant=None, owner=None, provider=None, status=None, after_id="", limit=999)) == rounds
        )

    # every token write is a compare-and-swap on the generation

    async def test_a_token_write_raises_the_generation_and_ends_every_trouble(self, store: AsyncStore) -> None:
        row = in_trouble(connection())
        await store.insert(row)
        write = token_write(row)
        assert await store.write_token(write)
        assert await stored(store, row) == replace(
            connection(),
            generation=2,
            envelope=write.envelope,
            key_id=write.key_id,
            updated_at_seconds=write.updated_at_seconds,
            due_at_seconds=write.due_at_seconds,
            dies_at_seconds=None,
            warn_at_seconds=write.warn_at_seconds,
        )

    @pytest.mark.parametrize("generation", [0, 2, -1])
    async def test_a_token_write_of_another_generation_changes_nothing(
        self, store: AsyncStore, generation: int
    ) -> None:
        row = in_trouble(connection())
        await store.insert(row)
        assert not await store.write_token(token_write(row, expected_generation=generation))
        assert await stored(store, row) == row

    @pytest.mark.parametrize("status", DEAD)
    async def test_a_late_token_is_not_written_to_a_tombstone(self, store: AsyncStore, status: Status) -> None:
        row = replace(connection(), status=status, envelope=b"")
        await store.insert(row)
        assert not await store.write_token(token_write(row))
        assert not await store.put_candidate(row.id, row.generation, b"late")
        assert await stored(store, row) == row

    @pytest.mark.parametrize("status", [Status.ACTIVE, Status.REAUTHORIZATION_REQUIRED])
    async def test_a_token_write_tells_what_status_it_ended(self, store: AsyncStore, status: Status) -> None:
        row = replace(connection(), status=status)
        await store.insert(row)
        assert await store.write_token(token_write(row)) is status

    async def test_of_racing_token_writes_one_wins(self, store: AsyncStore) -> None:
        row = connection()
        await store.insert(row)

        async def write(number: int) -> bool:
            return await store.write_token(token_write(row, envelope=b"of %d" % number)) is not None

        won = await self.race(RACERS, write)
        assert won.count(True) == 1
        read = await store.read_token(row.id, TENANT, OWNER)
        assert read is not None
        assert (read.generation, read.envelope) == (2, b"of %d" % won.index(True))

    async def test_readers_never_see_half_a_write(self, store: AsyncStore) -> None:
        row = replace(connection(), envelope=b"1" * 8000)
        await store.insert(row)

        async def work(number: int) -> bool:
            seen = []
            for generation in range(1, 30):
                if number == 0:
                    write = token_write(row, expected_generation=generation, envelope=b"%d" % (generation + 1) * 4000)
                    assert await store.write_token(write)
                read = await store.read_token(row.id, TENANT, OWNER)
                assert read is not None
                assert set(read.envelope) == set(b"%d" % read.generation)
                seen.append(read.generation)
            return seen == sorted(seen)

        assert all(await self.race(4, work))

    # status changes are conditional, and keep the generation

    async def test_a_status_change_keeps_generation_and_records(self, store: AsyncStore) -> None:
        row = replace(in_trouble(connection()), status=Status.ACTIVE, generation=4)
        await store.insert(row)
        assert await store.write_status(status_write(row, Status.REAUTHORIZATION_REQUIRED, reason="invalid_grant"))
        assert await stored(store, row) == replace(
            row, status=Status.REAUTHORIZATION_REQUIRED, reason="invalid_grant", updated_at_seconds=1_800_000_800.0
        )

    async def test_a_wipe_leaves_nothing_sealed_and_no_intent(self, store: AsyncStore) -> None:
        row = in_trouble(connection())
        await store.insert(row)
        assert await store.write_status(status_write(row, Status.REVOKED, wipe=True))
        assert await stored(store, row) == replace(
            row,
            status=Status.REVOKED,
            reason="because",
            updated_at_seconds=1_800_000_800.0,
            envelope=b"",
            key_id="",
            candidate=b"",
            intent_digest=b"",
            intent_sent_at_seconds=None,
            intent_deadline_seconds=None,
            intent_attempt=0,
        )

    @pytest.mark.parametrize(
        "change",
        [{"expected_generation": 2}, {"expected": (Status.REVOKED, Status.REVOCATION_PENDING)}, {"expected": ()}],
        ids=["generation", "status", "never"],
    )
    async def test_a_status_change_that_does_not_fit_changes_nothing(
        self, store: AsyncStore, change: dict[str, object]
    ) -> None:
        row = in_trouble(connection())
        await store.insert(row)
        assert not await store.write_status(status_write(row, Status.REVOKED, wipe=True, **change))
        assert await stored(store, row) == row

    async def test_a_status_change_may_expect_any_of_all_statuses(self, store: AsyncStore) -> None:
        for number, status in enumerate(Status):
            row = replace(connection(f"con-{number}", subject=status.value), status=status)
            await store.insert(row)
            assert await store.write_status(status_write(row, Status.REVOKED, expected=tuple(Status) * 2))

    async def test_a_disconnect_races_a_token_write_and_no_token_survives_it(self, store: AsyncStore) -> None:
        rows = [connection(f"con-{number}", subject=str(number)) for number in range(20)]
        for row in rows:
            await store.insert(row)

        async def act(number: int) -> None:
            for row in rows:
                if number == 0:
                    await store.write_token(token_write(row))
                else:
                    for generation in (1, 2):
                        await store.write_status(
                            status_write(row, Status.REVOKED, expected_generation=generation, wipe=True)
                        )

        await self.race(2, act)
        for row in rows:
            read = await stored(store, row)
            assert read is not None
            if read.status is Status.REVOKED:
                assert (read.envelope, read.key_id) == (b"", "")
            else:
                assert (read.status, read.generation) == (Status.ACTIVE, 2)

    async def test_i7_refused_operations_leave_every_row_as_it_was(self, store: AsyncStore) -> None:
        row, child = in_trouble(connection()), connection("con-2", parent_id="con-1")
        await store.insert(row)
        await store.insert(child)
        before = await everything(store)
        await store.insert(replace(connection("con-3"), owner="user-2"))
        with pytest.raises(StoreError):
            await store.insert(connection("con-1", subject="another"))
        await store.write_token(token_write(row, expected_generation=9))
        await store.write_status(status_write(row, Status.REVOKED, expected_generation=9, wipe=True))
        await store.open_intent(intent(row, expected_attempt=9))
        await store.open_intent(intent(row, expected_generation=9, replay=True))
        await store.write_failure(failure(row, expected_generation=9))
        await store.write_warning(row.id, row.warn_at_seconds or 0.0, None)
        await store.tombstone(status_write(row, Status.REVOKED, expected_generation=9), revocation(row))
        await store.release_lease(row.id, "nobody")
        assert await everything(store) == before

    # grant siblings

    async def test_siblings_are_counted_across_owners_and_tenants_but_not_own_children(self, store: AsyncStore) -> None:
        row = connection("con-1")
        others = [
            connection("con-2", tenant="globex"),
            replace(connection("con-3", shared_with="user-3"), owner="user-3"),
            connection("con-4", tenant="globex", parent_id="con-2"),
            connection("child", parent_id="con-1"),
            replace(connection("dead", tenant="initech"), status=Status.REVOKED),
            connection("app", tenant="a", client_id="client-2"),
            connection("issuer", tenant="b", issuer="https://other.example"),
            connection("provider", tenant="c", provider="google"),
        ]
        for each in [row, *others]:
            assert await store.insert(each) is None
        assert await store.count_grant_siblings(row) == 3
        assert await store.count_grant_siblings(others[1]) == 4

    # what a provider says about an account, and what is left of it

    async def test_an_account_lists_its_rows_of_every_owner_and_status_oldest_first(self, store: AsyncStore) -> None:
        rows = [
            replace(connection(f"con-{number}", tenant=f"t-{number}"), status=status, created_at_seconds=9.0 - number)
            for number, status in enumerate(Status)
        ]
        rows.append(replace(connection("other", shared_with="user-2"), owner="user-2", created_at_seconds=1.0))
        others = [
            connection("child", parent_id="con-0"),
            replace(connection("gone-child", parent_id="con-0"), status=Status.REVOKED),
            *(
                replace(connection(f"{field}-{status}", **{field: "another"}), status=status)
                for field in ("provider", "client_id", "issuer", "subject")
                for status in (Status.ACTIVE, Status.REVOKED)
            ),
        ]
        for each in [*rows, *others]:
            assert await store.insert(each) is None
        account = ("linkedin", "client-1", "https://issuer.example", "subject-1")
        assert list(await store.list_for_account(*account)) == rows[::-1]
        assert list(await store.list_for_account(*account[:3], "nobody")) == []

    @pytest.mark.parametrize("subjects", LOOK_ALIKES.values(), ids=LOOK_ALIKES)
    async def test_o_34_an_account_is_listed_byte_by_byte(self, store: AsyncStore, subjects: tuple[str, str]) -> None:
        if "\x00" in subjects[1] and not self.keeps_nul:
            await self._is_refused(store, connection(subject=subjects[1]))
            return
        for number, subject in enumerate(subjects):
            await store.insert(connection(f"con-{number}", subject=subject))
        for number, subject in enumerate(subjects):
            found = await store.list_for_account("linkedin", "client-1", "https://issuer.example", subject)
            assert [row.id for row in found] == [f"con-{number}"]

    async def test_a_revoked_connection_is_deleted_with_its_revoked_children(self, store: AsyncStore) -> None:
        def child(name: str, status: Status, parent_id: str = "con-1") -> ConnectionRow:
            return replace(connection(name, parent_id=parent_id, subject=name), status=status)

        gone = [replace(connection("con-1"), status=Status.REVOKED), child("child", Status.REVOKED)]
        kept = [
            child("live-child", Status.ACTIVE),
            child("pending-child", Status.REVOCATION_PENDING),
            child("somebody-elses-child", Status.REVOKED, "con-9"),
            replace(connection("old"), status=Status.REVOKED),
            connection("successor"),
        ]
        for row in [*gone, *kept]:
            assert await store.insert(row) is None
        assert await store.delete("con-1") == 2
        assert {row.id for row in await everything(store)} == {row.id for row in kept}
        assert await store.delete("con-1") == 0
        assert await store.delete("nowhere") == 0
        assert await store.delete("") == 0

    @pytest.mark.parametrize("status", [*LIVE, Status.REVOCATION_PENDING])
    async def test_what_is_not_revoked_is_not_deleted_and_keeps_its_children(
        self, store: AsyncStore, status: Status
    ) -> None:
        await store.insert(replace(connection("con-1"), status=status))
        await store.insert(replace(connection("con-2", parent_id="con-1"), status=Status.REVOKED))
        before = await everything(store)
        assert await store.delete("con-1") == 0
        assert await everything(store) == before

    # operators

    async def test_operators_find_by_any_mix_of_filters(self, store: AsyncStore) -> None:
        rows = [
            connection("1"),
            connection("2", tenant="globex"),
            replace(connection("3", subject="3"), owner="user-2"),
            connection("4", provider="google"),
            replace(connection("5", subject="5"), status=Status.REVOKED),
        ]
        for row in rows:
            await store.insert(row)

        async def find(**given: str) -> str:
            filters = {"tenant": None, "owner": None, "provider": None, "status": None} | given
            return "".join(row.id for row in await store.find(**filters, after_id="", limit=10))

        assert await find() == "12345"
        assert await find(tenant=TENANT) == "1345"
        assert await find(owner=OWNER) == "1245"
        assert await find(provider="google") == "4"
        assert await find(status="revoked") == "5"
        assert await find(tenant=TENANT, owner=OWNER, provider="linkedin", status="active") == "1"
        assert await find(tenant="") == ""

    async def test_operators_page_through_all_rows_once(self, store: AsyncStore) -> None:
        names = {f"con-{number}" for number in range(10)} | {"Con", "\u00e9", "z"}
        for name in names:
            await store.insert(connection(name, subject=name))
        seen: list[str] = []
        while page := await store.find(
            tenant=None, owner=None, provider=None, status=None, after_id=seen[-1] if seen else "", limit=4
        ):
            assert len(page) <= 4
            seen += [row.id for row in page]
        assert set(seen) == names
        assert all(one < two for one, two in pairwise(seen))

    async def test_rows_are_counted_per_status(self, store: AsyncStore) -> None:
        assert dict(await store.count_by_status()) == {}
        for number, status in enumerate([*LIVE, *DEAD, Status.ACTIVE]):
            await store.insert(replace(connection(str(number), subject=str(number)), status=status))
        assert dict(await store.count_by_status()) == {
            "active": 2,
            "reauthorization_required": 1,
            "revocation_pending": 1,
            "revoked": 1,
        }

    # opening and closing

    async def test_what_one_handle_wrote_another_reads(self, store: AsyncStore, open_store: OpenStore) -> None:
        row = connection()
        await store.insert(row)
        other = await opened(open_store)
        assert await stored(other, row) == row
        assert await other.write_token(token_write(row))
        read = await store.read_token(row.id, TENANT, OWNER)
        assert read is not None
        assert read.generation == 2
        if other is not store:
            await other.aclose()

    async def test_a_closed_store_says_so_and_closes_twice(self, open_store: OpenStore) -> None:
        store = await opened(open_store)
        await store.insert(connection())
        await store.aclose()
        await store.aclose()
        with pytest.raises(StoreUnavailableError):
            await store.read_token("con-1", TENANT, OWNER)
        with pytest.raises(StoreUnavailableError):
            await store.get("con-1", TENANT, OWNER)
        with pytest.raises(StoreUnavailableError):
            await store.write_token(token_write(connection()))
        with pytest.raises(StoreUnavailableError):
            await store.find_due(*APPLICATION, 0.0, 1)
        with pytest.raises(StoreUnavailableError):
            await store.find_warnings(0.0, 1)
        with pytest.raises(StoreUnavailableError):
            await store.queue_revocation(revocation(connection()))
        with pytest.raises(StoreUnavailableError):
            await store.erase_owner(TENANT, OWNER)
