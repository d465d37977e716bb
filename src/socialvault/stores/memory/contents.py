"""What a store in memory holds, the lock over it, and the fence around retired keys."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from socialvault.exceptions import KeyNotFoundError, StoreUnavailableError
from socialvault.model.keys import key_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from socialvault.model.keys import KeyLevel, VaultRow, WrappedKey
    from socialvault.model.rows import AccountKey, ConnectionRow, RevocationRow
    from socialvault.model.state import StateRow
    from socialvault.ports.clock import Clock


class Contents:
    """Everything in dicts, to be used within the lock."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._now: Callable[[], float] = time.time if clock is None else clock.now_seconds
        self._open = _OpenLock()
        self._rows: dict[str, ConnectionRow] = {}
        self._accounts: dict[AccountKey, str] = {}  # of live rows
        self._leases: dict[str, tuple[str, float]] = {}  # holder, until
        self._revocations: dict[str, RevocationRow] = {}
        self._states: dict[bytes, StateRow] = {}
        self._vault: VaultRow | None = None
        self._keys: dict[KeyLevel, dict[str, WrappedKey]] = {"kek": {}, "vault": {}, "data": {}}
        self._primaries: dict[tuple[KeyLevel, str, str], str] = {}  # level, tenant, owner: key id
        self._seals: dict[str, int] = {}  # of DEKs

    def close(self) -> None:
        """As `TokenStore.close`; every call after it raises `StoreUnavailableError`."""
        self._open.close()

    def _require_not_retired(self, level: KeyLevel, key_id: str) -> None:
        """Make sure that something may be written under a key, before the same hold of the lock writes it."""
        key = self._keys[level].get(key_id)
        if key is not None and key.state == "retired":
            raise KeyNotFoundError(f"key {key_name(key_id)} is retired: nothing is written under it any more")


class _OpenLock:
    """A lock that nobody gets after `close`."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closed = False

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._closed:
            self._lock.release()
            raise StoreUnavailableError("the store is closed")

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._lock.release()
