"""The contract of a key store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from socialvault.exceptions import StoreError, StoreUnavailableError
from socialvault.sandbox.contracts.base import LEVELS, RACERS, ROUNDS, OpenStore, every_key, opened
from socialvault.sandbox.contracts.resealing import ResealingContract
from socialvault.sandbox.contracts.retirement import RetirementContract
from socialvault.sandbox.contracts.rows import OWNER, TENANT, kek, vault, vault_key, wrapped_key

if TYPE_CHECKING:
    from socialvault.model.keys import KeyLevel, KeyState, WrappedKey
    from socialvault.ports.store import AsyncStore

STATES: tuple[KeyState, ...] = ("pre_active", "primary", "decrypt_only", "retired")

#: For each level how to make a key of one and the same scope.
MAKE = {"kek": kek, "vault": vault_key, "data": wrapped_key}


async def ids(
    store: AsyncStore,
    level: KeyLevel,
    *,
    tenant: str | None = None,
    state: KeyState | None = None,
    after_id: str = "",
    limit: int = 1000,
) -> list[str]:
    """Return the ids of the keys that `KeyStore.keys` finds."""
    return [key.key_id for key in await store.keys(level, tenant=tenant, state=state, after_id=after_id, limit=limit)]


@pytest.mark.asyncio
class KeyStoreContract(RetirementContract, ResealingContract):
    """What every `KeyStore` must do."""

    # the vault

    async def test_before_the_first_start_there_is_nothing(self, store: AsyncStore) -> None:
        assert await store.load_vault() is None
        for level in LEVELS:
            key = MAKE[level]()
            assert await every_key(store, level) == []
            assert await store.count_keys(level) == {}
            assert await store.count_uses(level, key.key_id) == 0
            assert await store.key(level, key.key_id) is None
            assert await store.primary_key(level, key.tenant, key.owner) is None
        assert not await store.reseal_canary(vault().canary, b"another")
        assert await store.load_vault() is None

    async def test_a_vault_is_created_once_together_with_its_key_and_the_kek_that_wraps_it(
        self, store: AsyncStore
    ) -> None:
        first = vault_key("first", wrapped_by=kek().key_id)
        assert await store.create_vault(vault(b"1"), first)
        assert not await store.create_vault(vault(b"2"), vault_key("second", wrapped_by=kek("second").key_id))
        assert await store.load_vault() == vault(b"1")
        assert await every_key(store, "vault") == [first]
        assert await every_key(store, "kek") == [kek()]
        assert await store.primary_key("vault", "", "") == first
        assert await store.primary_key("kek", "", "") == kek()

    async def test_of_concurrent_first_starts_one_creates_the_vault(self, store: AsyncStore) -> None:
        def key(number: int) -> WrappedKey:
            return vault_key(str(number), wrapped_by=kek(f"kek {number}").key_id)

        async def start(number: int) -> bool:
            return await store.create_vault(vault(b"%x" % number), key(number))

        created = await self.race(RACERS, start)
        assert created.count(True) == 1
        winner = created.index(True)
        assert await store.load_vault() == vault(b"%x" % winner)
        assert await every_key(store, "vault") == [key(winner)]
        assert await every_key(store, "kek") == [kek(f"kek {winner}")]

    async def test_another_handle_sees_the_vault_and_its_keys(self, store: AsyncStore, open_store: OpenStore) -> None:
        await store.create_vault(vault(), vault_key(wrapped_by=kek().key_id))
        await store.add_key("data", wrapped_key())
        other = await opened(open_store)
        assert await other.load_vault() == vault()
        assert await other.key("data", wrapped_key().key_id) == wrapped_key()
        assert await other.primary_key("vault", "", "") == vault_key(wrapped_by=kek().key_id)
        if other is not store:
            await other.aclose()

    async def test_the_canary_is_resealed_from_what_it_was_alone(self, store: AsyncStore) -> None:
        await store.create_vault(vault(), vault_key())
        assert await store.reseal_canary(vault().canary, b"second \x00")
        assert not await store.reseal_canary(vault().canary, b"third")
        assert await store.load_vault() == replace(vault(), canary=b"second \x00")

    async def test_of_racing_canaries_one_wins(self, store: AsyncStore) -> None:
        await store.create_vault(vault(), vault_key())

        async def reseal(number: int) -> bool:
            return await store.reseal_canary(vault().canary, b"canary %d" % number)

        won = await self.race(RACERS, reseal)
        assert won.count(True) == 1
        assert await store.load_vault() == replace(vault(), canary=b"canary %d" % won.index(True))

    # adding

    @pytest.mark.parametrize("level", LEVELS)
    @pytest.mark.parametrize("state", STATES)
    async def test_a_key_is_kept_as_it_is(self, store: AsyncStore, level: KeyLevel, state: KeyState) -> None:
        key = MAKE[level](state=state)
        assert await store.add_key(level, key)
        assert await store.key(level, key.key_id) == key
        assert await store.primary_key(level, key.tenant, key.owner) == (key if state == "primary" else None)
        assert await store.count_keys(level) == {state: 1}

    async def test_a_wrapped_key_keeps_every_byte(self, store: AsyncStore) -> None:
        key = wrapped_key(wrapped=bytes(range(256)) * 16)
        await store.add_key("data", key)
        assert await store.key("data", key.key_id) == key
        assert await every_key(store, "data") == [key]

    @pytest.mark.parametrize("level", LEVELS)
    async def test_a_scope_has_one_primary_and_any_number_of_others(self, store: AsyncStore, level: KeyLevel) -> None:
        make = MAKE[level]
        assert await store.add_key(level, make("first"))
        assert not await store.add_key(level, make("second"))
        assert await store.key(level, make("second").key_id) is None
        for state in STATES:
            assert await store.add_key(level, make(f"another {state}", state=state)) is (state != "primary")
        assert await store.primary_key(level, make().tenant, make().owner) == make("first")
        assert await store.count_keys(level) == dict.fromkeys(STATES, 1)

    @pytest.mark.parametrize("level", LEVELS)
    async def test_a_known_key_is_not_added_again(self, store: AsyncStore, level: KeyLevel) -> None:
        key = MAKE[level](state="decrypt_only")
        await store.add_key(level, key)
        assert not await store.add_key(level, key._replace(state="pre_active", wrapped=b"other"))
        assert not await store.add_key(level, key._replace(tenant="globex", state="primary"))
        assert await every_key(store, level) == [key]
        assert await store.primary_key(level, "globex", key.owner) is None

    async def test_of_racing_primaries_one_is_added(self, store: AsyncStore) -> None:
        async def add(racer: int, number: int) -> bool:
            return await store.add_key("data", wrapped_key(f"{racer} {number}", owner=str(number)))

        for number, added in enumerate(await self.race_often(4, ROUNDS // 4, add)):
            assert added.count(True) == 1
            winner = wrapped_key(f"{added.index(True)} {number}", owner=str(number))
            assert await store.primary_key("data", TENANT, str(number)) == winner

    async def test_owners_and_tenants_have_their_own_data_keys(self, store: AsyncStore) -> None:
        pairs = [(TENANT, OWNER), (TENANT, "user-43"), ("globex", OWNER), ("", ""), (TENANT, ""), (TENANT, OWNER + " ")]
        keys = [wrapped_key(str(number), tenant=tenant, owner=owner) for number, (tenant, owner) in enumerate(pairs)]
        for key in keys:
            assert await store.add_key("data", key)
        for key in keys:
            assert await store.primary_key("data", key.tenant, key.owner) == key

    async def test_tenants_may_have_their_own_vault_keys(self, store: AsyncStore) -> None:
        keys = [vault_key(tenant, tenant=tenant) for tenant in ("", TENANT, TENANT.upper(), "globex")]
        for key in keys:
            assert await store.add_key("vault", key)
        for key in keys:
            assert await store.primary_key("vault", key.tenant, "") == key

    async def test_the_levels_have_nothing_to_do_with_each_other(self, store: AsyncStore) -> None:
        keys = {level: MAKE[level]("same", tenant="", owner="") for level in LEVELS}
        for level in LEVELS:
            assert await store.add_key(level, keys[level])
        await store.add_key("vault", vault_key("next", state="pre_active"))
        assert await store.promote_key("vault", vault_key("next").key_id)
        assert await store.retire_key("vault", keys["vault"].key_id)
        assert await store.key("vault", keys["vault"].key_id) == keys["vault"]._replace(state="retired")
        for level in ("kek", "data"):
            assert await every_key(store, level) == [keys[level]]
            assert await store.primary_key(level, "", "") == keys[level]

    # replacing

    @pytest.mark.parametrize("level", LEVELS)
    async def test_a_replaced_key_stays_for_reading(self, store: AsyncStore, level: KeyLevel) -> None:
        old, new = MAKE[level]("old"), MAKE[level]("new")
        await store.add_key(level, old)
        assert await store.replace_key(level, new._replace(state="pre_active"), old.key_id)
        assert await store.primary_key(level, old.tenant, old.owner) == new
        assert await store.key(level, old.key_id) == old._replace(state="decrypt_only")
        assert await store.count_keys(level) == {"primary": 1, "decrypt_only": 1}

    async def test_only_the_scopes_own_primary_is_replaced(self, store: AsyncStore) -> None:
        old, new, theirs = wrapped_key("old"), wrapped_key("new"), wrapped_key("theirs", owner="user-43")
        await store.add_key("data", old)
        await store.add_key("data", theirs)
        await store.add_key("data", wrapped_key("waiting", state="pre_active"))
        for no_primary in (theirs.key_id, wrapped_key("waiting").key_id, wrapped_key("unknown").key_id, ""):
            assert not await store.replace_key("data", wrapped_key("x"), no_primary)
        assert await store.replace_key("data", new, old.key_id)
        assert not await store.replace_key("data", wrapped_key("x"), old.key_id)
        assert await store.primary_key("data", TENANT, OWNER) == new
        assert await store.primary_key("data", TENANT, "user-43") == theirs
        assert await store.key("data", wrapped_key("x").key_id) is None

    async def test_a_key_is_not_replaced_by_a_known_one(self, store: AsyncStore) -> None:
        key, other = wrapped_key(), wrapped_key("other", state="decrypt_only")
        await store.add_key("data", key)
        await store.add_key("data", other)
        for known in (key, other):
            with pytest.raises(StoreError):
                await store.replace_key("data", known, key.key_id)
        assert await store.key("data", key.key_id) == key
        assert await store.key("data", other.key_id) == other
        assert await store.primary_key("data", TENANT, OWNER) == key

    async def test_of_racing_replacements_one_wins(self, store: AsyncStore) -> None:
        old = wrapped_key("old")
        await store.add_key("data", old)

        async def replace_it(number: int) -> bool:
            return await store.replace_key("data", wrapped_key(str(number)), old.key_id)

        won = await self.race(RACERS, replace_it)
        assert won.count(True) == 1
        assert await store.primary_key("data", TENANT, OWNER) == wrapped_key(str(won.index(True)))
        assert await store.count_keys("data") == {"primary": 1, "decrypt_only": 1}

    # finding and counting

    async def test_keys_are_found_by_every_given_filter(self, store: AsyncStore) -> None:
        tenants = ("", TENANT, TENANT.upper(), TENANT + " ")
        keys = [
            wrapped_key(f"{tenant} {state}", tenant=tenant, state=state)
            for tenant in tenants
            for state in ("primary", "decrypt_only")
        ]
        for key in keys:
            await store.add_key("data", key)
        assert await ids(store, "data") == sorted(key.key_id for key in keys)
        for tenant in tenants:
            theirs = [key for key in keys if key.tenant == tenant]
            assert await ids(store, "data", tenant=tenant) == sorted(key.key_id for key in theirs)
            for key in theirs:
                assert await ids(store, "data", tenant=tenant, state=key.state) == [key.key_id]
        primaries = sorted(key.key_id for key in keys if key.state == "primary")
        assert await ids(store, "data", state="primary") == primaries
        assert await ids(store, "data", state="retired") == []
        assert await ids(store, "data", tenant="nobody") == []

    @pytest.mark.parametrize("level", LEVELS)
    async def test_keys_come_in_pages_by_their_id(self, store: AsyncStore, level: KeyLevel) -> None:
        keys = [MAKE[level](str(number), state="decrypt_only") for number in range(7)]
        for key in keys:
            await store.add_key(level, key)
        found: list[str] = []
        while page := await ids(store, level, after_id=found[-1] if found else "", limit=3):
            assert len(page) <= 3
            found += page
            assert len(set(found)) == len(found)  # before it goes round for ever
        assert found == sorted(key.key_id for key in keys)
        assert await ids(store, level, state="decrypt_only", after_id=found[4], limit=1) == [found[5]]

    async def test_keys_are_counted_per_state(self, store: AsyncStore) -> None:
        for number in range(3):
            await store.add_key("data", wrapped_key(f"p {number}", owner=str(number)))
            await store.add_key("data", wrapped_key(f"w {number}", owner=str(number), state="pre_active"))
        await store.promote_key("data", wrapped_key("w 0").key_id)
        await store.retire_key("data", wrapped_key("p 0").key_id)
        assert await store.count_keys("data") == {"primary": 3, "pre_active": 2, "retired": 1}
        assert await store.count_keys("vault") == {}

    # seals

    async def test_seals_add_up_and_change_nothing_else(self, store: AsyncStore) -> None:
        key, other = wrapped_key(), wrapped_key("other", state="decrypt_only")
        await store.add_key("data", key)
        await store.add_key("data", other)
        assert await store.count_seals(key.key_id, 0) == 0
        assert await store.count_seals(key.key_id, 1) == 1
        assert await store.count_seals(key.key_id, 2**31) == 2**31 + 1
        assert await store.count_seals(other.key_id, 5) == 5
        assert await store.count_seals(key.key_id, 0) == 2**31 + 1
        assert await store.key("data", key.key_id) == key

    async def test_seals_of_an_unknown_key_are_not_counted(self, store: AsyncStore) -> None:
        key = wrapped_key()
        assert await store.count_seals(key.key_id, 5) == 0
        await store.add_key("data", key)
        assert await store.count_seals(key.key_id, 1) == 1

    async def test_seals_outlive_every_change_of_their_key(self, store: AsyncStore) -> None:
        key = wrapped_key()
        await store.add_key("data", key)
        await store.count_seals(key.key_id, 7)
        await store.replace_key("data", wrapped_key("new"), key.key_id)
        await store.retire_key("data", key.key_id)
        await store.reinstate_key("data", key.key_id)
        await store.promote_key("data", key.key_id)
        assert await store.count_seals(key.key_id, 1) == 8
        assert await store.count_seals(wrapped_key("new").key_id, 1) == 1

    async def test_no_seal_is_lost_among_many_who_count(self, store: AsyncStore) -> None:
        key = wrapped_key()
        await store.add_key("data", key)

        async def count(number: int, _turn: int) -> int:
            return await store.count_seals(key.key_id, number + 1)

        sums = [each for turn in await self.race_often(4, ROUNDS // 4, count) for each in turn]
        assert max(sums) == ROUNDS // 4 * (1 + 2 + 3 + 4)
        assert len(set(sums)) == len(sums)

    # the end

    async def test_an_erased_owners_keys_of_every_state_are_gone(self, store: AsyncStore) -> None:
        theirs = [wrapped_key("theirs", owner="user-43"), wrapped_key("tenants", owner=""), wrapped_key("x", tenant="")]
        for state in STATES:
            await store.add_key("data", wrapped_key(state, state=state))
        for key in theirs:
            await store.add_key("data", key)
        await store.add_key("vault", vault_key())
        await store.count_seals(wrapped_key("primary").key_id, 9)
        await store.erase_owner(TENANT, OWNER)
        assert await every_key(store, "data") == sorted(theirs, key=lambda key: key.key_id)
        assert await store.count_keys("data") == {"primary": 3}
        assert await store.primary_key("data", TENANT, OWNER) is None
        assert list(await store.wrapped_under("data", wrapped_key().wrapped_by, "", 9)) == await every_key(
            store, "data"
        )
        assert await every_key(store, "vault") == [vault_key()]
        assert await store.add_key("data", wrapped_key("primary"))
        assert await store.count_seals(wrapped_key("primary").key_id, 1) == 1

    async def test_a_closed_store_gives_no_keys(self, open_store: OpenStore) -> None:
        store = await opened(open_store)
        await store.aclose()
        with pytest.raises(StoreUnavailableError):
            await store.load_vault()
        with pytest.raises(StoreUnavailableError):
            await store.add_key("data", wrapped_key())
        with pytest.raises(StoreUnavailableError):
            await store.count_uses("data", wrapped_key().key_id)
