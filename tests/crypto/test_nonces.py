"""C-10: no nonce comes twice, in whichever process it is drawn."""

from __future__ import annotations

import multiprocessing
import warnings

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from socialvault.crypto.envelope import Sealer, key_id_of

WORKERS = 8
SEALS = 1_000_000
KEY = bytes(range(32))
SEALER = Sealer(AESGCM(KEY), key_id_of(KEY), bytes(16), "token", "acme", "user-42")  # made before the fork


def draw(count: int) -> bytes:
    """Seal `count` records; return their nonces, joined."""
    seal = SEALER.seal
    return b"".join([seal(b"", "x", "", b"connection", 1)[36:48] for _ in range(count)])


def test_c_10_a_million_seals_in_eight_forked_workers_share_no_nonce() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads
        with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
            drawn = b"".join(pool.map(draw, [SEALS // WORKERS] * WORKERS, chunksize=1))
            pool.close()
            pool.join()
    nonces = {drawn[start : start + 12] for start in range(0, len(drawn), 12)}
    assert len(drawn) == SEALS * 12
    assert len(nonces) == SEALS
    ones = sum(int.from_bytes(nonce, "big").bit_count() for nonce in list(nonces)[:10_000])
    assert 0.49 < ones / (10_000 * 96) < 0.51  # no counter, no clock
