"""The envelope a second time, written from its documentation alone: nothing of socialvault is used here."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Binding(NamedTuple):
    """Where a sealed record belongs."""

    vault_id: bytes = bytes(16)
    purpose: str = "token"
    tenant: str = ""
    owner: str = ""
    provider: str = ""
    issuer: str = ""
    item: bytes = b""
    generation: int = 0


def key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"socialvault/v1/key-id" + key).digest()


def associated_data(header: bytes, binding: Binding) -> bytes:
    """Ten parts, each preceded by its length as 4 bytes, big endian."""
    texts = (binding.purpose, binding.tenant, binding.owner, binding.provider, binding.issuer)
    purpose, tenant, owner, provider, issuer = (text.encode("utf-8", "surrogatepass") for text in texts)
    generation, schema = binding.generation.to_bytes(8, "big"), (1).to_bytes(2, "big")
    parts = [header, binding.vault_id, purpose, tenant, owner, provider, issuer, binding.item, generation, schema]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def open_bare(key: bytes, envelope: bytes, binding: Binding) -> bytes:
    """Open an envelope with nothing but AES-GCM."""
    header, nonce, sealed = envelope[:36], envelope[36:48], envelope[48:]
    assert header == b"SV\x01\x01" + key_id(key)
    return AESGCM(key).decrypt(nonce, sealed, associated_data(header, binding))
