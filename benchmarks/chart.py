"""Draws what the benchmarks wrote down: each figure as a multiple of its limit, beside its budget.

python benchmarks/chart.py docs/performance
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

_BUDGET_READS, _BUDGET_BULK, _BUDGET_DUE = 1.15, 1.3, 2.0
_DATABASES = {"sqlite": "SQLite", "postgres": "Postgres"}
_WITHIN, _OVER = "#3b6ea5", "#c97b63"


class Bar(NamedTuple):
    """One figure: how many times its limit, and how many it may be."""

    name: str
    ratio: float
    budget: float


def reads(folder: Path) -> list[Bar]:
    """Return the look-ups of a token whose budget is a plain client's row."""
    figures = json.loads((folder / "reads.json").read_text("utf-8"))
    return [
        Bar(name.replace(" / ", "\nagainst "), ratio, _BUDGET_READS)
        for name, ratio in figures.items()
        if name.startswith(("token()", "read_token")) and not name.endswith("raw asyncpg row")
    ]


def bulk(folder: Path, kind: str) -> list[Bar]:
    """Return the jobs over a million rows."""
    figures = json.loads((folder / f"bulk-{kind}.json").read_text("utf-8"))
    budgets = {"rewrap": _BUDGET_BULK, "reseal": _BUDGET_BULK, "find_due": _BUDGET_DUE}
    rows = f"{figures['rows']:,} rows, {_DATABASES[kind]}"
    return [Bar(f"{name}, {rows}", figures[name]["ratio"], budget) for name, budget in budgets.items()]


def draw(bars: list[Bar], file: Path) -> None:
    """Draw them, the same bytes for the same figures."""
    mpl.rcParams.update({"svg.hashsalt": "performance", "svg.fonttype": "none"})
    figure = Figure(figsize=(9, 0.9 + 0.42 * len(bars)), layout="constrained")
    axes = figure.subplots()
    for place, bar in enumerate(reversed(bars)):
        axes.barh(place, bar.ratio, height=0.6, color=_WITHIN if bar.ratio <= bar.budget else _OVER)
        axes.plot([bar.budget] * 2, [place - 0.4, place + 0.4], color="black", linewidth=2)
        axes.text(max(bar.ratio, bar.budget) + 0.03, place, f"{bar.ratio:.2f}x", va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), [bar.name for bar in reversed(bars)], fontsize=8)
    axes.axvline(1.0, color="#888888", linewidth=0.8, linestyle="--")
    axes.set_xlim(0, max(max(bar.ratio, bar.budget) for bar in bars) + 0.3)
    axes.set_xlabel("times the limit: the same work with the plain driver (black: the budget)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    where = Path(sys.argv[1])
    draw([*reads(where), *bulk(where, "sqlite"), *bulk(where, "postgres")], where / "chart.svg")
