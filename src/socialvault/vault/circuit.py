"""A circuit per provider: while it is down, or has rejected the application, this process leaves it alone."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from socialvault.exceptions import (
    ClientRejectedError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    SocialVaultError,
    TransportError,
)
from socialvault.vault.schedule import jitter

if TYPE_CHECKING:
    from socialvault.ports.clock import Clock

#: So many failures in a row open a circuit; one that asks to wait, or rejects the application, opens it at once.
_FAILURES = 5
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=1)
_REJECTED_PAUSE = timedelta(minutes=5)
_LONGEST_WAIT = timedelta(hours=1)


@dataclass(slots=True)
class _Circuit:
    """What is known of one provider.

    Attributes:
        openings: pauses in a row.
        probe: one element while nobody is finding out whether it is back; of threads at once one gets it.
        probing_until_seconds: when who has it is given up; 0 for nobody.
    """

    failures: int = 0
    openings: int = 0
    open_until_seconds: float = 0.0
    probing_until_seconds: float = 0.0
    problem: SocialVaultError | None = field(default=None, repr=False)
    rejected: bool = False
    probe: list[None] = field(default_factory=lambda: [None])

    def take_probe(self) -> bool:
        """Whether this caller is the one."""
        try:
            self.probe.pop()
        except IndexError:
            return False
        return True

    def give_probe(self) -> None:
        """Let another caller be the one."""
        self.probing_until_seconds = 0.0
        self.probe = [None]


class Circuits:
    """The circuits of one process, by provider."""

    def __init__(self, clock: Clock, probe: timedelta) -> None:
        self._clock = clock
        self._probe_seconds = probe.total_seconds()
        self._circuits: dict[str, _Circuit] = {}

    def waiting(self, provider: str) -> SocialVaultError | None:
        """Return why nothing may be sent now, or None. Asking does not use up the one attempt after a pause."""
        circuit = self._circuits.get(provider)
        if circuit is None or circuit.problem is None:
            return None
        until = max(circuit.open_until_seconds, circuit.probing_until_seconds)
        wait = timedelta(seconds=until - self._clock.now_seconds())
        if not timedelta(0) < wait <= 2 * _LONGEST_WAIT:  # so long only because the clock was put back
            return None
        return _left_alone(provider, circuit.problem, wait)

    def refusal(self, provider: str) -> SocialVaultError | None:
        """Return why nothing may be sent now, or None; of the callers after a pause the first one may try."""
        refusal, circuit = self.waiting(provider), self._circuits.get(provider)
        if refusal is not None or circuit is None or circuit.problem is None:
            return refusal
        now = self._clock.now_seconds()
        if not circuit.take_probe() and not 0 < circuit.probing_until_seconds <= now:
            return _left_alone(provider, circuit.problem, timedelta(seconds=self._probe_seconds))
        circuit.probing_until_seconds = now + self._probe_seconds
        return None

    def unused(self, provider: str) -> None:
        """Give back the attempt that `refusal` allowed: it was not made."""
        circuit = self._circuits.get(provider)
        if circuit is not None:
            circuit.give_probe()

    def most(self, provider: str, wanted: int) -> int:
        """Return how many may be sent: none during a pause, one to find out whether it is over, else all."""
        circuit = self._circuits.get(provider)
        if circuit is None or circuit.problem is None:
            return wanted
        return 0 if self.waiting(provider) else min(1, wanted)

    def succeeded(self, provider: str) -> bool:
        """Close the circuit; return whether the application had been rejected."""
        circuit = self._circuits.pop(provider, None)
        return circuit is not None and circuit.rejected

    def failed(self, provider: str, problem: SocialVaultError) -> bool:
        """Count a failure; return whether it is the first that rejects the application."""
        circuit = self._circuits.setdefault(provider, _Circuit())
        circuit.failures += 1
        wait = problem.retry_after if isinstance(problem, ProviderError) else None
        rejects = isinstance(problem, ClientRejectedError)
        if rejects or wait or circuit.openings or circuit.failures >= _FAILURES:
            pause = min(_FIRST_PAUSE * (1 << min(circuit.openings, 10)), _LONGEST_PAUSE)
            pause = pause * (0.75 + jitter(f"{provider}/{circuit.openings}") / 2)
            pause = max(pause, min(wait or timedelta(0), _LONGEST_WAIT), _REJECTED_PAUSE if rejects else pause)
            circuit.open_until_seconds = self._clock.now_seconds() + pause.total_seconds()
            circuit.openings += 1
            circuit.problem = copy(problem).with_traceback(None)  # the caller raises the one that has its frames
        circuit.give_probe()
        first = rejects and not circuit.rejected
        circuit.rejected = circuit.rejected or rejects
        return first


def counts(problem: SocialVaultError) -> bool:
    """Whether an error is about the provider or the application, and not about one grant."""
    return isinstance(problem, (TransportError, ProviderUnavailableError, RateLimitedError, ClientRejectedError))


def _left_alone(provider: str, problem: SocialVaultError, wait: timedelta) -> ProviderError:
    """Build the error for a call that was not made, of the branch of what came before it."""
    text = f"{provider}: is left alone for now: {problem}"
    if isinstance(problem, (RateLimitedError, ClientRejectedError)):
        return type(problem)(text, provider=provider, status=problem.status, error=problem.error, retry_after=wait)
    return ProviderUnavailableError(text, provider=provider, retry_after=wait)
