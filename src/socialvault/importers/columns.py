"""Which column holds what, for tables and files of your own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from socialvault.exceptions import ConfigurationError
from socialvault.importers.cells import json_object, moment, scopes, secret, text
from socialvault.importers.record import ImportRecord, Unreadable
from socialvault.importers.token_dict import expand, subject_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from socialvault.importers.record import Row


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of columns, "" for what there is not; ``=facebook`` stands for the same value in every row.

    Attributes:
        token: a column with a token as Authlib and others keep it: a JSON object with ``access_token``,
            ``refresh_token``, ``expires_at``, ``scope``, ``id_token``, ``userinfo``. Columns of their own count first.
        expires_at, refresh_expires_at: seconds since 1970, or dates.
    """

    provider: str = "provider"
    owner: str = "owner"
    subject: str = "subject"
    tenant: str = ""
    client_id: str = ""
    access_token: str = "access_token"
    refresh_token: str = "refresh_token"
    expires_at: str = "expires_at"
    refresh_expires_at: str = ""
    scopes: str = ""
    token: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Columns:
        """Build them from names; what is not given keeps its usual name where the source has such a column.

        Raises:
            ConfigurationError: nothing is called so.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ConfigurationError(f"there is no field {unknown[0]!r}: known are {', '.join(known)}")
        return cls(**given)

    def within(self, existing: frozenset[str]) -> Columns:
        """Return those that a source has; a usual name that it lacks is dropped.

        Raises:
            ConfigurationError: it lacks one that was named, or one that is needed.
        """
        usual = Columns()
        kept = {}
        for field in fields(self):
            column = getattr(self, field.name)
            if column and not column.startswith("=") and column not in existing:
                if column != getattr(usual, field.name):
                    raise ConfigurationError(f"there is no column {column!r} for {field.name}")
                column = ""
            kept[field.name] = column
        found = Columns(**kept)
        if not found.provider or not found.owner or not (found.access_token or found.token):
            raise ConfigurationError(
                "name the columns of provider, owner and access_token (or token); =linkedin stands for it in all rows"
            )
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        named = (getattr(self, field.name) for field in fields(self))
        return tuple(dict.fromkeys(name for name in named if name and not name.startswith("=")))

    @property
    def token_columns(self) -> tuple[str, ...]:
        """Those that hold tokens."""
        return tuple(name for name in (self.access_token, self.refresh_token, self.token) if name)

    def read(self, row: Row, zone: tzinfo) -> ImportRecord:
        """Make sense of a row.

        Raises:
            Unreadable: there is none in it.
        """
        if row.problem:
            raise Unreadable(row.problem)
        token = expand(json_object(self._cell(row, "token"), "token"))
        access_token = secret(self._found(row, "access_token", token), "access_token")
        if access_token is None:
            raise Unreadable("there is no access token")
        return ImportRecord(
            source_id=row.id,
            provider=text(self._cell(row, "provider"), "provider"),
            owner=text(self._cell(row, "owner"), "owner"),
            access_token=access_token,
            refresh_token=secret(self._found(row, "refresh_token", token), "refresh_token"),
            subject=text(self._cell(row, "subject"), "subject") or subject_of(token),
            tenant=text(self._cell(row, "tenant"), "tenant"),
            client_id=text(self._cell(row, "client_id"), "client_id"),
            expires_at=moment(self._found(row, "expires_at", token), zone, "expires_at"),
            refresh_expires_at=moment(self._found(row, "refresh_expires_at", token), zone, "refresh_expires_at"),
            scopes=scopes(self._found(row, "scopes", token)),
        )

    def _cell(self, row: Row, field: str) -> Any:
        column: str = getattr(self, field)
        return column[1:] if column.startswith("=") else row.cells.get(column)

    def _found(self, row: Row, field: str, token: Mapping[str, Any]) -> Any:
        value = self._cell(row, field)
        return token.get(field) if value is None or value == "" else value


#: As Authlib's documentation models ``OAuth2Token``.
AUTHLIB_COLUMNS = Columns(provider="name", owner="user_id")
