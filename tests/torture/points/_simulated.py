"""Simulated time: a provider in this very process, whose frozen clock the vault and the store share."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from socialvault.sandbox import Sandbox
from socialvault.transports.httpx import HttpxTransport, TransportSettings
from torture.bench import MINE, Bench
from torture.mutations import mutation

if TYPE_CHECKING:
    from socialvault import Vault
    from socialvault.model.status import Status
    from socialvault.model.token import TokenSet
    from socialvault.ports.clock import Clock
    from socialvault.protocol.messages import HttpRequest, HttpResponse
    from socialvault.sandbox.issuing import IssuedTokens

IMPATIENCE = timedelta(milliseconds=20)


@mutation("no circuit: a provider that is down is asked for every connection")
def no_circuit() -> None:
    from socialvault.vault.circuit import Circuits

    Circuits.refusal = Circuits.waiting = lambda circuits, provider: None  # type: ignore[method-assign]  # a mutation
    Circuits.most = lambda circuits, provider, wanted: wanted  # type: ignore[method-assign]  # a mutation


@contextmanager
def simulated(bench: Bench, name: str) -> Iterator[Bench]:
    """Lend a copy of the bench with a provider of its own on a fixed port, and a folder of its own."""
    directory = bench.directory / name
    directory.mkdir(mode=0o700)
    inside: Any = bench.at(bench.place.beside(directory), directory)
    with Sandbox(port=_free_port()) as sandbox:
        sandbox.clock.freeze()
        inside.sandbox = sandbox
        yield inside


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CountingTransport:
    """Counts what is sent, whether or not it arrives; can be made to lose patience soon.

    Attributes:
        sent_at: when each request was sent (seconds), in order.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._patient = HttpxTransport(clock=clock)
        self._impatient = HttpxTransport(
            clock=clock, settings=TransportSettings(total_deadline=IMPATIENCE, connect_timeout=IMPATIENCE)
        )
        self._used = self._patient
        self.sent_at: list[float] = []

    def be_patient(self, patient: bool) -> None:
        """Wait as usual, or hardly at all."""
        self._used = self._patient if patient else self._impatient

    def send(self, request: HttpRequest) -> HttpResponse:
        """As `Transport.send`."""
        self.sent_at.append(self._clock.now_seconds())
        return self._used.send(request)

    def close(self) -> None:
        """As `Transport.close`."""
        self._patient.close()
        self._impatient.close()


def bring_in(bench: Bench, vault: Vault, slug: str, issued: IssuedTokens, owner: dict[str, Any] = MINE) -> str:
    """Import issued tokens as they are; return the connection's id."""
    return vault.import_tokens(
        slug, access_token=issued.access_token, refresh_token=issued.refresh_token, expires_at=issued.expires_at,
        scopes=issued.scopes, subject=issued.subject, **owner,
    ).id  # fmt: skip


def person(bench: Bench) -> str:
    """Make up somebody who has no account yet."""
    return f"user{bench.random.getrandbits(64):016x}"


def stored(bench: Bench, vault: Vault, connection_id: str) -> tuple[Status, TokenSet]:
    """Read a connection's status and tokens from the store."""
    from socialvault.runtimes.threads import run

    row = bench.row(vault, connection_id)
    assert row is not None
    return row.status, run(vault._cases.core.open(row)).token


def works(bench: Bench, slug: str, token: TokenSet) -> bool:
    """Whether the provider takes both of the tokens now: it is the judge."""
    sandbox: Any = bench.sandbox
    ledger, now = sandbox._emulator(slug).ledger, sandbox.clock.now()
    return token.refresh_token is not None and all(
        ledger.verdict(ledger.tokens.get(secret.reveal()), now) == "live"
        for secret in (token.access_token, token.refresh_token)
    )
