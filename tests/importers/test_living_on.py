"""Grants that were given to another system live on in the vault."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.legacy import ADDERS, NAMES, SOURCES, bring, counts, reasons

from socialvault.importers import ImportMapping

if TYPE_CHECKING:
    from support.legacy import Legacy
    from support.world import World

TENANT = "acme"
MAPPING = ImportMapping(owner="user-{}".format, tenant=TENANT)


@pytest.fixture(params=["allauth", "social-auth"])
def system(request: pytest.FixtureRequest) -> Any:
    return request.param


async def connection_of(world: World, owner: str) -> Any:
    [found] = await world.vault.connections(owner=owner, tenant=TENANT)
    return found


async def test_tokens_work_at_once_and_are_renewed_once(world: World, legacy: Legacy, system: str) -> None:
    issued = world.sandbox.issue_many("x", ["ada", "grace", "katherine"])
    for number, tokens in enumerate(issued, start=1):
        ADDERS[system](legacy, number, NAMES[system], tokens)
    before = legacy.dump()

    report = await bring(world, SOURCES[system](legacy.url), MAPPING)

    assert counts(report) == {"imported": 3}
    assert world.token_requests("x") == 0, "the import asked a provider"
    for number, tokens in enumerate(issued, start=1):
        mine = {"owner": f"user-{number}", "tenant": TENANT}
        connection = await connection_of(world, mine["owner"])
        assert connection.subject == tokens.subject
        token = await world.vault.token(connection.id, **mine)
        assert token.reveal() == tokens.access_token.reveal()
        assert tokens.expires_at is not None
        assert abs(token.expires_at - tokens.expires_at) < timedelta(seconds=2)
    assert world.token_requests("x") == 0

    world.sandbox.clock.advance(timedelta(hours=3))
    mine = {"owner": "user-1", "tenant": TENANT}
    connection = await connection_of(world, "user-1")
    renewed = await world.vault.token(connection.id, **mine)
    assert renewed.reveal() in world.sandbox.live_tokens("x")
    assert world.sandbox.log.count(provider="x", outcome="refreshed") == 1
    assert world.sandbox.log.count(provider="x", outcome="reuse_detected") == 0
    assert legacy.dump() == before, "the source was written to"


async def test_running_it_again_leaves_a_renewed_token_alone(world: World, legacy: Legacy, system: str) -> None:
    ADDERS[system](legacy, 1, NAMES[system], world.sandbox.issue("x"))
    mine = {"owner": "user-1", "tenant": TENANT}
    await bring(world, SOURCES[system](legacy.url), MAPPING)
    connection = await connection_of(world, "user-1")
    world.sandbox.clock.advance(timedelta(hours=3))
    renewed = await world.vault.token(connection.id, **mine)

    again = await bring(world, SOURCES[system](legacy.url), MAPPING)

    assert counts(again) == {"already_there": 1}
    assert (await world.vault.token(connection.id, **mine)).reveal() == renewed.reveal()
    world.sandbox.clock.advance(timedelta(hours=3))
    await world.vault.token(connection.id, **mine)  # the refresh token of the vault, not the source's spent one
    assert world.sandbox.log.count(provider="x", outcome="refreshed") == 2
    assert world.sandbox.log.count(provider="x", outcome="reuse_detected") == 0


async def test_an_expired_token_is_renewed_at_its_first_use(sync_world: World, legacy: Legacy, system: str) -> None:
    ADDERS[system](legacy, 1, NAMES[system], sync_world.sandbox.issue("x"))
    sync_world.sandbox.clock.advance(timedelta(days=30))
    report = await bring(sync_world, SOURCES[system](legacy.url), MAPPING)
    assert counts(report) == {"imported": 1}
    connection = await connection_of(sync_world, "user-1")
    token = await sync_world.vault.token(connection.id, owner="user-1", tenant=TENANT)
    assert token.reveal() in sync_world.sandbox.live_tokens("x")
    assert sync_world.sandbox.log.count(provider="x", outcome="refreshed") == 1


async def test_without_a_refresh_token_it_lives_while_the_access_token_does(
    sync_world: World, legacy: Legacy, system: str
) -> None:
    ADDERS[system](legacy, 1, NAMES[system], sync_world.sandbox.issue("x", user="ada", scopes=["users.read"]))
    report = await bring(sync_world, SOURCES[system](legacy.url), MAPPING)
    assert counts(report) == {"imported": 1}
    connection = await connection_of(sync_world, "user-1")
    assert not connection.renewable

    ADDERS[system](legacy, 2, NAMES[system], sync_world.sandbox.issue("x", user="grace", scopes=["users.read"]))
    sync_world.sandbox.clock.advance(timedelta(hours=3))
    later = await bring(sync_world, SOURCES[system](legacy.url), MAPPING)
    assert counts(later) == {"already_there": 1, "skipped": 1}
    assert reasons(later) == {"expired, and without a refresh token: the account's owner must connect again": ["2"]}


async def test_a_lifetime_of_the_refresh_token_is_known(sync_world: World, legacy: Legacy) -> None:
    tokens = sync_world.sandbox.issue("linkedin", client_id=sync_world.providers["linkedin"].client_id)
    assert tokens.refresh_expires_at is not None
    assert tokens.expires_at is not None
    auth_time = int(sync_world.sandbox.clock.now_seconds())
    legacy.add_social_auth(
        1, "linkedin-oauth2", tokens, auth_time=auth_time,
        expires_in=int(tokens.expires_at.timestamp()) - auth_time,
        refresh_expires_in=int(tokens.refresh_expires_at.timestamp()) - auth_time,
    )  # fmt: skip
    assert counts(await bring(sync_world, SOURCES["social-auth"](legacy.url), MAPPING)) == {"imported": 1}
    connection = await connection_of(sync_world, "user-1")
    assert connection.provider == "linkedin"
    assert abs(connection.dies_at - tokens.refresh_expires_at) < timedelta(seconds=2)


async def test_scopes_that_the_source_does_not_say_can_be_given(sync_world: World, legacy: Legacy) -> None:
    legacy.add_allauth(1, "twitter_oauth2", sync_world.sandbox.issue("x"))
    mapping = ImportMapping(owner="user-{}".format, tenant=TENANT, scopes={"x": ("tweet.read", "users.read")})
    await bring(sync_world, SOURCES["allauth"](legacy.url), mapping)
    assert (await connection_of(sync_world, "user-1")).scopes == {"tweet.read", "users.read"}
