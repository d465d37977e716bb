"""F-15: what a failover loses or brings back never lets a flow end twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import redis
from support.world import OWNER, TENANT, World

from socialvault.exceptions import (
    ConnectionNotFoundError,
    ProviderError,
    SocialVaultError,
    StateExpiredError,
    StateMismatchError,
    StoreError,
)
from socialvault.sandbox import Sandbox
from socialvault.sandbox.contracts.rows import flow
from socialvault.stores.redis import AsyncRedisStore, RedisStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from support.valkey import Valkey

STATES = ("{socialvault}:state:*", "{socialvault}:*states*")
MINE = {"owner": OWNER, "tenant": TENANT}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def server(valkey: Valkey) -> Iterator[redis.Redis]:
    valkey.flush()
    with redis.Redis.from_url(valkey.url) as client:
        yield client


@pytest.fixture(params=["sync", "async"])
async def world(
    request: pytest.FixtureRequest, sandbox: Sandbox, valkey: Valkey, server: redis.Redis, tmp_path: Path
) -> AsyncIterator[World]:
    sandbox.reset()
    world = World(sandbox, request.param, "memory", tmp_path)
    world.provider("x")
    world.store = (AsyncRedisStore if request.param == "async" else RedisStore)(valkey.url, clock=sandbox.clock)
    world.vault = world.build()
    await world.vault.open()
    yield world
    await world.close()


class Snapshot:
    """Keys as they were, as a replica that lags behind still has them."""

    def __init__(self, server: redis.Redis, *patterns: str) -> None:
        self._server = server
        keys = {key for pattern in patterns for key in server.scan_iter(pattern)}
        self._kept = {key: (server.dump(key), max(server.pttl(key), 0)) for key in keys}

    def restore(self) -> None:
        for key, (dumped, milliseconds) in self._kept.items():
            self._server.restore(key, milliseconds, dumped, replace=True)


def present(store: Any) -> Any:
    row = flow()
    return store.claim_state(
        row.state_hash, tenant=row.tenant, owner=row.owner, provider=row.provider, binding=row.binding
    )


def test_f_15_a_claimed_flow_that_comes_back_is_not_claimed_again(valkey: Valkey, server: redis.Redis) -> None:
    store = RedisStore(valkey.url)
    store.put_state(flow(), 600.0)
    before = Snapshot(server, *STATES)
    assert present(store) is not None
    before.restore()
    assert server.hget(f"{{socialvault}}:state:{flow().state_hash.hex()}", "phase") == b"pending"
    assert present(store) is None
    read = store.get_state(flow().state_hash)
    assert read is not None
    assert (read.phase, read.sealed) == ("expired", b"")
    store.finish_state(flow().state_hash, connection_id="con-1", error="", missing_scopes="")
    assert present(store) is None
    with pytest.raises(StoreError):
        store.put_state(flow(), 600.0)
    store.close()


def test_f_15_a_claimed_flow_that_was_purged_is_not_begun_again(valkey: Valkey, server: redis.Redis) -> None:
    store = RedisStore(valkey.url)
    store.put_state(flow(), 600.0)
    assert present(store) is not None
    server.delete(f"{{socialvault}}:state:{flow().state_hash.hex()}")
    with pytest.raises(StoreError):
        store.put_state(flow(), 600.0)
    store.close()


async def test_f_15_a_flow_that_was_lost_ends_cleanly_and_the_next_one_works(world: World, server: redis.Redis) -> None:
    login = await world.vault.begin("x", **MINE)
    params = await world.callback(login)
    server.delete(*(key for pattern in STATES for key in server.scan_iter(pattern)))
    with pytest.raises(StateMismatchError) as raised:
        await world.complete(login, params, "x")
    assert raised.value.action == "reauthorize"
    assert world.token_requests("x") == 0
    await world.connect("x")


async def test_f_15_a_flow_that_comes_back_after_it_ended_is_over(world: World, server: redis.Redis) -> None:
    login = await world.vault.begin("x", **MINE)
    params = await world.callback(login)
    before = Snapshot(server, *STATES)
    done = await world.complete(login, params, "x")
    before.restore()
    with pytest.raises(StateExpiredError):
        await world.complete(login, params, "x")
    assert world.token_requests("x") == 1
    assert (await world.vault.token(done.connection.id, **MINE)).reveal() in world.sandbox.live_tokens("x")


async def test_f_15_with_the_mark_lost_too_the_provider_stops_the_second_exchange(
    world: World, server: redis.Redis
) -> None:
    login = await world.vault.begin("x", **MINE)
    params = await world.callback(login)
    before = Snapshot(server, *STATES)
    done = await world.complete(login, params, "x")
    stored = server.hgetall(f"{{socialvault}}:connection:{done.connection.id}")
    before.restore()
    server.delete(*server.scan_iter("{socialvault}:claimed:*"))
    with pytest.raises(ProviderError):
        await world.complete(login, params, "x")
    assert world.sandbox.log.count(outcome="code_reused") == 1
    assert server.hgetall(f"{{socialvault}}:connection:{done.connection.id}") == stored


async def test_f_15_a_new_primary_that_lacks_everything_since_the_flow_began_is_recovered_from(
    world: World, server: redis.Redis
) -> None:
    login = await world.vault.begin("x", **MINE)
    params = await world.callback(login)
    before = Snapshot(server, "*")
    done = await world.complete(login, params, "x")
    server.flushdb()
    before.restore()
    with pytest.raises(ConnectionNotFoundError):
        await world.vault.token(done.connection.id, **MINE)
    with pytest.raises(SocialVaultError):
        await world.complete(login, params, "x")
    assert not await world.vault.connections(**MINE)
    again = await world.connect("x")
    assert (await world.vault.token(again.id, **MINE)).reveal() in world.sandbox.live_tokens("x")
