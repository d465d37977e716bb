"""Keys at rest: always wrapped, always named by what commits to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

#: ``pre_active``: known, wraps and seals nothing yet. ``primary``: what is new comes under it; one per scope.
#: ``decrypt_only``: only opens. ``retired``: does nothing, and what would be written under it is refused.
KeyState = Literal["pre_active", "primary", "decrypt_only", "retired"]

#: KEKs are kept elsewhere: a store has their ids and states. Vault keys are wrapped by them, and wrap DEKs.
KeyLevel = Literal["kek", "vault", "data"]

#: What DEKs seal for a connection: its token, a late answer beside it, a token that waits for its revocation.
RecordKind = Literal["token", "candidate", "revocation"]


_HASH_DIGITS = 64
#: Where an envelope names its key.
_ID_AT = slice(4, 36)


@dataclass(frozen=True, slots=True)
class VaultRow:
    """Written once, at first start.

    Attributes:
        vault_id: 128 random bits.
        canary: a known text sealed under the vault key; a keyring that can't open it must not write.
    """

    vault_id: bytes
    canary: bytes
    created_at_seconds: float


class WrappedKey(NamedTuple):
    """A key sealed under another.

    Attributes:
        key_id: hex of SHA-256 over the key (see ``crypto/envelope.py``): names it and commits to it.
        tenant, owner: its scope: whose records a DEK seals, "" and "" for the vault's own, owner "" for a whole tenant;
            a vault key has owner "", and a tenant where it has one of its own; a KEK has neither.
        wrapped: empty for a KEK.
        wrapped_by: the id of the key (or of the key service's key) that wraps it; "" for a KEK.
    """

    key_id: str
    tenant: str
    owner: str
    wrapped: bytes
    wrapped_by: str
    state: KeyState
    created_at_seconds: float


@dataclass(frozen=True, slots=True)
class KeyContext:
    """What a wrapped key is bound to; a key service passes it as its encryption context."""

    vault_id: bytes
    purpose: str
    tenant: str
    key_id: str


class Rewrapped(NamedTuple):
    """A vault key or DEK under another key, applied only while `expected` is what is stored."""

    key_id: str
    expected: bytes
    wrapped: bytes
    wrapped_by: str


class SealedRecord(NamedTuple):
    """A sealed record, with what it is bound to.

    Attributes:
        id: of the connection, or of the revocation.
    """

    id: str
    connection_id: str
    tenant: str
    owner: str
    provider: str
    issuer: str
    generation: int
    sealed: bytes


class Resealed(NamedTuple):
    """A record under another DEK, applied only while `expected` is what is stored."""

    id: str
    expected: bytes
    sealed: bytes
    key_id: str


def sealing_key_id(sealed: bytes) -> str:
    """Return the id of the key that sealed or wrapped these bytes; what is too short to name one gets an id of none."""
    return sealed[_ID_AT].hex()


def key_name(key_id: str) -> str:
    """Return a key's name for messages: the beginning of a hash, the whole of anything else."""
    return f"{key_id[:12]}…" if len(key_id) == _HASH_DIGITS else key_id
