from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from socialvault.cli.failures import Commands
from socialvault.exceptions import (
    AlreadyConnectedError,
    ConfigurationError,
    ReauthorizationRequiredError,
    StoreUnavailableError,
)


def end_in(problem):
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.callback()
    def root() -> None: ...

    @app.command()
    def fail() -> None:
        raise problem

    return CliRunner().invoke(app, ["fail"])


@pytest.mark.parametrize(
    ("problem", "code", "action"),
    [
        (ConfigurationError("no key"), 78, "fix_configuration"),
        (StoreUnavailableError("no key"), 75, "retry"),
        (TimeoutError("no key"), 75, "retry"),
        (ReauthorizationRequiredError("no key"), 77, "reauthorize"),
        (AlreadyConnectedError("no key"), 70, "report"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_is_one_line_and_an_exit_code_that_says_who_must_act(problem, code, action):
    ended = end_in(problem)
    assert ended.exit_code == code
    assert ended.stdout == ""
    assert ended.stderr == f"error: no key ({action})\n"


def test_an_error_can_not_steer_the_terminal():
    ended = end_in(ConfigurationError("two\nlines \x1b[31mred [bold]plain[/bold]"))
    assert ended.stderr == "error: two\ufffdlines \ufffd[31mred [bold]plain[/bold] (fix_configuration)\n"


def test_a_defect_of_the_program_stays_visible():
    assert isinstance(end_in(ZeroDivisionError("defect")).exception, ZeroDivisionError)
