"""What tests of key services share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from socialvault.crypto.envelope import key_id_of
from socialvault.model.keys import KeyContext

if TYPE_CHECKING:
    from support.openbao import OpenBao
    from support.relay import Relay

#: Text, so that any spelling of it can be searched for.
KEY = b"vault-key-canary-0123456789abcde"
CONTEXT = KeyContext(b"V" * 16, "vault-key", "acme", key_id_of(KEY).hex())

#: For one attempt; in production it is longer.
SHORT = timedelta(seconds=2)
#: For one attempt at a server that hangs.
SHORTER = timedelta(seconds=0.3)


@dataclass
class Moto:
    """moto's server: it checks encryption contexts, and knows no permissions and no disabled keys."""

    relay: Relay
    first: str
    second: str


@dataclass
class Bao:
    """A real OpenBao with keys made for one test."""

    server: OpenBao
    relay: Relay
    first: str
    second: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.relay.port}"
