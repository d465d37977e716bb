"""``KeyChain``: several key services as one, for as long as a vault moves from one to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.exceptions import KeyNotFoundError, KeyServiceUnavailableError, MalformedEnvelopeError

if TYPE_CHECKING:
    from socialvault.exceptions import EncryptionError
    from socialvault.model.keys import KeyContext
    from socialvault.ports.key_service import KeyService

#: What a service says of a key that another one may open, the more telling the later.
_NOT_MINE = (MalformedEnvelopeError, KeyNotFoundError, KeyServiceUnavailableError)


class KeyChain:
    """Wraps with the first key service and opens with all: local keys before a move to AWS KMS, and the other way.

    Args:
        primary: wraps what is new.
        others: open what they wrapped.
    """

    def __init__(self, primary: KeyService, *others: KeyService) -> None:
        self._services = (primary, *others)

    @property
    def primary_id(self) -> str:
        """The id of the key that new vault keys are wrapped under."""
        return self._services[0].primary_id

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys; empty when one of the services can't list its own."""
        listed = [tuple(service.key_ids) for service in self._services]
        return tuple(key_id for ids in listed for key_id in ids) if all(listed) else ()

    def wrap(self, key: bytes, context: KeyContext) -> bytes:
        """Seal `key` under the first service's KEK; see there."""
        return self._services[0].wrap(key, context)

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        """Open what one of the services wrapped.

        Raises:
            EncryptionError: what the service says that it belongs to, or the most telling of what all say.
        """
        told: EncryptionError = MalformedEnvelopeError("no key service wrapped these bytes")
        for service in self._services:
            try:
                return service.unwrap(wrapped, context)
            except _NOT_MINE as problem:
                if _NOT_MINE.index(type(problem)) >= _NOT_MINE.index(type(told)):
                    told = problem.with_traceback(None)
        raise told

    def __repr__(self) -> str:
        return f"KeyChain({', '.join(map(repr, self._services))})"
