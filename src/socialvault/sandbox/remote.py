"""``RemoteSandbox``: a sandbox in a process of its own, steered by any number of client processes.

For tests whose own processes are killed, forked and stopped, while the provider has to go on and its log to stay true.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import secrets
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import AuthenticationError
from multiprocessing import connection as wire
from typing import TYPE_CHECKING, Any, Self, Unpack, cast

from socialvault.exceptions import ConfigurationError
from socialvault.model.secret import Secret
from socialvault.sandbox.browser import Callback, Decision, consent
from socialvault.sandbox.factory import build_provider
from socialvault.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import timedelta
    from types import TracebackType

    from socialvault.providers.base import Provider
    from socialvault.sandbox.accounts import Client
    from socialvault.sandbox.faults import FaultOptions
    from socialvault.sandbox.issuing import IssuedTokens
    from socialvault.sandbox.log import LogEntry
    from socialvault.sandbox.settings import Settings

_HOST = "127.0.0.1"
_START_SECONDS = 20.0
_STOP_SECONDS = 5.0
_WATCH_SECONDS = 0.2


class RemoteSandbox:
    """Starts a `Sandbox` in a process of its own and steers it; the log there is the judge of what happens here.

    A copy that was pickled or forked into another process steers the same sandbox; only the one that started it stops
    it. It ends with the process that started it, however that ends. Its methods are those of `Sandbox`, and do the
    same, save that `provider` and `authorize` do their work in the calling process.

    Args:
        host: the loopback address to serve on. port: 0 for any free one.

    Raises:
        ConfigurationError: an extra is missing, the port is taken, or the sandbox is not running.
    """

    def __init__(self, *, host: str = _HOST, port: int = 0) -> None:
        self._host, self._port = host, port
        self._line: _Line | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._starter = 0
        self._base_url = ""

    @classmethod
    def at(cls, address: tuple[str, int], authkey: bytes) -> Self:
        """Return one that steers the sandbox at `address`, started by somebody else; see `address` and `authkey`."""
        remote = cls()
        remote._line = _Line(address, authkey)
        remote._base_url = remote._ask("base_url")
        return remote

    # --- the process ----------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the process."""
        if self._line is not None:
            return self
        authkey = secrets.token_bytes(32)
        process = subprocess.Popen(
            [sys.executable, "-m", "socialvault.sandbox.remote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a signal to the group of those who are tested is not for the judge
        )
        order = {"authkey": authkey.hex(), "host": self._host, "port": self._port, "parent": os.getpid()}
        started = _dictated(process, order)  # on stdin: arguments and environment are for everybody to read
        if "error" in started:
            _close(process)
            raise ConfigurationError(str(started["error"]))
        self._process, self._starter = process, os.getpid()
        self._line = _Line((_HOST, int(started["control"])), authkey)
        self._base_url = str(started["base_url"])
        return self

    def stop(self) -> None:
        """End the process, where this is the one that started it."""
        process, self._process, self._line = self._process, None, None
        if process is None or self._starter != os.getpid():
            return
        process.terminate()
        _close(process)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_process": None, "_starter": 0}

    @property
    def address(self) -> tuple[str, int]:
        """Where the sandbox is steered; give it to `at` in another process."""
        return self._connected.address

    @property
    def authkey(self) -> bytes:
        """What lets a process steer the sandbox."""
        return self._connected.authkey

    @property
    def pid(self) -> int | None:
        """The sandbox's process; None where another process started it."""
        return self._process.pid if self._process and self._starter == os.getpid() else None

    @property
    def _connected(self) -> _Line:
        if self._line is None:
            raise ConfigurationError("the remote sandbox is not running: use `with RemoteSandbox() as sandbox`")
        return self._line

    def _ask(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self._connected.ask(name, args, kwargs)

    # --- an application and its users -----------------------------------------------------------

    @property
    def base_url(self) -> str:
        """Where the server is, without a slash at the end."""
        return self._base_url

    def url(self, provider: str, path: str) -> str:
        """Return the address of one of a provider's paths."""
        return f"{self._base_url}/{provider}{path}"

    def register(self, provider: str, **registration: Any) -> Client:
        """Register an application and return its credentials; see `Sandbox.register`."""
        return cast("Client", self._ask("register", provider, **registration))

    def change_secret(self, provider: str, *, overlap: bool, client_id: str | None = None) -> Client:
        """Give an application a new secret; see `Sandbox.change_secret`."""
        return cast("Client", self._ask("change_secret", provider, overlap=overlap, client_id=client_id))

    def provider(
        self,
        provider: str,
        *,
        scopes: Iterable[str] | None = None,
        client_id: str | None = None,
        public: bool = False,
        refresh_tokens: bool | None = None,
        redirect_uris: Iterable[str] = (),
        **overrides: Any,
    ) -> Provider:
        """Register an application and return the library's provider for it, made in this process."""
        client = self.register(
            provider,
            client_id=client_id,
            public=public,
            refresh_tokens=refresh_tokens,
            redirect_uris=tuple(redirect_uris),
        )
        return build_provider(provider, client, self.url(provider, ""), scopes=scopes, overrides=overrides)

    def authorize(
        self,
        login_url: str,
        *,
        user: str = "ada",
        approve: bool = True,
        scopes: Sequence[str] | None = None,
        pages: Sequence[str] | None = None,
    ) -> Callback:
        """Sign in and decide as the person would in a browser; see `Sandbox.authorize`."""
        return consent(login_url, Decision(user=user, approve=approve, scopes=scopes, pages=pages))

    def issue(
        self, provider: str, *, user: str = "ada", scopes: Iterable[str] | None = None, client_id: str | None = None
    ) -> IssuedTokens:
        """Open a grant without a flow and return its tokens; see `Sandbox.issue`."""
        return self.issue_many(provider, [user], scopes=scopes, client_id=client_id)[0]

    def issue_many(
        self, provider: str, users: Iterable[str], *, scopes: Iterable[str] | None = None, client_id: str | None = None
    ) -> list[IssuedTokens]:
        """Do what `issue` does for each of `users`, in one request."""
        granted = None if scopes is None else tuple(scopes)
        found = self._ask("issue_many", provider, list(users), scopes=granted, client_id=client_id)
        return cast("list[IssuedTokens]", found)

    def revoke_grant(self, provider: str, *, user: str = "ada") -> int:
        """Remove every application from `user`'s account; return how many grants ended."""
        return int(self._ask("revoke_grant", provider, user=user))

    def change_password(self, provider: str, *, user: str = "ada") -> int:
        """Change `user`'s password, which ends all grants; return how many."""
        return int(self._ask("change_password", provider, user=user))

    def signed_request(
        self, provider: str, *, user: str = "ada", client_id: str | None = None, issued_at: datetime | None = None
    ) -> str:
        """Return a notice that the provider signed; see `Sandbox.signed_request`."""
        return str(self._ask("signed_request", provider, user=user, client_id=client_id, issued_at=issued_at))

    # --- what the provider does -----------------------------------------------------------------

    def settings(self, provider: str, **changes: Any) -> Settings:
        """Change a provider's rules and return those in force; see `Sandbox.settings`."""
        return cast("Settings", self._ask("settings", provider, **changes))

    def fault(self, provider: str, endpoint: str, *, times: int | None = 1, **how: Unpack[FaultOptions]) -> None:
        """Let the next requests to an endpoint go wrong; see `Sandbox.fault`."""
        self._ask("fault", provider, endpoint, times=times, **how)

    def clear_faults(self) -> None:
        """Let everything go well again."""
        self._ask("clear_faults")

    def change_signing_key(self, provider: str) -> str:
        """Sign ID tokens with a new key from now on. Return the new key's id."""
        return str(self._ask("change_signing_key", provider))

    def reset(self) -> None:
        """Forget grants, applications, settings, faults and the log, and go back to real time."""
        self._ask("reset")

    @property
    def clock(self) -> RemoteClock:
        """The providers' clock; give it to the vault too. Each look at it is a question to the other process."""
        return RemoteClock(self)

    # --- the truth ------------------------------------------------------------------------------

    @property
    def log(self) -> RemoteLog:
        """What reached the providers and what they did, in order."""
        return RemoteLog(self)

    def issued_tokens(self) -> frozenset[str]:
        """Return every secret ever issued."""
        return cast("frozenset[str]", self._ask("issued_tokens"))

    def live_tokens(self, provider: str, grant_id: str | None = None) -> frozenset[str]:
        """Return the access, refresh and Page tokens that work now, of one grant or of all."""
        return cast("frozenset[str]", self._ask("live_tokens", provider, grant_id))


class RemoteClock:
    """The clock of a `RemoteSandbox`."""

    def __init__(self, remote: RemoteSandbox) -> None:
        self._remote = remote

    def now_seconds(self) -> float:
        """Return the seconds since 1970-01-01 UTC."""
        return float(self._remote._ask("clock.now_seconds"))

    def now(self) -> datetime:
        """Return the time as an aware UTC datetime."""
        return datetime.fromtimestamp(self.now_seconds(), UTC)

    def advance(self, by: timedelta) -> None:
        """Move the time forward, or back where `by` is negative."""
        self._remote._ask("clock.advance", by)

    def freeze(self) -> None:
        """Stop following real time."""
        self._remote._ask("clock.freeze")

    def reset(self) -> None:
        """Go back to real time."""
        self._remote._ask("clock.reset")


class RemoteLog:
    """The log of a `RemoteSandbox`. Filters work in the other process, so that only what is asked for travels."""

    def __init__(self, remote: RemoteSandbox) -> None:
        self._remote = remote

    def entries(self, **equals: object) -> list[LogEntry]:
        """Return the entries whose fields equal what is given.

        Raises:
            ConfigurationError: an entry has no such field.
        """
        return cast("list[LogEntry]", self._remote._ask("log.entries", **equals))

    def count(self, **equals: object) -> int:
        """Count the entries whose fields equal what is given."""
        return int(self._remote._ask("log.count", **equals))

    def about(self, secret: str) -> list[LogEntry]:
        """Return the entries in which `secret` was issued or presented."""
        return cast("list[LogEntry]", self._remote._ask("log.about", secret))

    def clear(self) -> None:
        """Forget everything."""
        self._remote._ask("log.clear")

    def __len__(self) -> int:
        return self.count()

    def __getitem__(self, index: int | slice) -> Any:
        return self._remote._ask("log.__getitem__", index)

    def __iter__(self) -> Iterator[LogEntry]:
        return iter(self.entries())


# --- the line between the processes -----------------------------------------------------------------


class _Pickler(pickle.Pickler):
    """Lets secrets through, which refuse to be pickled: these are the sandbox's own and open nothing else."""

    def reducer_override(self, value: Any) -> Any:
        return (Secret, (value.reveal(),)) if isinstance(value, Secret) else NotImplemented


def _send(connection: wire.Connection[Any, Any], message: object) -> None:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(message)
    connection.send_bytes(buffer.getvalue())


class _Line:
    """Asks a sandbox's process. Every thread of every process has a connection of its own, so none waits for another.

    Args:
        address: of the control port. authkey: proves to either side who the other is (HMAC, never sent).
    """

    def __init__(self, address: tuple[str, int], authkey: bytes) -> None:
        self.address, self.authkey = address, authkey
        self._here = threading.local()

    def __reduce__(self) -> tuple[type[_Line], tuple[tuple[str, int], bytes]]:
        return _Line, (self.address, self.authkey)

    def ask(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a method of the sandbox and return what it returned, or raise what it raised.

        Raises:
            ConfigurationError: its process is gone, or `authkey` is not its own.
        """
        try:
            connection = self._connection()
            _send(connection, (name, args, kwargs))
            worked, answer = connection.recv()
        except AuthenticationError:
            raise ConfigurationError("the sandbox's process does not accept this authkey") from None
        except (EOFError, OSError) as error:
            self._here.connection = None
            raise ConfigurationError(f"the sandbox's process does not answer: {type(error).__name__}") from None
        if not worked:
            kind, text = answer
            raise kind(text)
        return answer

    def _connection(self) -> wire.Connection[Any, Any]:
        known = getattr(self._here, "connection", None)
        if known is None or self._here.pid != os.getpid():  # a forked one is its parent's to speak on
            self._here.connection, self._here.pid = wire.Client(self.address, authkey=self.authkey), os.getpid()
        return cast("wire.Connection[Any, Any]", self._here.connection)


def _dictated(process: subprocess.Popen[bytes], order: dict[str, Any]) -> dict[str, Any]:
    """Send the child its order and return what it says about itself."""
    stdin, stdout = cast("io.BufferedWriter", process.stdin), cast("io.BufferedReader", process.stdout)
    with suppress(BrokenPipeError):
        stdin.write(json.dumps(order).encode() + b"\n")
        stdin.flush()
    limit = threading.Timer(_START_SECONDS, process.kill)
    limit.start()
    line = stdout.readline()  # empty once the process has ended
    limit.cancel()
    answer: dict[str, Any] = json.loads(line) if line else {"error": "the sandbox's process did not start"}
    return answer


def _close(process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has ended, and close its pipes."""
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


# --- the other process ------------------------------------------------------------------------------


def _serve() -> None:
    """Run a sandbox until the process that started it ends. Its order comes on stdin."""
    order = json.loads(sys.stdin.buffer.readline())
    for watch in (_end_with_parent, _end_with_stdin):
        threading.Thread(target=watch, args=[int(order["parent"])], daemon=True).start()
    listener = wire.Listener((_HOST, 0), backlog=512)
    try:
        sandbox = Sandbox(host=order["host"], port=order["port"]).start()
    except ConfigurationError as error:
        _say({"error": str(error)})
        return
    _say({"base_url": sandbox.base_url, "control": listener.address[1]})
    authkey = bytes.fromhex(order["authkey"])
    while True:
        with suppress(OSError):  # of somebody who went away at once
            threading.Thread(target=_attend, args=[sandbox, listener.accept(), authkey], daemon=True).start()


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _attend(sandbox: Sandbox, connection: wire.Connection[Any, Any], authkey: bytes) -> None:
    """Do what one thread of one process asks for, until it goes."""
    with connection, suppress(AuthenticationError, EOFError, OSError):
        # here and not in the listener, so that a client that is stopped in the middle of it holds nobody up
        wire.deliver_challenge(connection, authkey)
        wire.answer_challenge(connection, authkey)
        while True:
            name, args, kwargs = connection.recv()
            _send(connection, _done(sandbox, name, args, kwargs))


def _done(sandbox: Sandbox, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    target: Any = sandbox
    for part in name.split("."):
        target = getattr(target, part)
    work: Callable[..., Any] | str = target
    try:
        return True, work(*args, **kwargs) if callable(work) else work
    except (ConfigurationError, TypeError, ValueError, LookupError) as error:
        return False, (type(error), str(error))


def _end_with_parent(parent: int) -> None:
    """End this process as soon as `parent` has, a killed one too, while others may still hold stdin open."""
    while os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(0)


def _end_with_stdin(_parent: int) -> None:
    """End this process as soon as stdin does, where no system call tells of a parent's end."""
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    _serve()
