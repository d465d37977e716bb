"""Connections as callers see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from socialvault.model.connection import Connection
from socialvault.model.identity import Identity
from socialvault.model.status import Status
from socialvault.vault.core import moment
from socialvault.vault.schedule import can_renew, days_left

if TYPE_CHECKING:
    from socialvault.crypto.records import TokenRecord
    from socialvault.model.rows import ConnectionRow
    from socialvault.providers.base import Provider


def describe(row: ConnectionRow, record: TokenRecord | None, provider: Provider | None, now: datetime) -> Connection:
    """Join a row and its opened record into what callers see."""
    identity = record.identity if record else Identity(row.account.subject)
    token = record.token if record else None
    return Connection(
        id=row.id,
        owner=row.owner,
        tenant=row.account.tenant,
        provider=row.account.provider,
        client_id=row.account.client_id,
        issuer=row.account.issuer,
        subject=row.account.subject,
        parent_id=row.account.parent_id,
        kind=row.kind,
        name=identity.name,
        username=identity.username,
        picture_url=identity.picture_url,
        status=Status(row.status),
        reason=row.reason,
        scopes=(token.scopes if token else None) or frozenset(),
        expires_at=token.expires_at if token else None,
        dies_at=moment(row.dies_at_seconds),
        expires_soon=days_left(moment(row.dies_at_seconds), now) if row.status is Status.ACTIVE else None,
        failing_since=moment(row.failing_since_seconds),
        failing_with=row.failing_with,
        renewable=bool(token and provider and can_renew(token, provider.renewal, now)),
        generation=row.generation,
        created_at=datetime.fromtimestamp(row.created_at_seconds, UTC),
        updated_at=datetime.fromtimestamp(row.updated_at_seconds, UTC),
    )
