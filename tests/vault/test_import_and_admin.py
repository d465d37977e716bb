"""Tokens from elsewhere, and what operators may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault import Secret
from socialvault.exceptions import AlreadyConnectedError, ConfigurationError, ConnectionNotFoundError, ProviderError
from socialvault.model.status import Status

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}


def tokens_of(world: World) -> tuple[str, str]:
    live = world.sandbox.live_tokens("x")
    access = next(token for token in live if "-at-" in token)
    refresh = next(token for token in live if "-rt-" in token)
    return access, refresh


async def test_an_imported_grant_lives_on(world: World) -> None:
    old = await world.connect("x", owner="elsewhere", tenant="old")
    access, refresh = tokens_of(world)
    imported = await world.vault.import_tokens(
        "x", **MINE, access_token=access, refresh_token=Secret(refresh), scopes=["users.read", "tweet.read"],
        expires_at=datetime.fromtimestamp(world.sandbox.clock.now_seconds(), UTC) + timedelta(hours=2),
    )  # fmt: skip
    assert imported.subject == old.subject
    world.sandbox.clock.advance(timedelta(hours=3))
    token = await world.vault.token(imported.id, **MINE)
    assert token.reveal() in world.sandbox.live_tokens("x")
    assert token.generation == 2


async def test_an_import_without_a_subject_asks_whose_it_is(world: World) -> None:
    with pytest.raises(ProviderError):
        await world.vault.import_tokens("x", **MINE, access_token="unknown-token")
    named = await world.vault.import_tokens("x", **MINE, access_token="some-token", subject="12345")
    assert (named.subject, named.expires_at) == ("12345", None)
    with pytest.raises(AlreadyConnectedError):
        await world.vault.import_tokens("x", owner="other", tenant=TENANT, access_token="t", subject="12345")


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak", "ümlaut", None, 7])
async def test_what_can_be_no_token_is_not_imported(world: World, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="access_token"):
        await world.vault.import_tokens("x", **MINE, access_token=value, subject="1")
    with pytest.raises(ConfigurationError, match="aware"):
        await world.vault.import_tokens("x", **MINE, access_token="t", subject="1", expires_at=datetime(2026, 1, 1))  # noqa: DTZ001


async def admin(world: World, name: str, *args: Any, **kwargs: Any) -> Any:
    target = getattr(world.vault.vault.admin, name)
    if world.colour == "async":
        return await target(*args, **kwargs)
    import asyncio

    return await asyncio.to_thread(target, *args, **kwargs)


async def test_operators_see_all_owners_and_no_secret(world: World) -> None:
    made = [await world.connect("x", owner=f"o{n}", tenant=f"t{n % 2}", user=f"u{n}") for n in range(5)]
    await world.vault.disconnect(made[0].id, owner="o0", tenant="t0")
    assert await admin(world, "counts") == {"active": 4, "revoked": 1}
    assert {c.id for c in await admin(world, "find")} == {c.id for c in made}
    assert {c.owner for c in await admin(world, "find", tenant="t1")} == {"o1", "o3"}
    assert {c.owner for c in await admin(world, "find", status="revoked")} == {"o0"}
    page = await admin(world, "find", limit=2)
    rest = await admin(world, "find", after_id=page[-1].id)
    assert {c.id for c in (*page, *rest)} == {c.id for c in made}
    assert all(c.name == "" for c in page)
    await admin(world, "refresh", made[1].id, owner="o1", tenant="t1")
    assert world.token_requests("x", grant_type="refresh_token") == 1
    assert (await admin(world, "revoke", made[1].id, owner="o1", tenant="t1")).outcome == "revoked"
    with pytest.raises(ConnectionNotFoundError):
        await admin(world, "refresh", made[1].id, owner="o1", tenant="t1")
    found = await admin(world, "find", owner="o1", provider="x")
    assert [c.status for c in found] == [Status.REVOKED]
