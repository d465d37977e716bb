"""What a request shows of its client, and whether a code verifier fits."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote_plus

from socialvault.model.secret import Secret
from socialvault.sandbox.messages import Call, Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ShownCredentials:
    """A client id, a secret, and how they came."""

    client_id: str
    secret: Secret[str] | None
    method: Literal["client_secret_basic", "client_secret_post", "none"]


def read_credentials(call: Call, params: Mapping[str, str]) -> ShownCredentials:
    """Read the client's credentials from the header, or else from `params`.

    Spec: RFC 6749, section 2.3: two methods at once are an error; 2.3.1: Basic carries form-encoded values.

    Raises:
        Refusal: they are unreadable or contradict each other.
    """
    scheme, _, encoded = call.headers.get("authorization", "").partition(" ")
    in_params = Secret(params["client_secret"]) if "client_secret" in params else None
    if scheme.lower() != "basic":
        return ShownCredentials(
            params.get("client_id", ""), in_params, "none" if in_params is None else "client_secret_post"
        )
    if in_params is not None:
        raise Refusal("invalid_request", "more than one kind of client authentication")
    pair = _decoded(encoded)
    if pair is None:
        raise Refusal("invalid_client", "unreadable Authorization header", status=401)
    client_id, secret = pair
    if params.get("client_id", client_id) != client_id:
        raise Refusal("invalid_request", "two client ids")
    return ShownCredentials(client_id, secret, "client_secret_basic")


def _decoded(encoded: str) -> tuple[str, Secret[str]] | None:
    try:
        client_id, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (unquote_plus(client_id), Secret(unquote_plus(password))) if colon else None


def verifier_fits(verifier: str, challenge: str, method: str) -> bool:
    """Hold a code verifier against its challenge (RFC 7636, section 4.6)."""
    derived = verifier
    if method == "S256":
        derived = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    return bool(verifier) and hmac.compare_digest(derived.encode(), challenge.encode())
