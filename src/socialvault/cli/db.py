"""``socialvault db``: the tables of a store in Postgres or SQLite."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from socialvault.cli.opening import StoreOption
from socialvault.cli.output import shown
from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from socialvault.stores.sqlalchemy.migrations.running import Migrations

db = typer.Typer(no_args_is_help=True, help="Create, upgrade and check a store's tables, in Postgres or SQLite.")

_EXTRA = ("sqlalchemy", "alembic")
_REVISION = re.compile(r"(socialvault_)?\d+")
_LOST = "The states of the keys that wrap vault keys are lost, and how often each data key has sealed."
_LOST_ALL = "EVERYTHING is lost: every token of {count} connections, and the keys that could open a backup of them."


@db.command()
def upgrade(
    *,
    to: Annotated[str, typer.Option(metavar="REVISION", help="Where to; this release's by default.")] = "head",
    sql: Annotated[bool, typer.Option("--sql", help="Print the statements, and run none.")] = False,
    store: StoreOption = None,
) -> None:
    """Create the tables, or bring them to this release; safe beside running processes, and to repeat."""
    migrations = _migrations(store)
    if sql:
        typer.echo(migrations.upgrade_sql(to))
        return
    before, after = migrations.current(), migrations.upgrade(to)
    typer.echo(f"at {after} already" if before == after else f"{before or 'no tables'} -> {after}")


@db.command()
def downgrade(
    revision: Annotated[str, typer.Argument(metavar="REVISION", help="Where to: 0001, or base for no tables.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StoreOption = None,
) -> None:
    """Take the tables back to an earlier release; stop the processes of this one first."""
    if revision != "base" and not _REVISION.fullmatch(revision):
        raise ConfigurationError("where to? give the number of a revision, such as 0001, or base")
    migrations = _migrations(store)
    before = migrations.current()
    typer.echo(_LOST_ALL.format(count=migrations.connections()) if revision == "base" else _LOST, err=True)
    if not yes:
        typer.confirm(f"Downgrade from {before or 'no tables'} to {shown(revision)}?", abort=True, err=True)
    typer.echo(f"{before or 'no tables'} -> {migrations.downgrade(revision) or 'no tables'}")


@db.command()
def current(*, store: StoreOption = None) -> None:
    """Print the revision that the tables have."""
    typer.echo(_migrations(store).current() or "no tables")


@db.command()
def check(*, store: StoreOption = None) -> None:
    """Compare the tables with what this release needs; ends with 1 when they differ."""
    problems = _migrations(store).check()
    for problem in problems:
        typer.echo(shown(problem))
    if problems:
        typer.echo("run: socialvault db upgrade", err=True)
        raise typer.Exit(1)
    typer.echo("the tables are what this release needs")


def _migrations(store: str | None) -> Migrations:
    if store is None:
        raise ConfigurationError("which database? give --store URL")
    try:
        from socialvault.stores.sqlalchemy.migrations.running import Migrations
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in _EXTRA:
            raise
    else:
        return Migrations(store)
    raise ConfigurationError("this needs an extra: pip install 'socialvault[sqlalchemy]'")
