"""What the server says about itself: whether what it has acknowledged can get lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What only its configuration tells; managed servers often keep that to themselves.
SETTINGS = ("maxmemory-policy", "appendonly", "appendfsync")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Settings and state of a server; "" for what it does not tell.

    Attributes:
        product: ``Valkey`` or ``Redis``.
        role: ``master`` or ``slave``.
        replicas: how many are connected.
        appended: whether its last write to the append-only file went well: ``ok`` or ``err``.
    """

    product: str
    version: str
    role: str
    replicas: int
    maxmemory_policy: str
    appendonly: str
    appendfsync: str
    appended: str


def server_facts(information: Mapping[str, Any], settings: Mapping[Any, Any]) -> ServerFacts:
    """Put together what ``INFO`` and ``CONFIG GET`` answered."""
    set_to = {_text(name): _text(value) for name, value in settings.items()}
    valkey = _text(information.get("valkey_version", ""))
    append_only = {"1": "yes", "0": "no"}.get(_text(information.get("aof_enabled", "")), "")
    return ServerFacts(
        product="Valkey" if valkey else "Redis",
        version=valkey or _text(information.get("redis_version", "")),
        role=_text(information.get("role", "")),
        replicas=int(information.get("connected_slaves", 0)),
        maxmemory_policy=_text(information.get("maxmemory_policy", "")) or set_to.get("maxmemory-policy", ""),
        appendonly=append_only or set_to.get("appendonly", ""),
        appendfsync=set_to.get("appendfsync", ""),
        appended=_text(information.get("aof_last_write_status", "")),
    )


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
