"""What a look at every sealed thing in a store found: what opens, and what does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from socialvault.model.bad_record import BadRecord, SealedKind
    from socialvault.model.keys import KeyLevel


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What one key opened: vault keys for a KEK, DEKs and the canary for a vault key, records for a DEK.

    Attributes:
        key_id: "" for what names no key, "…" for all those DEKs together that were too many to be listed.
    """

    level: KeyLevel
    key_id: str
    opened: int
    refused: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at, and what of it does not open.

    Attributes:
        opened, refused: how many, by kind.
        uses: by key. DEKs beyond a thousand are counted together.
        bad: what does not open; the first ones of `bad_total`.
        keys_needed: ids of the KEKs that the vault keys are wrapped under. keys_at_hand: ids of those that were given;
            empty where a key service can't list them.
        unseen: what could not be looked at, and why; "" for nothing.
    """

    opened: Mapping[SealedKind, int]
    refused: Mapping[SealedKind, int]
    uses: tuple[KeyUse, ...]
    bad: tuple[BadRecord, ...] = ()
    bad_total: int = 0
    keys_needed: tuple[str, ...] = ()
    keys_at_hand: tuple[str, ...] = ()
    unseen: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything was looked at and opens."""
        return not self.bad_total and not self.unseen

    @property
    def keys_missing(self) -> tuple[str, ...]:
        """The ids of KEKs that are needed and not at hand."""
        return tuple(key_id for key_id in self.keys_needed if self.keys_at_hand and key_id not in self.keys_at_hand)
