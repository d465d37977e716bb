"""What the real databases and key services of the tests have in common: one process, its log, and ways to end it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.01


@dataclass
class Daemon:
    """A server's process, which may be ended in several ways and started again with the same command.

    Attributes:
        log: its standard output and error, of every start.
        ready: whether it answers.
        user: the account it runs as; None: ours.
        stop_signal: what ends it in good order.
    """

    name: str
    command: Sequence[str]
    log: Path
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    process: subprocess.Popen[bytes] | None = None
    owner: int = field(default_factory=os.getpid)  # a forked child must not end its parent's server

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} does not run"
        return self.process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert self.process is None, f"{self.name} runs already"
        as_user: dict[str, Any] = (
            {} if self.user is None else {"user": self.user, "group": group_of(self.user), "extra_groups": []}
        )
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                list(self.command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                cwd=self.log.parent, env={**os.environ, **self.environment}, **as_user,
            )  # fmt: skip
        until = time.monotonic() + _START_SECONDS
        while not self.ready():
            assert self.process.poll() is None, f"{self.name} ended at its start:\n{self.output()}"
            assert time.monotonic() < until, f"{self.name} does not answer:\n{self.output()}"
            time.sleep(_POLL_SECONDS)

    def output(self) -> str:
        """The end of its log, for a failure's message."""
        return self.log.read_text("utf-8", "replace")[-5000:]

    def stop(self) -> None:
        """End it in good order, or with force when it takes too long."""
        if self.process is None or self.owner != os.getpid():
            return
        self.resume()
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it and its children at once, as a loss of power would; nothing is flushed."""
        if self.process is None:
            return
        family = self.family()
        for pid in family:
            _signal(pid, signal.SIGKILL)
        self.process.wait(_STOP_SECONDS)
        until = time.monotonic() + _STOP_SECONDS
        while any(_runs(pid) for pid in family) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        self.process = None

    def restart(self) -> None:
        """Start it again, after `stop` or `kill`, or after a stop that this makes."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it and its children: connections stay open and nothing answers."""
        for pid in self.family():
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End a `pause`."""
        for pid in self.family():
            _signal(pid, signal.SIGCONT)

    def family(self) -> list[int]:
        """Its pid and then those of its children; Postgres gives each child a session of its own."""
        if self.process is None or self.process.poll() is not None:
            return []
        return [self.process.pid, *_children(self.process.pid)]


def group_of(user: str) -> int:
    """The account's own group."""
    import pwd

    return pwd.getpwnam(user).pw_gid


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _status(pid: int) -> tuple[str, int]:
    """A process's state letter and its parent's pid."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "X", 0
    return after_name[0], int(after_name[1])


def _runs(pid: int) -> bool:
    return _status(pid)[0] not in "XZ"


def _children(parent: int) -> list[int]:
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _status(int(entry.name))[1] == parent
    ]
