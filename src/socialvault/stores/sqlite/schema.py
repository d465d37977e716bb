"""The tables, and how a file comes to have them.

Text has SQLite's default BINARY collation: "Sub" and "sub" are two accounts. Columns that ``token()`` reads come first
in their row, because SQLite decodes a row from its start.
"""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError
from socialvault.stores.sqlite.connections import BUSY_TIMEOUT_SECONDS, Handle

if TYPE_CHECKING:
    from socialvault.model.keys import KeyLevel

APPLICATION_ID = 0x53564C54  # "SVLT", in the file's header
VERSION = 2

#: Which rows their owner still has; in a query it must read like the partial indexes to use them.
LIVE = "status IN ('active', 'reauthorization_required')"
#: The others: tombstones.
DEAD = "status IN ('revocation_pending', 'revoked')"

#: Where the keys of each level are.
KEY_TABLES: dict[KeyLevel, str] = {"kek": "keks", "vault": "vault_keys", "data": "data_keys"}

_TABLES = (
    """
    CREATE TABLE connections (
        id TEXT NOT NULL PRIMARY KEY,
        tenant TEXT NOT NULL,
        owner TEXT NOT NULL,
        status TEXT NOT NULL,
        reason TEXT NOT NULL,
        generation INTEGER NOT NULL,
        provider TEXT NOT NULL,
        issuer TEXT NOT NULL,
        client_id TEXT NOT NULL,
        parent_id TEXT NOT NULL,
        envelope BLOB NOT NULL,
        subject TEXT NOT NULL,
        shared_with TEXT NOT NULL,
        kind TEXT NOT NULL,
        key_id TEXT NOT NULL,
        created_at_seconds REAL NOT NULL,
        updated_at_seconds REAL NOT NULL,
        due_at_seconds REAL,
        dies_at_seconds REAL,
        warn_at_seconds REAL,
        failing_since_seconds REAL,
        failing_with TEXT NOT NULL,
        failures INTEGER NOT NULL,
        refusals INTEGER NOT NULL,
        candidate BLOB NOT NULL,
        intent_digest BLOB NOT NULL,
        intent_sent_at_seconds REAL,
        intent_deadline_seconds REAL,
        intent_attempt INTEGER NOT NULL,
        lease_holder TEXT NOT NULL DEFAULT '',
        lease_until_seconds REAL
    )
    """,
    # The arbiter of "one live connection per account". The subject leads, so that it finds the siblings of a grant too.
    f"""
    CREATE UNIQUE INDEX connections_account
    ON connections (subject, issuer, client_id, provider, tenant, parent_id, shared_with) WHERE {LIVE}
    """,
    # The other rows of an account. Inserting a connection and writing a token leave it alone.
    f"""
    CREATE INDEX connections_tombstones
    ON connections (subject, issuer, client_id, provider, parent_id) WHERE {DEAD}
    """,
    "CREATE INDEX connections_owner ON connections (tenant, owner)",
    "CREATE INDEX connections_children ON connections (parent_id) WHERE parent_id <> ''",
    "CREATE INDEX connections_due ON connections (provider, client_id, due_at_seconds, id) WHERE status = 'active'",
    """
    CREATE INDEX connections_warnings
    ON connections (warn_at_seconds, id) WHERE status = 'active' AND warn_at_seconds IS NOT NULL
    """,
    "CREATE INDEX connections_status ON connections (status, id)",
    # For resealing what a key sealed, in the order of the ids.
    "CREATE INDEX connections_sealed_under ON connections (key_id, id)",
    # The key of a candidate is in its bytes alone; few connections have one.
    "CREATE INDEX connections_candidates ON connections (id) WHERE candidate <> x''",
    # Beginning a flow is this table's one frequent write, so it has no index on the expiry: rows lie in the order they
    # came, and a purge that reads them in this order meets what is over first.
    """
    CREATE TABLE states (
        state_hash BLOB NOT NULL PRIMARY KEY,
        tenant TEXT NOT NULL,
        owner TEXT NOT NULL,
        provider TEXT NOT NULL,
        binding BLOB NOT NULL,
        sealed BLOB NOT NULL,
        return_to TEXT NOT NULL,
        phase TEXT NOT NULL,
        expires_at_seconds REAL NOT NULL,
        connection_id TEXT NOT NULL,
        error TEXT NOT NULL,
        missing_scopes TEXT NOT NULL
    )
    """,
    # One row at most: `one` is always 1.
    """
    CREATE TABLE vault (
        one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
        vault_id BLOB NOT NULL,
        canary BLOB NOT NULL,
        created_at_seconds REAL NOT NULL
    )
    """,
    # Keys that wrap vault keys are kept elsewhere; a row here has no more than the state. There is one primary.
    """
    CREATE TABLE keks (
        key_id TEXT NOT NULL PRIMARY KEY,
        tenant TEXT NOT NULL,
        owner TEXT NOT NULL,
        wrapped BLOB NOT NULL,
        wrapped_by TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at_seconds REAL NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX keks_primary ON keks (state) WHERE state = 'primary'",
    """
    CREATE TABLE vault_keys (
        key_id TEXT NOT NULL PRIMARY KEY,
        tenant TEXT NOT NULL,
        owner TEXT NOT NULL,
        wrapped BLOB NOT NULL,
        wrapped_by TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at_seconds REAL NOT NULL
    )
    """,
    "CREATE UNIQUE INDEX vault_keys_primary ON vault_keys (tenant) WHERE state = 'primary'",
    # Data keys have a table of their own: deleting an owner's row shreds what was sealed under it.
    """
    CREATE TABLE data_keys (
        key_id TEXT NOT NULL PRIMARY KEY,
        tenant TEXT NOT NULL,
        owner TEXT NOT NULL,
        wrapped BLOB NOT NULL,
        wrapped_by TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at_seconds REAL NOT NULL,
        seals INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE UNIQUE INDEX data_keys_primary ON data_keys (tenant, owner) WHERE state = 'primary'",
    # For erasing an owner. The first key of an owner, mostly the only one, costs nothing here.
    "CREATE INDEX data_keys_former ON data_keys (tenant, owner) WHERE state <> 'primary'",
    # For re-wrapping what a key wraps, in the order of the ids.
    "CREATE INDEX data_keys_wrapped_under ON data_keys (wrapped_by, key_id)",
    # Revocations that the provider has not confirmed yet.
    """
    CREATE TABLE revocations (
        id TEXT NOT NULL PRIMARY KEY,
        connection_id TEXT NOT NULL,
        tenant TEXT NOT NULL,
        owner TEXT NOT NULL,
        provider TEXT NOT NULL,
        client_id TEXT NOT NULL,
        issuer TEXT NOT NULL,
        subject TEXT NOT NULL,
        reach TEXT NOT NULL,
        generation INTEGER NOT NULL,
        envelope BLOB NOT NULL,
        key_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        next_attempt_at_seconds REAL NOT NULL,
        created_at_seconds REAL NOT NULL
    )
    """,
    "CREATE INDEX revocations_due ON revocations (next_attempt_at_seconds, id)",
    "CREATE INDEX revocations_connection ON revocations (connection_id)",
    "CREATE INDEX revocations_owner ON revocations (tenant, owner)",
    # Each new connection asks it whose revocation would end the grant that it was just given.
    "CREATE INDEX revocations_grant ON revocations (subject, issuer, client_id, provider) WHERE reach = 'grant'",
    "CREATE INDEX revocations_sealed_under ON revocations (key_id, id)",
    # Which migration Alembic is to go on from, when a later release brings one.
    "CREATE TABLE socialvault_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)",
    f"INSERT INTO socialvault_version (version_num) VALUES ('socialvault_{VERSION:04}')",
)


# One statement, so that all three are of one moment: another process may be creating the tables right now.
_IDENTITY = """
    SELECT user_version, application_id, (SELECT count(*) FROM sqlite_master)
    FROM pragma_user_version, pragma_application_id
"""


def prepare(handle: Handle) -> None:
    """Give a new file its tables, and make sure that an old one is ours and of a version that this code knows.

    Raises:
        ConfigurationError: the file belongs to another application, or to a newer or an older release; nothing was
            written.
        StoreUnavailableError: it can't be read or written.
    """
    with handle as execute:
        version = _checked_version(handle)
        _use_wal(handle)
        if version == VERSION:
            return
        with handle.transaction():
            if _checked_version(handle) == VERSION:  # another process was faster
                return
            for statement in _TABLES:
                execute(statement)
            execute(f"PRAGMA application_id={APPLICATION_ID}")
            execute(f"PRAGMA user_version={VERSION}")


def _checked_version(handle: Handle) -> int:
    version: int
    version, application, tables = handle.execute(_IDENTITY).fetchone()
    if application == APPLICATION_ID:
        if version > VERSION:
            raise ConfigurationError(
                f"the database has schema version {version}, this release knows {VERSION}: upgrade socialvault"
            )
        if version < VERSION:
            raise ConfigurationError(
                f"the database has schema version {version}, this release needs {VERSION}: run `socialvault db upgrade`"
            )
        return version
    if version or application or tables:
        raise ConfigurationError("the database belongs to another application: give socialvault a file of its own")
    return 0


def _use_wal(handle: Handle) -> None:
    """Turn the write-ahead log on: readers and the writer never wait for each other then."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            mode = handle.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            # This one statement does not heed the busy timeout; another process is at the same point.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.005)
    if mode not in ("wal", "memory"):
        raise ConfigurationError(f"the database can't keep a write-ahead log, its journal mode stays {mode}")
