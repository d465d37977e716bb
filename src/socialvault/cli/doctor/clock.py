"""Whether the clocks make sense: every expiry depends on them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from socialvault.cli.doctor.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socialvault.ports.clock import Clock

_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Reading:
    """All clocks at one moment: the system's, the one that only goes forward, the vault's."""

    system_seconds: float
    monotonic_seconds: float
    vault_seconds: float


def read_clocks(clock: Clock) -> Reading:
    """Read them together."""
    return Reading(time.time(), time.monotonic(), clock.now_seconds())


def judge_clocks(first: Reading, last: Reading, newest_write_seconds: float | None) -> Iterator[Finding]:
    """Compare two readings with each other and with the newest write in the store."""
    stepped = (last.system_seconds - first.system_seconds) - (last.monotonic_seconds - first.monotonic_seconds)
    if abs(stepped) > _TOLERANCE_SECONDS:
        yield _doubt(f"the system clock was just set by {stepped:+.0f} s")
    apart = last.vault_seconds - last.system_seconds
    if abs(apart) > _TOLERANCE_SECONDS:
        yield _doubt(f"the vault's clock is {apart:+.0f} s from the system's")
    if newest_write_seconds is not None and newest_write_seconds - last.vault_seconds > _TOLERANCE_SECONDS:
        behind = timedelta(seconds=round(newest_write_seconds - last.vault_seconds))
        yield _doubt(f"the clock is {behind} behind the newest write in the store")
    now = datetime.fromtimestamp(last.vault_seconds, UTC)
    yield Finding("ok", "clock", f"it is {now.isoformat(timespec='seconds')}")


def _doubt(found: str) -> Finding:
    return Finding("warn", "clock", f"{found}: tokens may be renewed too late or too early", "fix_configuration")
