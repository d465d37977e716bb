"""What the demo prints: a table and a stored row for people, one document for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import typer

from socialvault.cli.output import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from socialvault.cli.demo.judging import Finding
    from socialvault.cli.demo.sealed import SealedRow

_EMULATED = "Everything was emulated on this machine: no request left it, and nothing was checked live."


@dataclass(frozen=True, slots=True)
class Result:
    """One promise, played and judged."""

    id: str
    promise: str
    finding: Finding
    milliseconds: int


def kept(results: Sequence[Result]) -> bool:
    """Whether every promise held."""
    return all(result.finding.held for result in results)


def document(results: Sequence[Result], callers: int) -> dict[str, Any]:
    """Return the report for programs."""
    exhibits = [result.finding.exhibit for result in results if result.finding.exhibit]
    return {
        "held": kept(results),
        "emulated": True,
        "callers": callers,
        "milliseconds": sum(result.milliseconds for result in results),
        "promises": [
            {
                "id": result.id,
                "promise": result.promise,
                "happened": result.finding.happened,
                "log": result.finding.log,
                "held": result.finding.held,
                "ms": result.milliseconds,
            }
            for result in results
        ],
        "stored_row": asdict(exhibits[0]) if exhibits else None,
    }


def print_report(results: Sequence[Result]) -> None:
    """Print the report for people."""
    print_table(
        ("promise", "what happened", "provider's log says", "held", "ms"),
        [
            (one.promise, one.finding.happened, one.finding.log, _held(one.finding), f"{one.milliseconds:5}")
            for one in results
        ],
    )
    for result in results:
        if result.finding.exhibit:
            _print_row(result.finding.exhibit)
    broken = sum(not result.finding.held for result in results)
    seconds = sum(result.milliseconds for result in results) / 1000
    typer.echo(f"{len(results) - broken} of {len(results)} promises held, in {seconds:.1f} s. {_EMULATED}")


def _held(finding: Finding) -> str:
    return "yes" if finding.held else "NO"


def _print_row(row: SealedRow) -> None:
    clear = ", ".join(f"{name} {value}" for name, value in row.columns.items())
    typer.echo(f"A stored connection, as it lies in {row.file} at byte {row.offset}: {clear}; and sealed:")
    parts = [(str(field.at), field.name, field.hex) for field in row.fields]
    print_table(("byte", "part", "hex"), [*parts, (str(row.size_bytes - 16), "tag, to the end", "")])
