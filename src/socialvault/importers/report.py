"""What became of each row, and the sum of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from socialvault.exceptions import Action

Fate = Literal["imported", "updated", "already_there", "skipped", "refused"]

#: How many rows are named for each reason.
NAMED_ROWS = 20


class Reason(NamedTuple):
    """Why a row was not imported, and who must act."""

    text: str
    action: Action


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one row.

    Attributes:
        reason: why, where it was skipped or refused.
        again: whether another run may end otherwise, without anybody changing anything.
    """

    source_id: str
    fate: Fate
    reason: Reason | None = None
    again: bool = False


@dataclass(slots=True)
class Refusals:
    """Rows that were not imported for one reason: how many, and the first of them."""

    fate: Fate
    count: int = 0
    source_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ImportReport:
    """Counts of one import.

    Attributes:
        dry_run: nothing was written: they are what would have come of it.
        imported: new connections. updated: connections whose tokens were replaced.
        already_there: accounts that their owner has connected, and that were left alone.
        reasons: why rows were skipped (they hold nothing to import) or refused (the account is somebody else's).
        after: the id of the last row that is done with; a later import may go on from there.
    """

    dry_run: bool = False
    imported: int = 0
    updated: int = 0
    already_there: int = 0
    skipped: int = 0
    refused: int = 0
    reasons: dict[Reason, Refusals] = field(default_factory=dict)
    after: str = ""

    @property
    def read(self) -> int:
        """How many rows were looked at."""
        return self.imported + self.updated + self.already_there + self.skipped + self.refused

    def add(self, outcome: Outcome) -> None:
        """Count one row."""
        setattr(self, outcome.fate, getattr(self, outcome.fate) + 1)
        if outcome.reason is None:
            return
        found = self.reasons.setdefault(outcome.reason, Refusals(outcome.fate))
        found.count += 1
        if len(found.source_ids) < NAMED_ROWS:
            found.source_ids.append(outcome.source_id)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can say."""
        counts = ("read", "imported", "updated", "already_there", "skipped", "refused")
        return {
            "dry_run": self.dry_run,
            **{name: getattr(self, name) for name in counts},
            "reasons": [
                {
                    "fate": found.fate, "reason": reason.text, "action": reason.action, "count": found.count,
                    "source_ids": found.source_ids,
                }
                for reason, found in self.reasons.items()
            ],
            "after": self.after,
        }  # fmt: skip
