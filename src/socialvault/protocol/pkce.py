"""Proof key for code exchange (RFC 7636): S256, and nothing else."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64encode

from socialvault.model.secret import Secret

_VERIFIER_BYTES = 32


def new_verifier() -> Secret[str]:
    """Return a fresh code verifier: 32 random bytes as 43 characters.

    Spec: RFC 7636, section 4.1.
    """
    return Secret(secrets.token_urlsafe(_VERIFIER_BYTES))


def challenge(verifier: Secret[str]) -> str:
    """Return the S256 challenge of a verifier, for the authorization request.

    Spec: RFC 7636, section 4.2.
    """
    return urlsafe_b64encode(hashlib.sha256(verifier.reveal().encode("ascii")).digest()).rstrip(b"=").decode("ascii")
