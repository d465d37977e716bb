"""What is special about a store in Valkey or Redis: whether what it has acknowledged can get lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from socialvault.cli.doctor.findings import Finding, wrong
from socialvault.exceptions import SocialVaultError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socialvault.cli.opening import OpenVault
    from socialvault.stores.redis.server import ServerFacts

_OLDEST = 7
_FIX: Final = "fix_configuration"


def examine_redis(found: OpenVault) -> Iterator[Finding]:
    """Ask the server behind a vault; nothing for a store of another kind."""
    store = _redis_store(found.core.store)
    if store is None:
        return
    try:
        facts: ServerFacts = found.settled(store.server_facts())
    except SocialVaultError as problem:
        yield wrong("server", problem)
        return
    yield from judge_redis(facts)


def judge_redis(facts: ServerFacts) -> Iterator[Finding]:
    """Judge version, role, eviction and durability."""
    yield _server(facts)
    yield _eviction(facts.maxmemory_policy)
    yield _durability(facts)


def _redis_store(store: Any) -> Any:
    """Find the store in whatever it is wrapped in. By its method: without the driver, its class can't be loaded."""
    while store is not None and not hasattr(store, "server_facts"):
        store = getattr(store, "_store", None)
    return store


def _server(facts: ServerFacts) -> Finding:
    named = f"{facts.product} {facts.version}"
    major = facts.version.partition(".")[0]
    if major.isdecimal() and int(major) < _OLDEST:
        return Finding("wrong", "server", f"{named} is too old: {_OLDEST} or newer is needed", _FIX)
    if facts.role == "slave":
        return Finding("wrong", "server", f"{named} is a replica, which may be behind: give the primary", _FIX)
    if facts.replicas:
        told = f"{named}; its {facts.replicas} replicas may lack its last writes when one of them takes over"
        return Finding("ok", "server", told)
    return Finding("ok", "server", f"{named}, without replicas")


def _eviction(policy: str) -> Finding:
    if policy == "noeviction":
        return Finding("ok", "eviction", "noeviction: nothing is dropped when memory is full")
    if not policy:
        return Finding("warn", "eviction", "not told: make sure of maxmemory-policy noeviction", _FIX)
    return Finding(
        "wrong", "eviction", f"{policy} drops connections and keys when memory is full: set noeviction", _FIX
    )


def _durability(facts: ServerFacts) -> Finding:
    if facts.appendonly == "no":
        told = "appendonly is off: a restart loses what was written since the last snapshot; set appendonly yes"
        return Finding("wrong", "durability", told, _FIX)
    if facts.appended not in ("", "ok"):
        return Finding("wrong", "durability", "the server can't write its append-only file: is its disk full?", _FIX)
    if not facts.appendonly or not facts.appendfsync:
        told = "not told: make sure of appendonly yes and appendfsync always"
        return Finding("warn", "durability", told, _FIX)
    if facts.appendfsync == "always":
        return Finding("ok", "durability", "what was acknowledged is on disk (appendfsync always)")
    lost = "the last second" if facts.appendfsync == "everysec" else "what the system has not written out"
    told = (
        f"appendfsync {facts.appendfsync}: a power cut loses {lost}, such as a rotated refresh token, a disconnect or"
        " that a login was claimed; set appendfsync always"
    )
    return Finding("warn", "durability", told, _FIX)
