"""Both colours of the Redis store, on a real server, held to the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from socialvault.sandbox.contracts import Awaited, KeyStoreContract, ManualClock, StateStoreContract, TokenStoreContract
from socialvault.stores.redis import AsyncRedisStore, RedisStore

if TYPE_CHECKING:
    from support.valkey import Valkey

    from socialvault.sandbox.contracts.base import OpenStore


class TestRedisStore(TokenStoreContract, StateStoreContract, KeyStoreContract):
    @pytest.fixture
    def open_store(self, valkey: Valkey, clock: ManualClock) -> OpenStore:
        valkey.flush()
        return lambda: Awaited(RedisStore(valkey.url, clock=clock))


class TestAsyncRedisStore(TokenStoreContract, StateStoreContract, KeyStoreContract):
    @pytest.fixture
    def open_store(self, valkey: Valkey, clock: ManualClock) -> OpenStore:
        valkey.flush()
        return lambda: AsyncRedisStore(valkey.url, clock=clock)
