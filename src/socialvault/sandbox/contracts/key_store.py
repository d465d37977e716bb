"""The contract of a key store."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from socialvault.exceptions import StoreError, StoreUnavailableError
from socialvault.sandbox.contracts.base import RACERS, Contract, OpenStore, opened
from socialvault.sandbox.contracts.rows import OWNER, TENANT, vault, wrapped_key

if TYPE_CHECKING:
    from socialvault.model.keys import WrappedKey
    from socialvault.ports.store import AsyncStore


def vault_key(name: str) -> WrappedKey:
    """Return a vault key."""
    return wrapped_key(name, tenant="", owner="")


@pytest.mark.asyncio
class KeyStoreContract(Contract):
    """What every `KeyStore` must do."""

    async def test_before_the_first_start_there_is_nothing(self, store: AsyncStore) -> None:
        assert await store.load_vault() is None
        assert list(await store.vault_keys()) == []
        assert await store.data_key(wrapped_key().key_id) is None
        assert await store.primary_data_key(TENANT, OWNER) is None

    async def test_a_vault_is_created_once_together_with_its_key(self, store: AsyncStore) -> None:
        assert await store.create_vault(vault(b"1"), vault_key("first"))
        assert not await store.create_vault(vault(b"2"), vault_key("second"))
        assert await store.load_vault() == vault(b"1")
        assert list(await store.vault_keys()) == [vault_key("first")]

    async def test_of_concurrent_first_starts_one_creates_the_vault(self, store: AsyncStore) -> None:
        async def start(number: int) -> bool:
            return await store.create_vault(vault(b"%x" % number), vault_key(str(number)))

        created = await self.race(RACERS, start)
        assert created.count(True) == 1
        winner = created.index(True)
        assert await store.load_vault() == vault(b"%x" % winner)
        assert list(await store.vault_keys()) == [vault_key(str(winner))]

    async def test_another_handle_sees_the_vault(self, store: AsyncStore, open_store: OpenStore) -> None:
        await store.create_vault(vault(), vault_key("first"))
        await store.add_data_key(wrapped_key())
        other = await opened(open_store)
        assert await other.load_vault() == vault()
        assert await other.data_key(wrapped_key().key_id) == wrapped_key()
        if other is not store:
            await other.aclose()

    async def test_the_first_data_key_of_an_owner_stays_primary(self, store: AsyncStore) -> None:
        first, second = wrapped_key("first"), wrapped_key("second")
        assert await store.add_data_key(first) == first
        assert await store.add_data_key(second) == first
        assert await store.primary_data_key(TENANT, OWNER) == first
        assert await store.data_key(first.key_id) == first
        assert await store.data_key(second.key_id) is None

    async def test_a_data_key_is_made_primary_whatever_it_says(self, store: AsyncStore) -> None:
        key = wrapped_key()
        assert await store.add_data_key(replace(key, state="decrypt_only")) == key
        assert await store.data_key(key.key_id) == key

    async def test_of_racing_data_keys_all_callers_get_the_winner(self, store: AsyncStore) -> None:
        async def add(number: int) -> WrappedKey:
            return await store.add_data_key(wrapped_key(str(number)))

        answers = await self.race(RACERS, add)
        assert len({key.key_id for key in answers}) == 1
        assert await store.primary_data_key(TENANT, OWNER) == answers[0]

    async def test_owners_and_tenants_have_their_own_data_keys(self, store: AsyncStore) -> None:
        pairs = [(TENANT, OWNER), (TENANT, "user-43"), ("globex", OWNER), ("", ""), (TENANT, ""), (TENANT, OWNER + " ")]
        for number, (tenant, owner) in enumerate(pairs):
            key = wrapped_key(str(number), tenant=tenant, owner=owner)
            assert await store.add_data_key(key) == key
        for number, (tenant, owner) in enumerate(pairs):
            key = wrapped_key(str(number), tenant=tenant, owner=owner)
            assert await store.primary_data_key(tenant, owner) == key

    async def test_a_replaced_data_key_stays_for_reading(self, store: AsyncStore) -> None:
        old, new = wrapped_key("old"), wrapped_key("new")
        await store.add_data_key(old)
        assert await store.replace_data_key(new, old.key_id)
        assert await store.primary_data_key(TENANT, OWNER) == new
        assert await store.data_key(old.key_id) == replace(old, state="decrypt_only")

    async def test_only_the_owners_primary_is_replaced(self, store: AsyncStore) -> None:
        old, new, theirs = wrapped_key("old"), wrapped_key("new"), wrapped_key("theirs", owner="user-43")
        await store.add_data_key(old)
        await store.add_data_key(theirs)
        assert not await store.replace_data_key(wrapped_key("x"), theirs.key_id)
        assert not await store.replace_data_key(wrapped_key("x"), "unknown")
        assert await store.replace_data_key(new, old.key_id)
        assert not await store.replace_data_key(wrapped_key("x"), old.key_id)
        assert await store.primary_data_key(TENANT, OWNER) == new
        assert await store.primary_data_key(TENANT, "user-43") == theirs
        assert await store.data_key(wrapped_key("x").key_id) is None

    async def test_of_racing_replacements_one_wins(self, store: AsyncStore) -> None:
        old = wrapped_key("old")
        await store.add_data_key(old)

        async def replace_it(number: int) -> bool:
            return await store.replace_data_key(wrapped_key(str(number)), old.key_id)

        won = await self.race(RACERS, replace_it)
        assert won.count(True) == 1
        assert await store.primary_data_key(TENANT, OWNER) == wrapped_key(str(won.index(True)))

    async def test_a_key_id_is_used_once(self, store: AsyncStore) -> None:
        key = wrapped_key()
        await store.add_data_key(key)
        with pytest.raises(StoreError):
            await store.add_data_key(replace(key, owner="user-43"))
        with pytest.raises(StoreError):
            await store.replace_data_key(key, key.key_id)
        assert await store.primary_data_key(TENANT, OWNER) == key
        assert await store.primary_data_key(TENANT, "user-43") is None

    async def test_a_closed_store_gives_no_keys(self, open_store: OpenStore) -> None:
        store = await opened(open_store)
        await store.aclose()
        with pytest.raises(StoreUnavailableError):
            await store.load_vault()
        with pytest.raises(StoreUnavailableError):
            await store.add_data_key(wrapped_key())
