"""Where a Redis store keeps what: one slot of a cluster, one namespace, and nothing left behind."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
import sys
import threading
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import RedisCluster as AsyncRedisCluster
from redis.cache import CacheConfig

from socialvault.exceptions import ConfigurationError, StoreError, StoreUnavailableError
from socialvault.model.keys import Resealed, Rewrapped
from socialvault.model.status import Status
from socialvault.ports.store import Store
from socialvault.sandbox.contracts import Awaited
from socialvault.sandbox.contracts.rows import (
    APPLICATION,
    OWNER,
    TENANT,
    connection,
    failure,
    flow,
    intent,
    kek,
    revocation,
    sealed_by,
    status_write,
    token_write,
    vault,
    vault_key,
    wrapped_key,
)
from socialvault.stores import redis as stores
from socialvault.stores.redis import AsyncRedisStore, RedisStore
from socialvault.stores.redis.layout import joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.valkey import Valkey

KEY = wrapped_key(wrapped_by=vault_key().key_id)
NOW = 1_800_003_600.0
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "redis.md"


class Recording:
    """Notes which methods of a store were called."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.called: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.called.add(name)
        return getattr(self._store, name)


async def use_everything(store: Any) -> None:
    """Call every operation of the three ports at least once, each so that it does something."""
    await store.create_vault(vault(), vault_key(wrapped_by=kek().key_id))
    assert await store.load_vault() == vault()
    assert await store.add_key("data", KEY)
    assert await store.count_seals(KEY.key_id, 3) == 3
    row = replace(connection(), envelope=sealed_by(KEY.key_id), key_id=KEY.key_id)
    child = connection("child", parent_id=row.id, subject="page")
    assert await store.insert(row) is None
    assert await store.insert(child) is None
    assert await store.insert(replace(row, id="again")) == row
    assert (await store.read_token(row.id, TENANT, OWNER)).generation == 1
    assert await store.get(row.id, TENANT, OWNER) == row
    assert await store.list_for_owner(TENANT, OWNER) == [row, child]
    assert await store.list_children(row.id, TENANT, OWNER) == [child]
    assert await store.count_grant_siblings(row) == 0
    assert await store.list_for_account(*APPLICATION, row.account.issuer, row.account.subject) == [row]
    assert await store.find(tenant=None, owner=None, provider=None, status=None, after_id="", limit=1) == [child]
    assert await store.count_by_status() == {"active": 2}
    assert len(await store.find_due(*APPLICATION, NOW, 9)) == 2
    assert len(await store.find_warnings(NOW * 2, 9)) == 2
    assert await store.write_warning(row.id, row.warn_at_seconds, None)
    assert await store.acquire_lease(row.id, "me", 30.0)
    assert await store.open_intent(intent(row))
    assert await store.write_failure(failure(row, expected_attempt=1))
    assert await store.release_lease(row.id, "me")
    assert await store.put_candidate(row.id, 1, sealed_by(KEY.key_id, b"late"))
    await use_keys(store)
    assert await store.write_token(token_write(row)) is Status.ACTIVE
    await use_states(store)
    await end(store, replace(row, generation=2))


async def use_keys(store: Any) -> None:
    assert await store.key("data", KEY.key_id) == KEY
    assert await store.primary_key("data", TENANT, OWNER) == KEY
    assert await store.keys("data", tenant=TENANT, state="primary", after_id="", limit=9) == [KEY]
    assert await store.count_keys("data") == {"primary": 1}
    assert await store.count_uses("data", KEY.key_id) == 2
    new = wrapped_key("new", wrapped_by=vault_key().key_id)
    assert await store.replace_key("data", new, KEY.key_id)
    for kind in ("token", "candidate"):
        [record] = await store.sealed_under(kind, KEY.key_id, "", 9)
        resealed = Resealed(record.id, record.sealed, sealed_by(new.key_id), new.key_id)
        assert await store.reseal(kind, [resealed]) == 1
    assert await store.retire_key("data", KEY.key_id)
    assert await store.reinstate_key("data", KEY.key_id)
    assert await store.promote_key("data", KEY.key_id)
    assert await store.add_key("vault", vault_key("second", state="pre_active"))
    [key, _] = await store.wrapped_under("data", vault_key().key_id, "", 9)
    rewrapped = Rewrapped(key.key_id, key.wrapped, b"wrapped anew", vault_key("second").key_id)
    assert await store.rewrap("data", [rewrapped]) == 1
    assert await store.reseal_canary(vault().canary, sealed_by(vault_key("second").key_id))
    assert await store.count_uses("vault", vault_key("second").key_id) == 2


async def use_states(store: Any) -> None:
    row = flow()
    await store.put_state(row, 600.0)
    assert (await store.get_state(row.state_hash)).phase == "pending"
    presented = {"tenant": row.tenant, "owner": row.owner, "provider": row.provider, "binding": row.binding}
    assert (await store.claim_state(row.state_hash, **presented)).sealed == row.sealed
    await store.finish_state(row.state_hash, connection_id="con-1", error="", missing_scopes="")
    await store.put_state(flow("short"), 0.001)
    await asyncio.sleep(0.01)
    assert await store.purge_states(9) == 1


async def end(store: Any, row: Any) -> None:
    assert await store.write_status(status_write(row, Status.REAUTHORIZATION_REQUIRED))
    pending = revocation(row)
    write = status_write(row, Status.REVOCATION_PENDING, expected=(Status.REAUTHORIZATION_REQUIRED,))
    assert len(await store.tombstone(write, pending)) == 1
    await store.queue_revocation(revocation(row, "-late", reach="token"))
    assert len(await store.find_revocations(NOW, 9)) == 2
    assert len(await store.list_revocations(row.id)) == 2
    assert await store.claim_revocation(pending.id, 0, NOW)
    assert not await store.finish_revocation(pending.id, "revoked", NOW)
    assert await store.finish_revocation("rev-con-1-late", "revoked", NOW)
    assert await store.delete(row.id) == 2
    await store.insert(connection("con-2"))
    await store.queue_revocation(revocation(connection("con-2"), envelope=b"sealed", key_id="cd" * 32))
    assert await store.erase_owner(TENANT, OWNER) == 1
    await store.server_facts()


def wait_for(come: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not come():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def kind_of(key: bytes) -> str:
    """What the key of a vault is; see ``layout.py``."""
    return key.removeprefix(b"{socialvault}:").split(b":")[0].decode()


def port_methods() -> set[str]:
    return {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}


@pytest.fixture
def cluster(valkey_cluster: Valkey) -> Valkey:
    valkey_cluster.flush()
    return valkey_cluster


@pytest.fixture
def server(valkey: Valkey) -> Iterator[redis.Redis]:
    valkey.flush()
    with redis.Redis.from_url(valkey.url) as client:
        yield client


# --- a cluster ------------------------------------------------------------------------------------


async def test_every_operation_stays_in_one_slot_of_a_cluster(cluster: Valkey) -> None:
    with redis.RedisCluster(host="127.0.0.1", port=cluster.port) as client:
        store = Recording(Awaited(RedisStore(client)))
        await use_everything(store)
        await store.aclose()
        keys = client.keys("*", target_nodes=client.get_primaries())
        assert {client.keyslot(key) for key in keys} == {client.keyslot("{socialvault}")}
        assert store.called >= port_methods() - {"close"}
        assert client.ping()  # who made the client closes it


async def test_every_operation_stays_in_one_slot_of_a_cluster_for_event_loops(cluster: Valkey) -> None:
    async with AsyncRedisCluster(host="127.0.0.1", port=cluster.port) as client:
        store = Recording(AsyncRedisStore(client))
        await use_everything(store)
        await store.aclose()
        assert store.called >= port_methods() - {"close"}
        assert await client.ping()


def test_vaults_of_other_namespaces_spread_over_a_cluster(cluster: Valkey) -> None:
    with redis.RedisCluster(host="127.0.0.1", port=cluster.port) as client:
        for namespace in ("one", "two"):
            RedisStore(client, namespace=namespace).insert(connection())
        slots = {client.keyslot(key) for key in client.keys("*", target_nodes=client.get_primaries())}
        assert slots == {client.keyslot("{one}"), client.keyslot("{two}")}


async def test_the_permissions_in_the_guide_are_enough(valkey: Valkey, server: redis.Redis) -> None:
    [line] = re.findall("^ACL SETUSER vault (.*)$", GUIDE.read_text("utf-8"), re.MULTILINE)
    server.execute_command("ACL SETUSER", "vault", *line.split())
    try:
        store = AsyncRedisStore(f"redis://vault:password@127.0.0.1:{valkey.port}")
        await use_everything(store)
        assert (await store.server_facts()).maxmemory_policy == "noeviction"
        await store.aclose()
    finally:
        server.acl_deluser("vault")


# --- namespaces -----------------------------------------------------------------------------------


def test_namespaces_do_not_see_each_other(valkey: Valkey, server: redis.Redis) -> None:
    ours, theirs = RedisStore(valkey.url), RedisStore(valkey.url, namespace="other")
    ours.create_vault(vault(b"1"), vault_key())
    assert theirs.create_vault(vault(b"2"), vault_key())
    ours.insert(connection())
    assert theirs.insert(connection()) is None
    theirs.erase_owner(TENANT, OWNER)
    assert ours.get("con-1", TENANT, OWNER) == connection()
    assert {key.partition(b":")[0] for key in server.scan_iter()} == {b"{socialvault}", b"{other}"}
    ours.close()
    theirs.close()


@pytest.mark.parametrize("namespace", ["", "a{b", "a}b"])
def test_a_namespace_that_is_no_hash_tag_is_refused(namespace: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        RedisStore("redis://127.0.0.1:9", namespace=namespace)
    assert refused.value.argument == "namespace"


def test_names_of_keys_are_never_mistaken_for_others() -> None:
    lists = [
        ("a", "b"),
        ("ab", ""),
        ("", "ab"),
        ("a", "1:b"),
        ("1:a", "b"),
        ("a", None),
        (None, "a"),
        ("a", "-"),
        ("-",),
    ]
    assert len({joined(*texts) for texts in lists}) == len(lists)


# --- what is left ---------------------------------------------------------------------------------


async def test_what_ends_leaves_no_index_behind(valkey: Valkey, server: redis.Redis) -> None:
    store = AsyncRedisStore(valkey.url)
    await use_everything(store)
    await store.aclose()
    # The vault with its keys, none of which was the owner's, and the marks of claimed flows, which run out.
    left = {kind_of(key) for key in server.scan_iter()}
    assert left == {"schema", "vault", "key", "keys", "primary", "wrapped", "claimed"}
    assert not server.keys("*:data:*")


def test_pending_flows_and_their_indexes_vanish_by_themselves(valkey: Valkey, server: redis.Redis) -> None:
    store = RedisStore(valkey.url)
    row = replace(flow(), sealed=sealed_by(KEY.key_id))
    store.put_state(row, 600.0)
    store.put_state(flow("longer"), 1200.0)
    store.put_state(flow("shorter"), 1.0)
    claimed = store.claim_state(
        row.state_hash, tenant=row.tenant, owner=row.owner, provider=row.provider, binding=row.binding
    )
    assert claimed is not None
    lives = defaultdict(list)
    for key in server.scan_iter():
        lives[kind_of(key)].append(server.ttl(key))
    assert lives.pop("schema") == [-1]
    assert set(lives) == {"state", "states", "owner_states", "sealed_states", "claimed"}
    assert all(3590 < seconds <= 1200 + 3600 for found in lives.values() for seconds in found)
    assert min(lives["state"]) <= 3601
    assert lives["states"][0] > 1200 + 3590
    assert lives["claimed"][0] > 600 + 3590
    store.close()


def test_a_record_that_the_server_dropped_takes_nothing_else_along(valkey: Valkey, server: redis.Redis) -> None:
    store = RedisStore(valkey.url)
    rows = [connection(f"con-{number}", subject=str(number)) for number in range(3)]
    for row in rows:
        store.insert(row)
    server.delete("{socialvault}:connection:con-1")  # as an eviction does
    assert store.list_for_owner(TENANT, OWNER) == [rows[0], rows[2]]
    assert store.find(tenant=None, owner=None, provider=None, status=None, after_id="", limit=9) == [rows[0], rows[2]]
    assert [row.id for row in store.find_due(*APPLICATION, NOW, 9)] == [rows[0].id, rows[2].id]
    assert store.erase_owner(TENANT, OWNER) == 2
    store.close()


# --- sizes and versions ---------------------------------------------------------------------------


def test_a_token_of_16_kib_and_a_subject_of_200_characters_come_back_byte_for_byte(
    valkey: Valkey, server: redis.Redis
) -> None:
    envelope, subject = bytes(range(256)) * 64, "\u00fc\U0001f511 \x00:{}*\r\n" * 20
    assert (len(envelope), len(subject)) == (16 * 1024, 200)
    row = replace(connection(subject=subject), envelope=envelope)
    store = RedisStore(valkey.url)
    store.insert(row)
    assert store.get(row.id, TENANT, OWNER) == row
    assert store.read_token(row.id, TENANT, OWNER).envelope == envelope  # type: ignore[union-attr]  # it is there
    assert server.hget("{socialvault}:connection:con-1", "envelope") == envelope
    assert store.list_for_account(*APPLICATION, row.account.issuer, subject) == [row]
    store.close()


def test_a_search_looks_at_a_bounded_number_of_records_at_a_time(
    valkey: Valkey, server: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socialvault.stores.redis.operations.searches.PORTION", 20)
    store = RedisStore(valkey.url)
    for number in range(53):
        store.insert(connection(f"con-{number:02}", subject=str(number), tenant="rare" if number == 50 else TENANT))
    before = server.info("commandstats")["cmdstat_evalsha"]["calls"]
    found = store.find(tenant="rare", owner=None, provider=None, status=None, after_id="", limit=5)
    assert [row.id for row in found] == ["con-50"]
    assert server.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 3
    names = [f"con-{number:02}" for number in range(53) if number != 50]
    for after in (0, 19, 20, 39, 40, 52):
        page = store.find(
            tenant=TENANT,
            owner=None,
            provider=None,
            status=None,
            after_id="" if not after else names[after - 1],
            limit=99,
        )
        assert [row.id for row in page] == names[after:]
    store.close()


async def test_a_newer_layout_is_neither_read_nor_written(valkey: Valkey, server: redis.Redis) -> None:
    store, later = RedisStore(valkey.url), RedisStore(valkey.url)
    store.insert(connection())
    server.set("{socialvault}:schema", "2")
    before = server.hgetall("{socialvault}:connection:con-1")
    with pytest.raises(ConfigurationError, match="layout version 2, this release knows 1: upgrade socialvault"):
        later.read_token("con-1", TENANT, OWNER)
    newcomer = AsyncRedisStore(valkey.url)
    with pytest.raises(ConfigurationError, match="upgrade socialvault"):
        await newcomer.get("con-1", TENANT, OWNER)
    with pytest.raises(ConfigurationError, match="upgrade socialvault"):  # it has run since before the upgrade
        store.write_token(token_write(connection()))
    assert server.hgetall("{socialvault}:connection:con-1") == before
    for each in (store, later):
        each.close()
    await newcomer.aclose()


def test_looking_at_an_empty_database_writes_nothing(valkey: Valkey, server: redis.Redis) -> None:
    store = RedisStore(valkey.url)
    assert store.load_vault() is None
    assert store.count_by_status() == {}
    store.server_facts()
    assert server.keys() == []
    store.close()


def test_without_a_clock_leases_and_intents_run_by_the_servers_time(valkey: Valkey, server: redis.Redis) -> None:
    with closing(RedisStore(valkey.url)) as store:
        store.insert(connection())
        assert store.acquire_lease("con-1", "first", 0.1)
        wait_for(lambda: store.acquire_lease("con-1", "second", 30.0))
        assert not store.acquire_lease("con-1", "first", 30.0)
        before = server.time()
        assert store.open_intent(intent(connection()))
        row, after = store.get("con-1", TENANT, OWNER), server.time()
        assert row is not None
        assert row.intent_sent_at_seconds is not None
        assert before[0] + before[1] / 1e6 <= row.intent_sent_at_seconds <= after[0] + after[1] / 1e6


# --- clients --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RedisStore", "AsyncRedisStore"])
def test_a_missing_driver_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match="pip install 'socialvault"):
        getattr(stores, name)


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_urls_of_either_server_are_taken(valkey: Valkey, server: redis.Redis, scheme: str) -> None:
    store = RedisStore(f"{scheme}://127.0.0.1:{valkey.port}/3")
    store.insert(connection())
    assert server.dbsize() == 0
    assert server.info("keyspace").keys() == {"db3"}
    store.close()


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
def test_encrypted_urls_are_encrypted(scheme: str) -> None:
    heard: list[bytes] = []

    def listen() -> None:
        for _ in range(2):  # what only reads is tried again
            connection, _ = listening.accept()
            with connection:
                heard.append(connection.recv(1))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=listen)
        thread.start()
        store = RedisStore(f"{scheme}://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(StoreUnavailableError):
            store.load_vault()
        thread.join()
        store.close()
    assert heard == [b"\x16"] * 2  # a TLS handshake


@pytest.mark.parametrize(
    "url", ["postgresql://u:s3cret@h/d", "u:s3cret@h", "redis://h:s3cret", "redis://u:s3cret@h?socket_timeout=x"]
)
@pytest.mark.parametrize("kind", [RedisStore, AsyncRedisStore])
def test_a_url_that_can_not_be_used_is_refused_without_showing_it(kind: Any, url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        kind(url)
    assert "s3cret" not in str(refused.value)
    assert refused.value.argument == "client_or_url"
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("kind", ["decoding", "decoding_by_url", "single", "replica", "caching"])
def test_a_client_that_can_not_be_used_is_refused(valkey: Valkey, kind: str) -> None:
    from redis.sentinel import Sentinel

    clients: dict[str, Any] = {
        "decoding": lambda: redis.Redis.from_url(valkey.url, decode_responses=True),
        "decoding_by_url": lambda: f"{valkey.url}?decode_responses=true",
        "single": lambda: redis.Redis.from_url(valkey.url, single_connection_client=True),
        "caching": lambda: redis.Redis.from_url(valkey.url, protocol=3, cache_config=CacheConfig()),
        "replica": lambda: Sentinel([("127.0.0.1", valkey.port)]).slave_for("main"),
    }
    client = clients[kind]()
    with pytest.raises(ConfigurationError) as refused:
        RedisStore(client)
    assert refused.value.argument == "client_or_url"
    if isinstance(client, redis.Redis):
        client.close()


def test_reading_from_replicas_is_refused(cluster: Valkey) -> None:
    from redis.cluster import LoadBalancingStrategy

    strategy = LoadBalancingStrategy.ROUND_ROBIN
    with (
        redis.RedisCluster(host="127.0.0.1", port=cluster.port, load_balancing_strategy=strategy) as client,
        pytest.raises(ConfigurationError, match="replicas"),
    ):
        RedisStore(client)


def test_a_given_client_stays_open_and_an_own_one_is_closed(valkey: Valkey, server: redis.Redis) -> None:
    given, own = RedisStore(server), RedisStore(valkey.url)
    own.load_vault()
    connected = server.info("clients")["connected_clients"]
    own.close()
    given.close()
    wait_for(lambda: server.info("clients")["connected_clients"] == connected - 1)
    with pytest.raises(StoreUnavailableError, match="closed"):
        given.load_vault()
    with pytest.raises(StoreUnavailableError, match="closed"):
        given.server_facts()


async def test_a_given_client_serves_its_own_loop_alone(valkey: Valkey, server: redis.Redis) -> None:
    async with AsyncRedis.from_url(valkey.url) as client:
        store = AsyncRedisStore(client)
        await store.insert(connection())
        with pytest.raises(ConfigurationError, match="one event loop"):
            await asyncio.to_thread(lambda: asyncio.run(store.load_vault()))
        assert await store.get("con-1", TENANT, OWNER) == connection()
        await store.aclose()
        assert await client.ping()
        with pytest.raises(StoreUnavailableError, match="closed"):
            await store.server_facts()


def test_a_url_serves_every_loop_and_leaves_no_connection_behind(valkey: Valkey, server: redis.Redis) -> None:
    store = AsyncRedisStore(valkey.url)
    connected = server.info("clients")["connected_clients"]
    asyncio.run(store.insert(connection()))
    for _ in range(3):
        assert asyncio.run(store.get("con-1", TENANT, OWNER)) == connection()
    wait_for(lambda: server.info("clients")["connected_clients"] == connected)
    asyncio.run(store.aclose())


def test_text_that_is_no_unicode_is_refused_everywhere(valkey: Valkey, server: redis.Redis) -> None:
    store = RedisStore(valkey.url)
    for call in (store.read_token, store.get):
        with pytest.raises(StoreError):
            call("\ud800", TENANT, OWNER)
    with pytest.raises(StoreError):
        store.insert(replace(connection(), envelope="text"))  # type: ignore[arg-type]  # from a caller who checks no types
    assert server.keys() == []
    store.close()


# --- forks ----------------------------------------------------------------------------------------


def test_a_forked_child_opens_connections_of_its_own(valkey: Valkey, server: redis.Redis, in_children: Any) -> None:
    store = RedisStore(valkey.url)
    store.insert(connection())

    def act(number: int) -> int:
        rows = [connection(f"con-{number}-{turn}", subject=f"{number} {turn}") for turn in range(50)]
        for row in rows:
            assert store.insert(row) is None
            assert store.get(row.id, TENANT, OWNER) == row
        return len(rows)

    assert in_children(4, act) == [50] * 4
    assert store.count_by_status() == {"active": 201}
    store.close()


@pytest.mark.parametrize("given", [False, True])
async def test_a_forked_child_opens_connections_of_its_own_for_its_loop(
    valkey: Valkey, server: redis.Redis, in_children: Any, *, given: bool
) -> None:
    async with AsyncRedis.from_url(valkey.url) as client:
        store = AsyncRedisStore(client if given else valkey.url)
        await store.insert(connection())

        async def act(number: int) -> int:
            for turn in range(20):
                row = connection(f"con-{number}-{turn}", subject=f"{number} {turn}")
                assert await store.insert(row) is None
                assert await store.get(row.id, TENANT, OWNER) == row
            return number

        assert in_children(3, lambda number: asyncio.run(act(number))) == [0, 1, 2]
        assert await store.count_by_status() == {"active": 61}
        await store.aclose()
