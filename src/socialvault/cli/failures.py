"""How a command ends when something is wrong: one line on stderr, and an exit code that says who must act."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from socialvault.cli.output import shown
from socialvault.exceptions import Action, SocialVaultError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: As in sysexits.h: TEMPFAIL, NOPERM, CONFIG, SOFTWARE.
EXIT_CODES: Mapping[Action, int] = MappingProxyType({
    "retry": 75,
    "reauthorize": 77,
    "fix_configuration": 78,
    "report": 70,
})  # fmt: skip


class Commands(TyperGroup):
    """Commands whose errors end in one line instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        action: Action
        try:
            return super().invoke(ctx)
        except SocialVaultError as problem:
            said, action = str(problem), problem.action
        except TimeoutError as problem:  # the vault's word for work that goes on past its deadline
            said, action = str(problem), "retry"
        typer.echo(f"error: {shown(said)} ({action})", err=True)
        raise typer.Exit(EXIT_CODES[action])
