"""Users and their passwords, of which only scrypt hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .database import connected

if TYPE_CHECKING:
    from pathlib import Path

_COST = {"n": 2**14, "r": 8, "p": 5}  # 16 MiB and about 0.2 s
_SALT_BYTES = 16
_NOBODY = "00" * _SALT_BYTES + "$" + "00" * 64


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a password here. `id` is the owner of the connections."""

    id: str
    name: str


class Users:
    """All users."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def add(self, name: str, password: str) -> None:
        """Add a user; one who is known gets the new password."""
        salt = secrets.token_bytes(_SALT_BYTES)
        stored = f"{salt.hex()}${_hash(password, salt).hex()}"
        with connected(self._database) as db:
            db.execute(
                "INSERT INTO users (name, password) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET password = ?2",
                (name, stored),
            )

    def check(self, name: str, password: str) -> User | None:
        """Return who has this name and password; an unknown name takes as long as a wrong password."""
        with connected(self._database) as db:
            row = db.execute("SELECT id, password FROM users WHERE name = ?", (name,)).fetchone()
        user_id, stored = row or (None, _NOBODY)
        salt, _, expected = stored.partition("$")
        matches = hmac.compare_digest(_hash(password, bytes.fromhex(salt)), bytes.fromhex(expected))
        return User(str(user_id), name) if matches and row else None


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, **_COST)
