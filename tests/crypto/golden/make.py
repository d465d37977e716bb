"""Writes a golden file to standard output: ``python tests/crypto/golden/make.py > tests/crypto/golden/v2.json``.

A golden file is made once for each byte format and never again: what a release has sealed must open forever.
Keys come from fixed labels; nonces are drawn at random and stay as drawn.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from socialvault.crypto.envelope import Purpose, Sealer, key_id_of
from socialvault.crypto.flows import FlowRecord, seal_flow
from socialvault.crypto.records import TokenRecord, seal_record
from socialvault.keys.local import LocalKeyring
from socialvault.model.identity import Identity
from socialvault.model.keys import KeyContext
from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet

OBTAINED = datetime(2026, 3, 4, 5, 6, 7, 891011, UTC)
CREATED_SECONDS = 1_772_600_000.0


def labelled(label: str) -> bytes:
    return hashlib.sha256(f"socialvault golden v1: {label}".encode()).digest()


VAULT_ID = labelled("vault id")[:16]
KEK = labelled("key-encryption key")
VAULT_KEY = labelled("vault key")

#: Label of each DEK -> tenant, owner, state.
DATA_KEYS = {
    "owner, first": ("acme", "user-42", "decrypt_only"),
    "owner, second": ("acme", "user-42", "primary"),
    "other owner": ("", "zoë 🦊", "primary"),
    "vault": ("", "", "primary"),
}

#: Name -> label of the DEK, connection id, provider, issuer, generation, record.
TOKENS: dict[str, tuple[str, str, str, str, int, TokenRecord]] = {
    "everything there is": (
        "owner, second", "connection-1", "google", "https://accounts.google.com", 7,
        TokenRecord(
            TokenSet(
                access_token=Secret("golden-access-1"),
                obtained_at=OBTAINED,
                refresh_token=Secret("golden-refresh-1"),
                id_token=Secret("golden.id.token"),
                scopes=frozenset({"openid", "email"}),
                expires_at=OBTAINED + timedelta(hours=1),
                refresh_expires_at=OBTAINED + timedelta(days=180),
                data_access_expires_at=OBTAINED + timedelta(days=90),
                extra={"note": "zoë 🦊"},
            ),
            due_at=OBTAINED + timedelta(minutes=55),
            identity=Identity("10769150350006150715113082367", "Zoë 🦊", "zoe", "zoe@example.org", "https://e.org/z"),
            requested=("openid", "email", "profile"),
        ),
    ),
    "next to nothing": (
        "other owner", "connection-2", "x", "", 0,
        TokenRecord(TokenSet(Secret("golden-access-2"), OBTAINED, scopes=frozenset()), None, Identity("")),
    ),
    "under a replaced key, in a late generation": (
        "owner, first", "connection-3", "facebook", "", 5_000_000_000,
        TokenRecord(TokenSet(Secret("g" * 900), OBTAINED, scopes=frozenset({"email"})), OBTAINED, Identity("42")),
    ),
}  # fmt: skip

#: Name -> tenant, owner, provider, state, record.
FLOWS: dict[str, tuple[str, str, str, str, FlowRecord]] = {
    "with everything": (
        "acme", "user-42", "google", "golden-state-1",
        FlowRecord(
            Secret("golden-verifier-1"), Secret("golden-nonce-1"), "https://app.example/callback",
            ("openid", "email"), "connection-1", "https://accounts.google.com", issuer_promised=True,
        ),
    ),
    "with next to nothing": (
        "", "zoë 🦊", "x", "golden-state-2",
        FlowRecord(None, None, "https://app.example/callback", (), "", "", issuer_promised=False),
    ),
}  # fmt: skip


def text_of(kek: bytes) -> str:
    """Return a KEK as operators write it; a golden file has it in hex, so that no scanner takes it for a live one."""
    return "svk1_" + base64.urlsafe_b64encode(kek + crc32(kek).to_bytes(4, "big")).decode()


def sealer(key: bytes, purpose: Purpose, tenant: str = "", owner: str = "") -> Sealer:
    return Sealer(AESGCM(key), key_id_of(key), VAULT_ID, purpose, tenant, owner)


def wrapped(key: bytes, tenant: str, owner: str, state: str, wrapping: bytes, envelope: bytes) -> dict[str, Any]:
    return {
        "key_id": key_id_of(key).hex(),
        "tenant": tenant,
        "owner": owner,
        "wrapped": envelope.hex(),
        "wrapped_by": key_id_of(wrapping).hex(),
        "state": state,
        "created_at_seconds": CREATED_SECONDS,
    }


def data_key(label: str, tenant: str, owner: str, state: str) -> dict[str, Any]:
    key = labelled(label)
    envelope = sealer(VAULT_KEY, "data-key", tenant, owner).seal(key, "", "", key_id_of(key).hex().encode(), 0)
    return wrapped(key, tenant, owner, state, VAULT_KEY, envelope)


def moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def token(name: str) -> dict[str, Any]:
    label, connection_id, provider, issuer, generation, record = TOKENS[name]
    tenant, owner, _ = DATA_KEYS[label]
    one = sealer(labelled(label), "token", tenant, owner)
    stored, identity = record.token, record.identity
    return {
        "name": name,
        "tenant": tenant,
        "owner": owner,
        "connection_id": connection_id,
        "provider": provider,
        "issuer": issuer,
        "generation": generation,
        "envelope": seal_record(one, record, provider, issuer, connection_id, generation).hex(),
        "holds": {
            "access_token": stored.access_token.reveal(),
            "refresh_token": stored.refresh_token.reveal() if stored.refresh_token else "",
            "id_token": stored.id_token.reveal() if stored.id_token else "",
            "scopes": sorted(stored.scopes or ()),
            "obtained_at": moment(stored.obtained_at),
            "due_at": moment(record.due_at),
            "expires_at": moment(stored.expires_at),
            "refresh_expires_at": moment(stored.refresh_expires_at),
            "data_access_expires_at": moment(stored.data_access_expires_at),
            "identity": [identity.subject, identity.name, identity.username, identity.email, identity.picture_url],
            "requested": list(record.requested),
            "extra": dict(stored.extra),
        },
    }


def flow(name: str) -> dict[str, Any]:
    tenant, owner, provider, state, record = FLOWS[name]
    state_hash = hashlib.sha256(state.encode()).digest()
    one = sealer(labelled("vault"), "state", tenant, owner)
    return {
        "name": name,
        "tenant": tenant,
        "owner": owner,
        "provider": provider,
        "state": state,
        "sealed": seal_flow(one, record, provider, state_hash).hex(),
        "holds": [
            record.verifier.reveal() if record.verifier else "",
            record.nonce.reveal() if record.nonce else "",
            record.redirect_uri,
            list(record.scopes),
            record.connection_id,
            record.issuer,
            record.issuer_promised,
        ],
    }


def golden() -> dict[str, Any]:
    keyring = LocalKeyring([text_of(KEK)])
    context = KeyContext(VAULT_ID, "vault-key", "", key_id_of(VAULT_KEY).hex())
    return {
        "about": "Sealed by make.py; every later version must open it. Bytes are in hex.",
        "vault_id": VAULT_ID.hex(),
        "kek": KEK.hex(),
        "vault_key": wrapped(VAULT_KEY, "", "", "primary", KEK, keyring.wrap(VAULT_KEY, context)),
        "canary": sealer(VAULT_KEY, "canary").seal(b"socialvault canary", "", "", b"", 0).hex(),
        "data_keys": [data_key(label, *belongs) for label, belongs in DATA_KEYS.items()],
        "tokens": [token(name) for name in TOKENS],
        "flows": [flow(name) for name in FLOWS],
    }


if __name__ == "__main__":
    json.dump(golden(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
