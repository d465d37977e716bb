"""Whether a promise held: from what the vault did, and from what the providers' own log says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from socialvault.cli.demo.sealed import SealedRow
    from socialvault.sandbox import LogEntry


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a promise.

    Attributes:
        happened: at the vault. log: at the providers, by their log.
        exhibit: a stored row to look at.
    """

    happened: str
    log: str
    held: bool
    exhibit: SealedRow | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """What callers of ``token()`` got: fingerprints of tokens, names of errors."""

    tokens: tuple[str, ...]
    errors: tuple[str, ...] = ()


def count(entries: Iterable[LogEntry], **equals: str) -> int:
    """Count the log entries whose fields equal what is given."""
    return sum(all(getattr(entry, name) == value for name, value in equals.items()) for entry in entries)


def tally(entries: Iterable[LogEntry], providers: Iterable[str], **equals: str) -> dict[str, int]:
    """Count as `count` does, per provider."""
    kept = tuple(entries)
    return {provider: count(kept, provider=provider, **equals) for provider in providers}


def told(counts: Mapping[str, int]) -> str:
    """Say counts in words."""
    return ", ".join(f"{name} {number}" for name, number in counts.items())


def judge_renewals(
    entries: Sequence[LogEntry], answers: Mapping[str, Answers], expected: Mapping[str, int], *, callers: int, who: str
) -> Finding:
    """Hold the requests at each token endpoint against what the provider's rules call for.

    Every caller must hold the one token; where one was issued, it must be that one.
    """
    requests = tally(entries, expected, endpoint="token")
    issued = {entry.provider: entry.issued for entry in entries if entry.endpoint == "token"}
    served = all(
        len(answer.tokens) == callers
        and len(set(answer.tokens)) == 1
        and (not expected.get(provider) or answer.tokens[0] in issued.get(provider, ()))
        for provider, answer in answers.items()
    )
    failed = sum(len(answer.errors) for answer in answers.values())
    got = sum(len(answer.tokens) for answer in answers.values())
    outcome = "all got their provider's one token" if served else f"{got} got a token, {failed} an error"
    return Finding(
        f"{callers} {who} asked at once at each provider; {outcome}",
        f"token requests: {told(requests)}",
        served and requests == dict(expected),
    )
