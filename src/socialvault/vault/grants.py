"""Writing grants: the one place where tokens enter the store."""

from __future__ import annotations

import secrets
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from socialvault.crypto.records import TokenRecord
from socialvault.exceptions import (
    AlreadyConnectedError,
    GenerationConflictError,
    StoreUnavailableError,
    TokenAtRiskError,
)
from socialvault.model.identity import Identity
from socialvault.model.rows import AccountKey, ConnectionRow, TokenWrite
from socialvault.model.status import Status
from socialvault.protocol.token import merge
from socialvault.vault.core import Core, seconds
from socialvault.vault.schedule import dies_at, due_at

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socialvault.model.token import TokenSet
    from socialvault.providers.base import Provider

T = TypeVar("T")

_WRITE_ATTEMPTS = 5
_WRITE_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


class Grants:
    """Keeps what providers granted."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def record(self, provider: Provider, connection_id: str, token: TokenSet, identity: Identity,
               requested: tuple[str, ...]) -> TokenRecord:  # fmt: skip
        """Build the record to seal, with the time its renewal is due."""
        due = due_at(token, provider.renewal, self._core.settings.leeway, connection_id)
        return TokenRecord(token, due, identity, requested)

    def account(self, provider: Provider, tenant: str, owner: str, subject: str, parent_id: str = "") -> AccountKey:
        """Build the unique key of an account."""
        shared_with = owner if self._core.settings.on_shared_account == "separate" else ""
        return AccountKey(
            tenant, provider.slug, provider.client_id, provider.account_issuer, subject, parent_id, shared_with
        )

    async def connect(
        self, provider: Provider, tenant: str, owner: str, token: TokenSet, identity: Identity,
        requested: tuple[str, ...], *, parent_id: str = "", kind: str = "",
    ) -> tuple[ConnectionRow, bool]:  # fmt: skip
        """Store a grant as a new connection, or as the next generation of the owner's own one.

        Returns:
            The row as stored, and whether it is new.

        Raises:
            AlreadyConnectedError: another owner has this account; nothing was written.
        """
        account = self.account(provider, tenant, owner, identity.subject, parent_id)
        blank = self._blank(account, owner, kind)
        for _ in range(_WRITE_ATTEMPTS):
            record = self.record(provider, blank.id, token, identity, requested)
            row = await self._fill(blank, record, provider)
            existing = await self._kept(partial(self._core.store.insert, row))
            if existing is None:
                return row, True
            if existing.owner != owner:
                raise AlreadyConnectedError(f"{provider.slug}: another owner has connected this account")
            written = await self.overwrite(existing, provider, token, identity, requested)
            if written is not None:
                return written, False
        raise GenerationConflictError(f"{provider.slug}: the connection is being written by others; try again")

    def _blank(self, account: AccountKey, owner: str, kind: str) -> ConnectionRow:
        now = self._core.clock.now_seconds()
        return ConnectionRow(
            id=secrets.token_hex(16), account=account, owner=owner, kind=kind, status=Status.ACTIVE, reason="",
            generation=1, envelope=b"", key_id="", created_at_seconds=now, updated_at_seconds=now,
        )  # fmt: skip

    async def _fill(self, blank: ConnectionRow, record: TokenRecord, provider: Provider) -> ConnectionRow:
        envelope, key_id = await self._core.seal(record, blank, blank.generation)
        return replace(
            blank,
            envelope=envelope,
            key_id=key_id,
            due_at_seconds=seconds(record.due_at),
            dies_at_seconds=seconds(dies_at(record.token, provider.renewal)),
        )

    async def attach(
        self, provider: Provider, parent: ConnectionRow, identity: Identity, kind: str
    ) -> tuple[ConnectionRow, bool]:
        """Store a sub-account that acts with its parent's token; returns its row, and whether it is new."""
        account = self.account(provider, parent.account.tenant, parent.owner, identity.subject, parent.id)
        row = self._blank(account, parent.owner, kind)
        existing = await self._core.store.insert(row)
        return (row, True) if existing is None else (existing, False)

    async def overwrite(
        self, row: ConnectionRow, provider: Provider, token: TokenSet, identity: Identity | None,
        requested: tuple[str, ...] | None,
    ) -> ConnectionRow | None:  # fmt: skip
        """Store `token` as the next generation of `row`; what it leaves out is kept from the stored one.

        Args:
            identity, requested: None keeps the stored ones.

        Returns:
            The row as stored, or None when somebody wrote it in between.
        """
        stored = await self._core.open(row) if row.envelope else None
        merged = merge(stored.token, token) if stored else token
        record = self.record(
            provider,
            row.id,
            merged,
            identity or (stored.identity if stored else Identity(row.account.subject)),
            requested if requested is not None else (stored.requested if stored else ()),
        )
        envelope, key_id = await self._core.seal(record, row, row.generation + 1)
        write = TokenWrite(
            connection_id=row.id,
            expected_generation=row.generation,
            envelope=envelope,
            key_id=key_id,
            updated_at_seconds=self._core.clock.now_seconds(),
            due_at_seconds=seconds(record.due_at),
            dies_at_seconds=seconds(dies_at(merged, provider.renewal)),
        )
        if not await self._kept(partial(self._core.store.write_token, write)):
            return None
        return replace(
            row,
            status=Status.ACTIVE,
            reason="",
            generation=row.generation + 1,
            envelope=envelope,
            key_id=key_id,
            updated_at_seconds=write.updated_at_seconds,
            due_at_seconds=write.due_at_seconds,
            dies_at_seconds=write.dies_at_seconds,
        )

    async def _kept(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write, and try again while the store is away: a token that arrived must not be lost to a hiccup.

        Raises:
            TokenAtRiskError: the store stayed away.
        """
        try:
            return await write()
        except StoreUnavailableError:
            pass
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

        patience = AsyncRetrying(
            retry=retry_if_exception_type(StoreUnavailableError),
            stop=stop_after_attempt(_WRITE_ATTEMPTS),
            wait=wait_exponential(_WRITE_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS),
            sleep=self._core.runtime.sleep,
            reraise=True,
        )
        try:
            return await patience(write)
        except StoreUnavailableError:
            pass
        raise TokenAtRiskError("the provider answered, and the store could not keep it")
