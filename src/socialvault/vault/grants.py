"""Writing grants: what a browser flow or an import brought becomes a connection."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from socialvault.crypto.records import TokenRecord
from socialvault.exceptions import (
    AlreadyConnectedError,
    EncryptionError,
    GenerationConflictError,
    StoreError,
    StoreUnavailableError,
)
from socialvault.model.rows import AccountKey, ConnectionRow
from socialvault.model.status import Status
from socialvault.protocol.token import merge
from socialvault.vault.core import seconds
from socialvault.vault.saving import Arrived, InEscrowError
from socialvault.vault.schedule import dies_at, due_at, first_warning

if TYPE_CHECKING:
    from socialvault.model.identity import Identity
    from socialvault.model.token import TokenSet
    from socialvault.providers.base import Provider
    from socialvault.vault.core import Core, Sealers
    from socialvault.vault.saving import Saving, Written

_ATTEMPTS = 5


class Grants:
    """Keeps what providers granted."""

    def __init__(self, core: Core, saving: Saving) -> None:
        self._core = core
        self._saving = saving

    def record(self, provider: Provider, connection_id: str, token: TokenSet, identity: Identity,
               requested: tuple[str, ...]) -> TokenRecord:  # fmt: skip
        """Build the record to seal, with the time its renewal is due."""
        due = due_at(token, provider, self._core.settings.leeway, connection_id)
        return TokenRecord(token, due, identity, requested)

    def renewed(self, provider: Provider, connection_id: str, stored: TokenRecord, fresh: TokenSet) -> TokenRecord:
        """Build the record that follows `stored`; what the answer left out is kept."""
        merged = merge(stored.token, fresh)
        return self.record(provider, connection_id, merged, stored.identity, stored.requested)

    def account(self, provider: Provider, tenant: str, owner: str, subject: str, parent_id: str = "") -> AccountKey:
        """Build the unique key of an account."""
        shared_with = owner if self._core.settings.on_shared_account == "separate" else ""
        return AccountKey(
            tenant, provider.slug, provider.client_id, provider.account_issuer, subject, parent_id, shared_with
        )

    async def connect(
        self, provider: Provider, tenant: str, owner: str, token: TokenSet, identity: Identity,
        requested: tuple[str, ...], *, parent_id: str = "", kind: str = "", replace_own: bool = True,
    ) -> tuple[ConnectionRow, bool]:  # fmt: skip
        """Store a grant as a new connection, or as the next generation of the owner's own one.

        Args:
            replace_own: False leaves the owner's own connection as it is.

        Returns:
            The row as stored, and whether it is new.

        Raises:
            AlreadyConnectedError: another owner has this account; nothing was written.
        """
        account = self.account(provider, tenant, owner, identity.subject, parent_id)
        blank = self._blank(account, owner, kind)
        sealers = await self._core.sealers(blank)
        record = self.record(provider, blank.id, token, identity, requested)
        arrived = Arrived(self._filled(blank, record, provider, sealers), record, provider, sealers)
        try:
            for _ in range(_ATTEMPTS):
                existing = await self._saving.insert(arrived)
                if existing is None:
                    return arrived.row, True
                if existing.owner != owner:
                    raise AlreadyConnectedError(f"{provider.slug}: another owner has connected this account")
                if not replace_own:
                    return existing, False
                written = await self._over(existing, arrived)
                if written is not None:
                    return written.row, False
        except InEscrowError:
            raise StoreUnavailableError(
                f"{provider.slug}: the connection waits in the escrow until the store is back"
            ) from None
        raise GenerationConflictError(f"{provider.slug}: the connection is being written by others; try again")

    async def _over(self, existing: ConnectionRow, arrived: Arrived) -> Written | None:
        """Write a new grant over the owner's own connection; what it leaves out is kept."""
        record, token = arrived.record, arrived.record.token
        try:
            rolled_back = await self._core.is_rolled_back(existing)
            stored = await self._core.replaceable(existing)
        except (StoreError, EncryptionError):  # an anchor or a key service that is away
            if await self._saving.hold(arrived):
                raise InEscrowError from None
            raise
        merged = merge(stored.token, token) if stored else token
        again = self.record(arrived.provider, existing.id, merged, record.identity, record.requested)
        written = await self._saving.write(replace(arrived, row=existing, record=again))
        if written is not None and rolled_back:
            await self._core.anchor_anew(written.row)
        return written

    def _blank(self, account: AccountKey, owner: str, kind: str) -> ConnectionRow:
        now = self._core.clock.now_seconds()
        return ConnectionRow(
            id=secrets.token_hex(16), account=account, owner=owner, kind=kind, status=Status.ACTIVE, reason="",
            generation=1, envelope=b"", key_id="", created_at_seconds=now, updated_at_seconds=now,
        )  # fmt: skip

    def _filled(self, blank: ConnectionRow, record: TokenRecord, provider: Provider, sealers: Sealers) -> ConnectionRow:
        dies = dies_at(record.token, provider.renewal)
        return replace(
            blank,
            envelope=sealers.seal(record, blank, blank.generation),
            key_id=sealers.stored.key_id.hex(),
            due_at_seconds=seconds(record.due_at),
            dies_at_seconds=seconds(dies),
            warn_at_seconds=seconds(first_warning(dies, self._core.now())),
        )

    async def attach(
        self, provider: Provider, parent: ConnectionRow, identity: Identity, kind: str
    ) -> tuple[ConnectionRow, bool]:
        """Store a sub-account that acts with its parent's token; returns its row, and whether it is new."""
        account = self.account(provider, parent.account.tenant, parent.owner, identity.subject, parent.id)
        row = self._blank(account, parent.owner, kind)
        existing = await self._core.store.insert(row)
        return (row, True) if existing is None else (existing, False)
