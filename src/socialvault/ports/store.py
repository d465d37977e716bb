"""A store that keeps everything: the three storage ports in one object."""

from __future__ import annotations

from typing import Protocol

from socialvault.ports.key_store import AsyncKeyStore, KeyStore
from socialvault.ports.state_store import AsyncStateStore, StateStore
from socialvault.ports.token_store import AsyncTokenStore, TokenStore


class Store(TokenStore, StateStore, KeyStore, Protocol):
    """All three storage ports; blocking."""


class AsyncStore(AsyncTokenStore, AsyncStateStore, AsyncKeyStore, Protocol):
    """All three storage ports, for event loops."""
