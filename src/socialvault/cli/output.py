"""What commands print: tables for people, one JSON document for programs, and nothing that steers a terminal."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PIPE_WIDTH = 160
#: Words that stand for a verdict wherever they fill a cell.
_STYLES = {"yes": "green", "NO": "bold red", "ok": "green", "warn": "yellow", "wrong": "bold red"}


def shown(text: str) -> str:
    """Return `text` in one line, with whatever could steer a terminal replaced."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def console() -> Console:
    """Return a console on stdout; in a pipe it is wide, so that rows stay whole."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_PIPE_WIDTH if piped else None, highlight=False)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of plain text as a table; nothing in a cell is markup."""
    table = Table(*headings, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*(Text(shown(cell), style=_STYLES.get(cell, ""), overflow="fold") for cell in row))
    console().print(table)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    typer.echo(json.dumps(document, indent=2))
