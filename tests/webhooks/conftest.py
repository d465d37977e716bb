"""Worlds of both colours and both stores, and what providers post about accounts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.canaries import assert_absent_from_files
from support.world import World, open_world

from socialvault.runtimes.threads import run
from socialvault.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime
    from pathlib import Path

COMBINATIONS = [(colour, kind) for colour in ("sync", "async") for kind in ("memory", "sqlite")]


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.reset()
    running_sandbox.clock.freeze()
    return running_sandbox


@pytest.fixture(params=COMBINATIONS, ids="-".join)
async def world(
    request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[World]:
    caplog.set_level("DEBUG")
    colour, kind = request.param
    async with open_world(sandbox, colour, kind, tmp_path, on_shared_account="separate") as opened:
        yield opened
        secrets = sandbox.issued_tokens()
        assert_absent_from_files(secrets, opened.directory)
        text = "\n".join([*(record.getMessage() for record in caplog.records), *map(repr, opened.events)])
        assert not [secret[:12] for secret in secrets if secret in text]


@pytest.fixture
def handle(world: World) -> Callable[..., Any]:
    """Let the vault handle what Facebook posts about a person."""

    async def call(use_case: Any, *, user: str = "ada", issued_at: datetime | None = None, vault: Any = None) -> Any:
        posted = world.sandbox.signed_request("facebook", user=user, issued_at=issued_at)
        notice = world.providers["facebook"].read_account_notice(posted)
        assert notice is not None
        cases = (vault or world.vault).vault._cases
        if world.colour == "async":
            return await use_case(cases, "facebook", notice)
        return await asyncio.to_thread(lambda: run(use_case(cases, "facebook", notice)))

    return call


@pytest.fixture
def rows(world: World) -> Callable[..., Any]:
    """Read every row of Facebook's in the store, by id."""

    async def read() -> dict[str, Any]:
        filters = {"tenant": None, "owner": None, "provider": "facebook", "status": None}
        found = world.store.find(**filters, after_id="", limit=100)
        return {row.id: row for row in (await found if world.colour == "async" else found)}

    return read
