"""The browser flow: begin an authorization request, complete it once."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from socialvault import exceptions
from socialvault.crypto.flows import FlowRecord, open_flow, seal_flow
from socialvault.exceptions import (
    AccountMismatchError,
    AuthorizationDeniedError,
    AuthorizationError,
    ConfigurationError,
    KeyNotFoundError,
    OwnerMismatchError,
    SocialVaultError,
    StateExpiredError,
    StateMismatchError,
)
from socialvault.model.login import Completed, Login, LoginCookie, Parameters
from socialvault.model.scopes import ordered
from socialvault.model.secret import Secret
from socialvault.model.state import StateRow
from socialvault.protocol import pkce
from socialvault.protocol.authorization import AuthorizationResponse, allowed_return_to, check_issuer, parse_response
from socialvault.vault.settings import check_owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import timedelta

    from socialvault.crypto.envelope import Sealer
    from socialvault.protocol.metadata import ServerMetadata
    from socialvault.providers.base import Grant, Provider
    from socialvault.vault.core import Core
    from socialvault.vault.grants import Grants
    from socialvault.vault.sub_accounts import SubAccounts

_COOKIE_PREFIX = "socialvault_"
_DEFAULT_RETURN = "/"
_POLL_SECONDS = 0.05
_PURGE_EVERY_SECONDS = 60.0
_PURGE_LIMIT = 1000
_MOST_PREFIXES = 1000
_LONGEST_PREFIX = 2000


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery of a callback, read and not yet trusted; its repr shows no code and no cookie."""

    response: AuthorizationResponse
    state_hash: bytes
    binding: bytes


@dataclass(frozen=True, slots=True)
class Callback:
    """A delivery, and for whom it came in."""

    delivery: Delivery
    provider: Provider
    owner: str
    tenant: str


class Flows:
    """Begins and completes authorization requests."""

    def __init__(self, core: Core, grants: Grants, sub_accounts: SubAccounts) -> None:
        self._core = core
        self._grants = grants
        self._sub_accounts = sub_accounts
        self._prefixes: dict[tuple[str, str, tuple[str, ...]], str] = {}
        self._purged_at_seconds = 0.0

    # --- begin ----------------------------------------------------------------------------------

    async def begin(
        self,
        slug: str,
        *,
        owner: str,
        tenant: str,
        scopes: Iterable[str] | None,
        return_to: str | None,
        connection_id: str | None,
    ) -> Login:
        """Start a flow; see ``AsyncVault.begin``."""
        check_owner(owner, tenant)
        provider = self._core.providers.get(slug)
        if return_to is not None and not allowed_return_to(return_to, self._core.settings.return_to):
            raise ConfigurationError("return_to is not one of the paths this vault was given", argument="return_to")
        await self._core.ready()
        wanted = await self._wanted_scopes(provider, scopes, connection_id, tenant, owner)
        server = await self._server(provider)
        redirect_uri = self._core.settings.redirect_uri_for(slug)
        flow = FlowRecord(
            verifier=pkce.new_verifier() if provider.pkce == "S256" else None,
            nonce=Secret(secrets.token_urlsafe(32)) if server.jwks_url else None,
            redirect_uri=redirect_uri,
            scopes=wanted,
            connection_id=connection_id or "",
            issuer=server.issuer,
            issuer_promised=server.issuer_in_response,
        )
        state, cookie_value = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        await self._keep(flow, provider, state, cookie_value, tenant, owner, return_to or "")
        url = self._prefix(provider, server, redirect_uri, wanted) + _url_tail(state, flow)
        lifetime = self._core.settings.state_lifetime
        expires_at = self._core.now() + lifetime
        return Login(url, expires_at, _cookie(state, cookie_value, redirect_uri, lifetime))

    async def _wanted_scopes(
        self, provider: Provider, scopes: Iterable[str] | None, connection_id: str | None, tenant: str, owner: str
    ) -> tuple[str, ...]:
        asked = provider.scopes if scopes is None else _checked_scopes(scopes)
        wanted = ordered((*asked, *provider.identity_scopes))
        if not connection_id:
            return wanted
        row = await self._core.any_row(connection_id, tenant, owner)
        if row.account.provider != provider.slug or row.account.parent_id:
            raise ConfigurationError(
                f"connection {connection_id!r} can't be reconnected at {provider.slug!r}", argument="connection_id"
            )
        stored = await self._core.replaceable(row)
        granted = (stored and stored.token.scopes) or ()
        return ordered((*wanted, *sorted(granted)))  # asking for less could take away what was granted before

    async def _server(self, provider: Provider) -> ServerMetadata:
        server = provider.static_server
        if server.authorize_url and server.token_url:
            return server
        return await self._core.conversations.run(provider.resolve())

    async def _keep(
        self,
        flow: FlowRecord,
        provider: Provider,
        state: str,
        cookie_value: str,
        tenant: str,
        owner: str,
        return_to: str,
    ) -> None:
        state_hash = _digest(state)
        row = StateRow(
            state_hash=state_hash,
            tenant=tenant,
            owner=owner,
            provider=provider.slug,
            binding=_digest(cookie_value),
            sealed=b"",
            return_to=return_to,
        )
        try:
            await self._put(row, flow)
        except KeyNotFoundError:  # the vault's own data key was retired since
            self._core.keyring.forget("", "")
            await self._put(row, flow)
        now = self._core.clock.now_seconds()
        if now - self._purged_at_seconds > _PURGE_EVERY_SECONDS:
            self._purged_at_seconds = now
            await self._core.store.purge_states(_PURGE_LIMIT)

    async def _put(self, row: StateRow, flow: FlowRecord) -> None:
        sealer = await self._core.keyring.for_flow(None, row.tenant, row.owner)
        sealed = seal_flow(sealer, flow, row.provider, row.state_hash)
        await self._core.store.put_state(
            replace(row, sealed=sealed), self._core.settings.state_lifetime.total_seconds()
        )

    def _prefix(self, provider: Provider, server: ServerMetadata, redirect_uri: str, scopes: tuple[str, ...]) -> str:
        key = (provider.slug, server.authorize_url, scopes)
        found = self._prefixes.get(key)
        if found is None:
            found = provider.authorization_prefix(server, redirect_uri, scopes)
            if len(self._prefixes) >= _MOST_PREFIXES:
                self._prefixes.clear()
            if len(found) <= _LONGEST_PREFIX:  # scopes are the caller's, and may be many
                self._prefixes[key] = found
        return found

    # --- complete -------------------------------------------------------------------------------

    @staticmethod
    def receive(params: Parameters, cookies: Mapping[str, str]) -> Delivery | StateMismatchError:
        """Read a callback. A refusal is returned and not raised, so that no traceback holds what was delivered."""
        try:
            response = parse_response(params)
        except StateMismatchError as problem:
            return StateMismatchError(str(problem))
        state = response.state.reveal()
        return Delivery(response, _digest(state), _digest(cookies.get(cookie_name(state)) or ""))

    async def complete(
        self, delivery: Delivery | StateMismatchError, *, slug: str, owner: str, tenant: str
    ) -> Completed:
        """Finish a flow; see ``AsyncVault.complete``. `delivery`: from `receive`."""
        check_owner(owner, tenant)
        provider = self._core.providers.get(slug)
        if isinstance(delivery, StateMismatchError):
            raise delivery
        callback = Callback(delivery, provider, owner, tenant)
        await self._core.ready()
        row = await self._check(callback)
        if row.phase == "pending":
            keyring = self._core.keyring
            sealer = await keyring.for_flow(row.sealed, tenant, owner)  # a key that is away costs the flow nothing
            await keyring.for_sealing(tenant, owner)  # so that nothing but the save stands after the code
            completed = await self._core.guarded(lambda: self._claim_and_exchange(callback, row.return_to, sealer))
            if completed is not None:
                return completed
        return await self._outcome(callback)

    async def verified_return_to(
        self, delivery: Delivery | StateMismatchError, *, slug: str, owner: str, tenant: str
    ) -> str | None:
        """Return where a flow that failed may end: None unless this browser and owner began it, and said where."""
        if isinstance(delivery, StateMismatchError):
            return None
        try:
            row = await self._check(Callback(delivery, self._core.providers.get(slug), owner, tenant))
        except SocialVaultError as problem:
            return problem.return_to if isinstance(problem, AuthorizationError) else None
        return row.return_to or None

    async def _check(self, callback: Callback) -> StateRow:
        """Check that this browser and this owner began this flow; nothing is changed."""
        row = await self._core.store.get_state(callback.delivery.state_hash)
        if row is None:
            raise StateMismatchError("the state is unknown: it was never given out, or long ago")
        if (row.owner, row.tenant) != (callback.owner, callback.tenant):
            raise OwnerMismatchError("this flow was begun for another owner")
        if row.provider != callback.provider.slug:
            raise StateMismatchError("this flow was begun for another provider")
        if not hmac.compare_digest(row.binding, callback.delivery.binding):
            raise StateMismatchError("this flow was begun in another browser, or its cookie did not arrive")
        if row.phase == "expired":
            raise StateExpiredError("the flow took too long; begin again", return_to=row.return_to or None)
        return row

    async def _claim_and_exchange(self, callback: Callback, return_to: str, sealer: Sealer) -> Completed | None:
        """Do the one exchange of this flow, or return None when somebody else does it."""
        row = await self._core.store.claim_state(
            callback.delivery.state_hash,
            tenant=callback.tenant,
            owner=callback.owner,
            provider=callback.provider.slug,
            binding=callback.delivery.binding,
        )
        if row is None:
            return None
        flow = open_flow(sealer, row.sealed, callback.provider.slug, callback.delivery.state_hash)
        try:
            completed = await self._exchange(callback, flow, return_to)
        except SocialVaultError as problem:
            if isinstance(problem, AuthorizationError):
                problem.return_to = return_to or None
            await self._finish(callback, error=type(problem).__name__)
            raise
        missing = " ".join(sorted(completed.missing_scopes))
        await self._finish(callback, connection_id=completed.connection.id, missing_scopes=missing)
        return completed

    async def _finish(
        self, callback: Callback, *, connection_id: str = "", error: str = "", missing_scopes: str = ""
    ) -> None:
        await self._core.store.finish_state(
            callback.delivery.state_hash, connection_id=connection_id, error=error, missing_scopes=missing_scopes
        )

    async def _exchange(self, callback: Callback, flow: FlowRecord, return_to: str) -> Completed:
        check_issuer(callback.delivery.response, expected=flow.issuer, promised=flow.issuer_promised)
        code = callback.delivery.response.code
        if code is None:
            error = callback.delivery.response.error
            raise AuthorizationDeniedError(f"{callback.provider.slug} did not authorise: {error}", error=error)
        server = await self._server(callback.provider)
        grant = await self._core.conversations.run(
            callback.provider.exchange_code(server, code, flow.redirect_uri, flow.verifier, flow.nonce)
        )
        if flow.connection_id:
            await self._check_same_account(callback, flow.connection_id, grant)
        row, is_new = await self._grants.connect(
            callback.provider, callback.tenant, callback.owner, grant.token, grant.identity, flow.scopes
        )
        await self._core.emit("connected" if is_new else "reconnected", row)
        if not is_new:
            await self._sub_accounts.revive(row)
        granted = grant.token.scopes
        return Completed(
            connection=await self._core.describe(row),
            return_to=return_to or _DEFAULT_RETURN,
            missing_scopes=frozenset() if granted is None else frozenset(flow.scopes) - granted,
        )

    async def _check_same_account(self, callback: Callback, connection_id: str, grant: Grant) -> None:
        row = await self._core.any_row(connection_id, callback.tenant, callback.owner)
        if row.account.subject != grant.identity.subject:
            raise AccountMismatchError(
                f"{callback.provider.slug}: another account signed in than the one that is connected"
            )

    async def _outcome(self, callback: Callback) -> Completed:
        """Wait for the outcome of the delivery that won, and return it to its browser again."""
        until = self._core.clock.now_seconds() + self._core.settings.exchange_deadline.total_seconds()
        row = await self._check(callback)
        while row.phase != "done":
            if self._core.clock.now_seconds() >= until:
                raise StateExpiredError("the flow was interrupted; begin again", return_to=row.return_to or None)
            await self._core.runtime.sleep(_POLL_SECONDS)
            row = await self._check(callback)
        if row.error:
            _raise_recorded(row)
        connection = await self._core.row(row.connection_id, callback.tenant, callback.owner)
        return Completed(
            connection=await self._core.describe(connection),
            return_to=row.return_to or _DEFAULT_RETURN,
            missing_scopes=frozenset(row.missing_scopes.split()),
            duplicate=True,
        )


def _raise_recorded(row: StateRow) -> NoReturn:
    """Raise what the first delivery ended in."""
    kind: type[SocialVaultError] = getattr(exceptions, row.error, SocialVaultError)
    message = "the first delivery of this callback ended in this error"
    if issubclass(kind, AuthorizationError):
        raise kind(message, return_to=row.return_to or None)
    if issubclass(kind, exceptions.ProviderError):
        raise kind(message, provider=row.provider)
    if issubclass(kind, exceptions.TransportError):
        raise kind(message, request_sent=True)
    raise kind(message)


def _checked_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    wanted = () if isinstance(scopes, str) else ordered(scopes)
    if isinstance(scopes, str) or any(not scope or scope != scope.strip() for scope in wanted):
        raise ConfigurationError("scopes must be a collection of non-empty strings", argument="scopes")
    return wanted


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()


def cookie_name(state: str) -> str:
    """Return the name of a flow's cookie; derived from its state, so that tabs keep out of each other's way."""
    return _COOKIE_PREFIX + hashlib.sha256(b"cookie/" + state.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _cookie(state: str, value: str, redirect_uri: str, lifetime: timedelta) -> LoginCookie:
    parts = urlsplit(redirect_uri)
    return LoginCookie(
        name=cookie_name(state),
        value=value,
        path=parts.path or "/",
        max_age_seconds=int(lifetime.total_seconds()),
        secure=parts.scheme == "https",
    )


def _url_tail(state: str, flow: FlowRecord) -> str:
    """Return the part of the URL that differs per flow; all of it is URL-safe as it is."""
    tail = f"&state={state}"
    if flow.verifier is not None:
        tail += f"&code_challenge={pkce.challenge(flow.verifier)}&code_challenge_method=S256"
    if flow.nonce is not None:
        tail += f"&nonce={flow.nonce.reveal()}"
    return tail
