"""What ``socialvault doctor`` says about a Valkey or Redis."""

from __future__ import annotations

import json
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.asyncio import Redis as AsyncRedis
from support.valkey import Valkey, running_valkey
from typer.testing import CliRunner

from socialvault import LocalKeyring, Vault
from socialvault.cli.app import app
from socialvault.cli.doctor.redis import judge_redis
from socialvault.stores.redis import AsyncRedisStore, RedisStore
from socialvault.stores.redis.server import ServerFacts, server_facts

if TYPE_CHECKING:
    from collections.abc import Iterator

WELL = ServerFacts(
    product="Valkey", version="9.1.2", role="master", replicas=0, maxmemory_policy="noeviction", appendonly="yes",
    appendfsync="always", appended="ok",
)  # fmt: skip


def levels(facts: ServerFacts) -> dict[str, str]:
    return {finding.about: finding.level for finding in judge_redis(facts)}


@pytest.fixture(scope="module")
def own() -> Iterator[Valkey]:
    """A server as the guide wants it."""
    with running_valkey(appendonly="yes", appendfsync="always", maxmemory_policy="noeviction") as server:
        yield server


@contextmanager
def configured(server: Valkey, name: str, value: str) -> Iterator[None]:
    with redis.Redis.from_url(server.url) as client:
        before = client.config_get(name)[name]
        client.config_set(name, value)
        try:
            yield
        finally:
            client.config_set(name, before)


def examined(server: Valkey, user: str = "") -> tuple[int, dict[str, str]]:
    """Run the command; return its exit code, and each finding's level."""
    key, url = LocalKeyring.generate(), f"redis://{user}127.0.0.1:{server.port}"
    server.flush()
    options: dict[str, Any] = {"providers": [], "redirect_uri": "https://app.example/{provider}"}
    with Vault(store=server.url, keys=LocalKeyring([key]), **options) as vault:
        vault.admin.counts()
    ended = CliRunner().invoke(app, ["doctor", "--json", "--store", url], env={"SOCIALVAULT_KEYS": key})
    findings = json.loads(ended.stdout)["findings"]
    assert "127.0.0.1" not in ended.stdout
    return ended.exit_code, {finding["about"]: finding["level"] for finding in findings}


# --- what is judged -------------------------------------------------------------------------------


def test_a_server_as_the_guide_wants_it_is_well() -> None:
    assert set(levels(WELL).values()) == {"ok"}
    assert [finding.action for finding in judge_redis(WELL)] == ["none"] * 3


@pytest.mark.parametrize(
    ("change", "about", "level"),
    [
        ({"version": "6.2.14"}, "server", "wrong"),
        ({"version": "7.0.0", "product": "Redis"}, "server", "ok"),
        ({"version": ""}, "server", "ok"),
        ({"role": "slave"}, "server", "wrong"),
        ({"replicas": 2}, "server", "ok"),
        ({"maxmemory_policy": "allkeys-lru"}, "eviction", "wrong"),
        ({"maxmemory_policy": "volatile-ttl"}, "eviction", "wrong"),
        ({"maxmemory_policy": ""}, "eviction", "warn"),
        ({"appendonly": "no"}, "durability", "wrong"),
        ({"appended": "err"}, "durability", "wrong"),
        ({"appendfsync": "everysec"}, "durability", "warn"),
        ({"appendfsync": "no"}, "durability", "warn"),
        ({"appendfsync": ""}, "durability", "warn"),
        ({"appendonly": ""}, "durability", "warn"),
    ],
)
def test_every_weakness_is_told(change: dict[str, Any], about: str, level: str) -> None:
    found = {finding.about: finding for finding in judge_redis(replace(WELL, **change))}
    assert found[about].level == level
    assert found[about].action == ("none" if level == "ok" else "fix_configuration")
    assert all(finding.level == "ok" for finding in found.values() if finding.about != about)


def test_a_lost_second_is_told_by_what_it_costs() -> None:
    [told] = [each.found for each in judge_redis(replace(WELL, appendfsync="everysec")) if each.about == "durability"]
    assert "loses the last second, such as a rotated refresh token" in told


def test_facts_are_read_in_every_spelling() -> None:
    information = {"redis_version": "7.4.1", "role": "master", "aof_enabled": 0}
    facts = server_facts(information, {b"maxmemory-policy": b"noeviction", b"appendfsync": b"always"})
    assert (facts.product, facts.version, facts.appendonly) == ("Redis", "7.4.1", "no")
    assert (facts.maxmemory_policy, facts.appendfsync, facts.appended) == ("noeviction", "always", "")
    assert server_facts({}, {}) == ServerFacts("Redis", "", "", 0, "", "", "", "")


# --- a real server --------------------------------------------------------------------------------


async def test_both_colours_read_the_same_facts(own: Valkey, valkey_cluster: Valkey) -> None:
    for protocol in (2, 3):
        with redis.Redis.from_url(own.url, protocol=protocol) as client:
            facts = RedisStore(client).server_facts()
        async with AsyncRedis.from_url(own.url, protocol=protocol) as client:
            assert await AsyncRedisStore(client).server_facts() == facts
        assert facts == replace(WELL, version=facts.version)
    with redis.RedisCluster(host="127.0.0.1", port=valkey_cluster.port) as cluster:
        assert RedisStore(cluster).server_facts().appendonly == "no"


def test_the_command_finds_a_good_server_well(own: Valkey) -> None:
    code, found = examined(own)
    assert code == 0
    assert {about: found[about] for about in ("server", "eviction", "durability")} == dict.fromkeys(
        ("server", "eviction", "durability"), "ok"
    )
    assert "files" not in found


@pytest.mark.parametrize(
    ("name", "value", "about", "level"),
    [
        ("maxmemory-policy", "allkeys-lru", "eviction", "wrong"),
        ("appendonly", "no", "durability", "wrong"),
        ("appendfsync", "everysec", "durability", "warn"),
    ],
)
def test_the_command_finds_what_is_wrong(own: Valkey, name: str, value: str, about: str, level: str) -> None:
    with configured(own, name, value):
        code, found = examined(own)
    assert (code, found[about]) == (1 if level == "wrong" else 0, level)


def test_a_server_that_keeps_its_configuration_to_itself_is_examined_as_far_as_it_goes(own: Valkey) -> None:
    with redis.Redis.from_url(own.url) as client:
        client.acl_setuser("app", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"], categories=[])
        try:
            code, found = examined(own, user="app@")
        finally:
            client.acl_deluser("app")
    assert (code, found["server"], found["eviction"], found["durability"]) == (0, "ok", "ok", "warn")


def test_a_server_that_tells_nothing_is_a_finding(own: Valkey) -> None:
    with redis.Redis.from_url(own.url) as client:
        client.acl_setuser("app", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"], categories=[])
        try:
            code, found = examined(own, user="app@")
        finally:
            client.acl_deluser("app")
    assert (code, found["server"]) == (1, "wrong")
    with closing(RedisStore(own.url)) as store:
        assert store.load_vault() is not None
