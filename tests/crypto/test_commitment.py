"""C-06: one AES-GCM ciphertext can open under two keys, so a record is committed to the key that its header names."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.envelopes import Binding, associated_data, key_id

from socialvault.crypto.commitment import committed
from socialvault.crypto.envelope import Sealer, key_id_of
from socialvault.exceptions import KeyNotFoundError, TamperedError, WrongKeyError
from socialvault.model.secret import Secret

ONE = bytes(range(32))
TWO = bytes(range(100, 132))
NONCE = bytes(range(12))
PLACE = Binding(b"v" * 16, "token", "acme", "user-42", "x", "", b"connection-1", 3)

# --- the attack: GHASH is linear in the ciphertext, so one free block makes two tags equal ---------

_POLYNOMIAL = 0xE1 << 120


def times(a: int, b: int) -> int:
    """Multiply in GF(2^128) as GCM does, its lowest bit first."""
    product = 0
    for bit in range(127, -1, -1):
        if b >> bit & 1:
            product ^= a
        a = (a >> 1) ^ (_POLYNOMIAL if a & 1 else 0)
    return product


def inverse(a: int) -> int:
    """Return a^(2^128 - 2)."""
    result = 1 << 127  # one
    for _ in range(127):
        a = times(a, a)
        result = times(result, a)
    return result


def blocks(data: bytes) -> list[int]:
    padded = data + bytes(-len(data) % 16)
    return [int.from_bytes(padded[i : i + 16], "big") for i in range(0, len(padded), 16)]


def ghash(h: int, bound: bytes, sealed: bytes) -> int:
    lengths = (len(bound) * 8).to_bytes(8, "big") + (len(sealed) * 8).to_bytes(8, "big")
    state = 0
    for block in [*blocks(bound), *blocks(sealed), *blocks(lengths)]:
        state = times(state ^ block, h)
    return state


def encrypt_block(key: bytes, block: bytes) -> int:
    return int.from_bytes(Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block), "big")


def salamander(bound_one: bytes, bound_two: bytes, size: int = 256) -> bytes:
    """Return ciphertext and tag that open under `ONE` with `bound_one` and under `TWO` with `bound_two`."""
    sealed = b"\x5a" * (size - 16) + bytes(16)  # the last block is free
    hashes, masks = [], []
    for key, bound in ((ONE, bound_one), (TWO, bound_two)):
        h = encrypt_block(key, bytes(16))
        masks.append(encrypt_block(key, NONCE + b"\0\0\0\1") ^ ghash(h, bound, sealed))
        hashes.append(times(h, h))  # what the free block is multiplied by
    free = times(masks[0] ^ masks[1], inverse(hashes[0] ^ hashes[1]))
    sealed = sealed[:-16] + free.to_bytes(16, "big")
    tag = encrypt_block(ONE, NONCE + b"\0\0\0\1") ^ ghash(encrypt_block(ONE, bytes(16)), bound_one, sealed)
    return sealed + tag.to_bytes(16, "big")


# --- what becomes of it ---------------------------------------------------------------------------


def header_of(key: bytes) -> bytes:
    return b"SV\x01\x01" + key_id(key)


def sealer(key: bytes, named: bytes | None = None) -> Sealer:
    return Sealer(AESGCM(key), key_id_of(named or key), PLACE.vault_id, "token", PLACE.tenant, PLACE.owner)


def opened_by(one: Sealer, envelope: bytes) -> bytes:
    return one.open(envelope, PLACE.provider, PLACE.issuer, PLACE.item, PLACE.generation)


def test_c_06_plain_aes_gcm_opens_one_ciphertext_under_two_keys() -> None:
    bound = associated_data(header_of(ONE), PLACE)
    sealed = salamander(bound, bound)
    assert AESGCM(ONE).decrypt(NONCE, sealed, bound) != AESGCM(TWO).decrypt(NONCE, sealed, bound)
    with pytest.raises(InvalidTag):
        AESGCM(ONE).decrypt(NONCE, sealed[:-1] + bytes([sealed[-1] ^ 1]), bound)


def test_c_06_an_envelope_opens_under_the_key_it_names_and_no_other() -> None:
    bound = associated_data(header_of(ONE), PLACE)
    envelope = header_of(ONE) + NONCE + salamander(bound, bound)
    assert opened_by(sealer(ONE), envelope)
    with pytest.raises(KeyNotFoundError):
        opened_by(sealer(TWO), envelope)


def test_c_06_renaming_the_key_breaks_the_seal() -> None:
    bound = associated_data(header_of(ONE), PLACE)
    envelope = header_of(TWO) + NONCE + salamander(bound, bound)
    with pytest.raises(TamperedError):
        opened_by(sealer(TWO), envelope)


def test_c_06_a_second_key_stored_under_the_first_ones_name_is_refused_when_it_is_loaded() -> None:
    bound = associated_data(header_of(ONE), PLACE)
    envelope = header_of(ONE) + NONCE + salamander(bound, bound)
    assert opened_by(sealer(TWO, named=ONE), envelope)  # the blob is real: only the check at loading stands before it
    with pytest.raises(WrongKeyError):
        committed(Secret(TWO), key_id(ONE).hex())
    assert committed(Secret(ONE), key_id(ONE).hex())


@pytest.mark.parametrize("stored", ["", "00" * 32, key_id(ONE).hex().upper(), key_id(ONE).hex() + "0", "\u00e9\ud800"])
def test_c_07_a_key_that_is_not_its_ids_is_a_wrong_key(stored: str) -> None:
    with pytest.raises(WrongKeyError):
        committed(Secret(ONE), stored)


@pytest.mark.parametrize("size", [0, 16, 24, 31, 33])
def test_c_07_a_key_of_another_size_is_a_wrong_key_even_under_its_own_id(size: int) -> None:
    key = bytes(size)
    with pytest.raises(WrongKeyError):
        committed(Secret(key), key_id(key).hex())
