"""What a Redis store says when the server is away or refuses, and that a write is sent once."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import redis
from redis import exceptions as driver
from redis.asyncio import Connection as AsyncConnection
from redis.asyncio import Redis as AsyncRedis
from support.valkey import Valkey, running_valkey

from socialvault.exceptions import ConfigurationError, KeyNotFoundError, StoreError, StoreUnavailableError
from socialvault.sandbox.contracts.rows import OWNER, TENANT, connection, token_write
from socialvault.stores.redis import AsyncRedisStore, RedisStore
from socialvault.stores.redis.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROW = connection()


@pytest.fixture(scope="module")
def own() -> Iterator[Valkey]:
    """A server that these tests may mistreat."""
    with running_valkey(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def client(own: Valkey) -> Iterator[redis.Redis]:
    own.flush()
    with redis.Redis.from_url(own.url) as client:
        yield client


@pytest.fixture
def store(own: Valkey, client: redis.Redis) -> Iterator[RedisStore]:
    with closing(RedisStore(own.url)) as store:
        yield store


# --- the server goes away -------------------------------------------------------------------------


@pytest.mark.parametrize("given", [False, True], ids=["url", "client"])
def test_a_killed_server_is_unavailable_and_a_new_one_is_found(
    own: Valkey, client: redis.Redis, *, given: bool
) -> None:
    store = RedisStore(client if given else own.url)
    store.insert(ROW)
    own.kill()
    for call in (lambda: store.read_token("con-1", TENANT, OWNER), lambda: store.write_token(token_write(ROW))):
        with pytest.raises(StoreUnavailableError) as raised:
            call()
        assert raised.value.__cause__ is None
        assert str(own.port) not in str(raised.value)
    own.daemon.start()
    # The first write after a restart goes over a connection that is dead, and a script that the server has forgotten.
    assert store.write_token(token_write(ROW)) is not None
    read = store.get("con-1", TENANT, OWNER)
    assert read is not None
    assert read.generation == 2
    store.close()


@pytest.mark.parametrize("given", [False, True], ids=["url", "client"])
async def test_a_killed_server_is_unavailable_to_event_loops_and_a_new_one_is_found(
    own: Valkey, *, given: bool
) -> None:
    own.flush()
    async with AsyncRedis.from_url(own.url) as client:
        store = AsyncRedisStore(client if given else own.url)
        await store.insert(ROW)
        own.kill()
        with pytest.raises(StoreUnavailableError):
            await store.read_token("con-1", TENANT, OWNER)
        with pytest.raises(StoreUnavailableError):
            await store.write_token(token_write(ROW))
        own.daemon.start()
        assert await store.write_token(token_write(ROW)) is not None
        read = await store.get("con-1", TENANT, OWNER)
        assert read is not None
        assert read.generation == 2
        await store.aclose()


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with (
        closing(RedisStore("redis://user:s3cret@127.0.0.1:1")) as store,
        pytest.raises(StoreUnavailableError) as raised,
    ):
        store.load_vault()
    assert str(raised.value) == "the database is not available: ConnectionError"


def test_a_frozen_server_is_unavailable_in_time(own: Valkey, client: redis.Redis) -> None:
    with closing(RedisStore(f"{own.url}?socket_timeout=0.2")) as store:
        store.insert(ROW)
        own.pause()
        try:
            with pytest.raises(StoreUnavailableError):
                store.write_token(token_write(ROW))
            with pytest.raises(StoreUnavailableError):
                store.get("con-1", TENANT, OWNER)
        finally:
            own.resume()


def test_a_restarted_server_has_forgotten_the_scripts_and_is_told_them_again(
    store: RedisStore, client: redis.Redis
) -> None:
    store.insert(ROW)
    assert len(store.list_for_owner(TENANT, OWNER)) == 1
    client.script_flush()
    assert len(store.list_for_owner(TENANT, OWNER)) == 1
    client.script_flush()
    assert store.write_token(token_write(ROW)) is not None


# --- the server refuses ---------------------------------------------------------------------------


@contextmanager
def configured(client: redis.Redis, **settings: Any) -> Iterator[None]:
    """Set a server up otherwise for the length of the block."""
    names = [name.replace("_", "-") for name in settings]
    before = client.config_get(*names)
    for name, value in zip(names, settings.values(), strict=True):
        client.config_set(name, value)
    try:
        yield
    finally:
        for name in names:
            client.config_set(name, before[name])


def test_a_full_server_takes_nothing_and_still_answers(store: RedisStore, client: redis.Redis) -> None:
    store.insert(ROW)
    with configured(client, maxmemory=1):
        with pytest.raises(StoreUnavailableError, match="OutOfMemoryError"):
            store.write_token(token_write(ROW))
        assert store.list_for_owner(TENANT, OWNER) == [ROW]
        assert store.read_token("con-1", TENANT, OWNER) is not None


def test_a_replica_is_not_written_and_its_connection_is_given_up(store: RedisStore, client: redis.Redis) -> None:
    def connected() -> set[str]:
        return {each["id"] for each in client.client_list() if each["id"] != str(client.client_id())}

    store.insert(ROW)
    before = connected()
    client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreUnavailableError, match="ReadOnlyError"):
            store.write_token(token_write(ROW))
    finally:
        client.replicaof("NO", "ONE")
    assert store.write_token(token_write(ROW)) is not None
    assert len(before) == 1
    assert not connected() & before  # by now its address may lead to the new primary


def test_too_few_replicas_are_an_outage(store: RedisStore, client: redis.Redis) -> None:
    store.insert(ROW)
    with configured(client, min_replicas_to_write=1), pytest.raises(StoreUnavailableError, match="NOREPLICAS"):
        store.write_token(token_write(ROW))


def run_until_killed(client: redis.Redis) -> None:
    with suppress(driver.ResponseError):
        client.eval("while true do end", 0)


def test_a_busy_server_is_an_outage(own: Valkey, store: RedisStore, client: redis.Redis) -> None:
    store.insert(ROW)
    with configured(client, busy_reply_threshold=1), redis.Redis.from_url(own.url) as other:
        thread = threading.Thread(target=run_until_killed, args=(other,))
        thread.start()
        try:
            with pytest.raises(StoreUnavailableError, match="BUSY"):
                for _ in range(1000):
                    store.get("con-1", TENANT, OWNER)
                    time.sleep(0.005)  # until the script runs
        finally:
            client.script_kill()
            thread.join()


def test_a_refused_password_is_an_outage(own: Valkey, store: RedisStore, client: redis.Redis) -> None:
    with configured(client, requirepass="s3cret"), closing(RedisStore(own.url)) as unknown:
        with pytest.raises(StoreUnavailableError, match="password") as raised:
            unknown.load_vault()
        assert "s3cret" not in str(raised.value)
        with closing(RedisStore(f"redis://:s3cret@127.0.0.1:{own.port}")) as known:
            known.insert(ROW)
            assert known.get("con-1", TENANT, OWNER) == ROW


def test_a_missing_permission_is_told_by_its_code_alone(own: Valkey, store: RedisStore, client: redis.Redis) -> None:
    client.acl_setuser(
        "reader", enabled=True, nopass=True, keys=["*"], commands=["+@read", "+hello", "+select", "+client"]
    )
    with closing(RedisStore(f"redis://reader@127.0.0.1:{own.port}")) as reader:
        assert reader.read_token("con-1", TENANT, OWNER) is None
        with pytest.raises(StoreError) as raised:
            reader.insert(ROW)
    assert str(raised.value) == "the database refused: NoPermissionError"
    client.acl_deluser("reader")


def test_a_record_of_another_kind_is_an_error(store: RedisStore, client: redis.Redis) -> None:
    client.set("{socialvault}:connection:con-1", "x")
    for call in (lambda: store.get("con-1", TENANT, OWNER), lambda: store.write_token(token_write(ROW))):
        with pytest.raises(StoreError) as raised:
            call()
        assert str(raised.value) == "the database refused: WRONGTYPE"
        assert not isinstance(raised.value, StoreUnavailableError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (driver.BusyLoadingError("Redis is loading"), StoreUnavailableError),
        (driver.ClusterDownError("CLUSTERDOWN The cluster is down"), StoreUnavailableError),
        (driver.MasterDownError("Link with MASTER is down"), StoreUnavailableError),
        (driver.TryAgainError("Multiple keys request during rehashing"), StoreUnavailableError),
        (driver.RedisClusterException("cannot be connected: secret"), StoreUnavailableError),
        (driver.MaxConnectionsError("Too many connections"), StoreUnavailableError),
        (driver.ResponseError("MISCONF Errors writing to the AOF file: secret"), StoreUnavailableError),
        (driver.ResponseError("NOMASTERLINK Can't SYNC: secret"), StoreUnavailableError),
        (OSError("secret"), StoreUnavailableError),
        (driver.ClusterCrossSlotError("secret"), StoreError),
        (driver.DataError("secret"), StoreError),
        (driver.ResponseError("user_script:7: secret"), StoreError),
        (driver.ResponseError("SVRETIRED secret"), KeyNotFoundError),
        (driver.ResponseError("SVEXISTS secret"), StoreError),
        (driver.ResponseError("SVSCHEMA 9"), ConfigurationError),
        (driver.ResponseError("SVSCHEMA secret"), ConfigurationError),
    ],
)
def test_every_refusal_has_its_error_and_shows_nothing_of_it(error: Exception, kind: type[Exception]) -> None:
    told = refusal(error)
    assert type(told) is kind
    assert "secret" not in str(told)


# --- a write is sent once -------------------------------------------------------------------------


class Severing:
    """A relay in front of a server that cuts the line instead of passing on the answer to a script."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.severing = False
        self.severed, self.most = 0, 100
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(near,), daemon=True).start()

    def _relay(self, near: socket.socket) -> None:
        cut = threading.Event()
        with near, socket.create_connection(("127.0.0.1", self._to)) as far:
            threading.Thread(target=self._answer, args=(far, near, cut), daemon=True).start()
            with suppress(OSError):
                while asked := near.recv(1 << 16):
                    if self.severing and b"EVALSHA" in asked:
                        cut.set()
                    far.sendall(asked)

    def _answer(self, far: socket.socket, near: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while answer := far.recv(1 << 16):
                if cut.is_set():
                    self.severed += 1
                    self.severing = self.severed < self.most
                    near.shutdown(socket.SHUT_RDWR)
                    return
                near.sendall(answer)


@pytest.fixture
def relay(own: Valkey) -> Iterator[Severing]:
    with closing(Severing(own.port)) as relay:
        yield relay


def test_a_write_whose_answer_was_lost_is_unknown_and_not_sent_again(
    relay: Severing, store: RedisStore, client: redis.Redis
) -> None:
    """A client of its own that tries everything ten times, as the driver's do by themselves."""
    with redis.Redis(port=relay.port, protocol=2) as eager, closing(RedisStore(eager)) as severed:
        severed.insert(ROW)
        severed.write_token(token_write(ROW))
        relay.severing = True
        with pytest.raises(StoreUnavailableError):
            severed.write_token(token_write(ROW, expected_generation=2))
        assert relay.severed == 1
        relay.severing = False
        assert severed.read_token("con-1", TENANT, OWNER).generation == 3  # type: ignore[union-attr]  # it is there
    assert eager.get_retry().get_retries() == 10


async def test_a_write_whose_answer_was_lost_is_not_sent_again_by_event_loops(
    relay: Severing, store: RedisStore, client: redis.Redis
) -> None:
    async with AsyncRedis(port=relay.port, protocol=2) as eager:
        severed = AsyncRedisStore(eager)
        await severed.insert(ROW)
        await severed.write_token(token_write(ROW))
        relay.severing = True
        with pytest.raises(StoreUnavailableError):
            await severed.write_token(token_write(ROW, expected_generation=2))
        assert relay.severed == 1
        relay.severing = False
        assert (await severed.read_token("con-1", TENANT, OWNER)).generation == 3  # type: ignore[union-attr]  # it is there
        await severed.aclose()


def test_a_question_whose_answer_was_lost_is_asked_again(relay: Severing, store: RedisStore) -> None:
    store.insert(ROW)
    with closing(RedisStore(f"redis://127.0.0.1:{relay.port}")) as severed:
        assert severed.list_for_owner(TENANT, OWNER) == [ROW]
        relay.severing, relay.most = True, 1
        assert severed.list_for_owner(TENANT, OWNER) == [ROW]
        assert relay.severed == 1


def test_a_question_is_asked_again_by_the_client_and_then_no_more(relay: Severing, store: RedisStore) -> None:
    with closing(RedisStore(f"redis://127.0.0.1:{relay.port}")) as severed:
        severed.list_for_owner(TENANT, OWNER)
        relay.severing = True
        with pytest.raises(StoreUnavailableError):
            severed.list_for_owner(TENANT, OWNER)
        assert relay.severed == 3  # the client tries twice, too


@contextmanager
def answering_late(server: Valkey) -> Iterator[None]:
    """Let a server answer nothing for a while, so that no pool can see an answer waiting that nobody has read."""
    server.pause()
    timer = threading.Timer(0.3, server.resume)
    timer.start()
    try:
        yield
    finally:
        timer.join()
        server.resume()


def test_an_interrupted_call_leaves_no_answer_to_the_next(
    own: Valkey, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with closing(RedisStore(f"{own.url}?max_connections=1")) as store:
        store.insert(ROW)
        monkeypatch.setattr(redis.Connection, "read_response", interrupt)
        with answering_late(own):
            with pytest.raises(KeyboardInterrupt):
                store.acquire_lease("con-1", "me", 30.0)
            assert store.get("con-1", TENANT, OWNER) == ROW


async def test_a_cancelled_call_leaves_no_answer_to_the_next(
    own: Valkey, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancel(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise asyncio.CancelledError

    store = AsyncRedisStore(f"{own.url}?max_connections=1")
    await store.insert(ROW)
    monkeypatch.setattr(AsyncConnection, "read_response", cancel)
    with answering_late(own):
        with pytest.raises(asyncio.CancelledError):
            await store.acquire_lease("con-1", "me", 30.0)
        assert await store.get("con-1", TENANT, OWNER) == ROW
    for turn in range(20):  # and wherever else it may be cancelled
        task = asyncio.create_task(store.acquire_lease("con-1", "me", 30.0))
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await store.get("con-1", TENANT, OWNER) == ROW
    await store.aclose()
