"""``socialvault doctor``: is this installation well, and if not, who must act?"""

from typing import Annotated

import typer

from socialvault.cli.doctor.examination import examine
from socialvault.cli.doctor.findings import Finding
from socialvault.cli.doctor.records import judge_records
from socialvault.cli.opening import KEYS_ENV, KeysOption, StoreOption, VaultOption
from socialvault.cli.output import print_json, print_table


def doctor(
    *, store: StoreOption = None, keys_env: KeysOption = KEYS_ENV, vault: VaultOption = None,
    records: Annotated[bool, typer.Option("--records", help="Open every record, too, and list what is shut.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # fmt: skip
    """Look at keys, store, files, clocks and redirect URIs; writes nothing. Exit code 1: one of them is wrong."""
    findings = list(examine(vault, store, keys_env, [judge_records] if records else []))
    well = not any(finding.level == "wrong" for finding in findings)
    if as_json:
        print_json({"well": well, "findings": [_described(finding) for finding in findings]})
    else:
        print_table(("", "about", "found", "who must act"), [tuple(_described(one).values()) for one in findings])
    if not well:
        raise typer.Exit(1)


def _described(finding: Finding) -> dict[str, str]:
    return {"level": finding.level, "about": finding.about, "found": finding.found, "action": finding.action}
