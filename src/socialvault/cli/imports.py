"""``socialvault import``: tokens from another system, brought into the vault."""

from __future__ import annotations

import csv
import inspect
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import MISSING, dataclass, fields
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import Annotated, Any, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from socialvault.cli.opening import VaultOption, application_vault
from socialvault.cli.output import print_json, print_table, shown
from socialvault.exceptions import ConfigurationError
from socialvault.importers import (
    AUTHLIB_COLUMNS,
    AllauthSource,
    Columns,
    CsvSource,
    CursorFile,
    FernetSource,
    ImportMapping,
    ImportReport,
    JsonLinesSource,
    Outcome,
    SocialAuthSource,
    Source,
    TableSource,
)
from socialvault.importers.report import Refusals

_COUNTS = ("read", "imported", "updated", "already_there", "skipped", "refused")
_ROWS_PER_LINE = 5000

imports = typer.Typer(
    no_args_is_help=True,
    help="Bring tokens of another system into your application's vault, where their grants live on. "
    "Never writes to the source, never shows a token, and may be stopped and run again at any time.",
)

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL", envvar="SOCIALVAULT_IMPORT_URL",
        help="The source database, as SQLAlchemy takes it: postgresql+psycopg://…, sqlite:///FILE. "
        "In the environment its password shows in no list of processes.",
    ),
]  # fmt: skip
Schema = Annotated[str, typer.Option(help="Of the tables, where it is not the usual one.")]
File = Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)]
Table = Annotated[str, typer.Option(help="The table's name.")]
Key = Annotated[str, typer.Option(metavar="COLUMN", help="A unique column that names the rows; else the primary key.")]
ColumnNames = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="FIELD=COLUMN",
        help=f"Where a field is: {', '.join(field.name for field in fields(Columns))}. "
        "FIELD==VALUE is the same in all rows. Repeatable.",
    ),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """What every import takes."""

    vault: VaultOption = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing; count what would come of it.")] = False
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Write over what is connected already. Only before the vault renews tokens!"),
    ] = False
    ask_providers: Annotated[
        bool, typer.Option("--ask-providers", help="Ask whose token it is, where the source does not say.")
    ] = False
    provider: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SLUG", help="What the source calls a provider, and its slug here. Repeatable."),
    ] = None
    owner: Annotated[str, typer.Option(metavar="FORMAT", help="From a user's id there to the owner here.")] = "{}"
    tenant: Annotated[str, typer.Option(help="Of rows that name none.")] = ""
    scopes: Annotated[
        list[str] | None,
        typer.Option(metavar="SLUG=SCOPES", help="What was granted, where the source does not say. Repeatable."),
    ] = None
    timezone: Annotated[str, typer.Option(metavar="NAME", help="Of dates that name none.")] = "UTC"
    fernet_key_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="Decrypt with the Fernet keys in this environment variable.")
    ] = None
    fernet_column: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="What to decrypt; else what holds tokens. Repeatable.")
    ] = None
    cursor: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Remember the last row here, and go on after it.")
    ] = None
    after: Annotated[str, typer.Option(metavar="ID", help="Go on after the row with this id.")] = ""
    problems: Annotated[
        Path | None, typer.Option(metavar="FILE", help="List every row that was not imported here, as CSV.")
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False

    @property
    def zone(self) -> tzinfo:
        """The zone of dates that name none.

        Raises:
            ConfigurationError: there is none of that name.
        """
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError):
            pass
        raise ConfigurationError(f"there is no time zone {self.timezone!r}")

    @property
    def mapping(self) -> ImportMapping:
        """From the source's names to the vault's.

        Raises:
            ConfigurationError: an option is malformed.
        """
        try:
            self.owner.format("1")
            told = self.owner.format("1") != self.owner.format("2")
        except (IndexError, KeyError, ValueError, AttributeError):
            told = False
        if not told:
            raise ConfigurationError("--owner must hold {} once, for the user's id in the source")
        scopes = {slug: tuple(given.split()) for slug, given in _pairs("--scopes", self.scopes).items()}
        return ImportMapping(_pairs("--provider", self.provider), self.owner.format, self.tenant, scopes)


def _importing(command: Callable[..., Source]) -> Callable[..., None]:
    """Make a command of a function that builds a source from arguments of its own and the `Options`."""
    own = [one for one in inspect.signature(command).parameters.values() if one.name != "options"]
    hints = get_type_hints(command, include_extras=True) | get_type_hints(Options, include_extras=True)

    def run(**given: Any) -> None:
        options = Options(**{field.name: given.pop(field.name) for field in fields(Options)})
        with closing(command(**given, options=options)) as source:
            _run(source, options)

    common = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
        for field in fields(Options)
        if field.default is not MISSING
    ]
    arguments = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + common
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # any function may have one, and typer reads it
        [one.replace(annotation=hints[one.name]) for one in arguments]
    )
    run.__annotations__ = {one.name: hints[one.name] for one in arguments}
    run.__doc__ = command.__doc__
    return run


def _registered(name: str) -> Callable[[Callable[..., Source]], Callable[..., Source]]:
    def register(command: Callable[..., Source]) -> Callable[..., Source]:
        imports.command(name)(_importing(command))
        return command

    return register


@_registered("allauth")
def allauth(
    url: Url,
    *,
    tokens: Annotated[str, typer.Option(help="The table of tokens.")] = "socialaccount_socialtoken",
    accounts: Annotated[str, typer.Option(help="The table of accounts.")] = "socialaccount_socialaccount",
    apps: Annotated[str, typer.Option(help="The table of applications.")] = "socialaccount_socialapp",
    schema: Schema = "",
    options: Options,
) -> Source:
    """Import what django-allauth keeps."""
    return AllauthSource(url, tokens=tokens, accounts=accounts, apps=apps, schema=schema, zone=options.zone)


@_registered("social-auth")
def social_auth(
    url: Url, *, table: Table = "social_auth_usersocialauth", schema: Schema = "", options: Options
) -> Source:
    """Import what Python Social Auth keeps."""
    return SocialAuthSource(url, table=table, schema=schema, zone=options.zone)


@_registered("authlib")
def authlib(
    url: Url, *, table: Table = "oauth2token", column: ColumnNames = None, key: Key = "", schema: Schema = "",
    options: Options,
) -> Source:  # fmt: skip
    """Import a table as Authlib's documentation models it: name, user_id, access_token, refresh_token, expires_at."""
    usual = {"provider": AUTHLIB_COLUMNS.provider, "owner": AUTHLIB_COLUMNS.owner}
    columns = Columns.of({**usual, **_pairs("--column", column)})
    return TableSource(url, table, columns, key=key, schema=schema, zone=options.zone)


@_registered("table")
def table_of_your_own(
    url: Url, *, table: Annotated[str, typer.Option(help="The table's name.")], column: ColumnNames = None,
    key: Key = "", schema: Schema = "", options: Options,
) -> Source:  # fmt: skip
    """Import any table, whose columns you name."""
    columns = Columns.of(_pairs("--column", column))
    return TableSource(url, table, columns, key=key, schema=schema, zone=options.zone)


@_registered("csv")
def csv_file(file: File, *, column: ColumnNames = None, options: Options) -> Source:
    """Import a CSV file whose first line names the columns."""
    return CsvSource(file, Columns.of(_pairs("--column", column)), zone=options.zone)


@_registered("json-lines")
def json_lines(file: File, *, column: ColumnNames = None, options: Options) -> Source:
    """Import a file with one JSON object a line."""
    return JsonLinesSource(file, Columns.of(_pairs("--column", column)), zone=options.zone)


def _pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """Read ``NAME=VALUE`` as often as it was given.

    Raises:
        ConfigurationError: one has not this form, or is there twice.
    """
    found: dict[str, str] = {}
    for text in given or ():
        name, separator, value = text.partition("=")
        if not name or not separator or not value or name in found:
            raise ConfigurationError(f"{option} takes NAME=VALUE, each name once")
        found[name] = value
    return found


def _run(source: Source, options: Options) -> None:
    if options.vault is None:
        raise ConfigurationError("only your application's providers can renew tokens: give --vault MODULE:ATTRIBUTE")
    if options.fernet_key_env is not None:
        source = FernetSource.from_env(source, options.fernet_key_env, options.fernet_column)
    progress = _Progress()
    with application_vault(options.vault) as vault, _listing(options.problems) as listed:

        def told(outcome: Outcome) -> None:
            listed(outcome)
            progress.step()

        job = vault.import_job(
            source, options.mapping, replace=options.replace, dry_run=options.dry_run,
            ask_providers=options.ask_providers, after=options.after, on_outcome=told,
            cursor=CursorFile(options.cursor) if options.cursor else None,
        )  # fmt: skip
        try:
            with progress.of(job.count()):
                vault.run_import(job)
        finally:  # whatever ended it: what is done is done
            _print(job.report, as_json=options.as_json)


class _Progress:
    """How far it has come, on stderr: a bar on a terminal, now and then a line elsewhere."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._done, self._total = 0, 0

    @contextmanager
    def of(self, total: int) -> Iterator[None]:
        """Show it while the block lasts."""
        self._total = total
        if not self._bar.console.is_terminal:
            yield
            return
        with self._bar:
            self._bar.add_task("rows", total=total)
            yield

    def step(self) -> None:
        """Count one row."""
        self._done += 1
        if self._bar.task_ids:
            self._bar.advance(self._bar.task_ids[0])
        elif self._done % _ROWS_PER_LINE == 0:
            typer.echo(f"{self._done} of {self._total} rows", err=True)


@contextmanager
def _listing(path: Path | None) -> Iterator[Callable[[Outcome], None]]:
    """Write down every row that was not imported, as long as the block lasts.

    Raises:
        ConfigurationError: the file can't be written.
    """
    if path is None:
        yield lambda _outcome: None
        return
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as problem:
        reason = problem.strerror
    else:
        with file:
            writer = csv.writer(file)
            writer.writerow(("source_id", "fate", "reason", "action"))
            yield partial(_list, writer.writerow)
        return
    raise ConfigurationError(f"{path} can't be written: {reason}")


def _list(write: Callable[[tuple[str, ...]], object], outcome: Outcome) -> None:
    if outcome.reason is not None:
        write((outcome.source_id, outcome.fate, outcome.reason.text, outcome.reason.action))


def _print(report: ImportReport, *, as_json: bool) -> None:
    if as_json:
        print_json(report.as_dict())
        return
    typer.echo("nothing was written: this is what would have come of it" if report.dry_run else "done so far")
    counts = [(name.replace("_", " "), str(getattr(report, name))) for name in _COUNTS]
    print_table(("what", "rows"), counts)
    if report.reasons:
        rows = [
            (found.fate, str(found.count), reason.text, reason.action, _named(found))
            for reason, found in report.reasons.items()
        ]
        print_table(("what", "rows", "why", "who must act", "ids in the source"), rows)
    if report.after:
        typer.echo(f"a later import may go on with --after {shown(report.after)}", err=True)


def _named(found: Refusals) -> str:
    return " ".join(found.source_ids) + (" …" if found.count > len(found.source_ids) else "")
