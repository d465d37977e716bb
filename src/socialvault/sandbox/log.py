"""The sandbox's log: what really happened at the emulated providers. Holds fingerprints, no secrets."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, overload

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from datetime import datetime


def token_fingerprint(secret: str) -> str:
    """Return what the log shows instead of `secret`: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(slots=True)
class Note:
    """What a handler learns about a request while it answers it; the log keeps it."""

    outcome: str = ""
    grant_type: str = ""
    client_id: str = ""
    user: str = ""
    grant_id: str = ""
    presented: str = ""
    issued: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One request, as the provider saw it.

    Attributes:
        at: by the sandbox's clock.
        endpoint: ``consent_page authorize token revoke introspect userinfo jwks discovery api …``.
        outcome: what the provider did (``shown granted denied issued refreshed refreshed_in_grace exchanged
            extended answered``), what it refused (``reuse_detected``: a spent refresh token ended its grant, ``spent``:
            it did not, ``code_reused too_young`` and error codes), what it ended (``revoked``: the grant,
            ``token_revoked``: one token, ``account_revoked``: every grant of the person to the application), or
            ``not_run`` when a fault came first.
        grant_id: of the grant concerned; every token carries it in its text.
        presented: fingerprint of the secret in the request.
        issued: fingerprints of the secrets in the answer.
        status: of the answer as the handler made it; 0 when it was not run.
        fault: the fault that hit this request, "" for none.
    """

    at: datetime
    provider: str
    endpoint: str
    outcome: str
    status: int
    grant_type: str = ""
    client_id: str = ""
    user: str = ""
    grant_id: str = ""
    presented: str = ""
    issued: tuple[str, ...] = ()
    fault: str = ""


_FIELDS = frozenset(field.name for field in fields(LogEntry))


class Log(Sequence[LogEntry]):
    """Everything that reached the providers, in the order in which they acted on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[LogEntry] = []

    @overload
    def __getitem__(self, index: int) -> LogEntry: ...
    @overload
    def __getitem__(self, index: slice) -> list[LogEntry]: ...
    def __getitem__(self, index: int | slice) -> LogEntry | list[LogEntry]:
        with self._lock:
            return self._entries[index]

    def __len__(self) -> int:
        with self._lock:
            return len(self._entries)

    def __iter__(self) -> Iterator[LogEntry]:
        with self._lock:
            return iter(tuple(self._entries))

    def add(self, entry: LogEntry) -> None:
        """Append `entry`."""
        with self._lock:
            self._entries.append(entry)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def entries(self, **equals: object) -> list[LogEntry]:
        """Return the entries whose fields equal what is given: ``entries(provider="x", outcome="refreshed")``.

        Raises:
            ConfigurationError: an entry has no such field.
        """
        if unknown := equals.keys() - _FIELDS:
            raise ConfigurationError(f"a log entry has no {sorted(unknown)}; it has {sorted(_FIELDS)}")
        return [entry for entry in self if all(getattr(entry, name) == value for name, value in equals.items())]

    def count(self, value: object = None, /, **equals: object) -> int:
        """Count the entries whose fields equal what is given."""
        return len(self.entries(**equals)) if value is None else super().count(value)

    def about(self, secret: str) -> list[LogEntry]:
        """Return the entries in which `secret` was issued or presented."""
        mark = token_fingerprint(secret)
        return [entry for entry in self if mark == entry.presented or mark in entry.issued]
