"""How far an import has come, in a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from socialvault.importers.source import Source


class CursorFile:
    """Remembers the last row that is done with, so that a later import goes on after it.

    It is only a short cut: without it every row is looked at again, and what is connected is left alone.

    Args:
        path: of the file; it is made at the first write, and names the source it belongs to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self, source: Source) -> str:
        """Return the id of the last row that is done with, "" for none.

        Raises:
            ConfigurationError: the file can't be read, or belongs to another source.
        """
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return ""
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("after"), str):
            raise ConfigurationError(f"{self._path} is no cursor of an import")
        if found.get("source") != source.name:
            raise ConfigurationError(f"{self._path} belongs to another source: {found.get('source')}")
        after: str = found["after"]
        return after

    def save(self, source: Source, after: str) -> None:
        """Remember a row, whole or not at all.

        Raises:
            ConfigurationError: the file can't be written.
        """
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            with beside.open("w", encoding="utf-8") as file:
                json.dump({"source": source.name, "after": after}, file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as problem:
            reason = problem.strerror
        else:
            return
        raise ConfigurationError(f"the cursor {self._path} can't be written: {reason}")
