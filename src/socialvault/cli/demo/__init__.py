"""``socialvault demo``: the promises, played against emulated providers and judged by the providers' own log."""

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console

from socialvault.cli.demo.judging import Finding
from socialvault.cli.demo.limits import make_room
from socialvault.cli.demo.report import Result, document, kept, print_report
from socialvault.cli.demo.stage import Stage, set_stage
from socialvault.cli.demo.story import STORY, Step
from socialvault.cli.output import print_json
from socialvault.exceptions import SocialVaultError

_NOT_REACHED = Finding("not reached", "", held=False)


def demo(
    *, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Then serve a page to click through, until Ctrl-C.")] = False,
    callers: Annotated[int, typer.Option(min=1, max=1000, help="How many ask for a token at once.")] = 200,
) -> None:  # fmt: skip
    """See the promises kept: emulated providers, a SQLite vault in a temporary directory, some seconds."""
    make_room(callers)
    with set_stage(callers) as stage:
        results = list(perform(stage, STORY))
        if as_json:
            print_json(document(results, callers))
        else:
            print_report(results)
        if serve:
            from socialvault.cli.demo.serve import serve_page  # the stage has shown that the extra is there

            serve_page(stage)
    if not kept(results):
        raise typer.Exit(1)


def perform(stage: Stage, story: Sequence[Step]) -> Iterator[Result]:
    """Play the steps in order. One that ends in an error breaks its promise, and the rest is not reached."""
    progress = Console(stderr=True)
    stopped = False
    for step in story:
        finding, started = _NOT_REACHED, time.perf_counter()
        with progress.status(step.promise) if progress.is_terminal else nullcontext():
            if not stopped:
                try:
                    finding = step.play(stage)
                except SocialVaultError as problem:
                    finding, stopped = Finding(f"{type(problem).__name__}: {problem}", "", held=False), True
        yield Result(step.id, step.promise, finding, round((time.perf_counter() - started) * 1000))
