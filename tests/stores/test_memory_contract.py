"""Both colours of the memory store, held to the contract."""

from __future__ import annotations

import pytest

from socialvault.sandbox.contracts import Awaited, KeyStoreContract, ManualClock, StateStoreContract, TokenStoreContract
from socialvault.sandbox.contracts.base import OpenStore
from socialvault.stores.memory import AsyncMemoryStore, MemoryStore


class TestMemoryStore(TokenStoreContract, StateStoreContract, KeyStoreContract):
    @pytest.fixture
    def open_store(self, clock: ManualClock) -> OpenStore:
        store = Awaited(MemoryStore(clock=clock))
        return lambda: store


class TestAsyncMemoryStore(TokenStoreContract, StateStoreContract, KeyStoreContract):
    @pytest.fixture
    def open_store(self, clock: ManualClock) -> OpenStore:
        store = AsyncMemoryStore(clock=clock)
        return lambda: store
