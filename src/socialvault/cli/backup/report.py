"""What a verification found, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

import typer

from socialvault.cli.output import print_json, print_table
from socialvault.model.bad_record import SealedKind
from socialvault.model.keys import key_name
from socialvault.model.verification import Verification

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPENED = {"kek": "vault keys", "vault": "data keys, canary", "data": "records"}
_COLUMNS = ("kind", "id", "tenant", "owner", "provider", "key_id", "error")


def print_verification(found: Verification, *, as_json: bool) -> None:
    """Print it: counts by kind and by key, and what does not open."""
    if as_json:
        print_json(document_of(found))
        return
    print_table(("what", "opens", "does not"), _by_kind(found))
    print_table(("level", "key", "opens", "does not", "of"), _by_key(found))
    if found.bad:
        print_table(_COLUMNS, [tuple(asdict(record).values()) for record in found.bad])
    if found.bad_total > len(found.bad):
        typer.echo(f"and {found.bad_total - len(found.bad)} more")
    if found.unseen:
        typer.echo(found.unseen)


def document_of(found: Verification) -> dict[str, Any]:
    """Return it as JSON can say it."""
    return {
        "ok": found.ok,
        "opened": dict(found.opened),
        "refused": dict(found.refused),
        "keys": [asdict(use) for use in found.uses],
        "keys_needed": list(found.keys_needed),
        "keys_at_hand": list(found.keys_at_hand),
        "keys_missing": list(found.keys_missing),
        "bad": [asdict(record) for record in found.bad],
        "bad_total": found.bad_total,
        "unseen": found.unseen,
    }


def missing_keys(found: Verification) -> str:
    """Say which KEKs are needed and which are at hand; "" when none is missing."""
    if not found.keys_missing:
        return ""
    return f"key {_named(found.keys_missing)} is needed and not at hand; the keyring holds {_named(found.keys_at_hand)}"


def print_progress(seen: Mapping[SealedKind, int]) -> None:
    """Tell on a terminal's stderr how much was looked at."""
    typer.echo(f"\r{sum(seen.values())} looked at", nl=False, err=True)


def _named(key_ids: tuple[str, ...]) -> str:
    return ", ".join(key_name(key_id) for key_id in key_ids)


def _by_kind(found: Verification) -> list[tuple[str, str, str]]:
    kinds = [kind for kind in get_args(SealedKind) if kind in found.opened or kind in found.refused]
    return [(kind, str(found.opened.get(kind, 0)), str(found.refused.get(kind, 0))) for kind in kinds]


def _by_key(found: Verification) -> list[tuple[str, str, str, str, str]]:
    """One row for each key above DEKs, and for each DEK that does not open something; the others together."""
    rows: list[tuple[str, str, str, str, str]] = []
    others = 0
    for use in found.uses:
        if use.level == "data" and not use.refused:
            others += use.opened
            continue
        key = use.key_id if use.level == "kek" else use.key_id[:12]
        rows.append((use.level, key or "none", str(use.opened), str(use.refused), _OPENED[use.level]))
    if others:
        rows.append(("data", "all others", str(others), "0", _OPENED["data"]))
    return rows
