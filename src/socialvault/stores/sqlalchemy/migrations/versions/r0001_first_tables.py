"""The tables of the first schema: connections, flows, keys and revocations.

Text compares byte by byte. Every statement may be run again after a run that was interrupted.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import CheckConstraint, Column, text

from socialvault.stores.sqlalchemy.migrations.columns import columns, defaulted, identity
from socialvault.stores.sqlalchemy.migrations.marking import mark, mark_file

revision = "socialvault_0001"
down_revision = None
branch_labels = ("socialvault",)
depends_on = None

_LIVE = "status IN ('active', 'reauthorization_required')"
_DEAD = "status IN ('revocation_pending', 'revoked')"
_PRIMARY = "state = 'primary'"

#: By table: name, columns, predicate.
_INDEXES = {
    "connections": (
        ("connections_tombstones", "subject issuer client_id provider parent_id", _DEAD),
        ("connections_owner", "tenant owner", ""),
        ("connections_children", "parent_id", "parent_id <> ''"),
        ("connections_due", "provider client_id due_at_seconds id", "status = 'active'"),
        ("connections_warnings", "warn_at_seconds id", "status = 'active' AND warn_at_seconds IS NOT NULL"),
        ("connections_status", "status id", ""),
        ("connections_key", "key_id", ""),
    ),
    "data_keys": (
        ("data_keys_former", "tenant owner", "state <> 'primary'"),
        ("data_keys_wrapped_by", "wrapped_by", ""),
    ),
    "revocations": (
        ("revocations_due", "next_attempt_at_seconds id", ""),
        ("revocations_connection", "connection_id", ""),
        ("revocations_owner", "tenant owner", ""),
        ("revocations_grant", "subject issuer client_id provider", "reach = 'grant'"),
    ),
}  # fmt: skip
_UNIQUE = {
    "connections": (
        "connections_account", "subject issuer client_id provider tenant parent_id shared_with", _LIVE
    ),
    "vault_keys": ("vault_keys_primary", "tenant", _PRIMARY),
    "data_keys": ("data_keys_primary", "tenant owner", _PRIMARY),
}  # fmt: skip


def upgrade() -> None:
    """Make them."""
    mark_file(to_version=1)
    _create_connections()
    _create_states()
    _create_vault()
    for name in ("vault_keys", "data_keys"):
        _create(
            name, identity("text", "key_id"), *columns("text", "tenant owner"), *columns("bytes", "wrapped"),
            *columns("text", "wrapped_by state"), *columns("seconds", "created_at_seconds"),
        )  # fmt: skip
    _create_revocations()
    for table, indexes in _INDEXES.items():
        for index in indexes:
            _index(table, *index, unique=False)
    for table, index in _UNIQUE.items():
        _index(table, *index, unique=True)
    mark(revision)


def downgrade() -> None:
    """Drop them, and every token with them."""
    for table in ("revocations", "data_keys", "vault_keys", "vault", "states", "connections"):
        op.drop_table(table, if_exists=True)
    mark("")
    mark_file(to_version=0)


def _create(name: str, *parts: Column[object] | CheckConstraint) -> None:
    op.create_table(name, *parts, if_not_exists=True)


def _index(table: str, name: str, names: str, where: str, *, unique: bool) -> None:
    predicate = text(where) if where else None
    op.create_index(
        name, table, names.split(), unique=unique, if_not_exists=True,
        postgresql_where=predicate, sqlite_where=predicate,
    )  # fmt: skip


def _create_connections() -> None:
    _create(
        "connections",
        identity("text", "id"),
        *columns("text", "tenant owner status reason"),
        *columns("count", "generation"),
        *columns("text", "provider issuer client_id parent_id"),
        *columns("bytes", "envelope"),
        *columns("text", "subject shared_with kind key_id"),
        *columns("seconds", "created_at_seconds updated_at_seconds"),
        *columns("seconds", "due_at_seconds? dies_at_seconds? warn_at_seconds? failing_since_seconds?"),
        *columns("text", "failing_with"),
        *columns("count", "failures refusals"),
        *columns("bytes", "candidate intent_digest"),
        *columns("seconds", "intent_sent_at_seconds? intent_deadline_seconds?"),
        *columns("count", "intent_attempt"),
        defaulted("text", "lease_holder", "''"),
        *columns("seconds", "lease_until_seconds?"),
    )


def _create_states() -> None:
    _create(
        "states",
        identity("bytes", "state_hash"),
        *columns("text", "tenant owner provider"),
        *columns("bytes", "binding sealed"),
        *columns("text", "return_to phase"),
        *columns("seconds", "expires_at_seconds"),
        *columns("text", "connection_id error missing_scopes"),
    )


def _create_vault() -> None:
    # One row at most: `one` is always 1.
    _create(
        "vault",
        identity("count", "one"),
        *columns("bytes", "vault_id canary"),
        *columns("seconds", "created_at_seconds"),
        CheckConstraint("one = 1", name="vault_one_check"),
    )


def _create_revocations() -> None:
    _create(
        "revocations",
        identity("text", "id"),
        *columns("text", "connection_id tenant owner provider client_id issuer subject reach"),
        *columns("count", "generation"),
        *columns("bytes", "envelope"),
        *columns("text", "key_id"),
        *columns("count", "attempt"),
        *columns("seconds", "next_attempt_at_seconds created_at_seconds"),
    )
