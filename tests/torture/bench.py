"""The bench: a hostile provider in its own process, a store, and processes that use one vault."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from socialvault import LocalKeyring, Vault
from socialvault.api.assembly import SystemClock
from socialvault.sandbox.failpoints import Failpoints
from socialvault.sandbox.remote import RemoteSandbox
from socialvault.stores.escrow import FileEscrow
from socialvault.transports.httpx import HttpxTransport
from torture.changes import changed
from torture.lifetimes import LIFETIMES
from torture.mutations import MUTATIONS, OWNER, TENANT
from torture.places import Place
from torture.portal import BlockingFace
from torture.servers import Servers
from torture.store import Store

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from socialvault.model.rows import ConnectionRow
    from socialvault.ports.clock import Clock
    from socialvault.providers import Provider
    from socialvault.sandbox.failpoints import Hook

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}
REDIRECT_URI = "http://127.0.0.1:9/oauth/{provider}/callback"
#: How long a worker may take before the bench calls it hung.
PATIENCE_SECONDS = 120.0

_FORK = multiprocessing.get_context("fork")

Advance = Callable[[int], None]


@dataclass
class Bench:
    """What a point works with. A copy of it in a forked process means the same provider and the same store.

    Attributes:
        place: where the rows are. colour: of the store behind it, "sync" or "async".
        seed: what `random` is made from; printed, so that a run can be repeated.
        mutation: of the library, in this process and in those that it starts; "" for none.
        advance: tell the progress bar.
    """

    sandbox: RemoteSandbox
    place: Place
    colour: str
    seed: int
    directory: Path
    mutation: str = ""
    advance: Advance = lambda _trials: None
    keys: str = field(default_factory=LocalKeyring.generate)
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        if self.mutation:
            MUTATIONS[self.mutation].apply()

    @property
    def store_url(self) -> str:
        """Where the store is, for a vault that opens it itself."""
        return self.place.url

    @property
    def escrow(self) -> Path:
        """Where the escrow is."""
        return self.directory / "escrow"

    def open_store(self, clock: Clock | None = None) -> Any:
        """Open the store under torture for blocking vaults, whatever its colour."""
        return changed(self._opened(clock or SystemClock()))

    def _opened(self, clock: Clock) -> Any:
        if self.colour == "async":
            return BlockingFace(lambda: self.place.open_async(clock))
        return self.place.open(clock)

    def open_async_store(self) -> Any:
        """Open the store under torture for event loops."""
        return changed(self.place.open_async(SystemClock()))

    def at(self, place: Place, directory: Path) -> Bench:
        """Return a bench that is like this one, but for where it keeps its rows and its escrow."""
        moved = copy(self)
        moved.place, moved.directory = place, directory
        return moved

    def vault(
        self, *providers: Provider, hook: Hook | None = None, clock: Clock | None = None, **options: Any
    ) -> Vault:
        """Make a vault over the bench's store and escrow.

        Args:
            providers: by default X, as the sandbox has it now.
            hook: of failpoints around every collaborator; None for none.
            options: of the constructor, instead of the bench's own.
        """
        given, opened = options.pop("store", None), None
        if given is None:
            opened = self._opened(clock or SystemClock())
        store, keys = given or changed(opened), options.pop("keys", None) or LocalKeyring([self.keys])
        escrow: Any = options.pop("escrow", FileEscrow(self.escrow))
        transport: Any = options.pop("transport", None) or HttpxTransport(clock=clock or SystemClock())
        if hook is not None:
            around = Failpoints(hook)
            store, keys = around.store(store), around.keys(keys)  # type: ignore[assignment]  # wrapped
            escrow, transport = escrow and around.escrow(escrow), around.transport(transport)
        vault = Vault(
            providers=providers or [self.sandbox.provider("x")], store=store, keys=keys, redirect_uri=REDIRECT_URI,
            escrow=escrow, transport=transport, clock=clock, **options,
        )  # fmt: skip
        if opened is not None:
            LIFETIMES.end_with(vault._cases.core.store, opened)  # what goes on in its threads has that, not the vault
        return vault

    def connect(
        self, vault: Vault, count: int = 1, slug: str = "x", *, expires_at: Any = None, **issuing: Any
    ) -> list[str]:
        """Put `count` connections of as many people into the vault, as if they had gone through the browser; return
        their ids. Without `expires_at` the tokens are due at once.
        """
        users = [f"user{self.random.getrandbits(64):016x}" for _ in range(count)]
        ids = []
        for issued in self.sandbox.issue_many(slug, users, **issuing):
            ids.append(
                vault.import_tokens(
                    slug, access_token=issued.access_token, refresh_token=issued.refresh_token,
                    expires_at=expires_at or vault._cases.core.now(), scopes=issued.scopes, subject=issued.subject,
                    **MINE,
                ).id
            )  # fmt: skip
        return ids

    def row(self, vault: Vault, connection_id: str) -> ConnectionRow | None:
        """Read a connection's row from the store."""
        from socialvault.runtimes.threads import run

        return run(vault._cases.core.store.get(connection_id, TENANT, OWNER))

    def holds_newest(self, vault: Vault, connection_id: str, slug: str = "x") -> bool:
        """Whether the store's refresh token is one that the provider would take now: it is the judge."""
        from socialvault.runtimes.threads import run

        row = self.row(vault, connection_id)
        if row is None or not row.envelope:
            return False
        token = run(vault._cases.core.open(row)).token
        stored = token.refresh_token or token.access_token
        return stored.reveal() in self.sandbox.live_tokens(slug)

    # --- processes --------------------------------------------------------------------------------

    def start(self, work: Callable[..., Any], *args: Any) -> Worker:
        """Start ``work(bench, *args)`` in a process of its own."""
        return Worker(self, work, args)

    def in_processes(self, count: int, work: Callable[..., Any], *args: Any) -> list[Any]:
        """Run ``work(bench, number, *args)`` in `count` processes at once; return what each of them returned."""
        workers = [self.start(work, number, *args) for number in range(count)]
        return [worker.result() for worker in workers]


class Worker:
    """A process at work."""

    def __init__(self, bench: Bench, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._receiving, sending = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=_run, args=(sending, bench, work, args), daemon=True)
        self.process.start()
        sending.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process.pid is not None
        return self.process.pid

    def result(self, patience_seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait for its end and return what it returned.

        Raises:
            RuntimeError: it failed, or was killed.
            TimeoutError: it hangs; it is killed then.
        """
        if not self._receiving.poll(patience_seconds):
            self.process.kill()
            raise TimeoutError(f"a worker hangs: {patience_seconds} s")
        try:
            ok, value = self._receiving.recv()
        except EOFError:
            self.process.join(5)
            raise RuntimeError(f"a worker ended with code {self.process.exitcode}") from None
        self.process.join(5)
        if not ok:
            raise RuntimeError(f"a worker failed:\n{value}")
        return value

    def ended(self, patience_seconds: float = PATIENCE_SECONDS) -> int | None:
        """Wait for its end, whatever it returned; return its exit code, None when it hangs (it is killed then)."""
        self.process.join(patience_seconds)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            self.process.join(5)
        return code


def _run(sending: Connection[Any, Any], bench: Bench, work: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        sending.send((True, work(bench, *args)))
    except BaseException:  # noqa: BLE001  # the bench reports it
        sending.send((False, traceback.format_exc()))


def make_bench(store: Store, seed: int, *, servers: Servers, mutation: str = "", sandbox: RemoteSandbox) -> Bench:
    """Make a bench with a folder of its own and a provider that has forgotten everything."""
    sandbox.reset()
    directory = Path(tempfile.mkdtemp(prefix="torture-"))
    return Bench(sandbox, servers.place(store.kind, directory), store.colour, seed, directory, mutation)


def discard(bench: Bench) -> None:
    """Remove what a bench left on disk."""
    shutil.rmtree(bench.directory, ignore_errors=True)
    bench.place.discard()


def batches(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    """Cut `items` into parts of `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
