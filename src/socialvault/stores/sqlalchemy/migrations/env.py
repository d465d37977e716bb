"""What Alembic runs for these revisions. The connection comes from `running`; there is no alembic.ini."""

from __future__ import annotations

from alembic import context

from socialvault.stores.sqlalchemy.migrations.marking import VERSION_TABLE

_given = context.config.attributes
context.configure(
    connection=_given.get("connection"),
    dialect_name=_given.get("dialect"),
    literal_binds=context.is_offline_mode(),
    version_table=VERSION_TABLE,
    transaction_per_migration=True,
    # SQLite's too, since the engine begins its transactions itself.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
