"""No secret in any error, log, repr or traceback, whatever goes wrong on the way."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from support.canaries import found_in, whole_story
from support.world import OWNER, SLUGS, TENANT, World

from socialvault.exceptions import SocialVaultError

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}

FAULTS: list[dict[str, Any]] = [
    {"status": 500}, {"status": 400, "error": "invalid_grant"}, {"status": 401, "error": "invalid_client"},
    {"status": 429, "retry_after": 5}, {"status": 302, "headers": {"Location": "https://evil.example/?t=1"}},
    {"body": "html"}, {"body": "malformed"}, {"body": "empty"}, {"body": "truncated"},
    {"drop": "before_commit"}, {"drop": "after_commit"}, {"replace": {"token_type": "mac"}},
    {"replace": {"access_token": None}}, {"replace": {"access_token": "line\nbreak"}}, {"replace": {"access_token": 7}},
    {"replace": {"access_token": "ü" * 20}}, {"replace": {"refresh_token": ["a", "list"]}},
]  # fmt: skip


def secrets_of(world: World, *more: str) -> set[str]:
    clients = [provider.credentials.client_secret for provider in world.providers.values()]
    return {*world.sandbox.issued_tokens(), *(secret.reveal() for secret in clients if secret), *more, world.keys}


def assert_silent(world: World, problem: BaseException, caplog: pytest.LogCaptureFixture, *more: str) -> None:
    story = whole_story(problem) + caplog.text
    leaked = found_in(secrets_of(world, *more), story.encode("utf-8", "replace"))
    assert not leaked, f"{type(problem).__name__} tells {leaked}"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: json.dumps(fault, ensure_ascii=True)[:50])
@pytest.mark.parametrize("slug", ["x", "oidc"])
async def test_l_04_l_05_i9_a_failed_exchange_tells_no_secret(
    world: World, caplog: pytest.LogCaptureFixture, slug: str, fault: dict[str, Any]
) -> None:
    login = await world.vault.begin(slug, **MINE)
    params = await world.callback(login)
    world.sandbox.fault(slug, "token", **fault)
    with pytest.raises(SocialVaultError) as caught:
        await world.complete(login, params, slug)
    assert_silent(world, caught.value, caplog, params["code"], params["state"], login.cookie.value)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: json.dumps(fault, ensure_ascii=True)[:50])
async def test_l_04_l_05_i9_a_failed_refresh_tells_no_secret(
    world: World, caplog: pytest.LogCaptureFixture, fault: dict[str, Any]
) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(timedelta(hours=3))
    world.sandbox.fault("x", "token", **fault)
    try:
        await world.vault.token(connection.id, **MINE)
    except SocialVaultError as problem:
        assert_silent(world, problem, caplog)
    else:
        assert fault.get("replace", {}).keys() == {"refresh_token"}  # a stray list is no reason to fail


@pytest.mark.parametrize("slug", SLUGS)
async def test_l_05_a_failing_user_information_call_tells_no_secret(
    world: World, caplog: pytest.LogCaptureFixture, slug: str
) -> None:
    for fault in ({"status": 500}, {"body": "html"}, {"drop": "before_commit"}, {"body": "malformed"}):
        login = await world.vault.begin(slug, **MINE)
        params = await world.callback(login)
        world.sandbox.fault(slug, "userinfo", **fault)  # type: ignore[arg-type]
        with pytest.raises(SocialVaultError) as caught:
            await world.complete(login, params, slug)
        assert_silent(world, caught.value, caplog, params["code"])


async def test_l_01_l_09_no_public_object_gives_a_secret_away(world: World) -> None:
    login = await world.vault.begin("x", **MINE)
    params = await world.callback(login)
    done = await world.complete(login, params, "x")
    token = await world.vault.token(done.connection.id, **MINE)
    things: list[Any] = [
        login, login.cookie, done, done.connection, token, world.vault.vault, world.providers["x"],
        world.vault.vault.source(done.connection.id, **MINE), *world.events, world.vault.vault._cases.core,
    ]  # fmt: skip
    secrets = secrets_of(world, params["code"], params["state"], login.cookie.value)
    for thing in things:
        shown = f"{thing!r} {thing!s} {thing:} %s" % (thing,)
        assert not found_in(secrets, shown.encode()), type(thing).__name__
    for export in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            export(token)  # type: ignore[operator]
    assert not found_in(secrets, json.dumps(asdict(done.connection), default=str).encode())


async def test_l_02_nothing_is_logged_that_should_not_be(world: World, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    for slug in SLUGS:
        connection = await world.connect(slug)
        await world.vault.refresh(connection.id, **MINE)
        client = world.vault.vault.client(connection.id, **MINE)
        await client.aclose() if world.colour == "async" else client.close()
        await world.vault.disconnect(connection.id, **MINE)
    assert caplog.records
    assert not found_in(secrets_of(world), caplog.text.encode())
