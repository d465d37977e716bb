"""Putting a vault together from what its constructor was given."""

from __future__ import annotations

import os
import time
import weakref
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypedDict, get_args

from socialvault.crypto.keyring import Keyring, KeyScope, VaultKeyScope
from socialvault.exceptions import ConfigurationError, SocialVaultError
from socialvault.vault.conversation import Conversations
from socialvault.vault.core import Core
from socialvault.vault.events import Events
from socialvault.vault.settings import Settings
from socialvault.vault.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from socialvault.model.rows import ConnectionRow
    from socialvault.model.verification import Verification
    from socialvault.ports.anchor import Anchor, AsyncAnchor
    from socialvault.ports.clock import Clock
    from socialvault.ports.escrow import AsyncEscrow, Escrow
    from socialvault.ports.key_service import AsyncKeyService
    from socialvault.ports.runtime import Runtime
    from socialvault.ports.store import AsyncStore
    from socialvault.ports.transport import AsyncTransport
    from socialvault.vault.admin import Operations
    from socialvault.vault.circuit import Circuits
    from socialvault.vault.connections import Connections
    from socialvault.vault.custody import Custody
    from socialvault.vault.erasure import Erasures
    from socialvault.vault.events import Observer
    from socialvault.vault.export import Exports
    from socialvault.vault.flows import Flows
    from socialvault.vault.grants import Grants
    from socialvault.vault.health import Health
    from socialvault.vault.key_states import KeyStates
    from socialvault.vault.outbox import Outbox
    from socialvault.vault.renewal import Renewal
    from socialvault.vault.revocation import Revocation
    from socialvault.vault.rotation import KeyRotation
    from socialvault.vault.saving import Saving
    from socialvault.vault.settings import Providers, SharedAccounts
    from socialvault.vault.sub_accounts import SubAccounts
    from socialvault.vault.sweep import Sweeps
    from socialvault.vault.verification import Progress

_KEPT_KEYS_OF_IMPORTS = 500
_COLOUR_PROBES = {"store": "read_token", "keys": "wrap", "transport": "send", "escrow": "keep", "anchor": "highest"}


class SystemClock:
    """The clock of this machine."""

    def now_seconds(self) -> float:
        """Return the seconds since 1970-01-01 UTC."""
        return time.time()


class UseCases:
    """Everything a vault can do, in the asynchronous colour; each is loaded at its first use."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.tokens = Tokens(core, lambda: self.renewal)
        if core.escrow is not None:
            core.at_start.append(self._replay)

    async def _replay(self) -> None:
        await self.custody.replay()

    @cached_property
    def outbox(self) -> Outbox:
        """Revokes at providers."""
        from socialvault.vault.outbox import Outbox

        return Outbox(self.core, self._verify)

    async def _verify(self, row: ConnectionRow) -> None:
        with suppress(SocialVaultError):  # what it finds is recorded there
            await self.tokens.refresh(row.id, row.owner, row.account.tenant)

    @cached_property
    def saving(self) -> Saving:
        """Keeps tokens that arrived."""
        from socialvault.vault.saving import Saving

        return Saving(self.core, self.outbox)

    @cached_property
    def custody(self) -> Custody:
        """Brings waiting tokens home."""
        from socialvault.vault.custody import Custody

        return Custody(self.core, self.saving)

    @cached_property
    def circuits(self) -> Circuits:
        """Leaves providers alone that are down."""
        from socialvault.vault.circuit import Circuits

        return Circuits(self.core.clock, self.core.settings.exchange_deadline)

    @cached_property
    def grants(self) -> Grants:
        """Writes grants."""
        from socialvault.vault.grants import Grants

        return Grants(self.core, self.saving)

    @cached_property
    def sub_accounts(self) -> SubAccounts:
        """Lists and selects sub-accounts."""
        from socialvault.vault.sub_accounts import SubAccounts

        return SubAccounts(self.core, self.grants)

    @cached_property
    def renewal(self) -> Renewal:
        """Renews tokens."""
        from socialvault.vault.attempt import Attempts
        from socialvault.vault.lease import Leases
        from socialvault.vault.renewal import Renewal

        attempts = Attempts(self.core, self.circuits, self.grants, self.saving, self.custody)
        return Renewal(self.core, Leases(self.core), attempts, self.custody, self.sub_accounts)

    @cached_property
    def sweeps(self) -> Sweeps:
        """Does what is due."""
        from socialvault.vault.sweep import Sweeps

        return Sweeps(self.core, self.tokens, self.circuits, self.custody, self.outbox)

    @cached_property
    def flows(self) -> Flows:
        """Begins and completes browser flows."""
        from socialvault.vault.flows import Flows

        return Flows(self.core, self.grants, self.sub_accounts)

    @cached_property
    def connections(self) -> Connections:
        """Lists connections and imports tokens."""
        from socialvault.vault.connections import Connections

        return Connections(self.core, self.grants)

    def connections_for_imports(self) -> Connections:
        """As `connections`, for what meets every owner once: few of the keys that it uses stay in memory."""
        from socialvault.vault.connections import Connections
        from socialvault.vault.grants import Grants
        from socialvault.vault.saving import Saving

        core = replace(self.core, keyring=self.core.keyring.bounded(_KEPT_KEYS_OF_IMPORTS))
        return Connections(core, Grants(core, Saving(core, self.outbox)))

    @cached_property
    def revocation(self) -> Revocation:
        """Disconnects."""
        from socialvault.vault.revocation import Revocation

        return Revocation(self.core, self.outbox, self.sub_accounts)

    @cached_property
    def erasures(self) -> Erasures:
        """Erases owners."""
        from socialvault.vault.erasure import Erasures

        return Erasures(self.core, self.revocation, self.custody, self.outbox)

    @cached_property
    def key_states(self) -> KeyStates:
        """Moves keys through their states."""
        from socialvault.vault.key_states import KeyStates

        return KeyStates(self.core)

    @cached_property
    def rotation(self) -> KeyRotation:
        """Moves keys and records under other keys."""
        from socialvault.vault.rotation import KeyRotation

        return KeyRotation(self.core, self.key_states)

    @cached_property
    def exports(self) -> Exports:
        """Exports owners."""
        from socialvault.vault.export import Exports

        return Exports(self.core)

    async def verify_records(self, on_progress: Progress | None) -> Verification:
        """Open everything that is sealed."""
        from socialvault.vault.verification import verify_records

        core = self.core
        return await verify_records(core.store, core.keyring.vault_keys.service, core.clock, progress=on_progress)

    @cached_property
    def operations(self) -> Operations:
        """What operators do."""
        from socialvault.vault.admin import Operations

        return Operations(self.core, self.tokens, self.revocation)

    def prepare(self) -> None:
        """Load now what is otherwise loaded at its first use.

        A process that is forked while another thread loads a module is left with half of it.
        """
        import logging

        import tenacity

        from socialvault.protocol import id_token, timestamps

        del logging, tenacity, id_token, timestamps
        _ = (self.renewal, self.sweeps, self.flows, self.connections, self.erasures, self.operations, self.rotation)

    async def health(self) -> Health:
        """Look at the store, the keys and the configuration."""
        from socialvault.vault.health import check_health

        return await check_health(self.core)


def settings_of(
    *, redirect_uri: str, return_to: Iterable[str], leeway: timedelta, state_lifetime: timedelta,
    exchange_deadline: timedelta, lease: timedelta, patience: timedelta, on_shared_account: SharedAccounts,
) -> Settings:  # fmt: skip
    """Build and check the settings.

    Raises:
        ConfigurationError: one of them can't be.
    """
    if isinstance(return_to, str):
        raise ConfigurationError("return_to must be a collection of paths, not one str")
    settings = Settings(
        redirect_uri, tuple(return_to), leeway, state_lifetime, exchange_deadline, lease, patience, on_shared_account
    )
    settings.check()
    return settings


class KeyOptions(TypedDict):
    """How a keyring keeps its keys; see `Keyring`."""

    cache_seconds: float
    vault_key_cache_seconds: float
    cryptoperiod_seconds: float
    dek_scope: KeyScope
    vault_key_scope: VaultKeyScope


def key_options(
    *, key_cache: timedelta, vault_key_cache: timedelta, cryptoperiod: timedelta, dek_scope: KeyScope,
    vault_key_scope: VaultKeyScope,
) -> KeyOptions:  # fmt: skip
    """Check what a vault is told about its keys.

    Raises:
        ConfigurationError: a scope is unknown, or a time can't be.
    """
    if dek_scope not in get_args(KeyScope) or vault_key_scope not in get_args(VaultKeyScope):
        raise ConfigurationError("dek_scope is 'owner' or 'tenant', vault_key_scope is 'vault' or 'tenant'")
    if min(vault_key_cache, cryptoperiod) <= timedelta(0) or key_cache < timedelta(0):
        raise ConfigurationError("key_cache, vault_key_cache and cryptoperiod must be positive")
    return KeyOptions(
        cache_seconds=key_cache.total_seconds(),
        vault_key_cache_seconds=vault_key_cache.total_seconds(),
        cryptoperiod_seconds=cryptoperiod.total_seconds(),
        dek_scope=dek_scope,
        vault_key_scope=vault_key_scope,
    )


def _tell_of_forks(keyring: Keyring) -> None:
    itself = weakref.ref(keyring)

    def forked() -> None:
        alive = itself()
        if alive is not None:
            alive.forked()

    if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
        os.register_at_fork(after_in_child=forked)


def assemble(
    *,
    settings: Settings,
    providers: Providers,
    store: AsyncStore,
    service: AsyncKeyService,
    transport: AsyncTransport,
    runtime: Runtime,
    clock: Clock,
    observers: Sequence[Observer],
    key_options: KeyOptions,
    escrow: AsyncEscrow | None,
    anchor: AsyncAnchor | None,
) -> UseCases:
    """Join the collaborators."""
    events = Events(observers, clock)
    keyring = Keyring(store, service, clock, told=events.about_key, once=runtime.single_flight, **key_options)
    _tell_of_forks(keyring)
    core = Core(
        settings=settings,
        providers=providers,
        store=store,
        keyring=keyring,
        conversations=Conversations(transport, clock),
        runtime=runtime,
        clock=clock,
        events=events,
        escrow=escrow,
        anchor=anchor,
    )
    return UseCases(core)


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
    """Refuse an asynchronous collaborator in a ``Vault``.

    Raises:
        ConfigurationError: it is one.
    """
    if is_asynchronous(part, what):
        raise ConfigurationError(f"{what} is asynchronous; use AsyncVault, or a blocking {what}")


def open_escrow(escrow: str | os.PathLike[str] | Escrow | None) -> Escrow | None:
    """Return the escrow in the folder that a path names, or the object itself.

    Raises:
        ConfigurationError: it is for event loops.
    """
    if isinstance(escrow, (str, os.PathLike)):
        from socialvault.stores.escrow import FileEscrow

        return FileEscrow(escrow)
    if escrow is not None:
        require_blocking(escrow, "escrow")
    return escrow


def open_async_escrow(escrow: str | os.PathLike[str] | AsyncEscrow | None) -> AsyncEscrow | None:
    """As `open_escrow`, for event loops."""
    if isinstance(escrow, (str, os.PathLike)):
        from socialvault.stores.escrow import AsyncFileEscrow

        return AsyncFileEscrow(escrow)
    if escrow is not None and not is_asynchronous(escrow, "escrow"):
        raise ConfigurationError("escrow is blocking; use Vault, or an escrow for event loops")
    return escrow


def open_anchor(anchor: str | os.PathLike[str] | Anchor | None) -> Anchor | None:
    """Return the anchor in the file that a path names, or the object itself.

    Raises:
        ConfigurationError: it is for event loops.
    """
    if isinstance(anchor, (str, os.PathLike)):
        from socialvault.stores.anchor import FileAnchor

        return FileAnchor(anchor)
    if anchor is not None:
        require_blocking(anchor, "anchor")
    return anchor


def open_async_anchor(anchor: str | os.PathLike[str] | AsyncAnchor | None) -> AsyncAnchor | None:
    """As `open_anchor`, for event loops."""
    if isinstance(anchor, (str, os.PathLike)):
        from socialvault.stores.anchor import AsyncFileAnchor

        return AsyncFileAnchor(anchor)
    if anchor is not None and not is_asynchronous(anchor, "anchor"):
        raise ConfigurationError("anchor is blocking; use Vault, or an anchor for event loops")
    return anchor
