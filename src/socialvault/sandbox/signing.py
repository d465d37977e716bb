"""ID tokens: keys that can be changed at any time, and tokens signed with the newest."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from joserfc import jwt
from joserfc.jwk import RSAKey

if TYPE_CHECKING:
    from collections.abc import Mapping


class SigningKeys:
    """The RSA keys of one emulated provider. The first is made when it is first needed."""

    def __init__(self, slug: str) -> None:
        self._slug = slug
        self._keys: list[RSAKey] = []

    def change(self) -> str:
        """Sign with a new key from now on; the old ones stay published. Return the new key's id."""
        kid = f"{self._slug}-key-{len(self._keys) + 1}"
        self._keys.append(RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": "RS256"}))
        return kid

    def _newest(self) -> RSAKey:
        if not self._keys:
            self.change()
        return self._keys[-1]

    def document(self) -> dict[str, Any]:
        """Return the JWK set.

        Spec: RFC 7517, section 5.
        """
        self._newest()
        return {"keys": [key.as_dict(private=False) for key in self._keys]}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return an ID token with `claims`."""
        key = self._newest()
        return jwt.encode({"alg": "RS256", "typ": "JWT", "kid": key.kid}, dict(claims), key, algorithms=["RS256"])


def half_hash(secret: str) -> str:
    """Return the ``at_hash`` of an access token (OpenID Connect Core, section 3.1.3.6)."""
    return base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()[:16]).rstrip(b"=").decode()
