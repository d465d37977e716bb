"""What is sealed and does not open, as whoever looks after a store is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from socialvault.model.keys import WrappedKey

#: What is sealed: the vault's canary, its keys, and the records of connections.
SealedKind = Literal["canary", "vault_key", "data_key", "token", "candidate", "revocation"]


@dataclass(frozen=True, slots=True)
class BadRecord:
    """Something sealed that does not open. It is named, and left as it is.

    Attributes:
        id: of the connection, the revocation or the key; "" for the canary.
        key_id: of the key that it names, hex; "" where it names none.
        error: the error's class.
    """

    kind: SealedKind
    id: str
    tenant: str
    owner: str
    provider: str
    key_id: str
    error: str


def bad_key(kind: Literal["vault_key", "data_key"], row: WrappedKey, error: type[Exception]) -> BadRecord:
    """Name a wrapped key that does not open, with the class of what was raised."""
    return BadRecord(kind, row.key_id, row.tenant, row.owner, "", row.wrapped_by, error.__name__)
