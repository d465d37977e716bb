"""Records and keys under other keys: the same place, another key, and what does not open is left."""

from __future__ import annotations

import os
from typing import get_args

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from socialvault.crypto.envelope import NamedKey, Purpose, Sealer, Transfer, key_id_of, place_of
from socialvault.crypto.rotation import PURPOSES, reseal, rewrap
from socialvault.exceptions import EncryptionError, KeyNotFoundError, MalformedEnvelopeError, TamperedError
from socialvault.model.keys import RecordKind, SealedRecord, WrappedKey

VAULT = b"v" * 16
any_text = st.text(st.characters(exclude_categories=()), max_size=20)


def named(key: bytes) -> NamedKey:
    return NamedKey(AESGCM(key), key_id_of(key), key_id_of(key).hex())


OLD, NEW, OTHER = named(bytes(range(32))), named(bytes(range(1, 33))), named(bytes(range(2, 34)))


def sealer(key: NamedKey, purpose: Purpose = "token", tenant: str = "acme", owner: str = "ada") -> Sealer:
    return Sealer(key.cipher, key.key_id, VAULT, purpose, tenant, owner)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(get_args(Purpose)), any_text, any_text, any_text, any_text, st.binary(max_size=40),
    st.integers(0, 2**64 - 1), st.binary(max_size=300),
)  # fmt: skip
def test_what_is_transferred_is_what_sealers_make(
    purpose: Purpose, tenant: str, owner: str, provider: str, issuer: str, item: bytes, generation: int, plain: bytes
) -> None:
    transfer, place = Transfer(OLD, NEW, VAULT, purpose), place_of(tenant, owner, provider, issuer, item, generation)
    sealed = sealer(OLD, purpose, tenant, owner).seal(plain, provider, issuer, item, generation)
    assert transfer.open(sealed, place) == plain
    moved = transfer.seal(plain, place)
    assert sealer(NEW, purpose, tenant, owner).open(moved, provider, issuer, item, generation) == plain


def test_what_does_not_open_under_the_old_key_is_not_transferred() -> None:
    transfer, place = Transfer(OLD, NEW, VAULT, "token"), place_of("acme", "ada", "x", "", b"1", 1)
    sealed = sealer(OLD).seal(b"plain", "x", "", b"1", 1)
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    cases: list[tuple[bytes, bytes, type[EncryptionError]]] = [
        (flipped, place, TamperedError),
        (sealed, place_of("acme", "bob", "x", "", b"1", 1), TamperedError),
        (sealed, place_of("acme", "ada", "x", "", b"1", 2), TamperedError),
        (sealer(OTHER).seal(b"plain", "x", "", b"1", 1), place, KeyNotFoundError),
        (sealed[:50], place, MalformedEnvelopeError),
        (b"", place, MalformedEnvelopeError),
    ]
    for envelope, where, kind in cases:
        with pytest.raises(EncryptionError) as problem:
            transfer.open(envelope, where)
        assert type(problem.value) is kind
    with pytest.raises(TamperedError):
        Transfer(OLD, NEW, b"w" * 16, "token").open(sealed, place)
    with pytest.raises(TamperedError):
        Transfer(OLD, NEW, VAULT, "escrow").open(sealed, place)


@pytest.mark.parametrize("kind", PURPOSES)
def test_records_are_resealed_in_their_places_and_bad_ones_are_named(kind: RecordKind) -> None:
    records = []
    for number in range(4):
        sealed = sealer(OLD, PURPOSES[kind], owner=f"user-{number}").seal(b"plain", "x", "i", b"con", number)
        records.append(SealedRecord(f"row-{number}", "con", "acme", f"user-{number}", "x", "i", number, sealed))
    records[2] = records[2]._replace(owner="user-3")
    done, refused = reseal(kind, [(record, (NEW, OTHER)[n % 2]) for n, record in enumerate(records)], OLD, VAULT)
    assert [(one.id, one.expected, one.key_id) for one in done] == [
        (records[n].id, records[n].sealed, (NEW, OTHER)[n % 2].name) for n in (0, 1, 3)
    ]
    for one, key, number in zip(done, (NEW, OTHER, OTHER), (0, 1, 3), strict=True):
        opening = sealer(key, PURPOSES[kind], owner=f"user-{number}")
        assert opening.open(one.sealed, "x", "i", b"con", number) == b"plain"
    assert [(one.kind, one.id, one.tenant, one.error) for one in refused] == [(kind, "row-2", "acme", "TamperedError")]


def test_keys_are_rewrapped_and_what_is_another_key_is_not() -> None:
    keys = [os.urandom(32) for _ in range(3)]
    rows = []
    for number, key in enumerate(keys):
        name = key_id_of(key).hex()
        wrapped = sealer(OLD, "data-key", owner=f"user-{number}").seal(key, "", "", name.encode(), 0)
        rows.append(WrappedKey(name, "acme", f"user-{number}", wrapped, OLD.name, "primary", 1.0))
    another = sealer(OLD, "data-key", owner="user-1").seal(os.urandom(32), "", "", rows[1].key_id.encode(), 0)
    rows[1] = rows[1]._replace(wrapped=another)
    done, refused = rewrap([(row, NEW) for row in rows], OLD, VAULT)
    assert [(one.key_id, one.expected, one.wrapped_by) for one in done] == [
        (rows[n].key_id, rows[n].wrapped, NEW.name) for n in (0, 2)
    ]
    opening = sealer(NEW, "data-key", owner="user-2")
    assert opening.open(done[1].wrapped, "", "", rows[2].key_id.encode(), 0) == keys[2]
    assert [(one.kind, one.id, one.error) for one in refused] == [("data_key", rows[1].key_id, "WrongKeyError")]
