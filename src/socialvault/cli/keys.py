"""``socialvault keys``: key rotation, step by step. No command shows a key."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from socialvault.cli.failures import EXIT_CODES
from socialvault.cli.opening import KEYS_ENV, KeysOption, OpenVault, StoreOption, VaultOption, opened
from socialvault.cli.output import print_json, print_table
from socialvault.model.keys import KeyLevel
from socialvault.model.rotation import KeyStatus, OnProgress, Rotated, RotationProgress

keys = typer.Typer(
    no_args_is_help=True,
    help="Rotate keys online: add, promote, rewrap, reseal, retire; never shows a key. Without --vault, the keys are "
    "those of the environment; a vault whose KEK is in a key service needs --vault.",
)

Key = Annotated[str, typer.Argument(metavar="KEY", help="The key's id, or the beginning of a KEK's or vault key's.")]
Tenant = Annotated[str, typer.Option(help="The key's tenant.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Rate = Annotated[int | None, typer.Option(min=1, help="Rows per second at most.")]

_COLUMNS = ("level", "id", "tenant", "owner", "state", "created", "needed by", "safe to retire", "at hand")
_LABELS = {"vault_keys": "vault keys", "data_keys": "data keys", "records": "records"}


@keys.command()
def status(
    *,
    tenant: Annotated[str | None, typer.Option(help="List this tenant's data keys, too.")] = None,
    after: Annotated[str, typer.Option(metavar="KEY", help="Data keys after this id.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Data keys at most.")] = 100,
    as_json: Json = False, store: StoreOption = None, keys_env: KeysOption = KEYS_ENV, vault: VaultOption = None,
) -> None:  # fmt: skip
    """Show where every key stands, what needs it, and whether it is safe to retire."""
    with opened(vault, store, keys_env) as found:
        now = found.settled(found.keys.status())
        data: Sequence[KeyStatus] = ()
        if tenant is not None:
            data = found.settled(found.keys.data_keys(tenant=tenant, after_id=after, limit=limit))
    listed = [*now.keks, *now.vault_keys, *data]
    if as_json:
        print_json({"keys": [_plain(key) for key in listed], "data_keys": dict(now.data_keys), "stale": now.stale})
    else:
        print_table(_COLUMNS, [_row(key) for key in listed])
        counts = ", ".join(f"{count} {state}" for state, count in sorted(now.data_keys.items()))
        typer.echo(f"data keys: {counts or 'none'}")
    if now.stale:
        typer.echo("this process uses vault keys that its KEKs do not open any more: a restart would fail", err=True)


@keys.command()
def add(
    level: Annotated[KeyLevel, typer.Argument(help="kek: this process's primary one. vault, data: a new key.")],
    *, tenant: Tenant = "", owner: Annotated[str, typer.Option(help="The data key's owner.")] = "",
    as_json: Json = False, store: StoreOption = None, keys_env: KeysOption = KEYS_ENV, vault: VaultOption = None,
) -> None:  # fmt: skip
    """Make a key known, without using it yet."""
    with opened(vault, store, keys_env) as found:
        _show(found.settled(found.keys.add(level, tenant=tenant, owner=owner)), as_json=as_json)


@keys.command()
def promote(
    key: Key, *, as_json: Json = False,
    store: StoreOption = None, keys_env: KeysOption = KEYS_ENV, vault: VaultOption = None,
) -> None:  # fmt: skip
    """Let what is new come under a key; the one before it goes on opening."""
    with opened(vault, store, keys_env) as found:
        _show(found.settled(found.keys.promote(key)), as_json=as_json)


@keys.command()
def rewrap(
    *, rate: Rate = None, as_json: Json = False,
    store: StoreOption = None, keys_env: KeysOption = KEYS_ENV, vault: VaultOption = None,
) -> None:  # fmt: skip
    """Wrap vault keys under the primary KEK, and data keys under their primary vault key; begin again at will."""
    with opened(vault, store, keys_env) as found:
        _run(found, lambda told: found.keys.rewrap(rate=rate, on_progress=told), as_json=as_json)


@keys.command()
def reseal(
    *, tenant: Annotated[str | None, typer.Option(help="Of this tenant only.")] = None,
    rate: Rate = None, as_json: Json = False,
    store: StoreOption = None, keys_env: KeysOption = KEYS_ENV, vault: VaultOption = None,
) -> None:  # fmt: skip
    """Seal records under their owner's primary data key, wherever they are under another; begin again at will."""
    with opened(vault, store, keys_env) as found:
        _run(found, lambda told: found.keys.reseal(tenant=tenant, rate=rate, on_progress=told), as_json=as_json)


@keys.command()
def retire(
    key: Key, *, as_json: Json = False,
    store: StoreOption = None, keys_env: KeysOption = KEYS_ENV, vault: VaultOption = None,
) -> None:  # fmt: skip
    """Retire a key that nothing needs: no process can write under it any more. Refused while one row needs it."""
    with opened(vault, store, keys_env) as found:
        _show(found.settled(found.keys.retire(key)), as_json=as_json)


@keys.command()
def reinstate(
    key: Key, *, as_json: Json = False,
    store: StoreOption = None, keys_env: KeysOption = KEYS_ENV, vault: VaultOption = None,
) -> None:  # fmt: skip
    """Let a retired key open again."""
    with opened(vault, store, keys_env) as found:
        _show(found.settled(found.keys.reinstate(key)), as_json=as_json)


def _run(found: OpenVault, job: Callable[[OnProgress], Any], *, as_json: bool) -> None:
    with _progress() as told:
        done: Rotated = found.settled(job(told))
    if as_json:
        print_json(asdict(done))
    else:
        labels = {**_LABELS, "refused": "refused"}
        print_table(("what", "count"), [(label, str(getattr(done, name))) for name, label in labels.items()])
    for bad in () if as_json else done.bad:
        typer.echo(f"left as it is: {bad.kind} {bad.id} of tenant {bad.tenant!r}: {bad.error}", err=True)
    if done.refused:
        raise typer.Exit(EXIT_CODES["report"])


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """A bar with what is left of the time, on a terminal; it goes to stderr, so that stdout stays the result's."""
    from rich.console import Console

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left:"), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def told(progress: RotationProgress) -> None:
            if progress.step not in tasks:
                tasks[progress.step] = bars.add_task(_LABELS[progress.step], total=progress.total)
            bars.update(tasks[progress.step], completed=progress.done, total=progress.total)

        yield told


def _show(key: KeyStatus, *, as_json: bool) -> None:
    if as_json:
        print_json(_plain(key))
    else:
        print_table(_COLUMNS, [_row(key)])


def _plain(key: KeyStatus) -> dict[str, Any]:
    return {
        **asdict(key), "created_at": key.created_at.isoformat(timespec="seconds"), "safe_to_retire": key.safe_to_retire
    }  # fmt: skip


def _row(key: KeyStatus) -> list[str]:
    safe = "" if key.state in ("primary", "retired") else "yes" if key.safe_to_retire else "NO"
    created = key.created_at.date().isoformat()
    uses = str(key.uses)
    return [
        key.level, key.key_id, key.tenant, key.owner, key.state, created, uses, safe, "yes" if key.at_hand else "NO"
    ]  # fmt: skip
