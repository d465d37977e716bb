"""``socialvault connections``: find, look at, renew and end connections. No command shows a token."""

from dataclasses import fields
from datetime import datetime
from typing import Annotated, Any

import typer

from socialvault.cli.failures import EXIT_CODES
from socialvault.cli.opening import KEYS_ENV, KeysOption, StoreOption, VaultOption, application_vault, opened
from socialvault.cli.output import print_json, print_table, shown
from socialvault.exceptions import ConfigurationError
from socialvault.model.connection import Connection, Receipt
from socialvault.model.status import Status
from socialvault.model.sweep import Sweep

connections = typer.Typer(no_args_is_help=True, help="Find, look at, renew and end connections; never shows a token.")

Id = Annotated[str, typer.Argument(metavar="ID", help="The connection's id.")]
Owner = Annotated[str, typer.Option(help="Whose connection it is.")]
Tenant = Annotated[str, typer.Option(help="The owner's tenant.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

#: What a search knows; the rest stays sealed.
_METADATA = (
    "id", "owner", "tenant", "provider", "client_id", "issuer", "subject", "parent_id", "kind",
    "status", "reason", "dies_at", "generation", "created_at", "updated_at",
)  # fmt: skip
_COLUMNS = ("id", "owner", "tenant", "provider", "subject", "kind", "status", "reason", "updated_at")
_EVERYTHING = tuple(field.name for field in fields(Connection))


@connections.command("list")
def list_connections(
    *,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant only.")] = None,
    owner: Annotated[str | None, typer.Option(help="Of this owner only.")] = None,
    provider: Annotated[str | None, typer.Option(help="At this provider only.")] = None,
    status: Annotated[Status | None, typer.Option(help="In this state only.")] = None,
    after: Annotated[str, typer.Option(metavar="ID", help="Go on after this id.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 100,
    as_json: Json = False,
    store: StoreOption = None,
    keys_env: KeysOption = KEYS_ENV,
    vault: VaultOption = None,
) -> None:
    """Find connections across owners, ended ones included, by id."""
    with opened(vault, store, keys_env) as found:
        rows = found.find(
            tenant=tenant, owner=owner, provider=provider, status=status and status.value, after_id=after,
            limit=limit + 1,
        )  # fmt: skip
    page, following = rows[:limit], rows[limit - 1].id if len(rows) > limit else None
    if as_json:
        print_json({"connections": [_described(row, _METADATA) for row in page], "next": following})
        return
    print_table(_COLUMNS, [[str(value or "") for value in _described(row, _COLUMNS).values()] for row in page])
    if following:
        typer.echo(f"there are more; go on with --after {following}", err=True)


@connections.command()
def show(
    connection_id: Id, *, owner: Owner, tenant: Tenant = "", as_json: Json = False,
    store: StoreOption = None, keys_env: KeysOption = KEYS_ENV, vault: VaultOption = None,
) -> None:  # fmt: skip
    """Show one connection."""
    with opened(vault, store, keys_env) as found:
        connection = found.connection(connection_id, owner, tenant)
    # Without the application's providers nobody knows whether it can be renewed.
    known = tuple(name for name in _EVERYTHING if vault is not None or name != "renewable")
    _print_connection(_described(connection, known), as_json=as_json)


@connections.command()
def refresh(
    connection_id: Id, *, owner: Owner, tenant: Tenant = "", as_json: Json = False, vault: VaultOption = None
) -> None:
    """Renew a connection's token now, due or not."""
    with application_vault(_required(vault)) as found:
        found.refresh(connection_id, owner, tenant)
        connection = found.connection(connection_id, owner, tenant)
    _print_connection(_described(connection, _EVERYTHING), as_json=as_json)


@connections.command("renew-due")
def renew_due(
    *,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Of each kind at most.")] = 500,
    budget: Annotated[int | None, typer.Option(min=0, help="Renewals per provider at most.")] = None,
    as_json: Json = False,
    vault: VaultOption = None,
) -> None:
    """Do once what is due: renewals, revocations, tokens that wait in the escrow, warnings; for any scheduler."""
    with application_vault(_required(vault)) as found:
        swept = found.renew_due(limit, budget)
    counts = {field.name: getattr(swept, field.name) for field in fields(Sweep)}
    if as_json:
        print_json(counts)
    else:
        print_table(("what", "count"), [(name, str(count)) for name, count in counts.items()])


@connections.command()
def disconnect(
    connection_id: Id, *, owner: Owner, tenant: Tenant = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False, vault: VaultOption = None,
) -> None:  # fmt: skip
    """End a connection: unusable here at once, then revoked at the provider where that is possible."""
    with application_vault(_required(vault)) as found:
        if not yes:
            question = f"Disconnect {shown(connection_id)} of owner {shown(owner)}? This can't be undone"
            typer.confirm(question, abort=True, err=True)
        receipt = found.revoke(connection_id, owner, tenant)
    if as_json:
        print_json(_receipt(receipt))
    else:
        for part in (receipt, *receipt.children):
            typer.echo(f"{part.connection_id} at {part.provider}: {part.outcome}")
    if receipt.outcome == "pending":
        typer.echo("the provider could not be reached; renew-due asks it again", err=True)
        raise typer.Exit(EXIT_CODES["retry"])


def _required(vault: str | None) -> str:
    if vault is None:
        raise ConfigurationError("only your application's providers can do this: give --vault MODULE:ATTRIBUTE")
    return vault


def _described(connection: Connection, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: _plain(getattr(connection, name)) for name in names}


def _plain(value: object) -> Any:
    """Return what JSON can say."""
    if isinstance(value, Status):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return sorted(value) if isinstance(value, frozenset) else value


def _print_connection(described: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(described)
        return
    rows = [(name, _words(value)) for name, value in described.items() if value not in ("", None)]
    print_table(("field", "value"), rows)


def _words(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _receipt(receipt: Receipt) -> dict[str, Any]:
    return {
        "connection_id": receipt.connection_id,
        "provider": receipt.provider,
        "outcome": receipt.outcome,
        "at": _plain(receipt.at),
        "children": [_receipt(child) for child in receipt.children],
    }
