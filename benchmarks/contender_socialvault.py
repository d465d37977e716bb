"""socialvault as a contender in the side-by-side benchmarks: one function per section.

Each returns ``{row name: contender}``; a row named "socialvault … @ LIMIT" is compared with that row.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from datetime import UTC
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from socialvault import AsyncVault, LocalKeyring, Vault
from socialvault.crypto.envelope import Sealer, key_id_of
from socialvault.crypto.records import open_access, pack_token
from socialvault.providers import X

if TYPE_CHECKING:
    from collections.abc import Callable

REDIRECT_URI = "https://app.example/oauth/{provider}/callback"
_UNKNOWN = -(2**63)


def crypto(key: bytes, aad: bytes) -> dict[str, Any]:
    """Records sealed and opened for another connection at each call, padding on; a blob ends with its item id."""
    sealer = Sealer(AESGCM(key), key_id_of(key), os.urandom(16), "token", "acme", "user-42")
    ids = itertools.cycle([f"{number:032x}".encode() for number in range(1024)])

    def seal(plaintext: bytes) -> bytes:
        item = next(ids)
        packed = pack_token(plaintext, b"", b"", b"", b"", 1, 2, 3, _UNKNOWN, _UNKNOWN)
        return sealer.seal(packed, "x", "api.x.com", item, 7) + item

    def open_(blob: bytes) -> bytes:
        return open_packed(sealer.open(blob[:-32], "x", "api.x.com", blob[-32:], 7))

    def open_access_token(blob: bytes) -> bytes:
        item = blob[-32:].decode()
        token, _ = open_access(sealer, blob[:-32], "x", "api.x.com", item, 7)
        return token.reveal().encode()

    return {
        "socialvault record @ AESGCM + urandom nonce": (seal, open_),
        "socialvault record to AccessToken @ AESGCM + urandom nonce": (seal, open_access_token),
    }


def open_packed(plain: bytes) -> bytes:
    """Return the access token of a packed record."""
    return plain[64 : 64 + int.from_bytes(plain[44:48], "big")]


def _provider() -> X:
    return X("client", "secret")


def _filled(tmp: str, accounts: list[str], token: dict[str, Any]) -> tuple[str, LocalKeyring, dict[str, str]]:
    """A SQLite vault with one connection per account, all of one owner each, and their ids."""
    keys = LocalKeyring([LocalKeyring.generate()])
    path = os.path.join(tmp, "socialvault.db")
    ids: dict[str, str] = {}
    with Vault(providers=[_provider()], store=f"sqlite:///{path}", keys=keys, redirect_uri=REDIRECT_URI) as vault:
        for account in accounts:
            connection = vault.import_tokens(
                "x", owner=account, access_token=token["access_token"], refresh_token=token.get("refresh_token"),
                expires_at=_far(), scopes=["users.read"], subject=account,
            )  # fmt: skip
            ids[account] = connection.id
    return path, keys, ids


def _far() -> Any:
    from datetime import datetime, timedelta

    return datetime.now(UTC) + timedelta(days=30)


def get_sync(
    tmp: str, accounts: list[str], token: dict[str, Any], stack: Any, raw: Any
) -> dict[str, Callable[[], str]]:
    """A valid token of a random account."""
    path, keys, ids = _filled(tmp, accounts, token)
    vault = stack.enter_context(
        Vault(providers=[_provider()], store=f"sqlite:///{path}", keys=keys, redirect_uri=REDIRECT_URI)
    )
    pairs, rnd = list(ids.items()), random.Random(3)
    for owner, connection_id in pairs:
        vault.token(connection_id, owner=owner)  # warm

    def warm() -> str:
        owner, connection_id = rnd.choice(pairs)
        return vault.token(connection_id, owner=owner).reveal()

    return {"socialvault Vault.token(), SQLite, warm key": warm}


async def get_async(
    tmp: str, accounts: list[str], token: dict[str, Any], dsn: str, redis_url: str, stack: Any, raw: Any
) -> dict[str, Any]:
    """A valid token of a random account, on an event loop."""
    path, keys, ids = await asyncio.to_thread(_filled, tmp, accounts, token)
    vault = await stack.enter_async_context(
        AsyncVault(providers=[_provider()], store=f"sqlite:///{path}", keys=keys, redirect_uri=REDIRECT_URI)
    )
    pairs, rnd = list(ids.items()), random.Random(3)
    for owner, connection_id in pairs:
        await vault.token(connection_id, owner=owner)

    async def warm() -> str:
        owner, connection_id = rnd.choice(pairs)
        return (await vault.token(connection_id, owner=owner)).reveal()

    return {"socialvault AsyncVault.token(), SQLite in the loop @ sqlite3 PK + AESGCM + json in the loop": warm}


def authorize(url: str, client_id: str, redirect_uri: str, scope: Any, tmp: str) -> dict[str, Callable[[], str]]:
    """Authorization URL, state stored, PKCE."""
    keys = LocalKeyring([LocalKeyring.generate()])
    vault = Vault(
        providers=[X(client_id, "secret", authorize_url=url, scopes=list(scope))],
        store=f"sqlite:///{os.path.join(tmp, 'flows.db')}", keys=keys, redirect_uri=redirect_uri,
    )  # fmt: skip
    vault.open()

    def begin() -> str:
        return vault.begin("x", owner="user-42", tenant="acme").url

    return {"socialvault Vault.begin(), SQLite @ prefix + sealed state INSERT (sqlite WAL NORMAL)": begin}
