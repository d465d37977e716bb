"""``socialvault backup``: does a backup open with these keys? Asked before it is needed, and without restoring it."""

import sys
from typing import Annotated

import typer

from socialvault.api.assembly import SystemClock
from socialvault.cli.backup.report import missing_keys, print_progress, print_verification
from socialvault.cli.backup.sources import opened_backup
from socialvault.cli.failures import EXIT_CODES
from socialvault.cli.opening import KEYS_ENV, KeysOption
from socialvault.keys.local import LocalKeyring
from socialvault.runtimes.threads import run
from socialvault.vault.blocking import BlockingKeyService, BlockingStore
from socialvault.vault.verification import verify_records

backup = typer.Typer(no_args_is_help=True, help="Prove that a backup opens; reads only, and never shows a token.")


@backup.callback()
def _backup() -> None:
    """Keep ``verify`` a command of its own."""


@backup.command()
def verify(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A copy of a SQLite file, a dump of pg_dump, or a scratch URL.")
    ],
    *,
    keys_env: KeysOption = KEYS_ENV,
    schema: Annotated[str | None, typer.Option(help="The schema of our tables in a dump.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Open every key and record of a backup with the given keys. Exit code 1: something does not open."""
    service = BlockingKeyService(LocalKeyring.from_env(keys_env))
    progress = print_progress if sys.stderr.isatty() else None
    with opened_backup(source, schema) as store:
        found = run(verify_records(BlockingStore(store), service, SystemClock(), progress=progress))
    if progress:
        typer.echo("", err=True)
    print_verification(found, as_json=as_json)
    missing = missing_keys(found)
    if missing:
        typer.echo(f"error: {missing} (fix_configuration)", err=True)
        raise typer.Exit(EXIT_CODES["fix_configuration"])
    if not found.ok:
        raise typer.Exit(1)
