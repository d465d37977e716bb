"""``AsyncVault``: the face for event loops."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Self

from socialvault.api.assembly import (
    SystemClock,
    UseCases,
    assemble,
    is_asynchronous,
    key_options,
    open_async_anchor,
    open_async_escrow,
    settings_of,
)
from socialvault.api.key_service import ThreadedKeyService
from socialvault.api.keys import AsyncKeys
from socialvault.api.source import AsyncConnectionSource
from socialvault.api.stores import open_async_store
from socialvault.api.transport import AsyncLazyTransport
from socialvault.exceptions import ConfigurationError
from socialvault.runtimes.asyncio import AsyncioRuntime
from socialvault.vault.settings import Providers

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    import httpx

    from socialvault.crypto.keyring import KeyScope, VaultKeyScope
    from socialvault.model.connection import Connection, Erasure, Receipt, SubAccount
    from socialvault.model.export import OwnerExport
    from socialvault.model.login import Completed, Login, Parameters
    from socialvault.model.rotation import OnProgress, Rotated
    from socialvault.model.secret import Secret
    from socialvault.model.sweep import Sweep
    from socialvault.model.token import AccessToken
    from socialvault.model.verification import Verification
    from socialvault.ports.anchor import AsyncAnchor
    from socialvault.ports.clock import Clock
    from socialvault.ports.escrow import AsyncEscrow
    from socialvault.ports.key_service import AsyncKeyService, KeyService
    from socialvault.ports.store import AsyncStore
    from socialvault.ports.transport import AsyncTransport
    from socialvault.providers.base import Provider
    from socialvault.vault.events import Observer
    from socialvault.vault.health import Health
    from socialvault.vault.settings import SharedAccounts
    from socialvault.vault.verification import Progress

_DRAIN_SECONDS = 30.0


class AsyncVault:
    """Connects accounts and hands out valid tokens; for event loops, several in one process included.

    Args:
        providers: the applications registered at the providers; one per slug.
        store: ``sqlite:///FILE``, ``:memory:``, or an object that implements the storage ports.
        keys: who holds the key-encryption key; `LocalKeyring` reads it from the environment or a file.
        redirect_uri: as registered at the providers, ``{provider}`` in it standing for the slug. Never taken
            from a request.
        return_to: own paths that a flow may end on: exact, or with a trailing ``/*``.
        observers: callables told about every transition of a connection; coroutine functions too.
        escrow: a folder of this machine where a token waits when the provider has answered and the store is away.
            None: such a token is lost if the store stays away, and with it the connection at a provider whose refresh
            tokens work once.
        anchor: a file of this machine that remembers each connection's newest generation, kept out of the database's
            backups: a row that was put back from an old copy is refused then. None: that is not noticed.
        leeway: how long before expiry a token counts as expired.
        state_lifetime: how long a person may take at the provider.
        exchange_deadline: for a whole conversation with a provider. As long nobody else presents a refresh token that
            was sent and not answered.
        lease: how long a process that died while it renewed a connection keeps the others waiting.
        patience: how long a caller waits for a renewal by another process.
        on_shared_account: ``refuse`` an account that another owner of the tenant has connected, or keep
            a ``separate`` connection for each owner.
        key_cache: how long an unwrapped data key is used without asking the store again.
        transport: instead of the default one; an ``AsyncHttpxTransport`` of your own sets proxy and deadlines.
        clock: for tests.

    Raises:
        ConfigurationError: an argument is missing or unsafe; the message names it.
    """

    def __init__(
        self,
        *,
        providers: Iterable[Provider],
        store: str | AsyncStore,
        keys: KeyService | AsyncKeyService,
        redirect_uri: str,
        return_to: Iterable[str] = (),
        escrow: str | os.PathLike[str] | AsyncEscrow | None = None,
        anchor: str | os.PathLike[str] | AsyncAnchor | None = None,
        observers: Iterable[Observer] = (),
        leeway: timedelta = timedelta(seconds=60),
        state_lifetime: timedelta = timedelta(minutes=10),
        exchange_deadline: timedelta = timedelta(seconds=45),
        lease: timedelta = timedelta(seconds=30),
        patience: timedelta = timedelta(seconds=10),
        on_shared_account: SharedAccounts = "refuse",
        key_cache: timedelta = timedelta(minutes=5),
        vault_key_cache: timedelta = timedelta(hours=1),
        cryptoperiod: timedelta = timedelta(days=90),
        dek_scope: KeyScope = "owner",
        vault_key_scope: VaultKeyScope = "vault",
        transport: AsyncTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        anchored = open_async_anchor(anchor)
        self._store_clock = clock  # None: the store has its own
        clock = clock or SystemClock()
        settings = settings_of(
            redirect_uri=redirect_uri,
            return_to=return_to,
            leeway=leeway,
            state_lifetime=state_lifetime,
            exchange_deadline=exchange_deadline,
            lease=lease,
            patience=patience,
            on_shared_account=on_shared_account,
        )
        if not isinstance(store, str) and not is_asynchronous(store, "store"):
            raise ConfigurationError("store is blocking; use Vault, or a store for event loops")
        if transport is not None and not is_asynchronous(transport, "transport"):
            raise ConfigurationError("transport is blocking; use Vault, or a transport for event loops")
        self._clock, self._store, self._given_transport = clock, store, transport
        self._runtime = AsyncioRuntime()
        self._assemble = partial(
            assemble,
            settings=settings,
            providers=Providers(providers),
            service=keys if is_asynchronous(keys, "keys") else ThreadedKeyService(keys),  # type: ignore[arg-type]  # is_asynchronous has told the two ports apart
            runtime=self._runtime,
            clock=clock,
            observers=tuple(observers),
            key_options=key_options(
                key_cache=key_cache,
                vault_key_cache=vault_key_cache,
                cryptoperiod=cryptoperiod,
                dek_scope=dek_scope,
                vault_key_scope=vault_key_scope,
            ),
            escrow=open_async_escrow(escrow),
            anchor=anchored,
        )
        self._own_anchor = anchored if anchored is not anchor else None
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Make what `aclose` closes."""
        store = open_async_store(self._store, self._store_clock) if isinstance(self._store, str) else self._store
        self._own_store = store if isinstance(self._store, str) else None
        self._transport = AsyncLazyTransport(self._clock, self._given_transport)
        self._cases = self._assemble(store=store, transport=self._transport)
        self._token = self._cases.tokens.token
        self.admin = AsyncAdmin(self._cases)
        self.keys = AsyncKeys(self._cases)
        self._closed = False

    async def open(self) -> None:
        """Open the store, check the keys and load everything now instead of at the first call.

        Do it at start-up, and before a process forks workers.

        A vault that was closed works again then; what was kept in ``:memory:`` is gone.

        Raises:
            WrongKeyError: the database was sealed under other keys; nothing was written.
            StoreUnavailableError: the store can't be opened.
        """
        if self._closed:
            self._begin_anew()
        await self._cases.core.ready()
        self._cases.prepare()
        self._transport.prepare()

    async def begin(
        self,
        provider: str,
        *,
        owner: str,
        tenant: str = "",
        scopes: Iterable[str] | None = None,
        return_to: str | None = None,
        connection_id: str | None = None,
    ) -> Login:
        """Start a browser flow: send the person to the returned URL, with the returned cookie.

        Spec: RFC 6749 section 4.1.1, RFC 7636, OpenID Connect Core section 3.1.2.1.

        Args:
            provider: a slug.
            owner, tenant: your user, and your customer or workspace; the flow can't be finished by another.
            scopes: instead of the provider's default ones.
            return_to: an own path allowed by the vault's ``return_to``.
            connection_id: the connection to reconnect; another account is refused then.

        Raises:
            ConfigurationError: the provider is unknown, or an argument is not allowed.
            ConnectionNotFoundError: this owner has no such connection.
        """
        return await self._cases.flows.begin(
            provider, owner=owner, tenant=tenant, scopes=scopes, return_to=return_to, connection_id=connection_id
        )

    async def complete(
        self, params: Parameters, *, provider: str, owner: str, tenant: str = "", cookies: Mapping[str, str]
    ) -> Completed:
        """Finish a browser flow with the callback's parameters; store the grant before returning.

        The same callback delivered again to the same browser gets the first delivery's outcome.

        Spec: RFC 6749 sections 4.1.2 to 4.1.4, RFC 9207.

        Args:
            params: the callback's query or form: a query string, pairs, or a framework's own multi-value mapping.
            provider: the slug in the callback's path.
            owner, tenant: who is signed in now.
            cookies: the request's cookies.

        Raises:
            AuthorizationError: the branch says why there is no connection; ``return_to`` is set once it is verified.
            ProviderError: the provider refused the exchange.
            TransportError: the provider could not be reached.
            StoreUnavailableError: the store is away. If the provider had answered, the connection waits in the escrow.
            TokenAtRiskError: the provider answered, and neither the store nor an escrow could keep it.
        """
        delivery = self._cases.flows.receive(params, cookies)
        del params, cookies  # this frame may raise, and a traceback shows its locals
        return await self._cases.flows.complete(delivery, slug=provider, owner=owner, tenant=tenant)

    async def token(self, connection_id: str, *, owner: str, tenant: str = "", reason: str = "") -> AccessToken:
        """Return a valid access token, renewed if it is due. A renewed one is stored before you see it.

        Of any number of callers in any number of processes one renews it, and the others share what came of it. While
        the provider can't renew it, a token that is still valid is served.

        Args:
            reason: what it is read for; told to observers that want to know about reads.

        Raises:
            ConnectionNotFoundError: this owner has no such connection.
            ReauthorizationRequiredError: only the account's owner can renew it.
            RefreshBusyError: another process is still renewing it; ask again after ``retry_after``.
            OutcomeUnknownError: the renewal was sent and not answered; it will be settled, ask again later.
            ProviderError, TransportError: the provider does not renew it now; the branch says who must act.
            TokenAtRiskError: it was renewed, and neither the store nor the escrow could keep it.
            StoreUnavailableError: the store is away.
            EncryptionError: the stored record can't be opened; nothing was changed.
        """
        return await self._token(connection_id, owner, tenant, reason)

    async def refresh(self, connection_id: str, *, owner: str, tenant: str = "") -> AccessToken:
        """Renew the token now, due or not, and return it.

        After a failure the provider is left alone for a while here, too: the error says until when.

        Spec: RFC 6749 section 6.

        Raises:
            SocialVaultError: as `token`; a stored token that is still valid does not help here. A token that is too
                young for its provider is a `RefreshBusyError` that says how long it will be.
        """
        return await self._cases.tokens.refresh(connection_id, owner, tenant)

    async def require_scopes(self, connection_id: str, scopes: Iterable[str], *, owner: str, tenant: str = "") -> None:
        """Check that a connection was granted `scopes`, before a call that needs them.

        Raises:
            MissingScopesError: some are missing; hand ``.required`` to `begin` with the connection's id.
            ConnectionNotFoundError: this owner has no such connection.
        """
        await self._cases.tokens.require_scopes(connection_id, scopes, owner, tenant)

    async def connections(self, *, owner: str, tenant: str = "") -> Sequence[Connection]:
        """Return the owner's connections, oldest first, sub-accounts after their parents."""
        return await self._cases.connections.list(owner, tenant)

    async def connection(self, connection_id: str, *, owner: str, tenant: str = "") -> Connection:
        """Return one connection.

        Raises:
            ConnectionNotFoundError: this owner has no such connection.
        """
        return await self._cases.connections.get(connection_id, owner, tenant)

    async def sub_accounts(self, connection_id: str, *, owner: str, tenant: str = "") -> Sequence[SubAccount]:
        """Ask the provider what a connection can act for: Pages, organizations, channels.

        Raises:
            ConnectionNotFoundError: this owner has no such connection.
            ReauthorizationRequiredError, ProviderError, TransportError: the provider did not list them.
        """
        return await self._cases.sub_accounts.list(connection_id, owner, tenant)

    async def select_sub_accounts(
        self, connection_id: str, ids: Iterable[str], *, owner: str, tenant: str = ""
    ) -> Sequence[Connection]:
        """Make exactly these sub-accounts child connections; others selected before are removed.

        Args:
            ids: of `sub_accounts`; all of them granted.

        Raises:
            ConfigurationError: an id is not offered, or not granted; nothing was changed.
            ConnectionNotFoundError, ReauthorizationRequiredError, ProviderError, TransportError: as `sub_accounts`.
        """
        return await self._cases.sub_accounts.select(connection_id, ids, owner, tenant)

    async def disconnect(self, connection_id: str, *, owner: str, tenant: str = "") -> Receipt:
        """End a connection: unusable here at once, then revoked at the provider where that is possible.

        Spec: RFC 7009.

        The provider is asked again by `renew_due` until it answers, for a week. Where revoking would end the whole
        grant, it is left out while another live connection shares it.

        Returns:
            What was reached so far.

        Raises:
            ConnectionNotFoundError: this owner never had such a connection.
        """
        return await self._cases.revocation.disconnect(connection_id, owner, tenant)

    async def receipt(self, connection_id: str, *, owner: str, tenant: str = "") -> Receipt:
        """Return what a disconnect has reached by now, without asking anybody.

        Raises:
            ConnectionNotFoundError: this owner has no such disconnected connection.
        """
        return await self._cases.revocation.receipt(connection_id, owner, tenant)

    async def renew_due(self, *, limit: int = 500, budget: int | Mapping[str, int] | None = None) -> Sweep:
        """Do once what is due: call it every minute or so, from any scheduler, in as many processes as you like.

        It renews tokens that are due, stores those that wait in the escrow, asks providers again that have not
        confirmed a revocation, and emits ``expires_soon`` 14, 7 and 1 days before a connection dies. What another
        process is at is left to it.

        Args:
            limit: of each kind at most.
            budget: renewals per provider at most, one number for all of them or by slug; None: `limit`.

        Returns:
            Counts; nothing that fails for one connection keeps another from its turn.

        Raises:
            StoreUnavailableError: the store is away.
        """
        return await self._cases.sweeps.renew_due(limit, budget)

    async def export_owner(self, owner: str, *, tenant: str = "") -> OwnerExport:
        """Return everything that is held about an owner, ended connections included, but for tokens.

        It does not hold pending browser flows, which end in minutes by themselves, what observers wrote, or what the
        providers keep.

        Raises:
            StoreUnavailableError: the store is away.
            KeyServiceUnavailableError: the key service is away, and the names are sealed.
        """
        return await self._cases.exports.export(owner, tenant)

    async def erase_owner(self, owner: str, *, tenant: str = "") -> Erasure:
        """Disconnect all of an owner's connections, then delete them and the key that their tokens were sealed under.

        What can't be revoked at a provider now is given up. Calling it again finishes what was cut off.

        Raises:
            OutcomeUnknownError: it takes longer than ``exchange_deadline``, and goes on.
            StoreUnavailableError: the store is away.
        """
        return await self._cases.erasures.erase(owner, tenant)

    async def import_tokens(
        self,
        provider: str,
        *,
        owner: str,
        tenant: str = "",
        access_token: str | Secret[str],
        refresh_token: str | Secret[str] | None = None,
        expires_at: datetime | None = None,
        refresh_expires_at: datetime | None = None,
        scopes: Iterable[str] = (),
        subject: str | None = None,
        replace: bool = False,
    ) -> Connection:
        """Bring in tokens that were obtained elsewhere; the grant goes on living.

        An account that this owner has connected is left alone: what it holds may be newer, since providers replace
        refresh tokens as they are used.

        Args:
            expires_at, refresh_expires_at: aware; None when unknown.
            scopes: granted.
            subject: the provider's id of the account; None asks the provider.
            replace: write over what the owner's own connection holds.

        Raises:
            ConfigurationError: a value can't be a token.
            AlreadyConnectedError: another owner has this account; nothing was written.
            ProviderError, TransportError: the provider did not say whose tokens they are.
        """
        wrapped = self._cases.connections.wrapped
        access, refresh = wrapped(access_token), wrapped(refresh_token)
        del access_token, refresh_token  # this frame may raise, and a traceback shows its locals
        return await self._cases.connections.import_tokens(
            provider,
            owner=owner,
            tenant=tenant,
            access_token=access,
            refresh_token=refresh,
            expires_at=expires_at,
            refresh_expires_at=refresh_expires_at,
            scopes=scopes,
            subject=subject,
            replace=replace,
        )

    async def rotate_keys(self, *, rate: int | None = None, on_progress: OnProgress | None = None) -> Rotated:
        """Make the primary KEK of ``keys`` the vault's, then wrap and seal under the primary keys what is not yet.

        Give the new KEK to every process first, as a second one. `keys` has the steps one by one, and `Keys.retire` for
        the end. It can be stopped anywhere and begun again, and runs beside everything else.

        Args:
            rate: rows per second at most; None for as fast as it goes.
            on_progress: told after each batch.

        Raises:
            ConfigurationError: another key has replaced this process's primary KEK: its keys are out of date.
            KeyServiceUnavailableError, StoreUnavailableError: begin again later.
        """
        return await self._cases.rotation.rotate(rate, on_progress)

    async def health(self) -> Health:
        """Look at the store, the keys and the configuration; raises nothing, asks no provider."""
        return await self._cases.health()

    def source(self, connection_id: str, *, owner: str, tenant: str = "") -> AsyncConnectionSource:
        """Return a `AsyncTokenSource` for one connection: hand it to whatever signs requests. Nothing is read yet."""
        return AsyncConnectionSource(self._cases.tokens, connection_id, owner, tenant)

    def client(self, connection_id: str, *, owner: str, tenant: str = "") -> httpx.AsyncClient:
        """Return an HTTP client that signs its own requests, and renews once when the API answers 401.

        It signs https requests to the provider's ``api_hosts`` alone; for any other host it raises
        `ConfigurationError` before anything is sent. It shares the vault's connections: close it freely.
        """
        from socialvault.transports.bearer import AsyncBearerAuth
        from socialvault.transports.client import shared_async_client

        source = self.source(connection_id, owner=owner, tenant=tenant)
        providers = self._cases.core.providers
        return shared_async_client(
            self._transport.shared(),
            AsyncBearerAuth(
                source,
                lambda url: providers.get(source.provider).signs(url),
                lambda token: providers.get(source.provider).api_params(token),
            ),
            untrusted_host=any(provider.untrusted_hosts for provider in providers.by_slug.values()),
        )

    async def aclose(self) -> None:
        """Wait for work in flight on this loop, then close what this vault opened itself; `open` opens it again."""
        self._closed = True
        await self._runtime.drain(_DRAIN_SECONDS)
        await self._transport.aclose()
        if self._own_store is not None:
            await self._own_store.aclose()
        if self._own_anchor is not None:
            await self._own_anchor.aclose()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class AsyncAdmin:
    """What operators need across owners and tenants; nothing here returns a token. Found on ``AsyncVault.admin``."""

    def __init__(self, cases: UseCases) -> None:
        self._cases = cases

    async def find(
        self,
        *,
        tenant: str | None = None,
        owner: str | None = None,
        provider: str | None = None,
        status: str | None = None,
        after_id: str = "",
        limit: int = 100,
    ) -> Sequence[Connection]:
        """Find connections by metadata, revoked ones included, ordered by id; names and scopes stay sealed.

        Args:
            after_id: the last id of the page before.
            limit: rows at most.
        """
        return await self._cases.operations.find(
            tenant=tenant, owner=owner, provider=provider, status=status, after_id=after_id, limit=limit
        )

    async def counts(self) -> Mapping[str, int]:
        """Count connections per status."""
        return await self._cases.operations.counts()

    async def verify(self, *, on_progress: Progress | None = None) -> Verification:
        """Open everything that is sealed in the store once, and name what does not open; nothing is changed.

        It takes a while where there are many connections, and runs beside everything else.

        Args:
            on_progress: told after each page how much was looked at by then, by kind.

        Raises:
            ConfigurationError: no vault has used this store yet.
            StoreUnavailableError, KeyServiceUnavailableError: one of them is away.
        """
        return await self._cases.verify_records(on_progress)

    async def refresh(self, connection_id: str, *, owner: str, tenant: str = "") -> None:
        """Renew a connection now.

        Raises:
            SocialVaultError: as `AsyncVault.refresh`.
        """
        await self._cases.operations.refresh(connection_id, owner, tenant)

    async def revoke(self, connection_id: str, *, owner: str, tenant: str = "") -> Receipt:
        """Disconnect a connection.

        Raises:
            SocialVaultError: as `AsyncVault.disconnect`.
        """
        return await self._cases.operations.revoke(connection_id, owner, tenant)
