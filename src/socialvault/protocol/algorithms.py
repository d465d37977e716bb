"""The signature algorithms an ID token may use (RFC 7518, section 3.1; RFC 8037): asymmetric ones alone."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Signature(NamedTuple):
    """What a signature algorithm fixes: the key's type and curve, and the hash behind ``at_hash``."""

    key_type: str
    curve: str | None
    hash_name: str


#: What may be allowed at all: signatures by a key that only the server has. Neither ``none`` nor HS*.
SIGNATURES: Mapping[str, Signature] = MappingProxyType(
    {
        **{
            f"{family}{size}": Signature("RSA", None, f"sha{size}")
            for family in ("RS", "PS")
            for size in (256, 384, 512)
        },
        "ES256": Signature("EC", "P-256", "sha256"),
        "ES384": Signature("EC", "P-384", "sha384"),
        "ES512": Signature("EC", "P-521", "sha512"),
        "Ed25519": Signature("OKP", "Ed25519", "sha512"),
        "EdDSA": Signature("OKP", "Ed25519", "sha512"),
    }
)
