"""Keys and records under other keys, a batch at a time; what does not open is returned, and left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.crypto.commitment import another_key, commits_to
from socialvault.crypto.envelope import Purpose, Transfer, place_of
from socialvault.exceptions import EncryptionError
from socialvault.model.bad_record import BadRecord, bad_key
from socialvault.model.keys import RecordKind, Resealed, Rewrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.crypto.envelope import NamedKey
    from socialvault.model.keys import SealedRecord, WrappedKey

PURPOSES: dict[RecordKind, Purpose] = {"token": "token", "candidate": "escrow", "revocation": "escrow"}


class Transfers:
    """From one key to any number of others."""

    def __init__(self, old: NamedKey, vault_id: bytes, purpose: Purpose) -> None:
        self._from = (old, vault_id, purpose)
        self._made: dict[str, Transfer] = {}

    def to(self, new: NamedKey) -> Transfer:
        """Return the way to `new`."""
        made = self._made.get(new.name)
        if made is None:
            old, vault_id, purpose = self._from
            made = self._made[new.name] = Transfer(old, new, vault_id, purpose)
        return made


def rewrap(
    pairs: Iterable[tuple[WrappedKey, NamedKey]], old: NamedKey, vault_id: bytes
) -> tuple[list[Rewrapped], list[BadRecord]]:
    """Wrap DEKs, which `old` wraps, each under the vault key beside it."""
    done: list[Rewrapped] = []
    refused: list[BadRecord] = []
    transfers = Transfers(old, vault_id, "data-key")
    for row, new in pairs:
        key_id, tenant, owner, wrapped, *_ = row
        place = place_of(tenant, owner, "", "", key_id.encode(), 0)
        try:
            done.append(Rewrapped(key_id, wrapped, _moved_key(transfers.to(new), wrapped, place, key_id), new.name))
        except EncryptionError as problem:
            refused.append(bad_key("data_key", row, type(problem)))
    return done, refused


def _moved_key(transfer: Transfer, wrapped: bytes, place: bytes, key_id: str) -> bytes:
    """As `Transfer.move`, for a key that must be the one its id commits to."""
    key = transfer.open(wrapped, place)
    moved = transfer.seal(key, place) if commits_to(key_id, key) else None
    del key  # so that no traceback holds it
    if moved is None:
        raise another_key(key_id)
    return moved


def reseal(
    kind: RecordKind, pairs: Iterable[tuple[SealedRecord, NamedKey]], old: NamedKey, vault_id: bytes
) -> tuple[list[Resealed], list[BadRecord]]:
    """Seal records, which `old` seals, each under the DEK beside it."""
    done: list[Resealed] = []
    refused: list[BadRecord] = []
    transfers = Transfers(old, vault_id, PURPOSES[kind])
    for record, new in pairs:
        item, connection_id, tenant, owner, provider, issuer, generation, sealed = record
        place = place_of(tenant, owner, provider, issuer, connection_id.encode(), generation)
        try:
            done.append(Resealed(item, sealed, transfers.to(new).move(sealed, place), new.name))
        except EncryptionError as problem:
            refused.append(BadRecord(kind, item, tenant, owner, provider, old.name, type(problem).__name__))
    return done, refused
