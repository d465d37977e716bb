"""The key service port: whoever holds the KEK. It wraps vault keys and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from socialvault.model.keys import KeyContext


class KeyService(Protocol):
    """Wraps and unwraps vault keys under a KEK; blocking."""

    @property
    def primary_id(self) -> str:
        """The id of the KEK that new keys are wrapped under."""
        ...

    @property
    def key_ids(self) -> Collection[str]:
        """The ids of every KEK it can unwrap with; empty when it can't list them."""
        ...

    def wrap(self, key: bytes, context: KeyContext) -> bytes:
        """Seal `key` under the primary KEK, bound to `context`.

        Raises:
            KeyServiceUnavailableError: it can't be reached.
        """
        ...

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """Open what `wrap` made.

        Raises:
            KeyNotFoundError: it was wrapped under a KEK that is not at hand.
            WrongKeyError: a service behind a network gave another key than it had wrapped.
            TamperedError: it was altered, or made for another context.
            MalformedEnvelopeError: it is nothing that `wrap` made.
            KeyServiceUnavailableError: it can't be reached.
        """
        ...


class AsyncKeyService(Protocol):
    """As `KeyService`, for event loops; each method means the same."""

    @property
    def primary_id(self) -> str: ...

    @property
    def key_ids(self) -> Collection[str]: ...

    async def wrap(self, key: bytes, context: KeyContext) -> bytes: ...

    async def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes: ...
