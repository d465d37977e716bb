"""Nothing that reaches a Redis server is secret: tokens are sealed, states are hashed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
import redis
from support.canaries import found_in
from support.world import OWNER, TENANT, World

from socialvault.sandbox import Sandbox
from socialvault.stores.redis import AsyncRedisStore, RedisStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.valkey import Valkey

MINE = {"owner": OWNER, "tenant": TENANT}
END = "that is all"


class Watching:
    """Notes every command that a server is sent, scripts' commands included."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._seen: list[str] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        with self._client.monitor() as monitor:
            for command in monitor.listen():
                self._seen.append(command["command"])
                if END in command["command"]:
                    return

    def start(self) -> None:
        self._thread.start()
        until = time.monotonic() + 10
        while not self._seen:  # until it hears something
            assert time.monotonic() < until, "nothing is heard"
            self._client.ping()
            time.sleep(0.01)

    def everything(self) -> bytes:
        self._client.echo(END)
        self._thread.join(timeout=10)
        assert END in self._seen[-1]
        return "\n".join(self._seen).encode()


@pytest.fixture
def watching(valkey: Valkey) -> Iterator[Watching]:
    valkey.flush()
    with redis.Redis.from_url(valkey.url) as client:
        watching = Watching(client)
        watching.start()
        yield watching


def stored(client: redis.Redis) -> bytes:
    """Every key and value."""
    parts = []
    for key in client.scan_iter():
        kind = client.type(key)
        parts.append(key)
        if kind == b"hash":
            parts += [part for pair in client.hgetall(key).items() for part in pair]
        elif kind == b"zset":
            parts += client.zrange(key, 0, -1)
        else:
            parts.append(client.get(key))
    return b"\n".join(parts)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_l_no_command_and_no_value_holds_a_secret(
    valkey: Valkey, watching: Watching, tmp_path: Path, colour: str
) -> None:
    from datetime import timedelta

    with Sandbox() as sandbox:
        world = World(sandbox, colour, "memory", tmp_path)  # type: ignore[arg-type]  # one of its two colours
        provider = world.provider("x")
        world.store = (AsyncRedisStore if colour == "async" else RedisStore)(valkey.url, clock=sandbox.clock)
        world.vault = world.build()
        login = await world.vault.begin("x", **MINE)
        params = await world.callback(login)
        done = await world.complete(login, params, "x")
        await world.vault.token(done.connection.id, **MINE)
        sandbox.clock.advance(timedelta(hours=3))
        await world.vault.token(done.connection.id, **MINE)
        secrets = {*sandbox.issued_tokens(), params["code"], params["state"], login.cookie.value, world.keys}
        secrets.add(provider.credentials.client_secret.reveal())  # type: ignore[union-attr]  # it has one
        with redis.Redis.from_url(valkey.url) as client:
            at_rest = stored(client)
        await world.vault.disconnect(done.connection.id, **MINE)
        await world.vault.erase_owner(**MINE)
        await world.close()
        heard = watching.everything()
    assert len(secrets) >= 8
    assert done.connection.id.encode() in heard
    assert b"write_token" in heard
    assert b"HSET {socialvault}:connection:" in heard
    assert not found_in(secrets, heard)
    assert done.connection.id.encode() in at_rest
    assert not found_in(secrets, at_rest)


def test_a_secret_that_is_sent_is_heard(valkey: Valkey, watching: Watching) -> None:
    with redis.Redis.from_url(valkey.url) as client:
        client.hset("key", "field", "planted-canary-1")
        assert found_in(["planted-canary-1"], stored(client))
    assert found_in(["planted-canary-1"], watching.everything())
