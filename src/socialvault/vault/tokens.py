"""Valid tokens: read the stored one, renew it once for all callers when it is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.crypto.records import MICROSECONDS, open_access
from socialvault.exceptions import EncryptionError, KeyNotFoundError, MissingScopesError
from socialvault.vault.core import not_found
from socialvault.vault.settings import check_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from socialvault.model.rows import ConnectionRow, DueRow
    from socialvault.model.token import AccessToken
    from socialvault.vault.core import Core
    from socialvault.vault.renewal import Renewal

_ACTIVE = "active"


class Tokens:
    """Hands out valid access tokens."""

    def __init__(self, core: Core, renewal: Callable[[], Renewal]) -> None:
        self._core = core
        self._renewal = renewal
        self._store = core.store
        self._keyring = core.keyring
        self._cached = core.keyring.cached
        self._now_seconds = core.clock.now_seconds
        self._served = self._valid if core.anchor is None else self._anchored
        #: See ``AsyncVault.token``; its last argument is what the token is read for.
        self.token = self._told if core.events.reads else self._served

    async def _told(self, connection_id: str, owner: str, tenant: str, reason: str = "") -> AccessToken:
        """As `_served`, for a vault with an observer of reads."""
        token = await self._served(connection_id, owner, tenant)
        await self._core.events.about_read(token, tenant, owner, reason)
        return token

    async def _anchored(self, connection_id: str, owner: str, tenant: str, _reason: str = "") -> AccessToken:
        """As `_valid`, for a vault with an anchor: a token that was put back from an old copy is not handed out."""
        token = await self._valid(connection_id, owner, tenant)
        if self._core.anchor is None:
            return token
        floor = await self._core.anchor.highest(token.connection_id)
        if token.generation < floor:  # renewed since it was read, or rolled back
            token = await self._valid(connection_id, owner, tenant)
            if token.generation < floor:
                await self._core.refuse_rolled_back(
                    token.connection_id, tenant, owner, token.provider, token.generation
                )
        elif token.generation > floor:  # not anchored yet, unless it waits for the store in the escrow
            await self._core.row(token.connection_id, tenant, owner)
        return token

    async def _valid(self, connection_id: str, owner: str, tenant: str, _reason: str = "") -> AccessToken:
        """Return a valid token. The fresh case is one read and one open."""
        if not self._keyring.opened:
            await self._core.ready()
        row = await self._store.read_token(connection_id, tenant, owner)
        if row is None or not owner:
            raise not_found(connection_id)
        status, generation, provider, issuer, parent_id, envelope = row
        if status == _ACTIVE and envelope:
            now = self._now_seconds()
            try:
                sealer = self._cached(envelope, tenant, owner, now)
                if sealer is None:
                    sealer = await self._keyring.for_opening(envelope, tenant, owner)
                token, due_us = open_access(sealer, envelope, provider, issuer, connection_id, generation)
            except KeyNotFoundError:
                pass  # it may have been moved to another key since it was read: looked at again below
            except EncryptionError as problem:
                await self._core.tell_refused(problem, connection_id, tenant, owner, provider, generation)
                raise
            else:
                if now * MICROSECONDS < due_us:
                    return token
        elif status == _ACTIVE and parent_id:
            return await self._valid(parent_id, owner, tenant)
        return await self._shared(connection_id, owner, tenant, None)

    async def refresh(self, connection_id: str, owner: str, tenant: str) -> AccessToken:
        """Renew now, due or not; see ``AsyncVault.refresh``."""
        row = await self._live_row(connection_id, owner, tenant)
        if row.account.parent_id and not row.envelope:
            return await self.refresh(row.account.parent_id, owner, tenant)
        return await self._shared(connection_id, owner, tenant, row.generation)

    async def renew_due(self, row: DueRow) -> AccessToken | None:
        """Renew a connection if it is due; None when another is at it."""
        return await self._renewal().renew_at_once(row.id, row.owner, row.tenant)

    async def replace_rejected(self, rejected: AccessToken, owner: str, tenant: str) -> AccessToken:
        """Return another token than the one an API rejected: a newer stored one, or a renewed one."""
        return await self._shared(rejected.connection_id, owner, tenant, rejected.generation)

    async def require_scopes(self, connection_id: str, scopes: Iterable[str], owner: str, tenant: str) -> None:
        """Check granted scopes; see ``AsyncVault.require_scopes``."""
        row = await self._live_row(connection_id, owner, tenant)
        if row.account.parent_id and not row.envelope:
            row = await self._live_row(row.account.parent_id, owner, tenant)
        record = await self._core.open(row)
        granted = record.token.scopes or frozenset()
        required = frozenset(scopes)
        if not required <= granted:
            missing = required - granted
            raise MissingScopesError(
                f"the connection lacks {', '.join(sorted(missing))}", missing=missing, required=required | granted
            )

    async def _live_row(self, connection_id: str, owner: str, tenant: str) -> ConnectionRow:
        check_owner(owner, tenant)
        await self._core.ready()
        return await self._core.row(connection_id, tenant, owner)

    async def _shared(self, connection_id: str, owner: str, tenant: str, stale_generation: int | None) -> AccessToken:
        """Settle it once for all callers of this process that ask meanwhile."""
        check_owner(owner, tenant)
        while True:
            token = await self._core.runtime.single_flight(
                ("token", tenant, owner, connection_id),
                lambda: self._renewal().settle(connection_id, owner, tenant, stale_generation),
            )
            if token.generation != stale_generation:  # else: this joined a flight that had no reason to renew
                return token
