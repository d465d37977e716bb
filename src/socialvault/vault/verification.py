"""Proving that a store opens: every key and every sealed record is opened once, and what does not open is named.

Nothing is written, marked or deleted: a record that can't be opened today may be whole tomorrow, with its key back.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

from socialvault.crypto.envelope import Purpose, Sealer, parse_key_id
from socialvault.crypto.keyring import Keyring
from socialvault.crypto.records import open_record
from socialvault.exceptions import ConfigurationError, EncryptionError, KeyNotFoundError, KeyServiceUnavailableError
from socialvault.model.bad_record import BadRecord, bad_key
from socialvault.model.verification import KeyUse, Verification

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from socialvault.crypto.envelope import NamedKey
    from socialvault.model.bad_record import SealedKind
    from socialvault.model.keys import KeyLevel, VaultRow, WrappedKey
    from socialvault.model.rows import ConnectionRow, RevocationRow
    from socialvault.ports.clock import Clock
    from socialvault.ports.key_service import AsyncKeyService
    from socialvault.ports.store import AsyncStore

    #: Told after each page: how much was looked at by then, by kind.
    Progress = Callable[[Mapping[SealedKind, int]], None]

_PAGE: Final = 500
_MOST_BAD: Final = 1000
_MOST_LISTED_KEYS: Final = 1000
_KEPT_KEYS: Final = 10_000
#: Revocations wait for hours, so there are few. A store lists them by their time, which can't be paged through.
_MOST_REVOCATIONS: Final = 10_000
_END_OF_TIME_SECONDS: Final = 1e12


async def verify_records(
    store: AsyncStore, service: AsyncKeyService, clock: Clock, *, progress: Progress | None = None
) -> Verification:
    """Open everything that is sealed in `store`, with what `service` can unwrap.

    It goes on past whatever does not open, in bounded memory, and beside a vault that is at work.

    Args:
        progress: told after each page how much was looked at by then.

    Raises:
        ConfigurationError: no vault has used this store.
        StoreUnavailableError: the store is away.
        KeyServiceUnavailableError: the key service is away, so nothing can be said.
    """
    row = await store.load_vault()
    if row is None:
        raise ConfigurationError("no vault has used this store yet: there is nothing to open")
    walk = _Walk(store, service, clock, progress or (lambda _: None))
    await walk.keys(row)
    await walk.connections()
    await walk.revocations()
    return walk.findings.verification(tuple(service.key_ids))


class _Record(NamedTuple):
    """A sealed record, and what it is bound to."""

    kind: SealedKind
    id: str
    connection_id: str
    tenant: str
    owner: str
    provider: str
    issuer: str
    generation: int
    envelope: bytes


class _Unwrapped(NamedTuple):
    """A DEK."""

    row: WrappedKey
    key: NamedKey


class _Findings:
    """Counts what was looked at, and keeps the first ones of what does not open."""

    def __init__(self) -> None:
        self.opened: Counter[SealedKind] = Counter()
        self.refused: Counter[SealedKind] = Counter()
        self.needed: dict[str, None] = {}
        self.unseen = ""
        self._bad: list[BadRecord] = []
        self._uses: dict[tuple[KeyLevel, str], list[int]] = {}

    def add(self, kind: SealedKind, level: KeyLevel, key_id: str, bad: BadRecord | None) -> None:
        """Count one thing that `key_id` opened, or did not."""
        place = (level, key_id)
        if level == "data" and place not in self._uses and len(self._uses) >= _MOST_LISTED_KEYS:
            place = (level, "…")
        self._uses.setdefault(place, [0, 0])[bad is not None] += 1
        (self.opened if bad is None else self.refused)[kind] += 1
        if bad is not None and len(self._bad) < _MOST_BAD:
            self._bad.append(bad)

    def seen(self) -> Mapping[SealedKind, int]:
        """Return how much was looked at so far."""
        return self.opened + self.refused

    def verification(self, at_hand: tuple[str, ...]) -> Verification:
        """Return everything that was found."""
        return Verification(
            opened=dict(self.opened),
            refused=dict(self.refused),
            uses=tuple(KeyUse(*place, *counts) for place, counts in self._uses.items()),
            bad=tuple(self._bad),
            bad_total=self.refused.total(),
            keys_needed=tuple(self.needed),
            keys_at_hand=at_hand,
            unseen=self.unseen,
        )


class _Walk:
    """One walk through a store, from the vault keys down."""

    def __init__(self, store: AsyncStore, service: AsyncKeyService, clock: Clock, progress: Progress) -> None:
        self._store = store
        self._keyring = Keyring(store, service, clock)
        self._progress = progress
        self._refused_vault_keys: set[str] = set()
        self._data_keys: OrderedDict[str, _Unwrapped | type[EncryptionError]] = OrderedDict()
        self.findings = _Findings()

    # --- keys -----------------------------------------------------------------------------------

    async def keys(self, row: VaultRow) -> None:
        """Unwrap every key that may still be needed; a retired one is not, unless a record names it."""
        self._keyring.vault_keys.vault_id = row.vault_id
        async for vault_key in self._pages_of_keys("vault"):
            await self._look_at_vault_key(vault_key)
        await self._look_at_canary(row)
        async for data_key in self._pages_of_keys("data"):
            found = await self._unwrapped(data_key)
            bad = None if isinstance(found, _Unwrapped) else bad_key("data_key", data_key, found)
            self.findings.add("data_key", "vault", data_key.wrapped_by, bad)

    async def _pages_of_keys(self, level: KeyLevel) -> AsyncIterator[WrappedKey]:
        after_id = ""
        while True:
            page = await self._store.keys(level, tenant=None, state=None, after_id=after_id, limit=_PAGE)
            for key in page:
                if key.state != "retired":
                    yield key
            self._progress(self.findings.seen())
            if len(page) < _PAGE:
                return
            after_id = page[-1].key_id

    async def _look_at_vault_key(self, row: WrappedKey) -> None:
        self.findings.needed[row.wrapped_by] = None
        bad = None
        try:
            await self._keyring.vault_keys.get(row.key_id)
        except KeyServiceUnavailableError:
            raise
        except EncryptionError as problem:
            self._refused_vault_keys.add(row.key_id)
            bad = bad_key("vault_key", row, type(problem))
        self.findings.add("vault_key", "kek", row.wrapped_by, bad)

    async def _look_at_canary(self, row: VaultRow) -> None:
        key_id, error = "", ""
        try:
            key_id = parse_key_id(row.canary).hex()
            self._require_vault_key(key_id)
            await self._keyring.open()
        except KeyServiceUnavailableError:
            raise
        except EncryptionError as problem:
            error = type(problem).__name__
        bad = BadRecord("canary", "", "", "", "", key_id, error) if error else None
        self.findings.add("canary", "vault", key_id, bad)

    def _require_vault_key(self, key_id: str) -> None:
        """Refuse one that is known not to open: the key service need not be asked for every record."""
        if key_id in self._refused_vault_keys:
            raise KeyNotFoundError(f"vault key {key_id[:12]}… does not open")

    async def _unwrapped(self, row: WrappedKey) -> _Unwrapped | type[EncryptionError]:
        """Unwrap a DEK for the scope that it names, and keep what came of it for the records."""
        found: _Unwrapped | type[EncryptionError]
        try:
            self._require_vault_key(row.wrapped_by)
            found = _Unwrapped(row, await self._keyring.unwrap(row, row.tenant, row.owner))
        except KeyServiceUnavailableError:
            raise
        except EncryptionError as problem:
            found = type(problem)
        self._data_keys[row.key_id] = found
        if len(self._data_keys) > _KEPT_KEYS:
            self._data_keys.popitem(last=False)
        return found

    async def _data_key(self, key_id: str) -> NamedKey:
        """Return the DEK that a record names. Whose it is, the record itself is bound to."""
        found = self._data_keys.get(key_id)
        if found is None:
            row = await self._store.key("data", key_id)
            if row is None:
                raise KeyNotFoundError(f"the record's key {key_id[:12]}… is not stored")
            found = await self._unwrapped(row)
        if not isinstance(found, _Unwrapped):
            raise found(f"the record's key {key_id[:12]}… does not open")
        row, key = found
        if row.state == "retired":
            raise KeyNotFoundError(f"the record's key {key_id[:12]}… is retired")
        return key

    # --- records --------------------------------------------------------------------------------

    async def connections(self) -> None:
        """Open every token and candidate."""
        after_id = ""
        while True:
            page = await self._store.find(
                tenant=None, owner=None, provider=None, status=None, after_id=after_id, limit=_PAGE
            )
            for row in page:
                for record in _records_of(row):
                    await self._look_at(record)
            self._progress(self.findings.seen())
            if len(page) < _PAGE:
                return
            after_id = page[-1].id

    async def revocations(self) -> None:
        """Open what waits for its revocation outside its connection."""
        rows = await self._store.find_revocations(_END_OF_TIME_SECONDS, _MOST_REVOCATIONS)
        for row in rows:
            if row.envelope:
                await self._look_at(_record_of(row))
        if len(rows) == _MOST_REVOCATIONS:
            self.findings.unseen = f"more than {_MOST_REVOCATIONS} revocations wait, and the rest was not looked at"
        self._progress(self.findings.seen())

    async def _look_at(self, record: _Record) -> None:
        key_id, error = await self._opened(record)
        if error:
            again = await self._again(record)  # it may have been written, resealed or erased since it was read
            if again is None:
                return
            if again != record:
                record = again
                key_id, error = await self._opened(record)
        bad = None
        if error:
            bad = BadRecord(record.kind, record.id, record.tenant, record.owner, record.provider, key_id, error)
        self.findings.add(record.kind, "data", key_id, bad)

    async def _opened(self, record: _Record) -> tuple[str, str]:
        """Open a record; return the id of the key that it names, and the class of what stood in the way, if any."""
        purpose: Purpose = "token" if record.kind == "token" else "escrow"
        key_id = b""
        try:
            key_id = parse_key_id(record.envelope)
            key = await self._data_key(key_id.hex())
            sealer = Sealer(key.cipher, key_id, self._keyring.vault_id, purpose, record.tenant, record.owner)
            open_record(
                sealer, record.envelope, record.provider, record.issuer, record.connection_id, record.generation
            )
        except KeyServiceUnavailableError:
            raise
        except EncryptionError as problem:
            return key_id.hex(), type(problem).__name__
        return key_id.hex(), ""

    async def _again(self, record: _Record) -> _Record | None:
        """Read a record once more; None when it is gone."""
        if record.kind == "revocation":
            pending = await self._store.list_revocations(record.connection_id)
            return next((_record_of(row) for row in pending if row.id == record.id), None)
        row = await self._store.get(record.connection_id, record.tenant, record.owner)
        if row is None:
            return None
        return next((one for one in _records_of(row) if one.kind == record.kind), None)


def _records_of(row: ConnectionRow) -> Sequence[_Record]:
    """Return what a row has sealed; a connection of its own that has nothing sealed is not whole."""
    account = row.account
    place = (row.id, row.id, account.tenant, row.owner, account.provider, account.issuer, row.generation)
    records = []
    if row.envelope or (row.status.live and not account.parent_id):
        records.append(_Record("token", *place, row.envelope))
    if row.candidate:
        records.append(_Record("candidate", *place, row.candidate))
    return records


def _record_of(row: RevocationRow) -> _Record:
    return _Record(
        "revocation", row.id, row.connection_id, row.tenant, row.owner, row.provider, row.issuer, row.generation,
        row.envelope,
    )  # fmt: skip
