"""What a look at one thing says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from socialvault.exceptions import Action, SocialVaultError


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        level: ``wrong`` lets the command fail; ``warn`` does not.
        action: who must act, as errors say it; ``none`` for nobody.
    """

    level: Literal["ok", "warn", "wrong"]
    about: str
    found: str
    action: Action | Literal["none"] = "none"


def wrong(about: str, problem: SocialVaultError) -> Finding:
    """Return an error as a finding."""
    return Finding("wrong", about, str(problem), problem.action)
