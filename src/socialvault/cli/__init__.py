"""The command line, ``socialvault``. Needs ``pip install 'socialvault[cli]'``."""

from __future__ import annotations

import sys

_EXTRA = ("typer", "rich")


def main() -> None:
    """Run the command line, and exit."""
    try:
        from socialvault.cli.app import app
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in _EXTRA:
            raise
    else:
        app(prog_name="socialvault")
    sys.stderr.write("the command line needs an extra: pip install 'socialvault[cli]'\n")
    raise SystemExit(2)
