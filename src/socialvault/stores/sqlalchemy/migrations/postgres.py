"""Changing a Postgres table that is in use: no statement keeps others from their rows for longer than a moment.

Everything here may be run again after a run that was interrupted, and comes in an ``autocommit_block``: each statement
is a transaction of its own, so that no lock outlives it.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import text

#: How long a change may wait for its lock; whoever asks for a row of that table waits behind it.
LOCK_TIMEOUT_MILLISECONDS = 300
#: How often it tries, with a pause between; a little over a minute in all.
ATTEMPTS = 60

_INVALID = text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")

# The first lock only ends an autovacuum of the table and keeps the next one away: a short wait never would. What a
# failed attempt had locked is free during the pause.
_BRIEFLY = """
DO $vault$
BEGIN
    LOCK TABLE {table} IN SHARE UPDATE EXCLUSIVE MODE;
    FOR attempt IN 1..{attempts} LOOP
        BEGIN
            SET LOCAL lock_timeout = {timeout};
            {change};
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(least(0.05 * attempt, 1));
        END;
    END LOOP;
    RAISE lock_not_available USING MESSAGE = 'the table {table} is locked by others for too long';
END
$vault$
"""


def briefly(table: str, change: str) -> None:
    """Make a change that locks the whole table for as long as it takes to write it down."""
    op.execute(_BRIEFLY.format(table=table, change=change, timeout=LOCK_TIMEOUT_MILLISECONDS, attempts=ATTEMPTS))


def build_index(name: str, table: str, columns: list[str], where: str = "") -> None:
    """Build an index beside the traffic; one that an interrupted build has left is dropped first."""
    if not op.get_context().as_sql and op.get_bind().execute(_INVALID, {"name": name}).scalar():
        drop_index(name)
    predicate = text(where) if where else None
    op.create_index(name, table, columns, if_not_exists=True, postgresql_concurrently=True, postgresql_where=predicate)


def drop_index(name: str) -> None:
    """Drop an index beside the traffic."""
    op.drop_index(name, if_exists=True, postgresql_concurrently=True)
