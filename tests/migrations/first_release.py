"""The release before, as it asks a database: its own statements, over the first schema, which it knows alone.

They are kept as they were. A later schema must go on serving them until the release after that.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from typing import Any, Self

from support.postgres import Database

KEY_ID = "ab" * 32
VAULT_KEY_ID = "cd" * 32
KEK_ID = "ef" * 32

LIVE = "status IN ('active', 'reauthorization_required')"

_COLUMNS = (
    "id, tenant, provider, client_id, issuer, subject, parent_id, shared_with, owner, kind, status, reason, generation,"
    " envelope, key_id, created_at_seconds, updated_at_seconds, due_at_seconds, dies_at_seconds, warn_at_seconds,"
    " failing_since_seconds, failing_with, failures, refusals, candidate, intent_digest, intent_sent_at_seconds,"
    " intent_deadline_seconds, intent_attempt"
)
_CLOSED_INTENT = (
    "intent_digest = :empty, intent_sent_at_seconds = NULL, intent_deadline_seconds = NULL, intent_attempt = 0"
)
_KEY = "(key_id, tenant, owner, wrapped, wrapped_by, state, created_at_seconds)"
_KEY_VALUES = "(:key_id, :tenant, :owner, :wrapped, :wrapped_by, 'primary', :now)"

INSERT = f"""
    INSERT INTO connections ({_COLUMNS}) VALUES (
        :id, :tenant, 'google', 'client', 'https://issuer.test', :subject, '', '', :owner, 'account', 'active', '', 1,
        :envelope, :key_id, :now, :now, :due, NULL, NULL, NULL, '', 0, 0, :empty, :empty, NULL, NULL, 0
    )
    ON CONFLICT (subject, issuer, client_id, provider, tenant, parent_id, shared_with) WHERE {LIVE} DO NOTHING
"""
TOKEN = """
    SELECT status, generation, provider, issuer, parent_id, envelope FROM connections
    WHERE id = :id AND tenant = :tenant AND owner = :owner
"""
OF_OWNER = f"SELECT {_COLUMNS} FROM connections WHERE tenant = :tenant AND owner = :owner AND {LIVE}"
DUE = f"""
    SELECT {_COLUMNS} FROM connections
    WHERE status = 'active' AND provider = 'google' AND client_id = 'client' AND due_at_seconds <= :now
    ORDER BY due_at_seconds, id LIMIT 10
"""
LEASE = """
    UPDATE connections SET lease_holder = :holder, lease_until_seconds = :until
    WHERE id = :id AND (lease_until_seconds IS NULL OR lease_until_seconds <= :now OR lease_holder = :holder)
"""
INTENT = f"""
    UPDATE connections SET
        intent_digest = :digest, intent_sent_at_seconds = :now, intent_deadline_seconds = :until,
        intent_attempt = intent_attempt + 1
    WHERE id = :id AND {LIVE}
"""
WRITE_TOKEN = f"""
    UPDATE connections SET
        envelope = :envelope, key_id = :key_id, updated_at_seconds = :now, due_at_seconds = :due,
        generation = generation + 1, status = 'active', reason = '', candidate = :empty,
        failing_since_seconds = NULL, failing_with = '', failures = 0, refusals = 0, {_CLOSED_INTENT}
    WHERE id = :id AND {LIVE}
"""
RELEASE = """
    UPDATE connections SET lease_holder = '', lease_until_seconds = NULL
    WHERE id = :id AND lease_holder = :holder AND lease_until_seconds IS NOT NULL
"""
PUT_STATE = """
    INSERT INTO states (
        state_hash, tenant, owner, provider, binding, sealed, return_to, phase, expires_at_seconds, connection_id,
        error, missing_scopes
    ) VALUES (:digest, :tenant, :owner, 'google', :digest, :envelope, '/', 'pending', :due, '', '', '')
"""
CREATE_VAULT = "INSERT INTO vault (one, vault_id, canary, created_at_seconds) VALUES (1, :vault_id, :canary, :now)"
VAULT_KEYS = "SELECT key_id, wrapped_by, state FROM vault_keys ORDER BY state <> 'primary', created_at_seconds DESC"
ADD_VAULT_KEY = f"INSERT INTO vault_keys {_KEY} VALUES {_KEY_VALUES}"
ADD_DATA_KEY = f"INSERT INTO data_keys {_KEY} VALUES {_KEY_VALUES}"
DATA_KEY = (
    "SELECT key_id, tenant, owner, wrapped, wrapped_by, state, created_at_seconds FROM data_keys WHERE key_id = :key_id"
)
DEMOTE_DATA_KEY = "UPDATE data_keys SET state = 'decrypt_only' WHERE key_id = :key_id AND state = 'primary'"
QUEUE_REVOCATION = """
    INSERT INTO revocations (
        id, connection_id, tenant, owner, provider, client_id, issuer, subject, reach, generation, envelope, key_id,
        attempt, next_attempt_at_seconds, created_at_seconds
    ) VALUES (
        :id, :id, :tenant, :owner, 'google', 'client', 'https://issuer.test', :subject, 'grant', 1, :envelope, :key_id,
        0, :now, :now
    )
"""
FINISH_REVOCATION = "DELETE FROM revocations WHERE id = :id"


def sealed(key_id: str, length: int = 320) -> bytes:
    """Bytes that look like something sealed under a key."""
    return b"SV\x01\x01" + bytes.fromhex(key_id) + os.urandom(length)


class FirstRelease:
    """A process of the release before: one connection, which commits each statement."""

    def __init__(self, database: Database | str) -> None:
        if isinstance(database, str):
            self._connection: Any = sqlite3.connect(database, isolation_level=None, timeout=10, check_same_thread=False)
            self._connection.execute("PRAGMA synchronous=OFF")
        else:
            self._connection = database.connect()
        self._named = isinstance(database, Database)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def run(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        if self._named:
            statement = re.sub(r":([a-z_]+)", r"%(\1)s", statement)
        cursor = self._connection.execute(statement, {"empty": b"", "now": time.time(), **values})
        return cursor.fetchall() if cursor.description else [(cursor.rowcount,)]

    def start_vault(self) -> None:
        """The first start: the vault, its key, and the vault's own data key."""
        self.run(CREATE_VAULT, vault_id=os.urandom(16), canary=sealed(VAULT_KEY_ID))
        key = {"tenant": "", "owner": "", "wrapped": os.urandom(96)}
        self.run(ADD_VAULT_KEY, key_id=VAULT_KEY_ID, wrapped_by=KEK_ID, **key)
        self.run(ADD_DATA_KEY, key_id=KEY_ID, wrapped_by=VAULT_KEY_ID, **key)

    def connect(self, connection_id: str) -> None:
        """A new owner connects an account."""
        key_id, whose = os.urandom(32).hex(), {"tenant": "t", "owner": f"owner-{connection_id}"}
        self.run(PUT_STATE, digest=os.urandom(32), envelope=sealed(KEY_ID), due=time.time() + 600, **whose)
        self.run(ADD_DATA_KEY, key_id=key_id, wrapped_by=VAULT_KEY_ID, wrapped=os.urandom(96), **whose)
        values = {"envelope": sealed(key_id), "key_id": key_id, "due": time.time() + 3600, **whose}
        assert self.run(INSERT, id=connection_id, subject=f"subject-{connection_id}", **values) == [(1,)]

    def refresh(self, connection_id: str, owner: str) -> None:
        """A token is read, renewed and written."""
        [(_, generation, *_, envelope)] = self.run(TOKEN, id=connection_id, tenant="t", owner=owner)
        key_id, now = envelope[4:36].hex(), time.time()
        self.run(LEASE, id=connection_id, holder="first", until=now + 60)
        self.run(INTENT, id=connection_id, digest=os.urandom(32), until=now + 60)
        assert self.run(WRITE_TOKEN, id=connection_id, envelope=sealed(key_id), key_id=key_id, due=now + 3600) == [(1,)]
        self.run(RELEASE, id=connection_id, holder="first")
        [(_, written, *_)] = self.run(TOKEN, id=connection_id, tenant="t", owner=owner)
        assert written > generation

    def everything(self, connection_id: str) -> None:
        """Whatever else it asks and writes."""
        self.connect(connection_id)
        owner = f"owner-{connection_id}"
        self.refresh(connection_id, owner)
        assert len(self.run(OF_OWNER, tenant="t", owner=owner)) == 1
        self.run(DUE)
        assert self.run(VAULT_KEYS)[0][:2] == (VAULT_KEY_ID, KEK_ID)
        assert self.run(DATA_KEY, key_id=KEY_ID)[0][4] == VAULT_KEY_ID
        replaced = self.run("SELECT key_id FROM data_keys WHERE owner = :owner", owner=owner)[0][0]
        assert self.run(DEMOTE_DATA_KEY, key_id=replaced) == [(1,)]
        new = {"key_id": os.urandom(32).hex(), "wrapped": os.urandom(96), "wrapped_by": VAULT_KEY_ID}
        self.run(ADD_DATA_KEY, tenant="t", owner=owner, **new)
        values = {"tenant": "t", "owner": owner, "subject": f"subject-{connection_id}", "key_id": replaced}
        self.run(QUEUE_REVOCATION, id=connection_id, envelope=sealed(replaced), **values)
        assert self.run(FINISH_REVOCATION, id=connection_id) == [(1,)]
