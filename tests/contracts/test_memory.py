"""Both colours of the memory store, held to the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from socialvault.sandbox.contracts import Awaited, KeyStoreContract, ManualClock, StateStoreContract, TokenStoreContract
from socialvault.stores.memory import AsyncMemoryStore, MemoryStore

if TYPE_CHECKING:
    from socialvault.sandbox.contracts.base import OpenStore


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
