"""``socialvault providers``: what there is, and what is known about it."""

from typing import Annotated

import typer

from socialvault.cli.output import print_json, print_table
from socialvault.providers.registry import CatalogueEntry, catalogue, provider_class

_NOTE = "emulated in the sandbox, not checked live"
_HEADINGS = ("slug", "name", "renewal", "revocation", "PKCE", "sub-accounts", "note")
_NAMES = ("slug", "name", "renewal", "revocation", "pkce", "sub_accounts", "note")


def providers(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the providers that have a class of their own; OAuth2 and OpenIDConnect take any other."""
    rows = [_row(entry) for entry in catalogue()]
    if as_json:
        print_json([dict(zip(_NAMES, row, strict=True)) for row in rows])
    else:
        print_table(_HEADINGS, rows)


def _row(entry: CatalogueEntry) -> tuple[str, ...]:
    kind = provider_class(entry.slug).sub_account_kind
    return entry.slug, entry.name, entry.renewal, entry.revocation, entry.pkce, kind or "none", _NOTE
