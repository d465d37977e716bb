"""How many records a DEK of many owners has sealed, over all processes: random nonces want an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from socialvault.ports.key_store import AsyncKeyStore

#: So many seals are announced to the store at a time. A process that ends leaves the rest of its block unused.
_BLOCK: Final = 4096


class SealCounts:
    """Counts in blocks, so that the store is asked once in thousands of seals.

    Spec: NIST SP 800-38D, 8.3: at most 2^32 invocations with random nonces under one key; the limit here is far below.
    """

    def __init__(self, store: AsyncKeyStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._block = min(_BLOCK, limit)
        self._left: dict[str, int] = {}

    async def may_seal(self, key_id: str) -> bool:
        """Count one seal; return False once a key has reached its limit."""
        left = self._left.get(key_id, 0)
        if not left:
            if await self._store.count_seals(key_id, self._block) > self._limit:
                self._left.pop(key_id, None)
                return False
            left = self._block
        self._left[key_id] = left - 1
        return True

    def clear(self) -> None:
        """Forget what is left of this process's blocks."""
        self._left.clear()
