"""Pending flows: between values and sealed bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialvault.crypto.records import pad
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from socialvault.crypto.envelope import Sealer


@dataclass(frozen=True, slots=True)
class FlowRecord:
    """What is sealed for a pending flow: what the callback needs and the browser must not know.

    Attributes:
        issuer: expected in the response, "" for none. issuer_promised: it must be there.
        connection_id: the connection to reconnect, "" for a new one.
    """

    verifier: Secret[str] | None
    nonce: Secret[str] | None
    redirect_uri: str
    scopes: tuple[str, ...]
    connection_id: str
    issuer: str
    issuer_promised: bool


def seal_flow(sealer: Sealer, flow: FlowRecord, provider: str, state_hash: bytes) -> bytes:
    """Seal a pending flow under its state's hash."""
    packed = json.dumps(
        (
            flow.verifier.reveal() if flow.verifier else "",
            flow.nonce.reveal() if flow.nonce else "",
            flow.redirect_uri,
            flow.scopes,
            flow.connection_id,
            flow.issuer,
            flow.issuer_promised,
        ),
        separators=(",", ":"),
    )
    return sealer.seal(pad(packed.encode()), provider, "", state_hash, 0)


def open_flow(sealer: Sealer, sealed: bytes, provider: str, state_hash: bytes) -> FlowRecord:
    """Open what `seal_flow` made.

    Raises:
        EncryptionError: the branch says what is wrong.
    """
    verifier, nonce, redirect_uri, scopes, connection_id, issuer, promised = json.loads(
        sealer.open(sealed, provider, "", state_hash, 0).rstrip(b"\0")
    )
    return FlowRecord(
        verifier=Secret(verifier) if verifier else None,
        nonce=Secret(nonce) if nonce else None,
        redirect_uri=redirect_uri,
        scopes=tuple(scopes),
        connection_id=connection_id,
        issuer=issuer,
        issuer_promised=bool(promised),
    )
