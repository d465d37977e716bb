"""Keys at rest: always wrapped, always named by what commits to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KeyState = Literal["primary", "decrypt_only", "retired"]


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


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key sealed under another.

    Attributes:
        key_id: hex of SHA-256 over the key (see ``crypto/envelope.py``): names it and commits to it.
        wrapped_by: the id of the key (or of the key service's key) that wraps it.
        tenant, owner: whose records a DEK seals; "" and "" for the vault's own; vault keys have owner "".
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
