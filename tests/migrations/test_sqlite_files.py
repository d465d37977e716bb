"""A file that the standard library's store makes and one that the revisions make are the same."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.stores.sqlalchemy.migrations.running import Migrations
from socialvault.stores.sqlalchemy.schema import REVISION, SQLITE_VERSION, metadata
from socialvault.stores.sqlite import SQLiteStore


def shape(path):
    """Everything about a file's tables that a statement could notice."""
    with closing(sqlite3.connect(path)) as file:
        tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found = {table: (_columns(file, table), _indexes(file, table)) for table in tables}
        header = [file.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")]
        revision = file.execute("SELECT version_num FROM socialvault_version").fetchall()
        return found, header, revision, _plain(_definition(file, "vault")).count("check(one=1)")


def _columns(file, table):
    return [
        (name, kind, not_null, default, primary_key, hidden)
        for _, name, kind, not_null, default, primary_key, hidden in file.execute(f"PRAGMA table_xinfo({table})")
    ]


def _indexes(file, table):
    found = {}
    for _, name, unique, origin, partial in file.execute(f"PRAGMA index_list({table})"):
        columns = [
            (column, down, collation)
            for _, _, column, down, collation, _ in file.execute(f"PRAGMA index_xinfo({name})")
        ]
        predicate = _definition(file, name).partition("WHERE")[2]
        found[name] = (unique, origin, partial, columns, _plain(predicate))
    return found


def _definition(file, name):
    return file.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0] or ""


def _plain(sql):
    return re.sub(r"\s", "", sql.lower())


@pytest.fixture
def stores_file(tmp_path):
    path = tmp_path / "store.db"
    SQLiteStore(path).close()
    return path


def test_both_make_the_same_file(stores_file, tmp_path):
    path = tmp_path / "revisions.db"
    Migrations(f"sqlite:///{path}").upgrade()
    assert shape(path) == shape(stores_file)
    assert set(shape(path)[0]) == set(metadata.tables)


def test_the_stores_file_is_at_this_releases_revision(stores_file):
    migrations = Migrations(f"sqlite:///{stores_file}")
    assert migrations.current() == REVISION
    assert migrations.check() == []
    assert migrations.upgrade() == REVISION
    assert shape(stores_file)[1][1] == (SQLITE_VERSION,)


def test_the_store_opens_what_the_revisions_made(tmp_path):
    path = tmp_path / "vault.db"
    Migrations(f"sqlite:///{path}").upgrade()
    path.chmod(0o600)
    with closing(SQLiteStore(path)) as store:
        assert store.load_vault() is None


def test_a_file_of_the_release_before_is_refused_by_name_upgraded_and_opened(first_file):
    with pytest.raises(ConfigurationError, match="socialvault db upgrade"):
        SQLiteStore(first_file)
    migrations = Migrations(f"sqlite:///{first_file}")
    assert migrations.current() == "socialvault_0001"
    assert migrations.check() == [f"the database is at socialvault_0001, this release needs {REVISION}"]
    assert migrations.upgrade() == REVISION
    assert migrations.check() == []
    with closing(SQLiteStore(first_file)) as store:
        [key] = store.keys("data", tenant="", state="primary", after_id="", limit=10)
        assert key.owner == ""
        assert store.primary_key("kek", "", "") is not None


def test_a_file_goes_back_to_the_release_before_and_forth(first_file, stores_file):
    migrations = Migrations(f"sqlite:///{first_file}")
    migrations.upgrade()
    assert migrations.downgrade("0001") == "socialvault_0001"
    with closing(sqlite3.connect(first_file)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (1,)
    migrations.upgrade()
    assert shape(first_file) == shape(stores_file)


def test_a_file_that_was_emptied_is_as_new(stores_file):
    migrations = Migrations(f"sqlite:///{stores_file}")
    assert migrations.downgrade("base") == ""
    SQLiteStore(stores_file).close()
    assert migrations.check() == []


def test_a_file_of_the_release_before_is_emptied_too(first_file):
    assert Migrations(f"sqlite:///{first_file}").downgrade("base") == ""
    SQLiteStore(first_file).close()


def test_a_file_that_an_application_shares_keeps_its_header(tmp_path):
    path = tmp_path / "application.db"
    path.touch(0o600)
    with closing(sqlite3.connect(path)) as file:
        file.executescript("CREATE TABLE articles (id INTEGER PRIMARY KEY); PRAGMA user_version = 7")
    migrations = Migrations(f"sqlite:///{path}")
    assert migrations.upgrade() == REVISION
    assert migrations.check() == []
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (7,)
        assert file.execute("PRAGMA application_id").fetchone() == (0,)


@pytest.fixture
def first_file(tmp_path):
    """A file as the release before left it: its version in the header alone."""
    from migrations.conftest import Subject, fill

    path = tmp_path / "first.db"
    fill(Subject("sqlite", f"sqlite:///{path}", str(path)))
    with closing(sqlite3.connect(path)) as file:
        file.execute("DROP TABLE socialvault_version")
    path.chmod(0o600)
    return path
