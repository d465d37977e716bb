"""Whether every sealed record opens; those that don't are named, and left as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault import exceptions
from socialvault.cli.doctor.findings import Finding, wrong
from socialvault.exceptions import SocialVaultError
from socialvault.model.keys import key_name
from socialvault.vault.verification import verify_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socialvault.cli.opening import OpenVault
    from socialvault.model.bad_record import BadRecord
    from socialvault.model.verification import Verification


def judge_records(found: OpenVault) -> Iterator[Finding]:
    """Open every key and record that the vault's store has."""
    core = found.core
    service = core.keyring.vault_keys.service
    try:
        verification = found.run(verify_records(core.store, service, core.clock))
    except SocialVaultError as problem:
        yield wrong("records", problem)
        return
    yield from _judged(verification)


def _judged(verification: Verification) -> Iterator[Finding]:
    seen = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in verification.opened.items())
    if verification.ok:
        yield Finding("ok", "records", f"all open: {seen}")
        return
    yield Finding("wrong", "records", f"{verification.bad_total} don't open; these do: {seen or 'none'}", "report")
    for record in verification.bad:
        yield _about(record)
    unnamed = verification.bad_total - len(verification.bad)
    if unnamed:
        yield Finding("wrong", "records", f"{unnamed} more don't open", "report")
    if verification.unseen:
        yield Finding("warn", "records", verification.unseen, "report")


def _about(record: BadRecord) -> Finding:
    kind: type[SocialVaultError] = getattr(exceptions, record.error, SocialVaultError)
    place = "".join(
        f", {name} {value}"
        for name, value in (("provider", record.provider), ("owner", record.owner), ("tenant", record.tenant))
        if value
    )
    key = f" under key {key_name(record.key_id)}" if record.key_id else ""
    about = f"{record.kind.replace('_', ' ')} {record.id}".rstrip()
    return Finding("wrong", about, f"{record.error}{key}{place}", kind.action)
