"""The examination, from keys to redirect URIs; each look yields findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.cli.doctor.clock import judge_clocks, read_clocks
from socialvault.cli.doctor.findings import Finding, wrong
from socialvault.cli.doctor.redis import examine_redis
from socialvault.cli.doctor.sqlite import judge_sqlite, sqlite_facts
from socialvault.cli.opening import OpenVault, application_vault, stored_vault
from socialvault.exceptions import SocialVaultError
from socialvault.keys.local import LocalKeyring
from socialvault.model.keys import key_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from socialvault.vault.core import Core

    #: A look at an open vault that not every examination takes.
    Look = Callable[[OpenVault], Iterator[Finding]]

_NO_ESCROW = Finding(
    "warn", "escrow",
    "none: a token that arrives while the store is away for long is lost; give the vault escrow=FOLDER",
    "fix_configuration",
)  # fmt: skip


def examine(vault: str | None, store: str | None, keys_env: str, looks: Sequence[Look] = ()) -> Iterator[Finding]:
    """Look at everything that the options name.

    Args:
        looks: to be taken at an open vault as well.
    """
    if vault is not None:
        yield from _examine_application(vault, looks)
    else:
        yield from _examine_store(store, keys_env, looks)


def _examine_application(name: str, looks: Sequence[Look]) -> Iterator[Finding]:
    try:
        with application_vault(name) as found:
            yield from _examine_vault(found, looks)
            yield _escrow(found)
            yield from _redirect_uris(found.core)
    except SocialVaultError as problem:
        yield wrong("vault", problem)


def _examine_store(store: str | None, keys_env: str, looks: Sequence[Look]) -> Iterator[Finding]:
    try:
        keyring = LocalKeyring.from_env(keys_env)
    except SocialVaultError as problem:
        yield wrong("keys", problem)
        return
    named = ", ".join(key_name(key_id) for key_id in keyring.key_ids)
    yield Finding("ok", "keys", f"{len(keyring.key_ids)} in {keys_env}, the primary first: {named}")
    if store is None:
        yield Finding("warn", "store", "not looked at: give --store or --vault", "fix_configuration")
        return
    try:
        with stored_vault(store, keys_env) as found:
            yield from _examine_vault(found, looks)
    except SocialVaultError as problem:
        yield wrong("store", problem)


def _examine_vault(found: OpenVault, looks: Sequence[Look]) -> Iterator[Finding]:
    core = found.core
    first = read_clocks(core.clock)
    try:
        counts = found.run(core.store.count_by_status())
    except SocialVaultError as problem:
        yield wrong("store", problem)
        return
    yield Finding("ok", "store", ", ".join(f"{count} {status}" for status, count in counts.items()) or "no connection")
    yield _canary(found)
    facts = sqlite_facts(core.store)
    if facts is not None:
        yield from judge_sqlite(facts)
    yield from examine_redis(found)
    yield from judge_clocks(first, read_clocks(core.clock), facts.newest_write_seconds if facts else None)
    for look in looks:
        yield from look(found)


def _canary(found: OpenVault) -> Finding:
    """Open the canary; a store that no vault has used is left as it is."""
    core = found.core
    try:
        if found.run(core.keyring._store.load_vault()) is None:
            return Finding("warn", "canary", "no vault has used this store yet; the first start writes it")
        found.run(core.keyring.open())
    except SocialVaultError as problem:
        return wrong("canary", problem)
    return Finding("ok", "canary", "the keys open it")


def _escrow(found: OpenVault) -> Finding:
    """Write a probe to the escrow, and count what waits in it."""
    escrow = found.core.escrow
    if escrow is None:
        return _NO_ESCROW
    try:
        found.run(escrow.open())
        waiting = len(found.run(escrow.records()))
    except SocialVaultError as problem:
        return wrong("escrow", problem)
    if waiting:
        return Finding("warn", "escrow", f"{waiting} tokens wait for the store: start the application", "retry")
    return Finding("ok", "escrow", "can be written, nothing waits in it")


def _redirect_uris(core: Core) -> Iterator[Finding]:
    for slug in core.providers.by_slug:
        uri = core.settings.redirect_uri_for(slug)
        yield Finding("ok", f"redirect URI at {slug}", f"{uri}, to be registered exactly so", "fix_configuration")
    if not core.providers.by_slug:
        yield Finding("wrong", "providers", "this vault has none", "fix_configuration")
