"""Whether a vault can do its work, without asking any provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from socialvault.exceptions import SocialVaultError

if TYPE_CHECKING:
    from socialvault.vault.core import Core


_TOLERANCE_SECONDS = 60.0
_LONGEST_IN_ESCROW_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at.

    Attributes:
        problem: "" when it is well.
        state: ``off`` for what this vault does without.
    """

    name: str
    problem: str = ""
    state: Literal["pass", "fail", "off"] = "pass"


@dataclass(frozen=True, slots=True)
class Health:
    """What `health()` found."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is well."""
        return not any(check.problem for check in self.checks)


async def check_health(core: Core) -> Health:
    """Check store (reads), keys (the canary opens), providers (there are some), clock and escrow (it is emptied)."""
    store, clock = await _store_and_clock(core)
    providers = _check("providers", "" if core.providers.by_slug else "this vault has no provider")
    return Health((store, await _keys(core), providers, clock, await _escrow(core)))


async def _store_and_clock(core: Core) -> tuple[Check, Check]:
    """The clock is held against the vault's first start, which it can't be before."""
    try:
        vault = await core.store.load_vault()  # one row: this may be asked every second
    except SocialVaultError as problem:
        return _check("store", str(problem)), Check("clock")
    behind = vault is not None and core.clock.now_seconds() < vault.created_at_seconds - _TOLERANCE_SECONDS
    return Check("store"), _check("clock", "the clock is before this vault's first start" if behind else "")


async def _escrow(core: Core) -> Check:
    """What waits in it for long shows that a store can't take it."""
    if core.escrow is None:
        return Check("escrow", state="off")
    now = core.clock.now_seconds()
    try:
        records = await core.escrow.records()
    except SocialVaultError as problem:
        return _check("escrow", str(problem))
    late = [record for record in records if now - record.at_seconds > _LONGEST_IN_ESCROW_SECONDS]
    return _check("escrow", f"{len(late)} tokens wait in the escrow, and the store has not taken them" if late else "")


async def _keys(core: Core) -> Check:
    try:
        await core.ready()
        keys = core.keyring.vault_keys
        await keys.get(await keys.primary_id(""))  # asks a key service once per lifetime, and not for every probe
    except SocialVaultError as problem:
        return _check("keys", str(problem))
    if core.keyring.vault_keys.stale:
        return _check("keys", "the KEK of a vault key in use is not among this process's keys: a restart would fail")
    return Check("keys")


def _check(name: str, problem: str) -> Check:
    return Check(name, problem, "fail" if problem else "pass")
