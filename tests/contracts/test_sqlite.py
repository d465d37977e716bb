"""Both colours of the SQLite store, on a file and in memory, held to the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from socialvault.sandbox.contracts import Awaited, KeyStoreContract, ManualClock, StateStoreContract, TokenStoreContract
from socialvault.stores.sqlite import AsyncSQLiteStore, SQLiteStore

if TYPE_CHECKING:
    from pathlib import Path

    from socialvault.sandbox.contracts.base import OpenStore


class TestSQLiteStore(TokenStoreContract, StateStoreContract, KeyStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path, clock: ManualClock) -> OpenStore:
        return lambda: Awaited(SQLiteStore(tmp_path / "vault.db", clock=clock))


class TestAsyncSQLiteStore(TokenStoreContract, StateStoreContract, KeyStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path, clock: ManualClock) -> OpenStore:
        return lambda: AsyncSQLiteStore(tmp_path / "vault.db", clock=clock)


class TestSQLiteStoreInMemory(TokenStoreContract, StateStoreContract, KeyStoreContract):
    @pytest.fixture
    def open_store(self, clock: ManualClock) -> OpenStore:
        store = Awaited(SQLiteStore(":memory:", clock=clock))
        return lambda: store
