"""The application's own database: its users and their sessions. The vault keeps its own."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    id_hash BLOB PRIMARY KEY,
    family BLOB NOT NULL,
    user_id INTEGER NOT NULL REFERENCES users,
    ends_at REAL NOT NULL
) STRICT, WITHOUT ROWID;
"""


def create_tables(database: Path) -> None:
    """Make what is missing."""
    with connected(database) as db:
        db.executescript(_SCHEMA)


@contextmanager
def connected(database: Path) -> Iterator[sqlite3.Connection]:
    """Open the database for one piece of work, which is kept whole or not at all."""
    with closing(sqlite3.connect(database, timeout=10)) as db, db:
        yield db
