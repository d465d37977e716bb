"""Tokens that django-allauth keeps."""

from __future__ import annotations

from datetime import UTC, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING, Any

from socialvault.importers.cells import moment, secret, text
from socialvault.importers.database import Database, column_of, key_of
from socialvault.importers.record import ImportRecord, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Column, Join, Table

    from socialvault.importers.record import Row


class AllauthSource:
    """Reads django-allauth's ``SocialToken``, with the account and the application that each token belongs to.

    Django is not needed. With OAuth 2.0 a token's ``token_secret`` is the refresh token. allauth keeps tokens only
    under ``SOCIALACCOUNT_STORE_TOKENS = True``, and keeps no scopes.

    Args:
        url: of Django's database, as SQLAlchemy takes it; needs ``socialvault[sqlalchemy]`` and a blocking driver.
        tokens, accounts, apps: the tables' names. schema: where they are, "" for the usual one.
        zone: of dates that name none: UTC under ``USE_TZ = True``, else Django's ``TIME_ZONE``.

    Raises:
        ConfigurationError: the database can't be opened.
    """

    def __init__(
        self, url: str, *, tokens: str = "socialaccount_socialtoken", accounts: str = "socialaccount_socialaccount",
        apps: str = "socialaccount_socialapp",
        schema: str = "", zone: tzinfo = UTC,
    ) -> None:  # fmt: skip
        self._database = Database(url, schema)
        self._names = (tokens, accounts, apps)
        self._zone = zone
        self.name = f"allauth {tokens}"
        self.token_columns: tuple[str, ...] = ("token", "token_secret")

    @cached_property
    def _tables(self) -> tuple[Table, Table, Table]:
        token, account, app = (self._database.table(name) for name in self._names)
        return token, account, app

    @cached_property
    def _joined(self) -> Join:
        token, account, app = self._tables
        with_account = token.join(account, column_of(account, "id") == column_of(token, "account_id"))
        return with_account.outerjoin(app, column_of(app, "id") == column_of(token, "app_id"))

    @cached_property
    def _columns(self) -> dict[str, Column[Any]]:
        token, account, app = self._tables
        return {
            **{name: column_of(token, name) for name in ("token", "token_secret", "expires_at")},
            **{name: column_of(account, name) for name in ("provider", "uid", "user_id")},
            "client_id": column_of(app, "client_id"),
        }

    def count(self, after: str) -> int:
        """As `Source.count`."""
        return self._database.count(self._joined, key_of(self._tables[0]), after)

    def pages(self, after: str) -> Iterator[Sequence[Row]]:
        """As `Source.pages`."""
        return self._database.pages(self._joined, key_of(self._tables[0]), self._columns, after)

    def read(self, row: Row) -> ImportRecord:
        """As `Source.read`."""
        cells = row.cells
        access_token = secret(cells["token"], "token")
        if access_token is None:
            raise Unreadable("there is no access token")
        return ImportRecord(
            source_id=row.id,
            provider=text(cells["provider"], "provider"),
            owner=text(cells["user_id"], "user_id"),
            access_token=access_token,
            refresh_token=secret(cells["token_secret"], "token_secret"),
            subject=text(cells["uid"], "uid"),
            client_id=text(cells["client_id"], "client_id"),
            expires_at=moment(cells["expires_at"], self._zone, "expires_at"),
        )

    def close(self) -> None:
        """As `Source.close`."""
        self._database.close()
