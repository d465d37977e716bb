"""Keys and records under other keys, a batch at a time; what does not open is returned, and left as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.crypto.commitment import committed
from socialvault.crypto.envelope import Purpose, Sealer
from socialvault.exceptions import EncryptionError
from socialvault.model.keys import RecordKind, Resealed, Rewrapped
from socialvault.model.rotation import Refusal
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from socialvault.crypto.commitment import NamedKey
    from socialvault.model.keys import SealedRecord, WrappedKey

PURPOSES: dict[RecordKind, Purpose] = {"token": "token", "candidate": "escrow", "revocation": "escrow"}


def rewrap(
    pairs: Iterable[tuple[WrappedKey, NamedKey]], old: NamedKey, vault_id: bytes
) -> tuple[list[Rewrapped], list[Refusal]]:
    """Wrap DEKs, which `old` wraps, each under the vault key beside it."""
    done: list[Rewrapped] = []
    refused: list[Refusal] = []
    for row, new in pairs:
        opening = Sealer(old.cipher, old.key_id, vault_id, "data-key", row.tenant, row.owner)
        sealing = Sealer(new.cipher, new.key_id, vault_id, "data-key", row.tenant, row.owner)
        item = row.key_id.encode()
        try:
            key = Secret(opening.open(row.wrapped, "", "", item, 0))
            committed(key, row.key_id)
        except EncryptionError as problem:
            refused.append(Refusal("data_key", row.key_id, row.tenant, type(problem).__name__))
            continue
        wrapped = sealing.seal(key.reveal(), "", "", item, 0)
        done.append(Rewrapped(row.key_id, row.wrapped, wrapped, new.name))
    return done, refused


def reseal(
    kind: RecordKind, pairs: Iterable[tuple[SealedRecord, NamedKey]], old: NamedKey, vault_id: bytes
) -> tuple[list[Resealed], list[Refusal]]:
    """Seal records, which `old` seals, each under the DEK beside it."""
    purpose = PURPOSES[kind]
    done: list[Resealed] = []
    refused: list[Refusal] = []
    for record, new in pairs:
        opening = Sealer(old.cipher, old.key_id, vault_id, purpose, record.tenant, record.owner)
        sealing = Sealer(new.cipher, new.key_id, vault_id, purpose, record.tenant, record.owner)
        place = record.provider, record.issuer, record.connection_id.encode(), record.generation
        try:
            plain = Secret(opening.open(record.sealed, *place))
        except EncryptionError as problem:
            refused.append(Refusal(kind, record.id, record.tenant, type(problem).__name__))
            continue
        done.append(Resealed(record.id, record.sealed, sealing.seal(plain.reveal(), *place), new.name))
    return done, refused
