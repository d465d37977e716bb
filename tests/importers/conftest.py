"""A database that another system leaves, on SQLite and Postgres, and a vault to bring its tokens into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import create_engine
from support.canaries import assert_absent_from_files
from support.legacy import ALLAUTH, SOCIAL_AUTH, Legacy
from support.world import World, open_world

from socialvault.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from support.postgres import Database, Postgres


@pytest.fixture(scope="session")
def legacy_database(postgres: Postgres) -> Database:
    return postgres.create_database("importers")


@pytest.fixture(params=["sqlite", "postgres"])
def legacy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Legacy]:
    if request.param == "sqlite":
        (tmp_path / "legacy").mkdir()
        url = f"sqlite:///{tmp_path / 'legacy' / 'db.sqlite3'}"
    else:
        database: Database = request.getfixturevalue("legacy_database")
        database.execute("DROP SCHEMA public CASCADE")
        database.execute("CREATE SCHEMA public")
        url = database.url
    engine = create_engine(url)
    made = Legacy(request.param, url, engine)
    made.create(*ALLAUTH, *SOCIAL_AUTH)
    yield made
    engine.dispose()


@pytest.fixture(params=["sync", "async"])
async def world(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[World]:
    """A vault of either colour over SQLite. Whatever was done with it, its files hold no token in any spelling."""
    folder = tmp_path / "vault"
    folder.mkdir()
    async with open_world(sandbox, request.param, "sqlite", folder, escrow=tmp_path / "vault" / "escrow") as opened:
        yield opened
        assert_absent_from_files(sandbox.issued_tokens(), folder)


@pytest.fixture
async def sync_world(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[World]:
    """For what has no colour."""
    folder = tmp_path / "vault"
    folder.mkdir()
    async with open_world(sandbox, "sync", "sqlite", folder) as opened:
        yield opened
        assert_absent_from_files(sandbox.issued_tokens(), folder)
