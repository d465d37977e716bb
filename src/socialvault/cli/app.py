"""The commands, joined."""

from __future__ import annotations

import typer

from socialvault.cli.backup import backup
from socialvault.cli.catalogue import providers
from socialvault.cli.connections import connections
from socialvault.cli.db import db
from socialvault.cli.demo import demo
from socialvault.cli.doctor import doctor
from socialvault.cli.emulator import sandbox
from socialvault.cli.failures import Commands
from socialvault.cli.imports import imports
from socialvault.cli.keygen import keygen
from socialvault.cli.keys import keys

#: Tracebacks stay plain: a pretty one could show local variables.
app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Social OAuth and an encrypted token vault. Errors say who must act, and so do exit codes: "
    "75 retry, 77 reauthorize, 78 fix_configuration, 70 report.",
)
for command in (keygen, providers, doctor, demo, sandbox):
    app.command()(command)
app.add_typer(connections, name="connections")
app.add_typer(keys, name="keys")
app.add_typer(imports, name="import")
app.add_typer(backup, name="backup")
app.add_typer(db, name="db")
