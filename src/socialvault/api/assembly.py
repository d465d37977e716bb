"""Putting a vault together from what its constructor was given."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from socialvault.crypto.keyring import Keyring
from socialvault.exceptions import ConfigurationError
from socialvault.ports.clock import Clock
from socialvault.ports.key_service import AsyncKeyService
from socialvault.ports.runtime import Runtime
from socialvault.ports.store import AsyncStore
from socialvault.ports.transport import AsyncTransport
from socialvault.providers.base import Provider
from socialvault.vault.admin import Operations
from socialvault.vault.connections import Connections
from socialvault.vault.conversation import Conversations
from socialvault.vault.core import Core, Observer
from socialvault.vault.flows import Flows
from socialvault.vault.grants import Grants
from socialvault.vault.revocation import Revocation
from socialvault.vault.settings import Providers, Settings, SharedAccounts
from socialvault.vault.sub_accounts import SubAccounts
from socialvault.vault.tokens import Tokens

if TYPE_CHECKING:
    from socialvault.ports.store import Store

_COLOUR_PROBES = {"store": "read_token", "keys": "wrap", "transport": "send"}


class SystemClock:
    """The clock of this machine."""

    def now_seconds(self) -> float:
        """Return the seconds since 1970-01-01 UTC."""
        return time.time()


@dataclass(frozen=True, slots=True)
class UseCases:
    """Everything a vault can do, in the asynchronous colour."""

    core: Core
    flows: Flows
    tokens: Tokens
    connections: Connections
    sub_accounts: SubAccounts
    revocation: Revocation
    operations: Operations


def settings_of(
    *, redirect_uri: str, return_to: Iterable[str], leeway: timedelta, state_lifetime: timedelta,
    exchange_deadline: timedelta, on_shared_account: SharedAccounts,
) -> Settings:  # fmt: skip
    """Build and check the settings."""
    if isinstance(return_to, str):
        raise ConfigurationError("return_to must be a collection of paths, not one str")
    settings = Settings(redirect_uri, tuple(return_to), leeway, state_lifetime, exchange_deadline, on_shared_account)
    settings.check()
    return settings


def assemble(
    *,
    settings: Settings,
    providers: Iterable[Provider],
    store: AsyncStore,
    service: AsyncKeyService,
    transport: AsyncTransport,
    runtime: Runtime,
    clock: Clock,
    observers: Sequence[Observer],
    key_cache: timedelta,
) -> UseCases:
    """Join the collaborators."""
    core = Core(
        settings=settings,
        providers=Providers(providers),
        store=store,
        keyring=Keyring(store, service, clock, cache_seconds=key_cache.total_seconds()),
        conversations=Conversations(transport, clock),
        runtime=runtime,
        clock=clock,
        observers=observers,
    )
    grants = Grants(core)
    sub_accounts = SubAccounts(core, grants)
    tokens = Tokens(core, grants, sub_accounts)
    revocation = Revocation(core, sub_accounts)
    return UseCases(
        core=core,
        flows=Flows(core, grants, sub_accounts),
        tokens=tokens,
        connections=Connections(core, grants),
        sub_accounts=sub_accounts,
        revocation=revocation,
        operations=Operations(core, tokens, revocation),
    )


def is_asynchronous(part: Any, what: str) -> bool:
    """Whether a collaborator is of the asynchronous colour.

    Raises:
        ConfigurationError: it does not implement its port at all.
    """
    probe = getattr(part, _COLOUR_PROBES[what], None)
    if probe is None:
        raise ConfigurationError(f"{what} must implement its port (socialvault.ports); {type(part).__name__} does not")
    return iscoroutinefunction(probe)


def require_blocking(part: Any, what: str) -> None:
    """Refuse an asynchronous collaborator in a ``Vault``."""
    if is_asynchronous(part, what):
        raise ConfigurationError(f"{what} is asynchronous; use AsyncVault, or a blocking {what}")


def open_store(url: str, clock: Clock) -> Store:
    """Open the store that a URL names, blocking.

    Raises:
        ConfigurationError: nothing in this installation serves the URL.
    """
    if url == ":memory:":
        from socialvault.stores.memory import MemoryStore

        return MemoryStore(clock=clock)
    from socialvault.stores.sqlite import SQLiteStore

    return SQLiteStore(sqlite_path(url), clock=clock)


def open_async_store(url: str, clock: Clock) -> AsyncStore:
    """As `open_store`, for event loops."""
    if url == ":memory:":
        from socialvault.stores.memory import AsyncMemoryStore

        return AsyncMemoryStore(clock=clock)
    from socialvault.stores.sqlite import AsyncSQLiteStore

    return AsyncSQLiteStore(sqlite_path(url), clock=clock)


def sqlite_path(url: str) -> str:
    """Return the file of a ``sqlite:///`` URL: three slashes and a relative path, four and an absolute one.

    Raises:
        ConfigurationError: it is no such URL.
    """
    scheme, separator, rest = url.partition(":///")
    if scheme == "sqlite" and separator and rest:
        return rest
    shown = scheme if separator else url.partition(":")[0]
    raise ConfigurationError(f"store: {shown!r} is not served here; give sqlite:///FILE, :memory: or an object")
