"""Where a database says which revision it has: the table that stores look at, and the header of an SQLite file.

Alembic keeps ``socialvault_version`` itself when it is run through here. An application that runs the revisions among
its own has another table for Alembic; the revisions keep this one then, so that a store finds it in either case.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

VERSION_TABLE = "socialvault_version"

APPLICATION_ID = 0x53564C54  # "SVLT"
_OURS = "name IN ('socialvault_version', 'sqlite_sequence') OR name LIKE 'sqlite_autoindex_socialvault_version%'"


def mark(revision: str) -> None:
    """Say in the store's table that the database has this revision; "" when it has none any more."""
    if op.get_context().version_table == VERSION_TABLE:
        return
    if not revision:
        op.execute(f"DROP TABLE IF EXISTS {VERSION_TABLE}")
        return
    op.execute(
        f"CREATE TABLE IF NOT EXISTS {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, "
        f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
    )
    op.execute(f"DELETE FROM {VERSION_TABLE}")
    op.execute(f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{revision}')")


def mark_file(*, to_version: int) -> None:
    """Write the version into the header of an SQLite file that is the vault's own; 0 takes the header away.

    A file without any table becomes the vault's own with its first version. One that an application shares with the
    vault keeps its header.
    """
    context = op.get_context()
    if context.dialect.name != "sqlite" or context.as_sql:
        return
    application = op.get_bind().execute(text("PRAGMA application_id")).scalar()
    tables = op.get_bind().execute(text(f"SELECT count(*) FROM sqlite_master WHERE NOT ({_OURS})")).scalar()
    if application == APPLICATION_ID or (not application and not tables and to_version == 1):
        op.execute(f"PRAGMA application_id={APPLICATION_ID if to_version else 0}")
        op.execute(f"PRAGMA user_version={to_version}")
