"""The revisions that bring a database to the tables of this release, for Alembic.

``socialvault db upgrade`` runs them. An application with revisions of its own either leaves the vault's tables alone
(`include_name`, `include_object`), or runs the vault's revisions among its own, as the branch ``socialvault``: with
``socialvault:stores/sqlalchemy/migrations/versions`` among its ``version_locations``.
"""

from __future__ import annotations

#: The tables of every schema version.
TABLES = frozenset({
    "connections", "states", "vault", "keks", "vault_keys", "data_keys", "revocations", "socialvault_version",
})  # fmt: skip


def include_name(name: str | None, type_: str, *_: object) -> bool:
    """Keep ``alembic revision --autogenerate`` from looking at the vault's tables.

    Give it to ``context.configure`` in the application's ``env.py``.
    """
    return not (type_ == "table" and name in TABLES)


def include_object(item: object, name: str | None, type_: str, *_: object) -> bool:
    """As `include_name`, for an application whose own metadata holds the vault's tables too."""
    table = getattr(item, "table", None)
    return not (type_ == "table" and name in TABLES) and getattr(table, "name", None) not in TABLES
