"""C-01: the cipher behind every seal gives and takes what Project Wycheproof says (see vectors/README.txt)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from socialvault.crypto.envelope import Sealer, key_id_of

TESTS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors" / "aes_gcm_wycheproof.json").read_text("ascii")
)["tests"]


def read(test: dict[str, Any]) -> tuple[Sealer, bytes, bytes, bytes, bytes]:
    """A sealer under the vector's key, then its nonce, associated data, plaintext and ciphertext with tag."""
    key, nonce, bound, plain, sealed, tag = (
        bytes.fromhex(test[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag")
    )
    return Sealer(AESGCM(key), key_id_of(key), bytes(16), "token", "", ""), nonce, bound, plain, sealed + tag


def test_c_01_the_vectors_are_all_here() -> None:
    results = [test["result"] for test in TESTS]
    assert (results.count("valid"), results.count("invalid")) == (39, 27)


@pytest.mark.parametrize("test", TESTS, ids=lambda test: f"c_01_{test['tcId']}_{test['result']}")
def test_c_01_wycheproof(test: dict[str, Any]) -> None:
    sealer, nonce, bound, plain, sealed = read(test)
    if test["result"] == "valid":
        assert sealer._encrypt(nonce, plain, bound) == sealed
        assert sealer._decrypt(nonce, sealed, bound) == plain
    else:
        with pytest.raises(InvalidTag):
            sealer._decrypt(nonce, sealed, bound)
