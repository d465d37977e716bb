"""What a source yields: rows as they were found, and what is read from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from socialvault.model.secret import Secret


class Unreadable(Exception):
    """One row can't be read; its message says why and holds nothing of what the row holds."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was found; its cells may hold tokens, so that no repr shows them.

    Attributes:
        id: what names it in its source.
        problem: why it has no cells, "" when it has some.
    """

    id: str
    cells: Mapping[str, Any] = field(repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ImportRecord:
    """One grant, in the words of the system that it comes from.

    Attributes:
        source_id: of its row.
        provider: as the source names it.
        owner: the user's id there. tenant: "" where the source knows none.
        subject: the provider's id of the account, "" where the source does not know it.
        client_id: of the application that the tokens were issued to, "" where the source does not know it.
        expires_at, refresh_expires_at: aware; None when unknown.
    """

    source_id: str
    provider: str
    owner: str
    access_token: Secret[str]
    refresh_token: Secret[str] | None = None
    subject: str = ""
    tenant: str = ""
    client_id: str = ""
    expires_at: datetime | None = None
    refresh_expires_at: datetime | None = None
    scopes: tuple[str, ...] = ()
