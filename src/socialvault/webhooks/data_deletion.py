"""A person wants their data deleted: their connections are disconnected, then gone from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.exceptions import (
    ConnectionNotFoundError,
    GenerationConflictError,
    MalformedEnvelopeError,
    TamperedError,
)
from socialvault.model.status import Status
from socialvault.webhooks.confirmation import confirmation_code, deleted_at, vouching_secret
from socialvault.webhooks.freshness import precedes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.api.assembly import UseCases
    from socialvault.model.notice import AccountNotice
    from socialvault.model.rows import ConnectionRow
    from socialvault.providers.base import Provider
    from socialvault.vault.core import Core

__all__ = ["delete_account_data", "deleted_at"]

#: Records that nobody can ever open: their tokens can be revoked by nobody, and must not outlive the request.
_UNREADABLE = (MalformedEnvelopeError, TamperedError)


async def delete_account_data(cases: UseCases, slug: str, notice: AccountNotice) -> str:
    """Delete what is kept of an account, for every owner and tenant, with the sub-accounts.

    Each connection is disconnected (unusable first, then revoked at the provider as far as that can be reached) and
    then deleted, as are those that were disconnected before. Observers hear ``data_deletion_requested`` for each of
    them and its sub-accounts beforehand, so that the application deletes its own data; again if this has to be
    repeated. A connection whose token was written after the notice was signed is kept, as its owner may have come back,
    and then nothing is confirmed: a request that is made anew reaches it.

    Args:
        slug: the provider's.
        notice: from the provider's `read_account_notice`, and fresh.

    Returns:
        A confirmation code; `deleted_at` knows it again.

    Raises:
        ConfigurationError: this vault has no such provider, or not its client secret.
        GenerationConflictError: a connection is being written, or is younger than the notice; ask again.
        StoreUnavailableError, EncryptionError, OutcomeUnknownError: not everything could be deleted; try again.
    """
    core = cases.core
    provider = core.providers.get(slug)
    vouching_secret(provider)  # or nothing is deleted, since nothing could be confirmed
    await core.ready()
    for row in await _asked_for(core, provider, notice):
        await _erase(cases, row)
    if await _kept(core, provider, notice):
        raise GenerationConflictError(
            f"{slug}: a connection is being written, or is younger than the request; ask again"
        )
    return confirmation_code(provider, core.now())


async def _kept(core: Core, provider: Provider, notice: AccountNotice) -> Sequence[ConnectionRow]:
    return await core.store.list_for_account(provider.slug, provider.client_id, provider.account_issuer, notice.subject)


async def _asked_for(core: Core, provider: Provider, notice: AccountNotice) -> list[ConnectionRow]:
    rows = await _kept(core, provider, notice)
    return [row for row in rows if not row.status.live or precedes(await _written_at_seconds(core, row), notice)]


async def _written_at_seconds(core: Core, row: ConnectionRow) -> float:
    """Return when a live row's token was written; the row of a dead one is younger than its token."""
    if row.status is Status.ACTIVE:
        return row.updated_at_seconds
    try:
        return (await core.open(row)).token.obtained_at.timestamp()
    except _UNREADABLE:
        return row.created_at_seconds


async def _erase(cases: UseCases, row: ConnectionRow) -> None:
    core, tenant, owner = cases.core, row.account.tenant, row.owner
    for each in (row, *await core.store.list_children(row.id, tenant, owner)):
        await core.emit("data_deletion_requested", each)
    try:
        await cases.revocation.disconnect(row.id, owner, tenant)
    except _UNREADABLE:
        pass
    except ConnectionNotFoundError:  # the same request came twice, and the other one was faster
        return
    await _give_up_revocation(cases, row)
    for child in await core.store.list_children(row.id, tenant, owner):  # selected while this went on
        await cases.sub_accounts.remove(child, "parent_disconnected")
    await core.store.delete(row.id)


async def _give_up_revocation(cases: UseCases, row: ConnectionRow) -> None:
    """A token that waits for its revocation at the provider is personal data too: it goes, revoked there or not."""
    for entry in await cases.core.store.list_revocations(row.id):
        await cases.outbox.finish(entry, "gave_up")
