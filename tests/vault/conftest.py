"""Worlds for the vault's tests: both colours, both stores; and the invariants that hold after every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.canaries import assert_absent_from_files, found_in_text
from support.vault_databases import sweep, vault_database
from support.world import World, open_world

from socialvault.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from support.postgres import Database, Postgres
    from support.valkey import Valkey

#: The store in memory is held to the same contract, and is one of `any_world`'s.
COMBINATIONS = [("sync", "sqlite"), ("async", "sqlite")]
IN_MEMORY = [("sync", "memory"), ("async", "memory")]
ON_SERVERS = [(colour, kind) for colour in ("sync", "async") for kind in ("postgres", "valkey")]


@pytest.fixture(autouse=True)
def hasty_second_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Believe a dead grant sooner than after a second; where that second matters, a test asks for it."""
    monkeypatch.setattr("socialvault.vault.attempt._SECOND_LOOKS_SECONDS", (0.05,))


@pytest.fixture(params=COMBINATIONS, ids="-".join)
async def world(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[World]:
    caplog.set_level("DEBUG")
    colour, kind = request.param
    async with open_world(sandbox, colour, kind, tmp_path) as opened:
        yield opened
        await assert_invariants(opened, caplog)


@pytest.fixture(scope="session")
def server_database(postgres: Postgres) -> Iterator[Database]:
    """A database of the vault's tests, with the tables in it."""
    with vault_database(postgres, "vault_tests") as made:
        yield made


@pytest.fixture
def server_url(request: pytest.FixtureRequest) -> Callable[[str, str], str]:
    """Return the URL of an empty store on a server, by its kind and the vault's colour."""

    def url(kind: str, colour: str) -> str:
        if kind == "valkey":
            valkey: Valkey = request.getfixturevalue("valkey")
            valkey.flush()
            return valkey.url

        database: Database = request.getfixturevalue("server_database")
        sweep(database)
        return database.async_url if colour == "async" else database.url

    return url


@pytest.fixture(params=[*COMBINATIONS, *IN_MEMORY, *ON_SERVERS], ids="-".join)
async def any_world(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    server_url: Callable[[str, str], str],
) -> AsyncIterator[World]:  # fmt: skip
    """As `world`, over every kind of store."""
    caplog.set_level("DEBUG")
    colour, kind = request.param
    url = server_url(kind, colour) if (colour, kind) in ON_SERVERS else ""
    async with open_world(sandbox, colour, kind, tmp_path, url) as opened:
        yield opened
        await assert_invariants(opened, caplog)


@pytest.fixture(params=["memory", "sqlite"])
async def async_world(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[World]:
    """For what only happens on event loops: cancellation, several loops."""
    caplog.set_level("DEBUG")
    async with open_world(sandbox, "async", request.param, tmp_path) as opened:
        yield opened
        await assert_invariants(opened, caplog)


@pytest.fixture(params=["memory", "sqlite"])
async def sync_world(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[World]:
    """For what only happens to blocking callers."""
    caplog.set_level("DEBUG")
    async with open_world(sandbox, "sync", request.param, tmp_path) as opened:
        yield opened
        await assert_invariants(opened, caplog)


async def assert_invariants(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """I1 and I5: no secret in any file, log record or event; no code exchanged twice."""
    secrets = world.sandbox.issued_tokens()
    assert_absent_from_files(secrets, world.directory)
    text = "\n".join([*(record.getMessage() for record in caplog.records), *map(repr, world.events)])
    leaked = found_in_text(secrets, text)
    assert not leaked, f"secrets in logs or events: {leaked}"
    assert world.sandbox.log.count(outcome="code_reused") == 0
