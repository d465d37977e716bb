"""The contract of a key store, as far as the states of keys go: promotion, retirement, and the fence around it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from socialvault.exceptions import KeyNotFoundError
from socialvault.model.status import Status
from socialvault.sandbox.contracts.base import LEVELS, ROUNDS, Advance, Contract, every_key, everything
from socialvault.sandbox.contracts.rows import (
    OWNER,
    TENANT,
    connection,
    flow,
    kek,
    revocation,
    sealed_by,
    status_write,
    token_write,
    wrapped_key,
)
from socialvault.sandbox.contracts.sealed_writes import MAKE, WRITES, Write, late, prepare, reseal_canary, row

if TYPE_CHECKING:
    from socialvault.model.keys import KeyLevel, KeyState, WrappedKey
    from socialvault.ports.store import AsyncStore

each_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
each_level = pytest.mark.parametrize("level", LEVELS)


async def contents(store: AsyncStore) -> list[object]:
    """Return all that there is."""
    return [
        await everything(store),
        list(await store.find_revocations(1e12, 1000)),
        await store.get_state(flow("0").state_hash),
        await store.load_vault(),
        *[await every_key(store, level) for level in LEVELS],
    ]


async def state_of(store: AsyncStore, level: KeyLevel, key: WrappedKey) -> KeyState:
    """Return the state of a key, which must be there."""
    stored = await store.key(level, key.key_id)
    assert stored is not None
    assert stored == key._replace(state=stored.state)
    return stored.state


@pytest.mark.asyncio
class RetirementContract(Contract):
    """What every `KeyStore` must do when keys change their states, and every store with what is written under them."""

    # promotion

    @each_level
    @pytest.mark.parametrize("before", ["pre_active", "decrypt_only"])
    async def test_a_promoted_key_is_primary_and_the_former_one_stays_for_reading(
        self, store: AsyncStore, level: KeyLevel, before: KeyState
    ) -> None:
        former, key = MAKE[level]("former"), MAKE[level]("key", state=before)
        await store.add_key(level, former)
        await store.add_key(level, key)
        assert await store.promote_key(level, key.key_id)
        assert await store.primary_key(level, key.tenant, key.owner) == key._replace(state="primary")
        assert await state_of(store, level, former) == "decrypt_only"
        assert await store.count_keys(level) == {"primary": 1, "decrypt_only": 1}
        assert await store.promote_key(level, former.key_id)
        assert await store.primary_key(level, key.tenant, key.owner) == former
        assert await state_of(store, level, key) == "decrypt_only"

    @each_level
    async def test_a_primary_may_be_promoted_again(self, store: AsyncStore, level: KeyLevel) -> None:
        key = MAKE[level]()
        await store.add_key(level, key)
        assert await store.promote_key(level, key.key_id)
        assert await store.primary_key(level, key.tenant, key.owner) == key

    @each_level
    async def test_the_first_primary_of_a_scope_may_be_a_promoted_key(self, store: AsyncStore, level: KeyLevel) -> None:
        key = MAKE[level](state="pre_active")
        await store.add_key(level, key)
        assert await store.promote_key(level, key.key_id)
        assert await store.primary_key(level, key.tenant, key.owner) == key._replace(state="primary")

    @each_level
    async def test_neither_an_unknown_nor_a_retired_key_is_promoted(self, store: AsyncStore, level: KeyLevel) -> None:
        primary, key = MAKE[level]("primary"), MAKE[level]("retired", state="retired")
        await store.add_key(level, primary)
        await store.add_key(level, key)
        before = await contents(store)
        assert not await store.promote_key(level, MAKE[level]("unknown").key_id)
        assert not await store.promote_key(level, key.key_id)
        assert await contents(store) == before

    async def test_a_promotion_changes_its_own_scope_alone(self, store: AsyncStore) -> None:
        others = [
            wrapped_key("o", owner="user-43"), wrapped_key("t", tenant="globex"), wrapped_key("w", owner=""),
            wrapped_key("c", owner=OWNER.upper()),
        ]  # fmt: skip
        key = wrapped_key("key", state="pre_active")
        for each in (*others, wrapped_key("former"), key):
            await store.add_key("data", each)
        assert await store.promote_key("data", key.key_id)
        for other in others:
            assert await store.primary_key("data", other.tenant, other.owner) == other

    async def test_of_racing_promotions_one_primary_is_left(self, store: AsyncStore) -> None:
        rounds = ROUNDS // 4

        def key(racer: int, number: int, **changes: str) -> WrappedKey:
            return wrapped_key(f"{racer} {number}", owner=str(number), **changes)

        for number in range(rounds):
            await store.add_key("data", key(0, number))
            for racer in (1, 2):
                await store.add_key("data", key(racer, number, state="pre_active"))

        async def act(racer: int, number: int) -> bool:
            if racer == 0:
                return await store.replace_key("data", key(3, number), key(0, number).key_id)
            return await store.promote_key("data", key(racer, number).key_id)

        for number, (_replaced, *promoted) in enumerate(await self.race_often(3, rounds, act)):
            assert promoted == [True, True]
            theirs = [each for each in await every_key(store, "data") if each.owner == str(number)]
            assert [each.state for each in theirs].count("primary") == 1
            primary = await store.primary_key("data", TENANT, str(number))
            assert primary in theirs

    async def test_a_key_that_is_promoted_is_not_retired_at_the_same_time(self, store: AsyncStore) -> None:
        rounds = ROUNDS // 2

        def key(number: int) -> WrappedKey:
            return wrapped_key(str(number), owner=str(number), state="pre_active")

        for number in range(rounds):
            await store.add_key("data", key(number))

        async def act(racer: int, number: int) -> bool:
            change = store.promote_key if racer == 0 else store.retire_key
            return await change("data", key(number).key_id)

        for number, (promoted, *retired) in enumerate(await self.race_often(4, rounds, act)):
            assert retired == [not promoted] * 3
            assert await state_of(store, "data", key(number)) == ("primary" if promoted else "retired")

    # retirement

    @each_level
    @pytest.mark.parametrize("before", ["pre_active", "decrypt_only"])
    async def test_a_key_that_nothing_needs_is_retired_and_may_be_so_again(
        self, store: AsyncStore, level: KeyLevel, before: KeyState
    ) -> None:
        key = MAKE[level](state=before)
        await store.add_key(level, key)
        for _ in range(2):
            assert await store.retire_key(level, key.key_id)
            assert await state_of(store, level, key) == "retired"

    @each_level
    async def test_neither_a_primary_nor_an_unknown_key_is_retired(self, store: AsyncStore, level: KeyLevel) -> None:
        key = MAKE[level]()
        await store.add_key(level, key)
        assert not await store.retire_key(level, key.key_id)
        assert not await store.retire_key(level, MAKE[level]("unknown").key_id)
        assert await every_key(store, level) == [key]
        assert await store.primary_key(level, key.tenant, key.owner) == key

    @each_level
    async def test_a_retired_key_is_reinstated_for_reading(self, store: AsyncStore, level: KeyLevel) -> None:
        key = MAKE[level](state="pre_active")
        await store.add_key(level, key)
        await store.retire_key(level, key.key_id)
        assert await store.reinstate_key(level, key.key_id)
        assert await state_of(store, level, key) == "decrypt_only"
        assert await store.primary_key(level, key.tenant, key.owner) is None
        assert await store.promote_key(level, key.key_id)

    @each_level
    async def test_only_a_retired_key_is_reinstated(self, store: AsyncStore, level: KeyLevel) -> None:
        states: tuple[KeyState, ...] = ("primary", "pre_active", "decrypt_only")
        for state in states:
            await store.add_key(level, MAKE[level](state, state=state))
        before = await contents(store)
        for name in (*states, "unknown"):
            assert not await store.reinstate_key(level, MAKE[level](name).key_id)
        assert await contents(store) == before

    # what needs a key

    @each_write
    async def test_whatever_is_written_under_a_key_is_a_use_and_keeps_it_from_retiring(
        self, store: AsyncStore, write: Write
    ) -> None:
        key = MAKE[write.level]("used", state="decrypt_only")
        other = MAKE[write.level]("other", state="decrypt_only")
        await prepare(store, write.level, 0)
        await store.add_key(write.level, key)
        await store.add_key(write.level, other)
        await write.act(store, 0, key.key_id)
        assert await store.count_uses(write.level, key.key_id) == 1
        assert await store.count_uses(write.level, other.key_id) == 0
        assert not await store.retire_key(write.level, key.key_id)
        assert await state_of(store, write.level, key) == "decrypt_only"
        assert await store.retire_key(write.level, other.key_id)
        if write.level == "data":  # and once its owner is gone, nothing needs it; it is not the owner's own
            await store.erase_owner(TENANT, OWNER)
            assert await store.count_uses("data", key.key_id) == 0
            assert await store.retire_key("data", key.key_id)

    async def test_the_uses_of_a_dek_add_up(self, store: AsyncStore) -> None:
        key = MAKE["data"](state="decrypt_only")
        await store.add_key("data", key)
        names = [name for name, write in WRITES.items() if write.level == "data"]
        for number, name in enumerate(names):
            await prepare(store, "data", number)
            await WRITES[name].act(store, number, key.key_id)
            assert await store.count_uses("data", key.key_id) == number + 1
        await WRITES["put_candidate"].act(store, 0, key.key_id)
        await WRITES["reseal_token"].act(store, 0, key.key_id)  # a token and its candidate are two
        assert await store.count_uses("data", key.key_id) == len(names) + 2

    @each_level
    async def test_the_uses_of_a_key_are_those_of_its_level(self, store: AsyncStore, level: KeyLevel) -> None:
        same = MAKE[level](state="decrypt_only")
        for each in LEVELS:
            await store.add_key(each, MAKE[each](state="decrypt_only")._replace(key_id=same.key_id))
        for write in WRITES.values():
            if write.level != level:
                await prepare(store, write.level, 0)
        await WRITES["reseal_canary" if level != "vault" else "insert"].act(store, 0, same.key_id)
        assert await store.count_uses(level, same.key_id) == 0
        assert await store.retire_key(level, same.key_id)

    @pytest.mark.parametrize("status", Status)
    async def test_a_token_is_a_use_whatever_its_connections_status(self, store: AsyncStore, status: Status) -> None:
        key = MAKE["data"](state="decrypt_only")
        await store.add_key("data", key)
        ending = replace(connection(), status=status, key_id=key.key_id, candidate=sealed_by(key.key_id))
        await store.insert(ending)
        assert await store.count_uses("data", key.key_id) == 2
        assert not await store.retire_key("data", key.key_id)

    async def test_what_is_wiped_or_written_over_needs_its_key_no_more(self, store: AsyncStore) -> None:
        key = MAKE["data"](state="decrypt_only")
        await store.add_key("data", key)
        rows = [replace(row(number), key_id=key.key_id, candidate=sealed_by(key.key_id)) for number in range(2)]
        for each in rows:
            await store.insert(each)
        await store.queue_revocation(late(5, key.key_id))
        assert await store.count_uses("data", key.key_id) == 5
        await store.write_token(token_write(rows[0]))
        assert await store.count_uses("data", key.key_id) == 3
        await store.write_status(status_write(rows[1], Status.REVOKED, wipe=True))
        assert await store.count_uses("data", key.key_id) == 1
        await store.finish_revocation(late(5, key.key_id).id, "revoked", 1.0)
        assert await store.count_uses("data", key.key_id) == 0
        assert await store.retire_key("data", key.key_id)

    async def test_a_claimed_flow_needs_its_key_no_more(self, store: AsyncStore) -> None:
        key = MAKE["data"](state="decrypt_only")
        await store.add_key("data", key)
        state = replace(flow(), sealed=sealed_by(key.key_id))
        await store.put_state(state, self.ttl_seconds)
        assert not await store.retire_key("data", key.key_id)
        await store.claim_state(
            state.state_hash, tenant=TENANT, owner=OWNER, provider=state.provider, binding=state.binding
        )
        assert await store.count_uses("data", key.key_id) == 0
        assert await store.retire_key("data", key.key_id)

    async def test_an_expired_flow_needs_its_key_no_more(self, store: AsyncStore, advance: Advance) -> None:
        key = MAKE["data"](state="decrypt_only")
        await store.add_key("data", key)
        await store.put_state(replace(flow(), sealed=sealed_by(key.key_id)), self.ttl_seconds)
        assert await store.count_uses("data", key.key_id) == 1
        advance(self.ttl_seconds)
        assert await store.count_uses("data", key.key_id) == 0
        assert await store.retire_key("data", key.key_id)

    @pytest.mark.parametrize(("level", "wrapped_level"), [("vault", "data"), ("kek", "vault")])
    async def test_wrapped_keys_of_every_state_are_uses(
        self, store: AsyncStore, level: KeyLevel, wrapped_level: KeyLevel
    ) -> None:
        key = MAKE[level](state="decrypt_only")
        await store.add_key(level, key)
        states: tuple[KeyState, ...] = ("pre_active", "primary", "decrypt_only", "retired")
        for number, state in enumerate(states):
            await store.add_key(wrapped_level, MAKE[wrapped_level](state, state=state, wrapped_by=key.key_id))
            assert await store.count_uses(level, key.key_id) == number + 1
        assert not await store.retire_key(level, key.key_id)

    # the fence

    @each_write
    async def test_nothing_is_written_under_a_retired_key_until_it_is_reinstated(
        self, store: AsyncStore, write: Write
    ) -> None:
        key = MAKE[write.level]("used", state="pre_active")
        await prepare(store, write.level, 0)
        await store.add_key(write.level, key)
        assert await store.retire_key(write.level, key.key_id)
        before = await contents(store)
        with pytest.raises(KeyNotFoundError):
            await write.act(store, 0, key.key_id)
        assert await contents(store) == before
        assert await store.count_uses(write.level, key.key_id) == 0
        assert await store.reinstate_key(write.level, key.key_id)
        await write.act(store, 0, key.key_id)
        assert await store.count_uses(write.level, key.key_id) == 1

    @each_write
    async def test_under_any_other_key_it_is_written(self, store: AsyncStore, write: Write) -> None:
        states: tuple[KeyState | None, ...] = ("pre_active", "primary", "decrypt_only", None)
        for number, state in enumerate(states):
            key = MAKE[write.level](f"used {number}")
            await prepare(store, write.level, number)
            if state is not None:  # else the store does not know the key
                await store.add_key(write.level, key._replace(state=state))
            await write.act(store, number, key.key_id)
            assert await store.count_uses(write.level, key.key_id) == 1

    @each_write
    async def test_a_retired_key_of_another_level_is_in_nobodys_way(self, store: AsyncStore, write: Write) -> None:
        key = MAKE[write.level]("same")
        for level in LEVELS:
            if level != write.level:
                await store.add_key(level, MAKE[level](state="retired")._replace(key_id=key.key_id))
        await prepare(store, write.level, 0)
        await write.act(store, 0, key.key_id)
        assert await store.count_uses(write.level, key.key_id) == 1

    async def test_a_record_without_a_key_is_never_refused(self, store: AsyncStore) -> None:
        await store.add_key("data", MAKE["data"](state="retired"))
        bare = replace(connection(parent_id="con-0"), envelope=b"", key_id="")
        assert await store.insert(bare) is None
        await store.queue_revocation(revocation(bare))
        assert await store.tombstone(status_write(bare, Status.REVOCATION_PENDING), revocation(bare)) == []
        assert await store.count_keys("data") == {"retired": 1}

    async def test_a_kek_is_added_and_replaced_under_no_key(self, store: AsyncStore) -> None:
        assert await store.add_key("kek", kek("retired", state="retired"))
        assert await store.add_key("kek", kek("first"))
        assert await store.replace_key("kek", kek("second"), kek("first").key_id)

    @each_write
    async def test_a_key_is_never_retired_behind_the_back_of_a_writer(self, store: AsyncStore, write: Write) -> None:
        """Of a writer and those who retire the key at the same moment one side wins, and the other hears of it."""
        rounds = ROUNDS // 2

        def key(number: int) -> WrappedKey:
            return MAKE[write.level](f"used {number}", state="decrypt_only")

        for number in range(rounds):
            await prepare(store, write.level, number)
            await store.add_key(write.level, key(number))

        async def act(racer: int, number: int) -> bool:
            if racer:
                return await store.retire_key(write.level, key(number).key_id)
            try:
                await write.act(store, number, key(number).key_id)
            except KeyNotFoundError:
                return False
            return True

        answers = await self.race_often(4, rounds, act)
        for number, (written, *retired) in enumerate(answers):
            assert retired == [not written] * 3
            assert await state_of(store, write.level, key(number)) == ("decrypt_only" if written else "retired")
            if write.act is not reseal_canary:  # there is one canary, and the next round's key seals it
                assert await store.count_uses(write.level, key(number).key_id) == written
