"""Faults: what a hostile or broken provider does instead of, or after, its work."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from socialvault.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Whether the provider had done its work (issued, rotated, revoked) when the fault struck.
Moment = Literal["before_commit", "after_commit"]
#: A body that no client can use. ``truncated``: the right answer, cut off in the middle of the JSON.
BodyKind = Literal["html", "malformed", "empty", "truncated"]

_MOMENTS = (None, *get_args(Moment))


class FaultOptions(TypedDict, total=False):
    """How a request goes wrong; see `Fault`."""

    latency: timedelta
    drip: timedelta
    drop: Moment | None
    hang: Moment | None
    status: int | None
    body: BodyKind | bytes | None
    error: str
    at: Moment
    retry_after: int | str | None
    headers: Mapping[str, str]
    replace: Mapping[str, Any]
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way for a request to go wrong.

    Attributes:
        latency: wait before the work, or after it with ``at="after_commit"``.
        drip: send the body byte by byte, this far apart.
        drop: close the socket without an answer, before or after the work was done.
        hang: never answer, before or after the work was done.
        status, body, error: answer with this instead. `body` is one of four kinds, or the bytes themselves;
            `error` is said in the endpoint's own dialect (at Facebook ``"190.460"``: code and subcode).
        at: whether the work is done before `status`, `body` or `error` are answered; the default is that it is not.
        retry_after: the Retry-After header: seconds, or a text as it is.
        headers: added to the answer.
        replace: fields of the answer (of the callback at ``authorize``) to set, or with None to leave out.
        claims: claims of the ID token to set, or with None to leave out.
    """

    latency: timedelta = timedelta(0)
    drip: timedelta = timedelta(0)
    drop: Moment | None = None
    hang: Moment | None = None
    status: int | None = None
    body: BodyKind | bytes | None = None
    error: str = ""
    at: Moment = "before_commit"
    retry_after: int | str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    replace: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    claims: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.drop not in _MOMENTS or self.hang not in _MOMENTS or self.at not in _MOMENTS[1:]:
            raise ConfigurationError(f"a fault strikes {' or '.join(get_args(Moment))}")
        if isinstance(self.body, str) and self.body not in get_args(BodyKind):
            raise ConfigurationError(f"body is bytes or one of {get_args(BodyKind)}")

    @property
    def moment(self) -> Moment:
        """When it strikes."""
        if self.body == "truncated":
            return "after_commit"  # there is nothing to cut off before
        return self.drop or self.hang or self.at

    @property
    def answers_instead(self) -> bool:
        """Whether the handler's own answer is replaced or never sent."""
        return bool(self.drop or self.hang or self.status is not None or self.body is not None or self.error)

    @property
    def commits(self) -> bool:
        """Whether the work is done."""
        return not self.answers_instead or self.moment == "after_commit"

    def __str__(self) -> str:
        usual = Fault()
        names = [field.name for field in fields(self) if field.name != "at"]
        said = [name for name in names if getattr(self, name) != getattr(usual, name)]
        return f"{'+'.join(said)} {self.moment}".strip()


@dataclass(slots=True)
class _Planned:
    fault: Fault
    left: int | None


class FaultPlan:
    """The faults to come, first come first served per endpoint."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: dict[tuple[str, str], list[_Planned]] = {}

    def add(self, provider: str, endpoint: str, fault: Fault, times: int | None) -> None:
        """Let `fault` hit the next `times` requests; None: all, until cleared."""
        with self._lock:
            self._planned.setdefault((provider, endpoint), []).append(_Planned(fault, times))

    def take(self, provider: str, endpoint: str) -> Fault | None:
        """Return the fault for this request and count it off."""
        with self._lock:
            planned = self._planned.get((provider, endpoint), [])
            if not planned:
                return None
            first = planned[0]
            if first.left is not None:
                first.left -= 1
                if first.left <= 0:
                    planned.pop(0)
            return first.fault

    def clear(self) -> None:
        """Let everything go well again."""
        with self._lock:
            self._planned.clear()
