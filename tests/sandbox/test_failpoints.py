"""Failpoints: there is one around each I/O that a vault does, and the ready hooks strike where they say."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import socialvault
from socialvault import LocalKeyring
from socialvault.exceptions import ConfigurationError, StoreUnavailableError
from socialvault.ports.anchor import Anchor, AsyncAnchor
from socialvault.ports.escrow import AsyncEscrow, Escrow
from socialvault.ports.key_service import KeyService
from socialvault.ports.store import AsyncStore, Store
from socialvault.ports.transport import AsyncTransport, Transport
from socialvault.sandbox.clock import ManualClock
from socialvault.sandbox.failpoints import Failpoints, Hang, Kill, Raise, Record
from socialvault.stores.anchor import AsyncFileAnchor, FileAnchor
from socialvault.stores.escrow import AsyncFileEscrow, FileEscrow
from socialvault.stores.memory import AsyncMemoryStore, MemoryStore
from socialvault.transports.httpx import AsyncHttpxTransport, HttpxTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

PORTS = Path(socialvault.__file__).parent / "ports"

#: Module of a port -> what its points begin with, or why it has none.
PARTS = {
    "token_store": "store",
    "state_store": "store",
    "key_store": "store",
    "store": "store",
    "transport": "transport",
    "key_service": "keys",
    "escrow": "escrow",
    "anchor": "anchor",
}
NO_IO = {
    "clock": "reads a clock",
    "runtime": "runs the vault's own work, whose I/O goes through the other ports",
    "token_source": "is implemented by the vault, for others",
}

# --- every method has its points ----------------------------------------------------------------------


def port_methods() -> Iterator[tuple[str, str]]:
    """Read from the ports' sources, without any of the machinery of `failpoints`, which part has which method."""
    for file in sorted(PORTS.glob("*.py")):
        for kind in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(kind, ast.ClassDef) and file.stem not in NO_IO:
                for member in kind.body:
                    if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)) and not member.decorator_list:
                        yield PARTS[file.stem], member.name


def test_every_port_is_wrapped_or_does_no_io() -> None:
    assert {file.stem for file in PORTS.glob("*.py")} - {"__init__"} == PARTS.keys() | NO_IO.keys()


def test_every_method_of_every_io_port_has_a_point_before_and_one_after() -> None:
    expected = {f"{part}.{name}.{moment}" for part, name in port_methods() for moment in ("before", "after")}
    points = Failpoints.points()
    assert set(points) == expected
    assert len(points) == len(expected)
    assert {"store.write_token.before", "store.aclose.after", "transport.send.before", "keys.unwrap.after",
            "escrow.keep.before"} <= expected  # fmt: skip


def test_no_io_hides_in_what_a_port_declares_as_a_property() -> None:
    properties = {
        (file.stem, member.name)
        for file in PORTS.glob("*.py")
        for member in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(member, ast.FunctionDef) and member.decorator_list
    }
    assert properties == {("key_service", "primary_id"), ("key_service", "key_ids")}  # what a service knows by heart


# --- a wrapped part is as good as the part ------------------------------------------------------------

PROTOCOLS: list[tuple[str, Any, Any]] = [
    ("store", MemoryStore, Store),
    ("store", AsyncMemoryStore, AsyncStore),
    ("transport", lambda: HttpxTransport(clock=ManualClock()), Transport),
    ("transport", lambda: AsyncHttpxTransport(clock=ManualClock()), AsyncTransport),
    ("keys", lambda: LocalKeyring([LocalKeyring.generate()]), KeyService),
    ("escrow", lambda: FileEscrow("escrow"), Escrow),
    ("escrow", lambda: AsyncFileEscrow("escrow"), AsyncEscrow),
    ("anchor", lambda: FileAnchor("anchor"), Anchor),
    ("anchor", lambda: AsyncFileAnchor("anchor"), AsyncAnchor),
]


@pytest.mark.parametrize(("part", "build", "protocol"), PROTOCOLS, ids=lambda one: getattr(one, "__name__", None))
def test_a_wrapped_part_keeps_colour_signatures_and_class(
    part: str, build: Any, protocol: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    original = build()
    wrapped = getattr(Failpoints(Record()), part)(original)
    assert isinstance(wrapped, type(original))
    names = [name for name in dir(protocol) if not name.startswith("_") and hasattr(original, name)]
    assert names
    for name in names:
        own, same = getattr(original, name), getattr(wrapped, name)
        if not callable(own):
            assert same == own
            continue
        assert same != own
        assert same is getattr(wrapped, name)
        assert inspect.iscoroutinefunction(same) == inspect.iscoroutinefunction(own)
        assert inspect.signature(same) == inspect.signature(own)
    assert not hasattr(wrapped, "nonsense")


class Service:
    """A key service of the other colour, which the library has none of yet."""

    primary_id, key_ids, extra = "kek", ("kek",), "its own"

    async def wrap(self, key: bytes, context: Any) -> bytes:
        await asyncio.sleep(0)
        return key[::-1]

    async def unwrap(self, wrapped: bytes, context: Any) -> bytes:
        raise StoreUnavailableError("as the part says")


async def test_an_asynchronous_part_passes_its_points_and_takes_either_kind_of_hook() -> None:
    async def asynchronous(name: str) -> None:
        await asyncio.sleep(0)
        record(name)

    record = Record()
    for hook in (record, asynchronous):
        record.passed.clear()
        service: Any = Failpoints(hook).keys(Service())
        assert inspect.iscoroutinefunction(service.wrap)
        assert await service.wrap(b"abc", context=None) == b"cba"
        assert (service.primary_id, service.extra) == ("kek", "its own")
        with pytest.raises(StoreUnavailableError, match="as the part says"):
            await service.unwrap(b"", None)
        assert record.passed == ["keys.wrap.before", "keys.wrap.after", "keys.unwrap.before"]


def test_a_blocking_part_passes_its_points_in_order() -> None:
    record = Record()
    store = Failpoints(record).store(MemoryStore())
    assert store.load_vault() is None
    store.purge_states(limit=3)
    store.close()
    assert record.passed == [
        f"store.{name}.{moment}" for name in ("load_vault", "purge_states", "close") for moment in ("before", "after")
    ]


class CoroutineHook:
    async def __call__(self, name: str) -> None: ...


async def _coroutine_function(name: str) -> None: ...


@pytest.mark.parametrize("hook", [_coroutine_function, CoroutineHook()])
def test_a_hook_that_must_be_awaited_is_refused_where_nothing_awaits(hook: Any) -> None:
    store = Failpoints(hook).store(MemoryStore())
    with pytest.raises(ConfigurationError, match="plain callable"):
        store.load_vault()


# --- the ready hooks ----------------------------------------------------------------------------------


def test_raise_strikes_once_at_the_passage_it_was_told() -> None:
    error = StoreUnavailableError("away")
    for nth in (1, 3):
        store = Failpoints(Raise("store.count_keys.after", error, nth=nth)).store(MemoryStore())
        for number in range(1, 6):
            store.load_vault()
            if number == nth:
                with pytest.raises(StoreUnavailableError) as caught:
                    store.count_keys("vault")
                assert caught.value is error
            else:
                store.count_keys("vault")


def test_of_many_threads_one_is_struck() -> None:
    store = Failpoints(Raise("store.load_vault.before", StoreUnavailableError("away"), nth=5)).store(MemoryStore())
    struck = []

    def use() -> None:
        for _ in range(50):
            try:
                store.load_vault()
            except StoreUnavailableError as error:
                struck.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(struck) == 1


@pytest.mark.parametrize(("moment", "told"), [("before", ""), ("after", "done")])
def test_kill_leaves_no_time_for_last_words(moment: str, told: str) -> None:
    script = f"""
        import atexit, sys
        from socialvault.sandbox.failpoints import Failpoints, Kill
        from socialvault.stores.memory import MemoryStore

        class Store(MemoryStore):
            def load_vault(self):
                print("done", flush=True)

        atexit.register(print, "last words", flush=True)
        store = Failpoints(Kill("store.load_vault.{moment}")).store(Store())
        try:
            store.load_vault()
        finally:
            print("finally", flush=True)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert run.stdout.strip() == told


def test_hang_blocks_a_thread() -> None:
    store = Failpoints(Hang("store.load_vault.before", 0.5)).store(MemoryStore())
    begun = time.monotonic()
    store.load_vault()
    middle = time.monotonic()
    store.load_vault()
    assert middle - begun >= 0.5
    assert time.monotonic() - middle < 0.5


async def test_hang_lets_an_event_loop_go_on() -> None:
    store: Any = Failpoints(Hang("store.load_vault.before", 0.2)).store(AsyncMemoryStore())
    hanging, turns, begun = asyncio.create_task(store.load_vault()), 0, time.monotonic()
    while not hanging.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert time.monotonic() - begun >= 0.2
    assert turns > 5


@pytest.mark.parametrize(
    "name", ["", "store", "store.write_token", "store.write_token.during", "store.nonsense.before", "clock.now.before"]
)
def test_a_point_that_is_never_passed_is_refused(name: str) -> None:
    for build in (lambda: Raise(name, ValueError()), lambda: Kill(name), lambda: Hang(name, 1)):
        with pytest.raises(ConfigurationError, match="no failpoint"):
            build()
    with pytest.raises(ConfigurationError, match="number 1"):
        Kill("store.get.before", nth=0)


# --- no I/O goes past the ports -----------------------------------------------------------------------

DRIVE = '''
    """Use a vault of wrapped parts; print each I/O that the interpreter's audit reports outside of a wrapped call."""

    import asyncio, contextvars, inspect, json, os, sys, threading
    from datetime import timedelta

    import socialvault
    from socialvault import AsyncVault, LocalKeyring, Vault
    from socialvault.exceptions import SocialVaultError, StoreUnavailableError
    from socialvault.sandbox import Sandbox, failpoints as module
    from socialvault.sandbox.failpoints import Failpoints, Record
    from socialvault.stores.escrow import AsyncFileEscrow, FileEscrow
    from socialvault.stores.sqlite import AsyncSQLiteStore, SQLiteStore
    from socialvault.transports.httpx import AsyncHttpxTransport, HttpxTransport
    from socialvault.vault import saving

    saving._LONGEST_PAUSE_SECONDS = 0.1  # nothing comes of waiting for a store that is away on purpose
    directory, colour, *bare = sys.argv[1:]
    build, store, escrow, transport = {
        "blocking": (Vault, SQLiteStore, FileEscrow, HttpxTransport),
        "asynchronous": (AsyncVault, AsyncSQLiteStore, AsyncFileEscrow, AsyncHttpxTransport),
    }[colour]
    PACKAGE = os.path.dirname(socialvault.__file__) + os.sep
    SANDBOX, WRAPPER = PACKAGE + "sandbox" + os.sep, module.__file__
    inside = contextvars.ContextVar("inside", default=False)  # what a thread has that works for a coroutine
    wrapped_events, escaped = set(), []

    def frames():
        frame = sys._getframe(2)
        while frame is not None:
            yield frame.f_code.co_filename, frame.f_code.co_name
            frame = frame.f_back

    def audit(event, args):
        if not (event == "open" or event.startswith(("os.", "socket.", "sqlite3.", "subprocess.", "shutil."))):
            return
        stack = list(frames())
        own = [(file[len(PACKAGE):], name) for file, name in stack
               if file.startswith(PACKAGE) and not file.startswith(SANDBOX)]
        if any(file.startswith(SANDBOX) and file != WRAPPER for file, _ in stack):
            return  # the sandbox, as a provider and as a person
        # An event loop connects sockets in tasks of its own, in which no frame says for whom.
        in_loop = event == "socket.connect" and threading.current_thread() is threading.main_thread()
        if not own and not in_loop:
            return  # this script
        if any(file == WRAPPER and name == "passed" for file, name in stack) or inside.get():
            wrapped_events.add(event)
        elif any(file.startswith("<frozen importlib") for file, name in stack):
            pass  # EXCEPTION: modules are loaded when they are first needed
        elif event == "open" and "zoneinfo" in str(args[0]):
            pass  # EXCEPTION: so is the data of a time zone
        elif ("stores/sqlite/store.py", "__init__") in own:
            pass  # EXCEPTION: the store looks at its file when it is made, before there is a vault that could fail
        else:
            escaped.append([event, str(args)[:200], *(f"{file}:{name}" for file, name in own)])

    class Hook(Record):
        failing = None

        def __call__(self, name):
            super().__call__(name)
            inside.set(name.endswith(".before"))
            if name == self.failing:
                inside.set(False)
                raise StoreUnavailableError("away, for this test")

    hook = Hook()
    failpoints = Failpoints(hook)

    def wrapped(name, part):
        return part if name in bare else getattr(failpoints, name)(part)

    async def done(answer):
        try:
            return await answer if inspect.isawaitable(answer) else answer
        finally:
            inside.set(False)  # a method that raised has not passed its second point

    async def main():
        vault = build(
            providers=[provider], transport=wrapped("transport", transport(clock=sandbox.clock)), clock=sandbox.clock,
            store=wrapped("store", store(os.path.join(directory, "vault.db"), clock=sandbox.clock)),
            keys=wrapped("keys", LocalKeyring([LocalKeyring.generate()])) if colour == "blocking" else
            LocalKeyring([LocalKeyring.generate()]),
            redirect_uri="https://app.example/{provider}/callback", return_to=["/"],
            escrow=wrapped("escrow", escrow(os.path.join(directory, "escrow"))),
        )

        async def connect():
            login = await done(vault.begin("x", return_to="/", **who))
            cookies = {login.cookie.name: login.cookie.value}
            back = await asyncio.to_thread(sandbox.authorize, login.url)
            return (await done(vault.complete(back, provider="x", cookies=cookies, **who))).connection.id

        await done(vault.open())
        connection = await connect()
        await done(vault.token(connection, **who))
        sandbox.clock.advance(timedelta(hours=3))
        await done(vault.token(connection, **who))
        await done(vault.refresh(connection, **who))
        await done(vault.connections(**who))
        await done(vault.connection(connection, **who))
        await done(vault.health())
        await done(vault.admin.counts())
        hook.failing = "store.write_token.before"  # the store is away when the provider has answered
        try:
            await done(vault.refresh(connection, **who))
        except SocialVaultError:
            pass
        hook.failing = None
        await done(vault.renew_due())
        await done(vault.disconnect(connection, **who))
        await done(vault.disconnect(await connect(), **who))
        await done(vault.erase_owner("user-42", tenant="acme"))
        await done(vault.close() if colour == "blocking" else vault.aclose())

    sandbox = Sandbox().start()
    provider = sandbox.provider("x")
    who = {"owner": "user-42", "tenant": "acme"}
    sys.addaudithook(audit)
    asyncio.run(main())
    print(json.dumps({"escaped": escaped, "wrapped": sorted(wrapped_events), "passed": sorted(set(hook.passed))}))
    sys.stdout.flush()
    sandbox.stop()
'''


def drive(directory: Path, colour: str, *bare: str) -> dict[str, Any]:
    """Use a vault all of whose parts are wrapped but those in `bare`."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DRIVE), str(directory), colour, *bare],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("colour", ["blocking", "asynchronous"])
def test_every_io_of_a_vault_happens_inside_of_a_wrapped_call(tmp_path: Path, colour: str) -> None:
    told = drive(tmp_path, colour)
    assert told["escaped"] == []
    events = {"open", "os.listdir", "os.rename", "os.remove", "os.mkdir", "socket.connect", "sqlite3.connect"}
    assert events <= set(told["wrapped"])
    passed = {name.removesuffix(".before") for name in told["passed"]}
    assert {"store.insert", "store.write_token", "store.claim_state", "transport.send"} <= passed
    assert {"escrow.open", "escrow.keep", "escrow.records", "escrow.forget"} <= passed
    assert set(told["passed"]) <= set(Failpoints.points())


@pytest.mark.parametrize("colour", ["blocking", "asynchronous"])
def test_io_past_the_ports_would_be_seen(tmp_path: Path, colour: str) -> None:
    for bare, event, where in (
        (("store", "transport"), "sqlite3.connect", "stores/sqlite/connections.py:_connect"),
        (("store", "transport"), "socket.connect", "transports/httpx.py:send" if colour == "blocking" else ""),
        (("escrow",), "os.rename", "stores/escrow.py:keep"),  # used when a wrapped store fails
    ):
        directory = tmp_path / "-".join(bare)
        if not directory.exists():
            directory.mkdir()
            escaped = drive(directory, colour, *bare)["escaped"]
        found = [frames for name, _, *frames in escaped if name == event]
        assert found, event
        assert not where or where in found[0]
