"""Renewal: once for all callers of all processes. Who may not send waits, and shares what came of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from socialvault import exceptions
from socialvault.crypto.records import TokenRecord, access_of, open_access
from socialvault.exceptions import (
    AuthorizationError,
    KeyServiceUnavailableError,
    OutcomeUnknownError,
    ProviderError,
    ReauthorizationRequiredError,
    RefreshBusyError,
    SocialVaultError,
    StoreUnavailableError,
    TransportError,
)
from socialvault.model.status import Status
from socialvault.vault.schedule import can_renew, jitter, too_young_for
from socialvault.vault.verdict import mark_dead, reauthorization_required

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socialvault.model.rows import ConnectionRow
    from socialvault.model.token import AccessToken
    from socialvault.vault.attempt import Attempts
    from socialvault.vault.core import Core
    from socialvault.vault.custody import Custody
    from socialvault.vault.lease import Leases
    from socialvault.vault.sub_accounts import SubAccounts

_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.3
_ASK_AGAIN = timedelta(seconds=1)


class Renewal:
    """Gives a valid token of one connection, renewed where that is needed."""

    def __init__(
        self, core: Core, leases: Leases, attempts: Attempts, custody: Custody, sub_accounts: SubAccounts
    ) -> None:
        self._core = core
        self._custody = custody
        self._leases = leases
        self._attempts = attempts
        self._sub_accounts = sub_accounts

    async def settle(self, connection_id: str, owner: str, tenant: str, stale_generation: int | None) -> AccessToken:
        """Read again, and renew if that is still needed; wait for another process that is at it.

        Args:
            stale_generation: a token of this generation won't do even if it looks valid.
        """
        held: tuple[AccessToken | None] | None = None
        for pause_seconds in _pauses(self._core.settings.patience, connection_id):
            await self._core.runtime.sleep(pause_seconds)
            row = await self._core.row(connection_id, tenant, owner)
            token = await self._without_provider(row, stale_generation)
            if token is not None:
                return token
            try:
                held = await self._leases.hold(row.id, lambda: self._renew_again(row, stale_generation))  # noqa: B023
            except OutcomeUnknownError as problem:
                return await self._while_valid(row, await self._core.open(row), problem, stale_generation)
            if held is not None and held[0] is not None:
                return held[0]
        return await self._without_patience(connection_id, owner, tenant, stale_generation, leased=held is None)

    async def renew_at_once(self, connection_id: str, owner: str, tenant: str) -> AccessToken | None:
        """Renew if that is needed, without a lease and without waiting; None when another is at it.

        The intent keeps two processes from sending as well. What a lease adds is a place to wait, which nobody needs
        here.
        """
        row = await self._core.row(connection_id, tenant, owner)
        token = await self._without_provider(row, None)
        return token or await self._core.guarded(lambda: self._renew(row, None))

    async def _without_provider(self, row: ConnectionRow, stale_generation: int | None) -> AccessToken | None:
        """Decide from what is here: the row, the escrow, and whether the provider is being left alone."""
        token = await self._without_sending(row, stale_generation) or await self._from_escrow(row, stale_generation)
        refusal = None if token else self._attempts.refusal(row.account.provider)
        if refusal is None:
            return token
        return await self._while_valid(row, await self._core.open(row), refusal, stale_generation)

    async def _renew_again(self, row: ConnectionRow, stale_generation: int | None) -> AccessToken | None:
        """Under the lease: read again, since a sibling may be done, and renew."""
        current = await self._core.row(row.id, row.account.tenant, row.owner)
        token = await self._without_sending(current, stale_generation)
        return token or await self._renew(current, stale_generation)

    async def _renew(self, row: ConnectionRow, stale_generation: int | None) -> AccessToken | None:
        """Send; None when another's intent is open."""
        if row.account.parent_id:
            return await self._access(await self._renew_child(row))
        record, provider = await self._core.open(row), self._core.provider_of(row)
        try:
            renewed = await self._attempts.renew(row, record, provider)
        except (
            ProviderError, TransportError, AuthorizationError, StoreUnavailableError, KeyServiceUnavailableError
        ) as problem:  # fmt: skip
            return await self._while_valid(row, record, problem, stale_generation)
        return None if renewed is None else await self._without_sending(renewed, stale_generation)

    async def _without_sending(self, row: ConnectionRow, stale_generation: int | None) -> AccessToken | None:
        """Decide from the row alone: its token, the reason why there is none, or None when it must be renewed."""
        if row.status is not Status.ACTIVE:
            raise reauthorization_required(row.account.provider, row.reason)
        record, now = await self._core.open(row), self._core.now()
        if not self._is_due(record) and row.generation != stale_generation:
            return await self._access(row)
        provider = self._core.provider_of(row)
        if row.account.parent_id:
            return None
        if not can_renew(record.token, provider.renewal, now):
            return await self._last_of_it(row, record, stale_generation)
        wait = too_young_for(record.token, provider, now)
        if wait is not None:
            young = RefreshBusyError(f"{provider.slug}: the token is too young to be renewed", retry_after=wait)
            return await self._while_valid(row, record, young, stale_generation)
        if row.failing_since_seconds is not None and (row.due_at_seconds or 0.0) > self._core.clock.now_seconds():
            return await self._while_valid(row, record, _recorded(row, self._core), stale_generation)
        return None

    def _is_due(self, record: TokenRecord) -> bool:
        return record.due_at is not None and self._core.now() >= record.due_at

    async def _from_escrow(self, row: ConnectionRow, stale_generation: int | None) -> AccessToken | None:
        """Return the token that waits for the store on this machine, which it can be brought home to by anybody."""
        try:
            if not await self._custody.replay_connection(row.id):
                return None
        except StoreUnavailableError as problem:
            held = await self._custody.held(row)  # durable there, so it may be used
            if held is not None and held[1] != stale_generation and self._is_valid(held[0]):
                return access_of(held[0], row.account.provider, row.id, held[1])
            return await self._while_valid(row, await self._core.open(row), problem, stale_generation)
        current = await self._core.row(row.id, row.account.tenant, row.owner)
        return await self._without_sending(current, stale_generation)

    async def _renew_child(self, row: ConnectionRow) -> ConnectionRow:
        try:
            return await self._sub_accounts.renew(row)
        except ReauthorizationRequiredError as verdict:
            await mark_dead(self._core, row, verdict.reason)
            raise

    async def _access(self, row: ConnectionRow) -> AccessToken:
        sealer, envelope = await self._core.opener(row)
        token, _ = open_access(sealer, envelope, row.account.provider, row.account.issuer, row.id, row.generation)
        return token

    # --- without a new token ----------------------------------------------------------------------

    async def _last_of_it(self, row: ConnectionRow, record: TokenRecord, stale_generation: int | None) -> AccessToken:
        """Serve a token that can't be renewed while it is valid; say so when it is not."""
        if self._usable(row, record, stale_generation):
            return await self._access(row)
        expired = not self._is_valid(record)
        if expired:
            await mark_dead(self._core, row, "expired")
        raise ReauthorizationRequiredError(
            f"{row.account.provider}: the token {'expired' if expired else 'was rejected'} and can't be renewed",
            provider=row.account.provider,
            reason="expired" if expired else "rejected",
        )

    async def _while_valid(
        self, row: ConnectionRow, record: TokenRecord, problem: SocialVaultError, stale_generation: int | None
    ) -> AccessToken:
        """A renewal that can't be had now does not matter while the stored token is valid."""
        if self._usable(row, record, stale_generation) and not isinstance(problem, ReauthorizationRequiredError):
            return await self._access(row)
        if isinstance(problem, TransportError) and problem.request_sent:
            raise _unknown(row) from problem
        raise problem

    def _usable(self, row: ConnectionRow, record: TokenRecord, stale_generation: int | None) -> bool:
        return self._is_valid(record) and row.generation != stale_generation

    def _is_valid(self, record: TokenRecord) -> bool:
        return record.token.expires_at is None or self._core.now() < record.token.expires_at

    async def _without_patience(
        self, connection_id: str, owner: str, tenant: str, stale_generation: int | None, *, leased: bool
    ) -> AccessToken:
        """Another process has been at it for too long: serve what is valid, or say when to ask again.

        Args:
            leased: it has the lease, so it is alive; else it is only known to have sent.
        """
        row = await self._core.row(connection_id, tenant, owner)
        token = await self._without_sending(row, stale_generation)
        if token is not None:
            return token
        busy = RefreshBusyError(
            f"{row.account.provider}: another process is renewing this connection", retry_after=_ASK_AGAIN
        )
        problem = busy if leased else _unknown(row)
        return await self._while_valid(row, await self._core.open(row), problem, stale_generation)


def _pauses(patience: timedelta, connection_id: str) -> Iterator[float]:
    """Yield how long to wait before each look, beginning with none; each a bit longer than the one before."""
    yield 0.0
    pause, left = _FIRST_PAUSE_SECONDS, patience.total_seconds()
    look = 0
    while left > 0:
        spread = pause * (0.75 + jitter(f"{connection_id}/{look}") / 2)
        yield min(spread, left)
        left -= spread
        look += 1
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def _unknown(row: ConnectionRow) -> OutcomeUnknownError:
    return OutcomeUnknownError(f"{row.account.provider}: the renewal was sent and not answered; try again later")


def _recorded(row: ConnectionRow, core: Core) -> SocialVaultError:
    """Build the error that the last attempt ended in: nobody asks the provider again before its time."""
    if row.failing_with == OutcomeUnknownError.__name__:
        return _unknown(row)
    slug = row.account.provider
    wait = timedelta(seconds=max(0.0, (row.due_at_seconds or 0.0) - core.clock.now_seconds()))
    text = f"{slug}: the last renewal failed, the next one is not due yet"
    kind: type[SocialVaultError] = getattr(exceptions, row.failing_with, ProviderError)
    if issubclass(kind, TransportError):
        return TransportError(text, request_sent=False)
    if issubclass(kind, ProviderError):
        return kind(text, provider=slug, retry_after=wait)
    return ProviderError(text, provider=slug, retry_after=wait)
