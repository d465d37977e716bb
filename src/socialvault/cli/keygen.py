"""``socialvault keygen``: a new key-encryption key."""

import os
import stat
from pathlib import Path
from typing import Annotated

import typer

from socialvault.exceptions import ConfigurationError
from socialvault.keys.local import LocalKeyring
from socialvault.model.secret import Secret

_HINT = "Keep it where the database is not. Who loses it loses every token; who has both can read them."
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def keygen(
    *, file: Annotated[Path | None, typer.Option(help="Append the key to this file (mode 0600) instead.")] = None
) -> None:
    """Make a new key: print it, or append it to a key file."""
    key = Secret(LocalKeyring.generate())
    if file is None:
        typer.echo(key.reveal())
        typer.echo(_HINT, err=True)
        return
    held_keys = _append(file, key)
    rank = "an older one stays the primary: put this line first to seal with it" if held_keys else "it is the primary"
    typer.echo(f"appended a key to {file}; {rank}. {_HINT}", err=True)


def _append(file: Path, key: Secret[str]) -> bool:
    """Append `key` to `file`; return whether the file held something before.

    Raises:
        ConfigurationError: it can't be written, is no regular file, or others may read it.
    """
    try:
        descriptor = os.open(file, _FLAGS, 0o600)
    except OSError as problem:
        reason = problem.strerror
    else:
        return _write(descriptor, file, key)
    raise ConfigurationError(f"the key file {file} can't be written: {reason}")


def _write(descriptor: int, file: Path, key: Secret[str]) -> bool:
    with os.fdopen(descriptor, "r+b", buffering=0) as opened:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigurationError(f"the key file {file} is no regular file")
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(f"the key file {file} is open to others; run: chmod 600 {file}")
        if found.st_size:
            opened.seek(-1, os.SEEK_END)
            if opened.read(1) != b"\n":
                opened.write(b"\n")
        opened.write(key.reveal().encode() + b"\n")
        os.fsync(descriptor)
        return found.st_size > 0
