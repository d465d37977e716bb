"""What is special about a SQLite store: files and their modes, the journal, the newest write."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from socialvault.cli.doctor.findings import Finding
from socialvault.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

_SUFFIXES = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a SQLite store says about itself. `path` is "" for a database in memory."""

    path: str
    journal_mode: str
    newest_write_seconds: float | None


def sqlite_facts(store: object) -> Facts | None:
    """Ask the SQLite store in `store`, whatever it is wrapped in; None when there is none."""
    while not isinstance(store, SQLiteStore):
        store = getattr(store, "_store", None)
        if store is None:
            return None
    with store.database.patient.handle as execute:
        [path] = [row[2] for row in execute("PRAGMA database_list").fetchall() if row[1] == "main"]
        journal_mode = execute("PRAGMA journal_mode").fetchone()[0]
        newest = execute("SELECT max(updated_at_seconds) FROM connections").fetchone()[0]
    return Facts(path, journal_mode, newest)


def judge_sqlite(facts: Facts) -> Iterator[Finding]:
    """Judge modes and journal."""
    if not facts.path:
        yield Finding("warn", "files", "the store is in memory: it ends with the process", "fix_configuration")
        return
    yield from _judge_modes(Path(facts.path))
    if facts.journal_mode == "wal":
        yield Finding("ok", "journal", "written ahead (WAL): readers never wait for writers")
    else:
        yield Finding("wrong", "journal", f"the journal mode is {facts.journal_mode}, not WAL", "fix_configuration")


def _judge_modes(path: Path) -> Iterator[Finding]:
    modes = {file.name: _mode(file) for suffix in _SUFFIXES if (file := Path(f"{path}{suffix}")).exists()}
    told = ", ".join(f"{name} {mode:04o}" for name, mode in modes.items())
    reached = 0
    for mode in modes.values():
        reached |= mode
    if reached & stat.S_IRWXO:
        yield Finding("wrong", "files", f"open to every user of this machine: {told}; chmod 600", "fix_configuration")
    elif reached & stat.S_IRWXG:
        yield Finding("warn", "files", f"open to the group: {told}; chmod 600", "fix_configuration")
    else:
        yield Finding("ok", "files", told)


def _mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)
