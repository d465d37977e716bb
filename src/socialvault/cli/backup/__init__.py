"""``socialvault backup``: does a backup open with these keys? Asked before it is needed, and without restoring it."""

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from socialvault.api.assembly import SystemClock
from socialvault.cli.backup.report import missing_keys, print_progress, print_verification
from socialvault.cli.backup.sources import opened_backup
from socialvault.cli.failures import EXIT_CODES
from socialvault.cli.opening import KEYS_ENV, KeysOption, application_vault
from socialvault.keys.local import LocalKeyring
from socialvault.model.verification import Verification
from socialvault.ports.key_service import AsyncKeyService
from socialvault.runtimes import threads
from socialvault.vault.blocking import BlockingKeyService, BlockingStore
from socialvault.vault.verification import verify_records

_Run = Callable[[Coroutine[Any, Any, Verification]], Verification]

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
    keys_of: Annotated[
        str | None,
        typer.Option(metavar="MODULE:ATTRIBUTE", help="Your application's vault, whose keys are taken instead."),
    ] = None,
    schema: Annotated[str | None, typer.Option(help="The schema of our tables in a dump.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Open every key and record of a backup with the given keys. Exit code 1: something does not open."""
    progress = print_progress if sys.stderr.isatty() else None
    with _keys(keys_of, keys_env) as (service, run), opened_backup(source, schema) as store:
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


@contextmanager
def _keys(vault: str | None, keys_env: str) -> Iterator[tuple[AsyncKeyService, _Run]]:
    """Return who unwraps, and what runs it: a key service of an application may need an event loop."""
    if vault is None:
        yield BlockingKeyService(LocalKeyring.from_env(keys_env)), threads.run
        return
    with application_vault(vault) as found:
        yield found.core.keyring.vault_keys.service, found.run
