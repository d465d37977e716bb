"""Contract suites: what every store must do, as test classes that any adapter runs.

Subclass them in your tests and give a fixture that opens your store. A blocking store is wrapped in `Awaited`, so that
both colours pass the very same tests::

    import pytest
    from socialvault.sandbox.contracts import Awaited, KeyStoreContract, StateStoreContract, TokenStoreContract

    class TestMyStore(TokenStoreContract, StateStoreContract, KeyStoreContract):
        @pytest.fixture
        def open_store(self, tmp_path, clock):
            return lambda: Awaited(MyStore(tmp_path / "vault.db", clock=clock))

`open_store` is a function that opens the store and may be awaitable. Each call within one test opens the same data,
which starts empty; a store that lives in one object only returns that object again. Times come from the fixture
`clock`; where your store trusts its server's clock instead, override `advance` so that it sleeps, and lower
`ttl_seconds`. Concurrent callers run in threads, each with its own event loop; where your store belongs to one loop,
set ``race = staticmethod(race_in_loop)``.

They need pytest and pytest-asyncio (any mode).
"""

from socialvault.sandbox.contracts.base import Awaited, ManualClock, race_in_loop, race_in_threads
from socialvault.sandbox.contracts.key_service import KeyServiceContract, RemoteKeyServiceContract
from socialvault.sandbox.contracts.key_store import KeyStoreContract
from socialvault.sandbox.contracts.state_store import StateStoreContract
from socialvault.sandbox.contracts.token_store import TokenStoreContract

__all__ = [
    "Awaited",
    "KeyServiceContract",
    "KeyStoreContract",
    "ManualClock",
    "RemoteKeyServiceContract",
    "StateStoreContract",
    "TokenStoreContract",
    "race_in_loop",
    "race_in_threads",
]
