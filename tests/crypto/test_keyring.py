"""The key hierarchy over a store: first start, wrong keys, swapped keys, caches and owners that never meet."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.envelopes import Binding, key_id, open_bare
from support.frames import shows

from socialvault.crypto.envelope import Sealer, key_id_of
from socialvault.crypto.keyring import DAY_SECONDS, Keyring
from socialvault.exceptions import (
    EncryptionError,
    KeyNotFoundError,
    KeyServiceUnavailableError,
    MalformedEnvelopeError,
    StoreUnavailableError,
    TamperedError,
    WrongKeyError,
)
from socialvault.keys.local import LocalKeyring
from socialvault.model.keys import KeyContext, KeyLevel, VaultRow, WrappedKey
from socialvault.runtimes.threads import run
from socialvault.stores.memory import AsyncMemoryStore
from socialvault.vault.blocking import BlockingKeyService

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

PLAIN = b"socialvault-canary-plaintext"
MARKED_KEY = b"marked-for-the-search-of-stories"
PLACE = ("google", "https://accounts.google.com", b"connection-1", 1)


class Clock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def now_seconds(self) -> float:
        return self.seconds


class Store(AsyncMemoryStore):
    """A real store that counts what is asked of it, and lets a test change what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.writes: list[str] = []
        self.primary_vault_key = True
        self.alter_vault: Callable[[VaultRow], VaultRow] = lambda row: row
        self.alter_vault_key: Callable[[WrappedKey], WrappedKey] = lambda row: row
        self.alter_data_key: Callable[[WrappedKey], WrappedKey] = lambda row: row

    async def load_vault(self) -> VaultRow | None:
        row = await super().load_vault()
        return row and self.alter_vault(row)

    async def key(self, level: KeyLevel, key_id: str) -> WrappedKey | None:
        self.reads += level == "data"
        return self._altered(level, await super().key(level, key_id))

    async def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
        self.reads += level == "data"
        if level == "vault" and not self.primary_vault_key:
            return None
        return self._altered(level, await super().primary_key(level, tenant, owner))

    @contextmanager
    def without_primary_vault_key(self) -> Iterator[None]:
        """Meanwhile no vault key is primary."""
        self.primary_vault_key = False
        yield
        self.primary_vault_key = True

    def _altered(self, level: KeyLevel, row: WrappedKey | None) -> WrappedKey | None:
        return row and (self.alter_data_key(row) if level == "data" else self.alter_vault_key(row))

    async def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
        written = await super().create_vault(row, vault_key)
        self.writes += ["create_vault"] * written
        return written

    async def add_key(self, level: KeyLevel, key: WrappedKey) -> bool:
        self.writes.append(f"add_key {level}")
        return await super().add_key(level, key)

    async def replace_key(self, level: KeyLevel, key: WrappedKey, old_key_id: str) -> bool:
        self.writes.append(f"replace_key {level}")
        return await super().replace_key(level, key, old_key_id)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def local() -> LocalKeyring:
    return LocalKeyring([LocalKeyring.generate()])


@pytest.fixture
def keyring(store: Store, local: LocalKeyring, clock: Clock) -> Keyring:
    return make(store, local, clock)


def make(store: Any, keys: Any, clock: Clock, **options: Any) -> Keyring:
    return Keyring(store, BlockingKeyService(keys), clock, **options)


def seal(sealer: Sealer) -> bytes:
    return sealer.seal(PLAIN, *PLACE)


async def sealed_for(keyring: Keyring, tenant: str, owner: str) -> bytes:
    return seal(await keyring.for_sealing(tenant, owner))


async def opened_for(keyring: Keyring, envelope: bytes, tenant: str, owner: str) -> bytes:
    return (await keyring.for_opening(envelope, tenant, owner)).open(envelope, *PLACE)


async def rows_of(store: Store) -> list[object]:
    keys = [await store.primary_key("vault", "", ""), await store.primary_key("data", "acme", "ada")]
    return [await store.load_vault(), *keys]


async def caught(attempt: Coroutine[Any, Any, object], kind: type[EncryptionError]) -> EncryptionError:
    with pytest.raises(EncryptionError) as problem:
        await attempt
    assert type(problem.value) is kind, repr(problem.value)
    return problem.value


# --- first start ----------------------------------------------------------------------------------


async def test_the_first_start_writes_once_and_later_ones_never(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock
) -> None:
    assert (keyring.opened, keyring.vault_id) == (False, b"")
    await keyring.open()
    assert keyring.opened
    assert len(keyring.vault_id) == 16
    assert store.writes == ["create_vault"]
    again = make(store, local, clock)
    await again.open()
    await again.open()
    assert again.vault_id == keyring.vault_id
    assert store.writes == ["create_vault"]
    envelope = await sealed_for(keyring, "acme", "ada")
    assert await opened_for(again, envelope, "acme", "ada") == PLAIN


async def test_what_is_written_is_what_the_format_says(store: Store, local: LocalKeyring, keyring: Keyring) -> None:
    await keyring.open()
    vault, row = await store.load_vault(), await store.primary_key("vault", "", "")
    assert vault is not None
    assert row is not None
    key = local.unwrap(row.wrapped, KeyContext(vault.vault_id, "vault-key", "", row.key_id))
    assert row.key_id == key_id(key).hex()
    assert (row.tenant, row.owner, row.state, row.wrapped_by) == ("", "", "primary", local.primary_id)
    assert open_bare(key, vault.canary, Binding(vault.vault_id, "canary")) == b"socialvault canary"
    await keyring.for_sealing("acme", "ada")
    dek = await store.primary_key("data", "acme", "ada")
    assert dek is not None
    binding = Binding(vault.vault_id, "data-key", "acme", "ada", item=dek.key_id.encode())
    assert key_id(open_bare(key, dek.wrapped, binding)).hex() == dek.key_id
    assert dek.wrapped_by == row.key_id


class Racing(Store):
    """Lets everybody see an empty database before anybody writes."""

    def __init__(self, racers: int) -> None:
        super().__init__()
        self._barrier = asyncio.Barrier(racers)
        self._started: set[Any] = set()

    async def load_vault(self) -> VaultRow | None:
        row = await super().load_vault()
        if asyncio.current_task() not in self._started:
            self._started.add(asyncio.current_task())
            await self._barrier.wait()
        return row


async def test_racing_first_starts_agree_on_one_identity(local: LocalKeyring, clock: Clock) -> None:
    store = Racing(8)
    keyrings = [make(store, local, clock) for _ in range(8)]
    await asyncio.gather(*(keyring.open() for keyring in keyrings))
    assert store.writes == ["create_vault"]
    assert len({keyring.vault_id for keyring in keyrings}) == 1
    envelope = await sealed_for(keyrings[0], "acme", "ada")
    assert [await opened_for(keyring, envelope, "acme", "ada") for keyring in keyrings] == [PLAIN] * 8


async def test_a_race_between_two_configurations_leaves_one_refused_and_one_working(clock: Clock) -> None:
    store = Racing(2)
    keyrings = [make(store, LocalKeyring([LocalKeyring.generate()]), clock) for _ in range(2)]
    outcomes = await asyncio.gather(*(keyring.open() for keyring in keyrings), return_exceptions=True)
    assert sorted(type(outcome) for outcome in outcomes if outcome) == [WrongKeyError]
    assert [keyring.opened for keyring in keyrings].count(True) == 1
    assert store.writes == ["create_vault"]


async def test_a_store_that_keeps_nothing_is_noticed(local: LocalKeyring, clock: Clock) -> None:
    class Forgetful(Store):
        async def load_vault(self) -> VaultRow | None:
            return None

    keyring = make(Forgetful(), local, clock)
    await caught(keyring.open(), KeyNotFoundError)
    assert not keyring.opened


# --- wrong keys -----------------------------------------------------------------------------------


async def test_c_07_a_wrong_keyring_refuses_by_name_and_writes_nothing(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock
) -> None:
    await keyring.open()
    await keyring.for_sealing("acme", "ada")
    before = await rows_of(store)
    writes = list(store.writes)
    other = LocalKeyring([LocalKeyring.generate(), LocalKeyring.generate()])
    wrong = make(store, other, clock)
    problem = await caught(wrong.open(), WrongKeyError)
    for id_of_key in (local.primary_id, *other.key_ids):
        assert id_of_key[:12] in str(problem)
    assert not wrong.opened
    after = await rows_of(store)
    assert (after, store.writes) == (before, writes)
    await caught(wrong.for_sealing("acme", "bob"), WrongKeyError)
    assert store.writes == writes


class Service:
    """A key service that holds its keys elsewhere and can't list them."""

    primary_id = "kms/1"
    key_ids: tuple[str, ...] = ()

    def __init__(self, local: LocalKeyring) -> None:
        self.local = local
        self.answer: Callable[[bytes], bytes] = lambda key: key

    def wrap(self, key: bytes, context: KeyContext) -> bytes:
        return self.local.wrap(key, context)

    def unwrap(self, wrapped: bytes, context: KeyContext) -> bytes:
        return self.answer(self.local.unwrap(wrapped, context))


async def test_c_07_a_service_that_lists_no_keys_names_the_missing_one(
    store: Store, local: LocalKeyring, clock: Clock
) -> None:
    await make(store, Service(local), clock).open()
    wrong = make(store, Service(LocalKeyring([LocalKeyring.generate()])), clock)
    problem = await caught(wrong.open(), KeyNotFoundError)
    assert local.primary_id[:12] in str(problem)
    assert store.writes == ["create_vault"]


@pytest.mark.parametrize("answer", [MARKED_KEY, MARKED_KEY[:16], b""])
async def test_c_16_a_service_that_unwraps_another_key_is_noticed_and_the_key_stays_out_of_sight(
    store: Store, local: LocalKeyring, clock: Clock, answer: bytes
) -> None:
    service = Service(local)
    await make(store, service, clock).open()
    service.answer = lambda _: answer
    keyring = make(store, service, clock)
    problem = await caught(keyring.open(), WrongKeyError)
    assert not keyring.opened
    assert not shows(problem, MARKED_KEY)


async def test_a_service_that_is_down_at_the_start_says_so_and_nothing_is_written(
    store: Store, local: LocalKeyring, clock: Clock
) -> None:
    service = Service(local)

    def down(*_: object) -> bytes:
        raise KeyServiceUnavailableError("the key service does not answer")

    service.wrap = down  # type: ignore[method-assign]  # for this test
    await caught(make(store, service, clock).open(), KeyServiceUnavailableError)
    assert store.writes == []


async def test_l_05_a_store_that_fails_at_the_first_start_shows_no_vault_key(local: LocalKeyring, clock: Clock) -> None:
    written: list[tuple[VaultRow, WrappedKey]] = []

    class Failing(Store):
        async def create_vault(self, row: VaultRow, vault_key: WrappedKey) -> bool:
            written.append((row, vault_key))  # it may well have been committed
            raise StoreUnavailableError("the connection was lost")

    with pytest.raises(StoreUnavailableError) as failed:
        await make(Failing(), local, clock).open()
    row, wrapped = written[0]
    key = local.unwrap(wrapped.wrapped, KeyContext(row.vault_id, "vault-key", "", wrapped.key_id))
    assert shows(failed.value, row.vault_id)  # this way of looking does see locals
    assert not shows(failed.value, key)


# --- the stored identity was altered --------------------------------------------------------------


def flipped(data: bytes, index: int = -1) -> bytes:
    changed = bytearray(data)
    changed[index] ^= 1
    return bytes(changed)


CANARY_DAMAGE: list[tuple[Callable[[bytes], bytes], type[EncryptionError]]] = [
    (flipped, TamperedError),
    (lambda canary: flipped(canary, 10), WrongKeyError),  # names a vault key that is not stored
    (lambda canary: flipped(canary, 2), MalformedEnvelopeError),
    (lambda _: b"", MalformedEnvelopeError),
]


@pytest.mark.parametrize(("damage", "kind"), CANARY_DAMAGE, ids=["tag", "key-id", "version", "empty"])
async def test_f_32_a_damaged_canary_refuses_to_start(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock, damage: Any, kind: type[EncryptionError]
) -> None:
    await keyring.open()
    store.alter_vault = lambda row: replace(row, canary=damage(row.canary))
    damaged = make(store, local, clock)
    await caught(damaged.open(), kind)
    assert not damaged.opened
    assert store.writes == ["create_vault"]


async def test_f_32_a_canary_of_another_text_is_no_canary(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock
) -> None:
    await keyring.open()
    row = await store.primary_key("vault", "", "")
    assert row is not None
    key = local.unwrap(row.wrapped, KeyContext(keyring.vault_id, "vault-key", "", row.key_id))
    forged = Sealer(AESGCM(key), key_id_of(key), keyring.vault_id, "canary", "", "").seal(b"x", "", "", b"", 0)
    store.alter_vault = lambda row: replace(row, canary=forged)
    await caught(make(store, local, clock).open(), TamperedError)


async def test_a_vault_that_was_renamed_does_not_open(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock
) -> None:
    await keyring.open()
    store.alter_vault = lambda row: replace(row, vault_id=flipped(row.vault_id))
    await caught(make(store, local, clock).open(), TamperedError)


@pytest.mark.parametrize("field", ["wrapped", "key_id", "tenant"])
async def test_an_altered_vault_key_refuses_to_start(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock, field: str
) -> None:
    await keyring.open()
    altered = {"wrapped": flipped, "key_id": lambda text: text[:-1] + "-", "tenant": lambda text: text + "x"}[field]
    store.alter_vault_key = lambda row: row._replace(**{field: altered(getattr(row, field))})
    await caught(make(store, local, clock).open(), TamperedError)


async def test_a_vault_key_that_is_not_its_ids_is_a_wrong_key(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock
) -> None:
    await keyring.open()
    other = MARKED_KEY
    store.alter_vault_key = lambda row: row._replace(
        wrapped=local.wrap(other, KeyContext(keyring.vault_id, "vault-key", "", row.key_id))
    )
    await caught(make(store, local, clock).open(), WrongKeyError)


async def test_a_vault_without_a_primary_key_reads_and_makes_no_keys(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock
) -> None:
    await keyring.open()
    envelope = await sealed_for(keyring, "acme", "ada")
    with store.without_primary_vault_key():
        fresh = make(store, local, clock)
        await fresh.open()
        assert await opened_for(fresh, envelope, "acme", "ada") == PLAIN
        await caught(fresh.for_sealing("acme", "bob"), KeyNotFoundError)
    assert store.writes == ["create_vault", "add_key data"]
    assert await fresh.for_sealing("acme", "bob")


# --- several operators' keys ----------------------------------------------------------------------


async def test_an_older_key_still_opens_and_the_newer_one_alone_does_not(store: Store, clock: Clock) -> None:
    old, new = LocalKeyring.generate(), LocalKeyring.generate()
    first = make(store, LocalKeyring([old]), clock)
    await first.open()
    envelope = await sealed_for(first, "acme", "ada")
    both = make(store, LocalKeyring([new, old]), clock)
    await both.open()
    assert await opened_for(both, envelope, "acme", "ada") == PLAIN
    await caught(make(store, LocalKeyring([new]), clock).open(), WrongKeyError)


# --- data keys ------------------------------------------------------------------------------------


async def test_every_owner_has_a_key_of_their_own_made_once(store: Store, keyring: Keyring) -> None:
    await keyring.open()
    owners = [("acme", "ada"), ("acme", "bob"), ("", "ada"), ("ada", "acme")]
    first = [(await keyring.for_sealing(*owner)).key_id for owner in owners]
    second = [(await keyring.for_sealing(*owner)).key_id for owner in owners]
    assert first == second
    assert len(set(first)) == len(owners)
    assert store.writes == ["create_vault", *["add_key data"] * len(owners)]


async def test_racing_first_writes_of_one_owner_agree_on_one_key(
    store: Store, local: LocalKeyring, clock: Clock
) -> None:
    class Late(Store):
        """Everybody finds no key at first, however many were added meanwhile."""

        def __init__(self) -> None:
            super().__init__()
            self.seen: set[Any] = set()

        async def primary_key(self, level: KeyLevel, tenant: str, owner: str) -> WrappedKey | None:
            if level == "data" and asyncio.current_task() not in self.seen:
                self.seen.add(asyncio.current_task())
                return None
            return await super().primary_key(level, tenant, owner)

    late = Late()
    keyrings = [make(late, local, clock) for _ in range(4)]
    for keyring in keyrings:
        await keyring.open()
    envelopes = await asyncio.gather(*(sealed_for(keyring, "acme", "ada") for keyring in keyrings))
    assert late.writes == ["create_vault", *["add_key data"] * 4]
    assert len({envelope[4:36] for envelope in envelopes}) == 1
    assert [await opened_for(keyrings[0], envelope, "acme", "ada") for envelope in envelopes] == [PLAIN] * 4


async def test_c_05_swapped_wrapped_keys_do_not_open(store: Store, local: LocalKeyring, clock: Clock) -> None:
    keyring = make(store, local, clock)
    await keyring.open()
    envelopes = {owner: await sealed_for(keyring, "acme", owner) for owner in ("ada", "bob")}
    rows = {owner: await store.primary_key("data", "acme", owner) for owner in ("ada", "bob")}
    swapped = {rows["ada"].key_id: rows["bob"].wrapped, rows["bob"].key_id: rows["ada"].wrapped}  # type: ignore[union-attr]  # there
    store.alter_data_key = lambda row: row._replace(wrapped=swapped[row.key_id])
    cold = make(store, local, clock)
    await cold.open()
    for owner, envelope in envelopes.items():
        await caught(opened_for(cold, envelope, "acme", owner), TamperedError)
        await caught(cold.for_sealing("acme", owner), TamperedError)


async def test_c_07_a_data_key_that_is_not_its_ids_is_a_wrong_key(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock
) -> None:
    await keyring.open()
    envelope = await sealed_for(keyring, "acme", "ada")
    vault_key = await store.primary_key("vault", "", "")
    assert vault_key is not None
    key = local.unwrap(vault_key.wrapped, KeyContext(keyring.vault_id, "vault-key", "", vault_key.key_id))
    sealer = Sealer(AESGCM(key), key_id_of(key), keyring.vault_id, "data-key", "acme", "ada")
    other = MARKED_KEY
    store.alter_data_key = lambda row: row._replace(wrapped=sealer.seal(other, "", "", row.key_id.encode(), 0))
    cold = make(store, local, clock)
    await cold.open()
    for attempt in (opened_for(cold, envelope, "acme", "ada"), cold.for_sealing("acme", "ada")):
        problem = await caught(attempt, WrongKeyError)
        assert not shows(problem, MARKED_KEY)


@pytest.mark.parametrize("thief", [("acme", "bob"), ("rival", "ada"), ("", "acmeada"), ("acmea", "da")])
async def test_c_05_a_data_key_row_moved_to_another_owner_opens_nothing(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock, thief: tuple[str, str]
) -> None:
    await keyring.open()
    envelope = await sealed_for(keyring, "acme", "ada")
    stolen = await store.primary_key("data", "acme", "ada")
    assert stolen is not None
    await keyring.for_sealing(*thief)
    tenant, owner = thief
    store.alter_data_key = lambda _: stolen._replace(tenant=tenant, owner=owner)
    cold = make(store, local, clock)
    await cold.open()
    await caught(cold.for_sealing(tenant, owner), TamperedError)
    await caught(opened_for(cold, envelope, tenant, owner), TamperedError)
    store.alter_data_key = lambda _: stolen  # as it was, but handed to another owner
    await caught(cold.for_sealing(tenant, owner), TamperedError)


async def test_c_07_a_record_whose_key_is_gone_names_it(store: Store, local: LocalKeyring, clock: Clock) -> None:
    one, other = make(store, local, clock), make(Store(), local, clock)
    await one.open()
    await other.open()
    envelope = await sealed_for(other, "acme", "ada")
    problem = await caught(one.for_opening(envelope, "acme", "ada"), KeyNotFoundError)
    assert envelope[4:36].hex()[:12] in str(problem)


async def test_c_07_a_data_key_under_an_unknown_vault_key_names_it(
    store: Store, local: LocalKeyring, keyring: Keyring, clock: Clock
) -> None:
    await keyring.open()
    envelope = await sealed_for(keyring, "acme", "ada")
    store.alter_data_key = lambda row: row._replace(wrapped_by="ab" * 32)
    cold = make(store, local, clock)
    await cold.open()
    problem = await caught(cold.for_opening(envelope, "acme", "ada"), KeyNotFoundError)
    assert "abababababab" in str(problem)


@pytest.mark.parametrize("envelope", [b"", b"SV\x01\x01", b"plaintext-token" * 20])
async def test_c_08_what_is_no_envelope_never_reaches_the_store(
    store: Store, keyring: Keyring, envelope: bytes
) -> None:
    await keyring.open()
    await caught(keyring.for_opening(envelope, "acme", "ada"), MalformedEnvelopeError)
    await caught(keyring.for_flow(envelope, "acme", "ada"), MalformedEnvelopeError)
    assert store.reads == 0


# --- owners never meet ----------------------------------------------------------------------------

STRANGERS = [("acme", "bob"), ("rival", "ada"), ("", "ada"), ("acmea", "da"), ("acm", "eada"), ("ada", "acme")]


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_c_05_another_owners_record_never_opens(
    store: Store, local: LocalKeyring, clock: Clock, stranger: tuple[str, str], warm: bool
) -> None:
    keyring = make(store, local, clock)
    await keyring.open()
    envelope = await sealed_for(keyring, "acme", "ada")
    await keyring.for_sealing(*stranger)
    reader = keyring if warm else make(store, local, clock)
    await reader.open()
    assert (reader.cached(envelope, "acme", "ada", clock.seconds) is not None) is warm
    assert reader.cached(envelope, *stranger, clock.seconds) is None
    await caught(opened_for(reader, envelope, *stranger), TamperedError)
    assert reader.cached(envelope, *stranger, clock.seconds) is None
    assert await opened_for(reader, envelope, "acme", "ada") == PLAIN


# --- caches ---------------------------------------------------------------------------------------


async def test_c_14_a_key_is_used_for_its_time_without_asking_and_not_longer(
    store: Store, local: LocalKeyring, clock: Clock
) -> None:
    writer = make(store, local, clock)
    await writer.open()
    envelope = await sealed_for(writer, "acme", "ada")
    reader = make(store, local, clock, cache_seconds=300)
    await reader.open()
    store.reads = 0
    for _ in range(3):
        assert await opened_for(reader, envelope, "acme", "ada") == PLAIN
    clock.seconds += 300
    assert await opened_for(reader, envelope, "acme", "ada") == PLAIN
    assert store.reads == 1
    clock.seconds += 0.001
    assert reader.cached(envelope, "acme", "ada", clock.seconds) is None
    assert await opened_for(reader, envelope, "acme", "ada") == PLAIN
    assert store.reads == 2


async def test_c_14_writing_does_not_prolong_a_keys_time(store: Store, local: LocalKeyring, clock: Clock) -> None:
    keyring = make(store, local, clock, cache_seconds=300)
    await keyring.open()
    envelope = await sealed_for(keyring, "acme", "ada")
    clock.seconds += 299
    await keyring.for_sealing("acme", "ada")
    clock.seconds += 2
    assert keyring.cached(envelope, "acme", "ada", clock.seconds) is None


async def test_c_14_an_expired_primary_is_asked_for_again(store: Store, local: LocalKeyring, clock: Clock) -> None:
    keyring = make(store, local, clock, cache_seconds=300)
    await keyring.open()
    await keyring.for_sealing("acme", "ada")
    store.reads = 0
    clock.seconds += 300
    await keyring.for_sealing("acme", "ada")
    assert store.reads == 0
    clock.seconds += 1
    await keyring.for_sealing("acme", "ada")
    assert store.reads == 1


@pytest.mark.parametrize("size", [0, 1, 3])
async def test_c_14_the_cache_is_bounded_and_the_oldest_leave_first(
    store: Store, local: LocalKeyring, clock: Clock, size: int
) -> None:
    keyring = make(store, local, clock, cache_size=size)
    await keyring.open()
    owners = [f"owner-{n}" for n in range(8)]
    envelopes = {owner: await sealed_for(keyring, "acme", owner) for owner in owners}

    def kept() -> list[str]:
        return [o for o, envelope in envelopes.items() if keyring.cached(envelope, "acme", o, clock.seconds)]

    assert kept() == owners[len(owners) - size :]
    for owner, envelope in envelopes.items():
        assert await opened_for(keyring, envelope, "acme", owner) == PLAIN
    assert kept() == owners[len(owners) - size :]
    assert max(len(keyring._sealers), len(keyring._primaries)) <= size


async def test_c_14_loading_a_known_key_again_pushes_nobody_out(
    store: Store, local: LocalKeyring, clock: Clock
) -> None:
    keyring = make(store, local, clock, cache_size=2)
    await keyring.open()
    first, second = [await sealed_for(keyring, "acme", owner) for owner in ("ada", "bob")]
    await keyring.for_sealing("acme", "bob")
    assert keyring.cached(first, "acme", "ada", clock.seconds)
    assert keyring.cached(second, "acme", "bob", clock.seconds)


def test_a_small_cache_serves_many_threads(store: Store, local: LocalKeyring, clock: Clock) -> None:
    keyring = make(store, local, clock, cache_size=4)
    run(keyring.open())
    envelopes = {f"owner-{n}": run(sealed_for(keyring, "acme", f"owner-{n}")) for n in range(12)}

    def work() -> None:
        for _ in range(20):
            for owner, envelope in envelopes.items():
                assert run(opened_for(keyring, envelope, "acme", owner)) == PLAIN
                run(keyring.for_sealing("acme", owner))

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work) for _ in range(6)]:
            done.result(30)


# --- the cryptoperiod -----------------------------------------------------------------------------


async def test_a_key_is_replaced_after_its_cryptoperiod_and_old_records_still_open(
    store: Store, local: LocalKeyring, clock: Clock
) -> None:
    keyring = make(store, local, clock, cryptoperiod_seconds=90 * DAY_SECONDS)
    await keyring.open()
    old = await sealed_for(keyring, "acme", "ada")
    clock.seconds += 90 * DAY_SECONDS
    assert (await sealed_for(keyring, "acme", "ada"))[4:36] == old[4:36]
    clock.seconds += DAY_SECONDS
    assert await opened_for(keyring, old, "acme", "ada") == PLAIN
    assert "replace_key data" not in store.writes  # reading replaces nothing
    new = await sealed_for(keyring, "acme", "ada")
    assert new[4:36] != old[4:36]
    assert store.writes[-1] == "replace_key data"
    for reader in (keyring, make(store, local, clock)):
        await reader.open()
        for envelope in (old, new):
            assert await opened_for(reader, envelope, "acme", "ada") == PLAIN
    former = await store.key("data", old[4:36].hex())
    assert former is not None
    assert former.state == "decrypt_only"


async def test_racing_replacements_agree_on_one_new_key(store: Store, local: LocalKeyring, clock: Clock) -> None:
    keyrings = [make(store, local, clock) for _ in range(2)]
    for keyring in keyrings:
        await keyring.open()
    old = await keyrings[0].add("acme", "ada", "primary")
    clock.seconds += 91 * DAY_SECONDS

    await keyrings[0].for_sealing("acme", "ada")
    truth = await store.primary_key("data", "acme", "ada")
    assert truth is not None
    assert truth.key_id != old.key_id
    seen = iter([old])  # the second one saw the old row before the first one replaced it
    store.alter_data_key = lambda row: next(seen, row)
    sealer = await keyrings[1].for_sealing("acme", "ada")
    assert sealer.key_id.hex() == truth.key_id


# --- pending flows --------------------------------------------------------------------------------


async def test_flows_are_sealed_under_the_vaults_own_key_for_one_owner(store: Store, keyring: Keyring) -> None:
    await keyring.open()
    sealed = (await keyring.for_flow(None, "acme", "ada")).seal(PLAIN, "google", "", b"h" * 32, 0)
    own = await store.primary_key("data", "", "")
    assert own is not None
    assert sealed[4:36].hex() == own.key_id
    again = await keyring.for_flow(sealed, "acme", "ada")
    assert again.open(sealed, "google", "", b"h" * 32, 0) == PLAIN
    for stranger in STRANGERS:
        sealer = await keyring.for_flow(sealed, *stranger)
        with pytest.raises(TamperedError):
            sealer.open(sealed, "google", "", b"h" * 32, 0)


async def test_a_flow_begun_before_the_vaults_key_was_replaced_can_be_ended(
    store: Store, local: LocalKeyring, clock: Clock
) -> None:
    keyring = make(store, local, clock)
    await keyring.open()
    sealed = (await keyring.for_flow(None, "acme", "ada")).seal(PLAIN, "google", "", b"h" * 32, 0)
    clock.seconds += 91 * DAY_SECONDS
    assert (await keyring.for_flow(None, "acme", "ada")).key_id != sealed[4:36]
    assert (await keyring.for_flow(sealed, "acme", "ada")).open(sealed, "google", "", b"h" * 32, 0) == PLAIN


async def test_c_05_a_flow_is_never_opened_under_an_owners_key(store: Store, keyring: Keyring) -> None:
    await keyring.open()
    envelope = await sealed_for(keyring, "acme", "ada")
    await caught(keyring.for_flow(envelope, "acme", "ada"), TamperedError)


async def test_c_07_a_flow_under_an_unknown_key_names_it(store: Store, local: LocalKeyring, clock: Clock) -> None:
    one, other = make(store, local, clock), make(Store(), local, clock)
    await one.open()
    await other.open()
    sealed = (await other.for_flow(None, "acme", "ada")).seal(PLAIN, "google", "", b"h" * 32, 0)
    problem = await caught(one.for_flow(sealed, "acme", "ada"), KeyNotFoundError)
    assert sealed[4:36].hex()[:12] in str(problem)
