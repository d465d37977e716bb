"""Key states: the keys that wrap vault keys become known, data keys count what they seal.

Only adds, and replaces indexes by such that serve the same searches: the release before goes on working beside it.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import inspect, text

from socialvault.exceptions import ConfigurationError
from socialvault.stores.sqlalchemy.migrations.columns import columns, defaulted, identity
from socialvault.stores.sqlalchemy.migrations.marking import mark, mark_file
from socialvault.stores.sqlalchemy.migrations.postgres import briefly, build_index, drop_index

revision = "socialvault_0002"
down_revision = "socialvault_0001"
branch_labels = None
depends_on = None

#: Name, table, columns.
_NEW = (
    ("connections_sealed_under", "connections", "key_id id"),
    ("data_keys_wrapped_under", "data_keys", "wrapped_by key_id"),
    ("revocations_sealed_under", "revocations", "key_id id"),
)
_OLD = (("connections_key", "connections", "key_id"), ("data_keys_wrapped_by", "data_keys", "wrapped_by"))
_CANDIDATES = ("connections_candidates", "connections", "id")
_FILLED = ("connections", "data_keys")

# What wraps the vault's own primary key is the primary; nothing else tells.
_ENTER_KEKS = """
    INSERT INTO keks (key_id, tenant, owner, wrapped, wrapped_by, state, created_at_seconds)
    SELECT wrapped_by, '', '', {nothing}, '',
        CASE WHEN wrapped_by = (
            SELECT wrapped_by FROM vault_keys WHERE state = 'primary' ORDER BY tenant LIMIT 1
        ) THEN 'primary' ELSE 'decrypt_only' END,
        min(created_at_seconds)
    FROM vault_keys WHERE wrapped_by <> '' GROUP BY wrapped_by
    ON CONFLICT DO NOTHING
"""

_UNKNOWN_TO_FIRST = """
    SELECT
        (SELECT count(*) FROM vault_keys WHERE state NOT IN ('primary', 'decrypt_only')),
        (SELECT count(*) FROM data_keys WHERE state NOT IN ('primary', 'decrypt_only')),
        (SELECT count(*) FROM vault_keys WHERE tenant <> '')
"""


def upgrade() -> None:
    """Go forward."""
    if op.get_context().dialect.name == "sqlite":
        _upgrade_sqlite()
    else:
        _upgrade_postgres()
    mark(revision)


def downgrade() -> None:
    """Go back, unless the release before would misread a key.

    Raises:
        ConfigurationError: it would.
    """
    _require_representable()
    if op.get_context().dialect.name == "sqlite":
        _downgrade_sqlite()
    else:
        _downgrade_postgres()
    mark(down_revision)


def _create_keks(nothing: str) -> None:
    op.create_table(
        "keks", identity("text", "key_id"), *columns("text", "tenant owner"), *columns("bytes", "wrapped"),
        *columns("text", "wrapped_by state"), *columns("seconds", "created_at_seconds"), if_not_exists=True,
    )  # fmt: skip
    primary = text("state = 'primary'")
    op.create_index(
        "keks_primary", "keks", ["state"], unique=True, if_not_exists=True,
        postgresql_where=primary, sqlite_where=primary,
    )  # fmt: skip
    op.execute(_ENTER_KEKS.format(nothing=nothing))


def _upgrade_postgres() -> None:
    with op.get_context().autocommit_block():
        _create_keks(r"'\x'::bytea")
        briefly("data_keys", "ALTER TABLE data_keys ADD COLUMN IF NOT EXISTS seals BIGINT NOT NULL DEFAULT 0")
        for table in _FILLED:  # waits for nobody's rows, and nobody's rows for it
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 70)")
        for name, table, names in _NEW:
            build_index(name, table, names.split())
        build_index(*_CANDIDATES[:2], [_CANDIDATES[2]], r"candidate <> '\x'::bytea")
        for name, _, _ in _OLD:
            drop_index(name)


def _downgrade_postgres() -> None:
    with op.get_context().autocommit_block():
        for name, table, names in _OLD:
            build_index(name, table, names.split())
        for name, _, _ in (*_NEW, _CANDIDATES):
            drop_index(name)
        for table in _FILLED:
            op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
        briefly("data_keys", "ALTER TABLE data_keys DROP COLUMN IF EXISTS seals")
        op.drop_table("keks", if_exists=True)


def _upgrade_sqlite() -> None:
    _create_keks("x''")
    if op.get_context().as_sql or not _counts_seals():
        op.add_column("data_keys", defaulted("long", "seals", "0"))
    for name, table, names in _NEW:
        op.create_index(name, table, names.split(), if_not_exists=True)
    op.create_index(*_CANDIDATES[:2], [_CANDIDATES[2]], if_not_exists=True, sqlite_where=text("candidate <> x''"))
    for name, _, _ in _OLD:
        op.drop_index(name, if_exists=True)
    mark_file(to_version=2)


def _downgrade_sqlite() -> None:
    for name, table, names in _OLD:
        op.create_index(name, table, names.split(), if_not_exists=True)
    for name, _, _ in (*_NEW, _CANDIDATES):
        op.drop_index(name, if_exists=True)
    if _counts_seals():
        op.execute("ALTER TABLE data_keys DROP COLUMN seals")
    op.drop_table("keks", if_exists=True)
    mark_file(to_version=1)


def _counts_seals() -> bool:
    return any(column["name"] == "seals" for column in inspect(op.get_bind()).get_columns("data_keys"))


def _require_representable() -> None:
    if op.get_context().as_sql:
        raise ConfigurationError("whether this database may go back depends on its keys: downgrade it while connected")
    vault_keys, data_keys, tenants = op.get_bind().execute(text(_UNKNOWN_TO_FIRST)).one()
    if vault_keys or data_keys:
        raise ConfigurationError(
            f"schema version 1 would take {vault_keys} vault keys and {data_keys} data keys into use again that are "
            "retired, or not in use yet: reinstate or promote them first (socialvault keys list)"
        )
    if tenants:
        raise ConfigurationError(f"schema version 1 has no vault keys of tenants, and {tenants} are stored")
