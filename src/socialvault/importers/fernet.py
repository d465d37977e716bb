"""Columns that an application encrypted with Fernet."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from socialvault.exceptions import ConfigurationError
from socialvault.importers.cells import json_object, text
from socialvault.importers.record import Unreadable
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cryptography.fernet import MultiFernet

    from socialvault.importers.record import ImportRecord, Row
    from socialvault.importers.source import Source

#: What is decrypted inside of a column that holds a JSON object.
_INSIDE = ("access_token", "refresh_token", "id_token")


class FernetSource:
    """Decrypts columns of another source.

    A value that is not encrypted, or under another key, makes its row unreadable: nothing falls back to plaintext.

    Args:
        source: what holds the rows.
        keys: Fernet keys; each value may be under any of them.
        columns: what to decrypt; None for all that hold tokens. In a column that holds a JSON object its tokens are
            decrypted one by one.

    Raises:
        ConfigurationError: there is no key, or one is malformed.
    """

    def __init__(self, source: Source, keys: Iterable[str | Secret[str]], columns: Iterable[str] | None = None) -> None:
        wrapped = [key if isinstance(key, Secret) else Secret(key) for key in keys]
        del keys  # this frame may raise
        self._source = source
        self._cipher = _cipher(wrapped)
        self._named = None if columns is None else tuple(columns)
        self.name = source.name

    @classmethod
    def from_env(cls, source: Source, name: str, columns: Iterable[str] | None = None) -> FernetSource:
        """Read the keys, separated by commas or white space, from the environment variable `name`.

        Raises:
            ConfigurationError: it holds none, or one that is malformed.
        """
        keys = [Secret(key) for key in re.split(r"[\s,]+", os.environ.get(name, "")) if key]
        if not keys:
            raise ConfigurationError(f"the environment variable {name} holds no key")
        return cls(source, keys, columns)

    @property
    def token_columns(self) -> tuple[str, ...]:
        """The columns that are decrypted."""
        return self._source.token_columns if self._named is None else self._named

    def count(self, after: str) -> int:
        """As `Source.count`."""
        return self._source.count(after)

    def pages(self, after: str) -> Iterator[Sequence[Row]]:
        """As `Source.pages`."""
        return self._source.pages(after)

    def read(self, row: Row) -> ImportRecord:
        """As `Source.read`."""
        if row.problem:
            return self._source.read(row)
        opened = {name: self._opened(row.cells.get(name), name) for name in self.token_columns if name in row.cells}
        return self._source.read(replace(row, cells={**row.cells, **opened}))

    def close(self) -> None:
        """As `Source.close`."""
        self._source.close()

    def _opened(self, cell: Any, column: str) -> Any:
        if isinstance(cell, dict) or (isinstance(cell, str) and cell.lstrip().startswith("{")):
            inside = json_object(cell, column)
            return {**inside, **{name: self._decrypted(inside[name], name) for name in _INSIDE if inside.get(name)}}
        return self._decrypted(cell, column)

    def _decrypted(self, cell: Any, column: str) -> str:
        from cryptography.fernet import InvalidToken

        written = text(cell, column)
        if not written:
            return ""
        try:
            return self._cipher.decrypt(written.encode()).decode()
        except (InvalidToken, UnicodeDecodeError):
            pass
        raise Unreadable(f"{column} can't be decrypted with the keys that were given")


def _cipher(keys: Sequence[Secret[str]]) -> MultiFernet:
    from cryptography.fernet import Fernet, MultiFernet

    if not keys:
        raise ConfigurationError("there is no Fernet key")
    ciphers = []
    try:
        for key in keys:
            ciphers.append(Fernet(key.reveal()))
    except ValueError:
        pass
    else:
        return MultiFernet(ciphers)
    raise ConfigurationError(f"Fernet key {len(ciphers) + 1} is malformed: 32 bytes as URL-safe base64 are needed")
