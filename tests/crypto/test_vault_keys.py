"""Vault keys: one service call per cache lifetime, its outages, tenants with keys of their own, and scopes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import pytest

from socialvault.crypto.keyring import Keyring
from socialvault.exceptions import KeyNotFoundError, KeyServiceUnavailableError, TamperedError, WrongKeyError
from socialvault.keys.local import LocalKeyring
from socialvault.model.keys import KeyContext
from socialvault.runtimes.threads import ThreadRuntime
from socialvault.sandbox.contracts import ManualClock
from socialvault.stores.memory import AsyncMemoryStore
from socialvault.vault.blocking import BlockingKeyService

PLACE = ("google", "", b"connection-1", 1)


class Service:
    """A key service that is asked over a network: it counts the calls, and may be down."""

    def __init__(self, *keys: str) -> None:
        self.local = LocalKeyring(keys or [LocalKeyring.generate()])
        self.calls: list[str] = []
        self.down = False
        self.answer: Callable[[bytes], bytes] = lambda key: key

    @property
    def primary_id(self) -> str:
        return self.local.primary_id

    @property
    def key_ids(self) -> tuple[str, ...]:
        return ()

    def wrap(self, key: bytes, context: KeyContext) -> bytes:
        self._call("wrap")
        return self.local.wrap(key, context)

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        self._call("unwrap")
        return self.answer(self.local.unwrap(wrapped, context))

    def _call(self, what: str) -> None:
        self.calls.append(what)
        if self.down:
            raise KeyServiceUnavailableError("the key service does not answer")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> AsyncMemoryStore:
    return AsyncMemoryStore(clock=clock)


def make(store: Any, service: Service, clock: ManualClock, **options: Any) -> Keyring:
    return Keyring(store, BlockingKeyService(service), clock, **options)


async def sealed(keyring: Keyring, tenant: str, owner: str) -> bytes:
    return (await keyring.for_sealing(tenant, owner)).seal(b"plain", *PLACE)


async def opened(keyring: Keyring, envelope: bytes, tenant: str, owner: str) -> bytes:
    return (await keyring.for_opening(envelope, tenant, owner)).open(envelope, *PLACE)


async def test_a_service_is_called_once_per_lifetime_however_many_owners_there_are(
    store: AsyncMemoryStore, clock: ManualClock
) -> None:
    service = Service()
    await make(store, service, clock).open()
    service.calls.clear()
    keyring = make(store, service, clock, vault_key_cache_seconds=3600, cache_seconds=1)
    await keyring.open()
    envelopes = {f"owner-{n}": await sealed(keyring, "acme", f"owner-{n}") for n in range(50)}
    assert service.calls == ["unwrap"]
    clock.advance(3599)
    for owner, envelope in envelopes.items():
        assert await opened(keyring, envelope, "acme", owner) == b"plain"
    assert service.calls == ["unwrap"]
    clock.advance(2)
    for owner, envelope in envelopes.items():
        assert await opened(keyring, envelope, "acme", owner) == b"plain"
    assert service.calls == ["unwrap"] * 2


async def test_callers_whose_key_ran_out_at_once_share_one_call(store: AsyncMemoryStore, clock: ManualClock) -> None:
    from socialvault.runtimes.asyncio import AsyncioRuntime

    service = Service()
    keyring = make(store, service, clock, cache_seconds=1, once=AsyncioRuntime().single_flight)
    await keyring.open()
    envelopes = {f"owner-{n}": await sealed(keyring, "acme", f"owner-{n}") for n in range(20)}
    clock.advance(3601)
    service.calls.clear()
    await asyncio.gather(*(opened(keyring, envelope, "acme", owner) for owner, envelope in envelopes.items()))
    assert service.calls == ["unwrap"]


async def test_c_15_f_30_a_service_that_is_down_is_noticed_when_the_lifetime_ends(
    store: AsyncMemoryStore, clock: ManualClock
) -> None:
    service = Service()
    keyring = make(store, service, clock, cache_seconds=300, vault_key_cache_seconds=3600)
    await keyring.open()
    envelope = await sealed(keyring, "acme", "ada")
    service.down = True
    clock.advance(3600)
    assert await opened(keyring, envelope, "acme", "ada") == b"plain"  # the vault key is still known
    clock.advance(200)
    assert await opened(keyring, envelope, "acme", "ada") == b"plain"  # not any more, but the DEK is
    clock.advance(101)
    with pytest.raises(KeyServiceUnavailableError) as problem:
        await opened(keyring, envelope, "acme", "ada")
    assert problem.value.action == "retry"
    with pytest.raises(KeyServiceUnavailableError):
        await make(store, service, clock).open()
    service.down = False
    assert await opened(keyring, envelope, "acme", "ada") == b"plain"


async def test_c_16_a_service_that_answers_with_another_key_later_is_a_wrong_key(
    store: AsyncMemoryStore, clock: ManualClock
) -> None:
    service = Service()
    keyring = make(store, service, clock, cache_seconds=1)
    await keyring.open()
    envelope = await sealed(keyring, "acme", "ada")
    other = os.urandom(32)
    service.answer = lambda _: other
    clock.advance(3601)
    cold = make(store, service, clock)
    with pytest.raises(WrongKeyError):
        await cold.open()
    assert await opened(keyring, envelope, "acme", "ada") == b"plain"  # what it knows is committed to; it says so
    assert keyring.vault_keys.stale


async def test_a_process_whose_keks_are_stale_goes_on_and_says_so(store: AsyncMemoryStore, clock: ManualClock) -> None:
    old, new = LocalKeyring.generate(), LocalKeyring.generate()
    stale, current = make(store, Service(old), clock, cache_seconds=1), make(store, Service(new, old), clock)
    await stale.open()
    await current.open()
    envelope = await sealed(stale, "acme", "ada")
    row = await store.primary_key("vault", "", "")
    assert row is not None
    assert await store.rewrap("vault", [await current.vault_keys.rewrapped(row)]) == 1
    clock.advance(3601)
    assert await opened(stale, envelope, "acme", "ada") == b"plain"
    assert stale.vault_keys.stale == {row.key_id}
    with pytest.raises(KeyNotFoundError):
        await make(store, Service(old), clock).open()
    assert not current.vault_keys.stale


# --- scopes ---------------------------------------------------------------------------------------


async def test_tenants_may_have_vault_keys_of_their_own(store: AsyncMemoryStore, clock: ManualClock) -> None:
    service = Service()
    keyring = make(store, service, clock, vault_key_scope="tenant")
    await keyring.open()
    envelopes = {tenant: await sealed(keyring, tenant, "ada") for tenant in ("acme", "globex", "")}
    rows = {tenant: await store.primary_key("data", tenant, "ada") for tenant in envelopes}
    wrapped_by = {row.wrapped_by for row in rows.values() if row}
    assert len(wrapped_by) == 3
    own = await store.primary_key("vault", "acme", "")
    assert own is not None
    assert rows["acme"] is not None
    assert rows["acme"].wrapped_by == own.key_id
    for tenant, envelope in envelopes.items():
        service.calls.clear()
        cold = make(store, service, clock)  # whatever this one would choose for new keys, it opens them all
        await cold.open()
        assert await opened(cold, envelope, tenant, "ada") == b"plain"
        assert len(service.calls) <= 2


async def test_racing_first_keys_of_a_tenant_agree_on_one_vault_key(
    store: AsyncMemoryStore, clock: ManualClock
) -> None:
    service = Service()
    keyrings = [make(store, service, clock, vault_key_scope="tenant") for _ in range(8)]
    for keyring in keyrings:
        await keyring.open()
    ids = await asyncio.gather(*(keyring.vault_keys.primary_id("acme") for keyring in keyrings))
    assert len(set(ids)) == 1


async def test_a_tenants_records_may_share_one_dek_and_owners_still_never_meet(
    store: AsyncMemoryStore, clock: ManualClock
) -> None:
    service = Service()
    keyring = make(store, service, clock, dek_scope="tenant")
    await keyring.open()
    ada, bob, other = [await sealed(keyring, *who) for who in (("acme", "ada"), ("acme", "bob"), ("globex", "ada"))]
    assert ada[4:36] == bob[4:36] != other[4:36]
    for stranger in (("acme", "bob"), ("globex", "ada"), ("acme", "")):
        with pytest.raises(TamperedError):
            await opened(keyring, ada, *stranger)
    by_owner = make(store, service, clock)
    await by_owner.open()
    assert await opened(by_owner, ada, "acme", "ada") == b"plain"
    assert (await sealed(by_owner, "acme", "ada"))[4:36] != ada[4:36]


# --- limits and floors ----------------------------------------------------------------------------


async def test_c_13_a_dek_of_many_owners_is_replaced_at_its_seal_limit(
    store: AsyncMemoryStore, clock: ManualClock
) -> None:
    keyring = make(store, Service(), clock, dek_scope="tenant", seal_limit=5)
    await keyring.open()
    ids = [(await sealed(keyring, "acme", f"owner-{n}"))[4:36] for n in range(12)]
    assert [ids.count(key_id) for key_id in dict.fromkeys(ids)] == [5, 5, 2]
    states = [ids.count((await keyring.for_flow(None, "acme", "ada")).key_id) for _ in range(6)]
    assert states == [0] * 6  # flows are sealed under the vault's own, which counts by itself


async def test_c_13_processes_count_together(store: AsyncMemoryStore, clock: ManualClock) -> None:
    service = Service()
    keyrings = [make(store, service, clock, dek_scope="tenant", seal_limit=10_000) for _ in range(4)]
    for keyring in keyrings:
        await keyring.open()
    ids = {(await sealed(keyring, "acme", "ada"))[4:36] for keyring in keyrings}
    assert len(ids) == 2  # blocks of 4096: the first two fill the limit


async def test_c_14_a_forked_child_counts_for_itself(store: AsyncMemoryStore, clock: ManualClock) -> None:
    keyring = make(store, Service(), clock, dek_scope="tenant", seal_limit=4096)
    await keyring.open()
    first = await sealed(keyring, "acme", "ada")
    keyring.forked()
    assert keyring.cached(first, "acme", "ada", clock.now_seconds()) is None
    assert (await sealed(keyring, "acme", "ada"))[4:36] != first[4:36]  # the block was its parent's


def test_c_14_a_fork_clears_the_vaults_cache(tmp_path: Any) -> None:
    from socialvault import Vault
    from socialvault.providers import X

    vault = Vault(
        providers=[X("id", "secret")], store=f"sqlite:///{tmp_path}/v.db", redirect_uri="https://a.example/{provider}",
        keys=LocalKeyring([LocalKeyring.generate()]),
    )  # fmt: skip
    vault.import_tokens("x", owner="ada", access_token="some-token", subject="1")
    keyring = vault._cases.core.keyring
    assert keyring._sealers
    child = os.fork()
    if not child:
        os._exit(len(keyring._sealers) + len(keyring._primaries))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert keyring._sealers
    vault.close()


@pytest.mark.parametrize("level", ["vault", "data"])
async def test_what_is_retired_opens_nothing_until_it_is_reinstated(
    store: AsyncMemoryStore, clock: ManualClock, level: Any
) -> None:
    service = Service()
    keyring = make(store, service, clock, cache_seconds=1)
    await keyring.open()
    envelope = await sealed(keyring, "acme", "ada")
    old = await store.primary_key("data", "acme", "ada")
    assert old is not None
    if level == "data":
        new = await keyring.add("acme", "ada", "pre_active")
        key_id = old.key_id
    else:
        new = await keyring.vault_keys.add("", "pre_active")
        key_id = old.wrapped_by
    await store.promote_key(level, new.key_id)
    if level == "vault":  # as if the rows had been lost sight of
        keys = store._store._keys["vault"]
        keys[key_id] = keys[key_id]._replace(state="retired")
        clock.advance(3601)
    else:
        assert await store.retire_key(level, key_id)
        clock.advance(2)
    with pytest.raises(KeyNotFoundError, match="retired"):
        await opened(keyring, envelope, "acme", "ada")
    assert await store.reinstate_key(level, key_id)
    assert await opened(keyring, envelope, "acme", "ada") == b"plain"


def test_threads_share_one_call(clock: ManualClock) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from socialvault.runtimes.threads import run

    store, service = AsyncMemoryStore(clock=clock), Service()
    keyring = make(store, service, clock, cache_seconds=1, once=ThreadRuntime().single_flight)
    run(keyring.open())
    envelopes = {f"owner-{n}": run(sealed(keyring, "acme", f"owner-{n}")) for n in range(8)}
    clock.advance(3601)
    service.calls.clear()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(run, opened(keyring, envelope, "acme", o)) for o, envelope in envelopes.items()]:
            assert done.result(30) == b"plain"
    assert service.calls == ["unwrap"]


async def test_a_call_that_ended_just_before_is_not_made_again(store: AsyncMemoryStore, clock: ManualClock) -> None:
    """A thread may be held up between its look at what is loaded and its turn to ask."""
    service = Service()

    async def late(_key: Any, factory: Any) -> Any:
        await factory()
        return await factory()

    keyring = make(store, service, clock, cache_seconds=1, once=late)
    await keyring.open()
    envelope = await sealed(keyring, "acme", "ada")
    clock.advance(3601)
    service.calls.clear()
    assert await opened(keyring, envelope, "acme", "ada") == b"plain"
    assert service.calls == ["unwrap"]


async def test_first_owners_of_a_tenant_share_the_making_of_its_vault_key(
    store: AsyncMemoryStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from socialvault.runtimes.asyncio import AsyncioRuntime

    service = Service()
    keyring = make(store, service, clock, vault_key_scope="tenant", once=AsyncioRuntime().single_flight)
    await keyring.open()
    service.calls.clear()
    find = store.primary_key

    async def slow(*scope: Any) -> Any:  # the store in memory never waits
        found = await find(*scope)
        await asyncio.sleep(0)
        return found

    monkeypatch.setattr(store, "primary_key", slow)
    await asyncio.gather(*(sealed(keyring, "acme", f"owner-{n}") for n in range(50)))
    assert service.calls == ["wrap", "unwrap"]


async def test_keys_are_forgotten_while_other_threads_go_on(store: AsyncMemoryStore, clock: ManualClock) -> None:
    keyring = make(store, Service(), clock)
    await keyring.open()
    envelopes = {owner: await sealed(keyring, "acme", owner) for owner in ("ada", *map(str, range(9)))}

    class Held(str):
        """An owner's name whose comparison gives another thread its turn."""

        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            keyring._sealers[b"", "globex", str(len(keyring._sealers))] = next(iter(keyring._sealers.values()))
            return str.__eq__(self, other)

    keyring.forget("acme", Held("ada"))
    assert keyring.cached(envelopes["ada"], "acme", "ada", clock.now_seconds()) is None
