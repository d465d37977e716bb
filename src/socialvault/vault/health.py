"""Whether a vault can do its work, without asking any provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from socialvault.exceptions import SocialVaultError

if TYPE_CHECKING:
    from socialvault.vault.core import Core


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `problem` is "" when it is well."""

    name: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """What `health()` found."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is well."""
        return not any(check.problem for check in self.checks)


async def check_health(core: Core) -> Health:
    """Check the store (a read), the keys (the canary opens) and the providers (there are some)."""
    checks = [await _store(core), await _keys(core)]
    checks.append(Check("providers", "" if core.providers.by_slug else "this vault has no provider"))
    return Health(tuple(checks))


async def _store(core: Core) -> Check:
    try:
        await core.store.count_by_status()
    except SocialVaultError as problem:
        return Check("store", str(problem))
    return Check("store")


async def _keys(core: Core) -> Check:
    try:
        await core.keyring.open()
    except SocialVaultError as problem:
        return Check("keys", str(problem))
    return Check("keys")
