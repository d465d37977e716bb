"""Sessions, kept on the server. The browser has a random id, the database only its hash."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING

from .database import connected
from .users import User

if TYPE_CHECKING:
    from pathlib import Path

LIFETIME_SECONDS = 12 * 60 * 60
#: How long a renewed session's old id still works: the browser may have sent another request with it already.
GRACE_SECONDS = 10


class Sessions:
    """All sessions."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def begin(self, user: User) -> str:
        """Begin a session; return its id, which goes into the cookie."""
        session_id, now = secrets.token_urlsafe(32), time.time()
        with connected(self._database) as db:
            db.execute("DELETE FROM sessions WHERE ends_at <= ?", (now,))
            db.execute(
                "INSERT INTO sessions VALUES (?, ?, ?, ?)",
                (_hash(session_id), secrets.token_bytes(16), int(user.id), now + LIFETIME_SECONDS),
            )
        return session_id

    def user_of(self, session_id: str) -> User | None:
        """Return whose session this is, None where there is none any more."""
        with connected(self._database) as db:
            row = db.execute(
                "SELECT users.id, users.name FROM sessions JOIN users ON users.id = user_id "
                "WHERE id_hash = ? AND ends_at > ?",
                (_hash(session_id), time.time()),
            ).fetchone()
        return User(str(row[0]), row[1]) if row else None

    def renew(self, session_id: str) -> str | None:
        """Give the session another id and return it; the old one ends in a moment. None where there is no session."""
        renewed, now = secrets.token_urlsafe(32), time.time()
        old = (_hash(session_id), now)
        with connected(self._database) as db:
            made = db.execute(
                "INSERT INTO sessions SELECT ?3, family, user_id, ends_at FROM sessions "
                "WHERE id_hash = ?1 AND ends_at > ?2",
                (*old, _hash(renewed)),
            )
            db.execute("UPDATE sessions SET ends_at = min(ends_at, ?2 + ?3) WHERE id_hash = ?1", (*old, GRACE_SECONDS))
        return renewed if made.rowcount else None

    def end(self, session_id: str) -> None:
        """End the session under all its ids."""
        with connected(self._database) as db:
            db.execute(
                "DELETE FROM sessions WHERE family IN (SELECT family FROM sessions WHERE id_hash = ?)",
                (_hash(session_id),),
            )


def _hash(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()
