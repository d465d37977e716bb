"""An application with Alembic revisions of its own keeps the vault's tables beside them, or among them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from alembic.config import main
from sqlalchemy import Column, Integer, MetaData, Table

from socialvault.stores.sqlalchemy.migrations import include_name, include_object
from socialvault.stores.sqlalchemy.schema import REVISION, connections

ENV = """
from alembic import context
from sqlalchemy import Column, Integer, MetaData, NullPool, Table, create_engine
{imports}

metadata = MetaData()
Table("articles", metadata, Column("id", Integer, primary_key=True))
{more}

with create_engine({url!r}, poolclass=NullPool).connect() as connection:
    context.configure(connection=connection, target_metadata=metadata{options})
    with context.begin_transaction():
        context.run_migrations()
"""
ARTICLES = """
from alembic import op
from sqlalchemy import Column, Integer

revision, down_revision, branch_labels, depends_on = "0001", None, ("articles",), None


def upgrade():
    op.create_table("articles", Column("id", Integer, primary_key=True))


def downgrade():
    op.drop_table("articles")
"""
TEMPLATE = """
revision, down_revision, branch_labels, depends_on = ${repr(up_revision)}, ${repr(down_revision)}, None, None


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    pass
"""


@pytest.fixture
def application(tmp_path, subject, capsys):
    """An application's folder with its env.py and its first revision, numbered as the vault's could be."""
    if subject.kind == "sqlite":
        Path(subject.native).touch(0o600)

    def build(imports="", more="", options="", versions="%(here)s/alembic/versions"):
        folder = tmp_path / "application"
        (folder / "alembic/versions").mkdir(parents=True)
        (folder / "alembic/env.py").write_text(ENV.format(imports=imports, more=more, options=options, url=subject.url))
        (folder / "alembic/script.py.mako").write_text(TEMPLATE)
        (folder / "alembic/versions/0001_articles.py").write_text(ARTICLES)
        (folder / "alembic.ini").write_text(
            dedent(f"""\
            [alembic]
            script_location = %(here)s/alembic
            path_separator = newline
            version_locations =
                {versions}
        """)
        )

        def alembic(*arguments):
            try:
                main(["-c", str(folder / "alembic.ini"), *arguments])
            except SystemExit as ended:
                return ended.code, "".join(capsys.readouterr())
            return 0, "".join(capsys.readouterr())

        return alembic

    return build


def test_beside_its_own_revisions(application, subject):
    subject.migrations.upgrade()
    alembic = application(
        "from socialvault.stores.sqlalchemy.migrations import include_name", options=", include_name=include_name"
    )
    assert alembic("upgrade", "head")[0] == 0
    code, said = alembic("check")
    assert code == 0, said
    assert subject.migrations.check() == []
    assert subject.run("SELECT version_num FROM alembic_version") == [("0001",)]
    assert subject.run("SELECT version_num FROM socialvault_version") == [(REVISION,)]
    assert subject.migrations.downgrade("base") == ""
    assert alembic("check")[0] == 0


def test_without_the_helper_alembic_would_drop_the_vaults_tables(application, subject):
    subject.migrations.upgrade()
    alembic = application()
    assert alembic("upgrade", "head")[0] == 0
    code, said = alembic("check")
    assert code != 0
    assert "'connections'" in said


def test_beside_its_own_revisions_with_the_vaults_tables_in_its_metadata(application, subject):
    subject.migrations.upgrade()
    alembic = application(
        dedent("""\
            from socialvault.stores.sqlalchemy.migrations import include_object
            from socialvault.stores.sqlalchemy.schema import metadata as vault_metadata
        """),
        "for table in vault_metadata.tables.values(): table.to_metadata(metadata)",
        ", include_object=include_object",
    )
    assert alembic("upgrade", "head")[0] == 0
    subject.run("DROP INDEX connections_status")
    subject.run("DROP TABLE revocations")
    assert alembic("check")[0] == 0


@pytest.mark.parametrize("one_transaction", [True, False])
def test_among_its_own_revisions_as_a_branch(application, subject, one_transaction):
    alembic = application(
        "from socialvault.stores.sqlalchemy.migrations import include_name",
        options=f", include_name=include_name, transaction_per_migration={not one_transaction}",
        versions="%(here)s/alembic/versions\n                socialvault:stores/sqlalchemy/migrations/versions",
    )
    code, said = alembic("upgrade", "heads")
    assert code == 0, said
    assert sorted(subject.run("SELECT version_num FROM alembic_version")) == [("0001",), (REVISION,)]
    assert subject.migrations.current() == REVISION
    assert subject.migrations.check() == []
    assert alembic("check")[0] == 0
    code, said = alembic("downgrade", "socialvault@-1")
    assert code == 0, said
    assert subject.migrations.current() == "socialvault_0001"
    code, said = alembic("downgrade", "socialvault@base")
    assert code == 0, said
    assert subject.migrations.current() == ""
    assert subject.run("SELECT version_num FROM alembic_version") == [("0001",)]
    code, said = alembic("upgrade", "socialvault@head")
    assert code == 0, said
    assert subject.migrations.check() == []


def test_a_database_that_was_upgraded_here_first_may_join_the_branch_later(application, subject):
    subject.migrations.upgrade()
    alembic = application(
        versions="%(here)s/alembic/versions\n                socialvault:stores/sqlalchemy/migrations/versions"
    )
    code, said = alembic("upgrade", "heads")
    assert code == 0, said
    assert subject.migrations.check() == []


def test_the_helpers_know_the_vaults_tables_alone():
    own = Table("articles", MetaData(), Column("id", Integer, primary_key=True))
    assert not include_name("connections", "table", {"schema_name": None})
    assert include_name("articles", "table", {"schema_name": None})
    assert include_name("id", "column", {"schema_name": None, "table_name": "articles"})
    assert not include_object(connections, "connections", "table", False, None)
    assert not include_object(next(iter(connections.indexes)), "some_index", "index", True, None)
    assert include_object(own, "articles", "table", False, None)
    assert include_object(own.c.id, "id", "column", False, None)
