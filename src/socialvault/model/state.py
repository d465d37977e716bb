"""Pending browser flows, as a state store keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Phase = Literal["pending", "claimed", "done", "expired"]


@dataclass(frozen=True, slots=True)
class StateRow:
    """One authorization request on its way through the browser.

    Attributes:
        state_hash: SHA-256 of the state, which itself is never stored.
        binding: SHA-256 of the cookie's value.
        sealed: verifier, nonce and the rest; leaves the row when it is claimed.
        phase: ``expired`` once its time is over, whatever came before; by the store's clock.
        return_to: a verified own path, "" for none.
        expires_at_seconds: by the store's clock; set by the store.
        connection_id: after ``done``, what the flow ended in; "" for an error.
        error: after ``done``, the error's class name; "" for success.
    """

    state_hash: bytes
    tenant: str
    owner: str
    provider: str
    binding: bytes
    sealed: bytes
    return_to: str
    phase: Phase = "pending"
    expires_at_seconds: float = 0.0
    connection_id: str = ""
    error: str = ""
    missing_scopes: str = ""
