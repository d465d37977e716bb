"""``LocalKeyring`` under the contract of key services."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from socialvault.keys.local import LocalKeyring
from socialvault.sandbox.contracts import KeyServiceContract

FIRST, SECOND = LocalKeyring.generate(), LocalKeyring.generate()


class TestLocalKeyring(KeyServiceContract):
    @pytest.fixture
    def open_service(self) -> Callable[[], LocalKeyring]:
        return lambda: LocalKeyring([FIRST])

    @pytest.fixture
    def other(self) -> LocalKeyring:
        return LocalKeyring([SECOND])

    @pytest.fixture
    def successor(self) -> LocalKeyring:
        return LocalKeyring([SECOND, FIRST])
