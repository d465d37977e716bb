"""Key rotation, as operators see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

    from socialvault.model.bad_record import BadRecord
    from socialvault.model.keys import KeyLevel, KeyState


@dataclass(frozen=True, slots=True)
class KeyStatus:
    """Where one key stands.

    Attributes:
        tenant, owner: its scope; "" and "" for a KEK and for the vault's own keys.
        uses: how many rows need it.
        at_hand: whether this process could use it; always true below the KEKs.
    """

    level: KeyLevel
    key_id: str
    tenant: str
    owner: str
    state: KeyState
    created_at: datetime
    uses: int
    at_hand: bool = True

    @property
    def safe_to_retire(self) -> bool:
        """Whether `retire` would take it: nothing needs it, and nothing new comes under it."""
        return self.state in ("pre_active", "decrypt_only") and not self.uses


@dataclass(frozen=True, slots=True)
class KeysStatus:
    """Where all keys stand.

    Attributes:
        data_keys: how many DEKs are in each state; there may be one for each owner.
        stale: vault keys that this process has, and could not load again after a restart.
    """

    keks: tuple[KeyStatus, ...]
    vault_keys: tuple[KeyStatus, ...]
    data_keys: Mapping[str, int]
    stale: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a job did.

    Attributes:
        vault_keys: wrapped again under the primary KEK. data_keys: under their primary vault key.
        records: sealed again under their owner's primary DEK.
        refused: how many rows did not open, and were left as they are. bad: the first of them.
    """

    vault_keys: int = 0
    data_keys: int = 0
    records: int = 0
    refused: int = 0
    bad: tuple[BadRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class RotationProgress:
    """How far a job is.

    Attributes:
        total: rows to go through; None where nobody has counted them.
    """

    step: Literal["vault_keys", "data_keys", "records"]
    done: int
    total: int | None


#: Told after each batch.
OnProgress = Callable[[RotationProgress], None]
