"""Connections, as callers see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.model.scopes import Scopes
    from socialvault.model.secret import Secret
    from socialvault.model.status import Status


@dataclass(frozen=True, slots=True)
class Connection:
    """One provider account that one owner has authorised; holds no token.

    Attributes:
        id: survives reconnects.
        provider, client_id, issuer, subject, parent_id: with the tenant, the unique key of the account.
        kind: what a sub-account is (``page``, ``organization``), "" for the account itself.
        name, username, picture_url: for display, "" when unknown.
        status, reason: where it stands, and why when it is not active.
        scopes: granted.
        expires_at: of the access token. dies_at: when only a new authorisation helps; None when nothing says so.
        renewable: whether the library can keep it alive by itself.
        expires_soon: 14, 7 or 1 when `dies_at` is at most so many days away, else None.
        failing_since: since when renewals fail, None when they don't; a valid token is served all the same.
        failing_with: the name of the last failure's error class.
    """

    id: str
    owner: str
    tenant: str
    provider: str
    client_id: str
    issuer: str
    subject: str
    parent_id: str
    kind: str
    name: str
    username: str
    picture_url: str
    status: Status
    reason: str
    scopes: Scopes
    expires_at: datetime | None
    dies_at: datetime | None
    renewable: bool
    generation: int
    created_at: datetime
    updated_at: datetime
    expires_soon: int | None = None
    failing_since: datetime | None = None
    failing_with: str = ""


@dataclass(frozen=True, slots=True)
class SubAccount:
    """Something a connection can act for: a Page, an organization, a channel.

    Attributes:
        id: the provider's id.
        granted: False when the provider lists it but the person did not grant it; it can't be selected then.
        connection_id: the child connection once selected, else "".
    """

    id: str
    name: str
    kind: str
    granted: bool = True
    roles: tuple[str, ...] = ()
    connection_id: str = ""


@dataclass(frozen=True, slots=True)
class SubAccountGrant:
    """A sub-account with its own token, or None where it acts with the parent's."""

    account: SubAccount
    access_token: Secret[str] | None = None


RevocationOutcome = Literal["revoked", "unsupported", "already_gone", "kept_for_sibling", "gave_up", "pending"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a disconnect reached.

    Attributes:
        outcome: at the provider. ``pending``: it could not be reached yet, and will be asked again by `renew_due` or
            another disconnect; ``gave_up``: it could not be reached for a week. Here the connection is unusable
            whatever the outcome.
    """

    connection_id: str
    provider: str
    outcome: RevocationOutcome
    at: datetime
    children: tuple[Receipt, ...] = ()


#: ``backups``: of the database, which hold the owner's wrapped data key beside the records; they open until they are
#: deleted, or a key above that one is destroyed. ``escrow_elsewhere``: escrow folders of other machines, whose records
#: need such a backup to be opened. ``event_logs``: what observers wrote, ids without secrets. ``provider``: what the
#: provider itself keeps. ``tenant_key``: the data key was the whole tenant's, so it is still there, and copies of the
#: deleted records open with it.
NotReached = Literal["backups", "escrow_elsewhere", "event_logs", "provider", "tenant_key"]

NOT_REACHED: tuple[NotReached, ...] = ("backups", "escrow_elsewhere", "event_logs", "provider")


@dataclass(frozen=True, slots=True)
class Erasure:
    """What `erase_owner` reached.

    Attributes:
        erased: how many connections were deleted, long disconnected ones included.
        receipts: of those that were still to be revoked at their providers.
        not_reached: where something about the owner may be left, in stable words: see `NotReached`.
    """

    owner: str
    tenant: str
    at: datetime
    erased: int
    receipts: tuple[Receipt, ...] = ()
    not_reached: tuple[NotReached, ...] = NOT_REACHED
