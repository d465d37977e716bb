"""Tokens that Python Social Auth keeps, with Django or without."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any

from socialvault.importers.cells import json_object, moment, scopes, seconds, secret, text
from socialvault.importers.database import Database, column_of, key_of
from socialvault.importers.record import ImportRecord, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Column, Table

    from socialvault.importers.record import Row

_NEEDED = ("provider", "uid", "user_id", "extra_data")
#: There since 2021.
_OPTIONAL = ("modified",)
#: ``expires`` holds a lifetime or a time, as the backend had it: social-core takes more than two years for a time.
_LONGEST_LIFETIME_SECONDS = 63_072_000


class SocialAuthSource:
    """Reads Python Social Auth's ``UserSocialAuth``, whose tokens are in the JSON of ``extra_data``.

    Django is not needed.

    Args:
        url: of the database, as SQLAlchemy takes it; needs ``socialvault[sqlalchemy]`` and a blocking driver.
        table: its name. schema: where it is, "" for the usual one.
        zone: of dates that name none: UTC under ``USE_TZ = True``, else Django's ``TIME_ZONE``.

    Raises:
        ConfigurationError: the database can't be opened.
    """

    def __init__(
        self, url: str, *, table: str = "social_auth_usersocialauth", schema: str = "", zone: tzinfo = UTC
    ) -> None:
        self._database = Database(url, schema)
        self._table_name, self._zone = table, zone
        self.name = f"social-auth {table}"
        self.token_columns: tuple[str, ...] = ("extra_data",)

    @cached_property
    def _table(self) -> Table:
        return self._database.table(self._table_name)

    @cached_property
    def _columns(self) -> dict[str, Column[Any]]:
        optional = [name for name in _OPTIONAL if name in self._table.columns]
        return {name: column_of(self._table, name) for name in (*_NEEDED, *optional)}

    def count(self, after: str) -> int:
        """As `Source.count`."""
        return self._database.count(self._table, key_of(self._table), after)

    def pages(self, after: str) -> Iterator[Sequence[Row]]:
        """As `Source.pages`."""
        return self._database.pages(self._table, key_of(self._table), self._columns, after)

    def read(self, row: Row) -> ImportRecord:
        """As `Source.read`."""
        cells, extra = row.cells, json_object(row.cells["extra_data"], "extra_data")
        if isinstance(extra.get("access_token"), dict):
            raise Unreadable("the token is of OAuth 1.0a")
        access_token = secret(extra.get("access_token"), "access_token")
        if access_token is None:
            raise Unreadable("there is no access token")
        since = _obtained_at(extra) or moment(cells.get("modified"), self._zone, "modified")
        return ImportRecord(
            source_id=row.id,
            provider=text(cells["provider"], "provider"),
            owner=text(cells["user_id"], "user_id"),
            access_token=access_token,
            refresh_token=secret(extra.get("refresh_token"), "refresh_token"),
            subject=text(cells["uid"], "uid"),
            expires_at=_expiry(extra, since),
            refresh_expires_at=_lasting(extra, "refresh_expires_in", since),
            scopes=scopes(extra.get("scope") or extra.get("granted_scopes")),
        )

    def close(self) -> None:
        """As `Source.close`."""
        self._database.close()


def _obtained_at(extra: Mapping[str, Any]) -> datetime | None:
    """Return when the provider answered, as social-core notes it at every answer."""
    return moment(extra.get("auth_time"), UTC, "auth_time")


def _expiry(extra: Mapping[str, Any], since: datetime | None) -> datetime | None:
    """Return when the access token expires, as social-core reads it: a time, a lifetime, or ``expires``, for either.

    Raises:
        Unreadable: none of them is a number.
    """
    if extra.get("expires_on") is not None:
        return moment(seconds(extra["expires_on"], "expires_on"), UTC, "expires_on")
    if extra.get("expires_in") is not None:
        return _lasting(extra, "expires_in", since)
    expires = seconds(extra.get("expires"), "expires")
    if expires is not None and expires > _LONGEST_LIFETIME_SECONDS:
        return moment(expires, UTC, "expires")
    return _lasting(extra, "expires", since)


def _lasting(extra: Mapping[str, Any], name: str, since: datetime | None) -> datetime | None:
    """Return the end of a lifetime; None when it is not there, or nobody knows since when it counts."""
    lifetime = seconds(extra.get(name), name)
    if lifetime is None or since is None:
        return None
    try:
        return since + timedelta(seconds=lifetime)
    except OverflowError:
        pass
    raise Unreadable(f"{name} is no number of seconds")
