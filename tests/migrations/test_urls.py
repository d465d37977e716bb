"""Which databases have tables to migrate, and by which driver."""

from __future__ import annotations

import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.stores.sqlalchemy.migrations import engines
from socialvault.stores.sqlalchemy.migrations.engines import migration_engine


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg"),
        ("postgres://u:p@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql+psycopg"),
        ("sqlite:///vault.db", "sqlite"),
        ("sqlite+aiosqlite:///vault.db", "sqlite"),
    ],
)
def test_an_asynchronous_driver_gives_way_to_a_blocking_one(url, driver):
    engine = migration_engine(url)
    assert engine.url.drivername == driver
    assert not engine.dialect.is_async


def test_asyncpgs_word_for_encryption_is_translated():
    url = migration_engine("postgresql+asyncpg://u:p@h/d?ssl=verify-full").url
    assert dict(url.query) == {"sslmode": "verify-full"}


@pytest.mark.parametrize(
    "url", ["redis://localhost/0", "mysql://h/d", ":memory:", "sqlite://", "sqlite:///:memory:", "p4ss-canary"]
)
def test_other_stores_are_refused_by_name(url):
    with pytest.raises(ConfigurationError, match="sqlite:///FILE") as caught:
        migration_engine(url)
    assert "canary" not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install"):
        migration_engine("postgresql+asyncpg://u:p@h/d")
