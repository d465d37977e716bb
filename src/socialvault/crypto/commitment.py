"""A key's id commits to the key: whatever is loaded or unwrapped is held against it."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from socialvault.crypto.envelope import KEY_BYTES, NamedKey, key_id_of, text
from socialvault.exceptions import WrongKeyError
from socialvault.model.keys import key_name

if TYPE_CHECKING:
    from socialvault.model.secret import Secret


def committed(key: Secret[bytes], key_id: str) -> NamedKey:
    """Return a key that is the one its id commits to; as `require_commitment`."""
    require_commitment(key, key_id)
    return NamedKey(AESGCM(key.reveal()), bytes.fromhex(key_id), key_id)


def require_commitment(key: Secret[bytes], key_id: str) -> None:
    """Make sure that a key is the one its id commits to.

    Args:
        key_id: hex.

    Raises:
        WrongKeyError: it is another key.
    """
    if not commits_to(key_id, key.reveal()):
        raise another_key(key_id)


def commits_to(key_id: str, key: bytes) -> bool:
    """Whether an id, in hex, is the one of this key; does not raise, as a traceback would hold the key."""
    return hmac.compare_digest(key_id_of(key).hex().encode(), text(key_id)) and len(key) == KEY_BYTES


def another_key(key_id: str) -> WrongKeyError:
    """Return what is raised for a key that its id does not commit to."""
    return WrongKeyError(f"the key stored as {key_name(key_id)} is another key")
