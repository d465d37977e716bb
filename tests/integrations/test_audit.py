"""The audit log: one whole line for each event, whoever writes at the same time, and never more than is allowed."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import fields, make_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING, Any, get_args

import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.integrations import audit
from socialvault.integrations.audit import AuditLog
from socialvault.model import events
from socialvault.model.events import Event, EventName
from socialvault.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Some of these fork while a thread of an earlier test may not be gone yet; newer Pythons warn of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

AT = datetime(2027, 1, 15, 8, 30, 0, 125, tzinfo=UTC)
EVENT = Event("refreshed", AT, "con-1", "acme", "user-42", "x", 7, "because")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text("utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines() if line]


def in_child(act: Callable[[], object]) -> int:
    """Run `act` in a forked child; return its pid once it has begun."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except BaseException:  # noqa: BLE001  (told to the parent)
            os._exit(1)
        os._exit(0)
    return child


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- what is written --------------------------------------------------------------------------------


def test_an_event_is_a_line_of_json(path: Path) -> None:
    log = AuditLog(path)
    log(EVENT)
    log(replace(EVENT, name="expires_soon", dies_at=AT + timedelta(days=7), key_id="ab"))
    first, second = lines(path)
    assert first == {
        "event": "refreshed",
        "time": "2027-01-15T08:30:00.000125+00:00",
        "connection_id": "con-1",
        "tenant": "acme",
        "owner": "user-42",
        "provider": "x",
        "generation": 7,
        "reason": "because",
        "dies_at": None,
        "key_id": "",
    }
    assert second == {**first, "event": "expires_soon", "dies_at": "2027-01-22T08:30:00.000125+00:00", "key_id": "ab"}


def test_every_field_of_an_event_has_been_decided_about() -> None:
    """A new one is left out until it is added to the allow-list, or to this test."""
    left_out: set[str] = set()
    assert {field.name for field in fields(Event)} - left_out == audit._ALLOWED


def test_a_field_that_nobody_allowed_is_not_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = make_dataclass("More", [("access_token", str, "canary-1")], bases=(Event,), frozen=True)
    monkeypatch.setattr(events, "Event", more)
    spec = spec_from_file_location("audit_of_tomorrow", audit.__file__)
    assert spec is not None
    assert spec.loader is not None
    tomorrow = module_from_spec(spec)
    spec.loader.exec_module(tomorrow)
    tomorrow.AuditLog(path)(more(**{field.name: getattr(EVENT, field.name) for field in fields(Event)}))
    assert "canary" not in path.read_text()
    assert lines(path)[0]["owner"] == "user-42"


@pytest.mark.parametrize("value", [Secret("canary-1"), b"canary-1", ["canary-1"], {"canary-1": 1}, object()])
def test_a_value_that_is_no_plain_one_is_refused(path: Path, value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        AuditLog(path)(replace(EVENT, reason=value))
    assert "canary" not in str(caught.value)
    assert lines(path) == []


def test_no_name_can_forge_a_line(path: Path) -> None:
    awkward = 'Zoë\n{"event": "forged"}\r\u2028\u0085\x00\ud800"'
    AuditLog(path)(replace(EVENT, owner=awkward, reason=awkward))
    data = path.read_bytes()
    assert data.isascii()
    assert data.count(b"\n") == 1
    assert b"\r" not in data
    assert len(data.decode().splitlines()) == 1
    assert json.loads(data)["owner"] == awkward


def test_times_are_told_in_utc(path: Path) -> None:
    AuditLog(path)(replace(EVENT, at=AT.astimezone(timezone(timedelta(hours=5, minutes=30)))))
    assert lines(path)[0]["time"] == "2027-01-15T08:30:00.000125+00:00"


@pytest.mark.parametrize("name", get_args(EventName))
def test_every_kind_of_event_can_be_written(path: Path, name: EventName) -> None:
    AuditLog(path)(replace(EVENT, name=name, connection_id="", owner=""))
    assert lines(path)[0]["event"] == name


def test_reads_are_wanted_only_by_those_who_say_so(path: Path) -> None:
    assert AuditLog(path).wants_reads is False
    assert AuditLog(path, reads=True).wants_reads is True
    assert AuditLog(io.StringIO(), reads=True).wants_reads is True


def test_it_needs_no_extra_and_loads_no_framework() -> None:
    load = "import socialvault.integrations.audit"
    script = f"import sys\nbefore = set(sys.modules)\n{load}\nprint(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    added = set(run.stdout.split())
    assert "socialvault.integrations.audit" in added
    assert added & {"asyncio", "django", "fastapi", "flask", "httpx", "logging", "pathlib", "pydantic"} == set()


# --- the file ---------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone_whatever_the_umask_says(path: Path) -> None:
    before = os.umask(0)
    try:
        AuditLog(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o7777 == 0o600


def test_what_is_in_the_file_stays(path: Path) -> None:
    AuditLog(path)(EVENT)
    AuditLog(path)(EVENT)
    assert len(lines(path)) == 2


def test_a_file_that_others_may_read_is_taken_as_it_is(path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    AuditLog(path)(EVENT)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(path: Path, mode: int) -> None:
    log = AuditLog(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod it to 600"):
        AuditLog(path)
    with pytest.raises(ConfigurationError, match="chmod it to 600"):
        log(EVENT)
    assert path.read_bytes() == b""


def test_a_link_is_not_followed(tmp_path: Path, path: Path) -> None:
    log, target = AuditLog(path), tmp_path / "target"
    path.unlink()
    path.symlink_to(target)
    for exists in (False, True):
        if exists:
            target.touch(0o600)
        with pytest.raises(ConfigurationError, match="symbolic link"):
            AuditLog(path)
        with pytest.raises(ConfigurationError, match="symbolic link"):
            log(EVENT)
    assert target.read_bytes() == b""


def test_what_is_no_file_is_refused_and_nobody_waits_for_it(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigurationError, match="no regular file"):
        AuditLog(path)
    path.rmdir()
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigurationError, match="no regular file"):
        AuditLog(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(ConfigurationError, match="no regular file"):
        AuditLog(path)
    os.close(reader)
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        AuditLog(path.parent / "missing" / "audit.jsonl")


@pytest.mark.parametrize("target", [None, 3, b"/tmp/audit", object()])
def test_what_is_neither_a_path_nor_a_stream_is_refused(target: Any) -> None:
    with pytest.raises(ConfigurationError, match="path of a file"):
        AuditLog(target)


def test_a_renamed_file_is_followed_by_a_new_one(tmp_path: Path, path: Path) -> None:
    log = AuditLog(path)
    log(EVENT)
    path.rename(tmp_path / "audit.1")
    log(replace(EVENT, owner="later"))
    assert [line["owner"] for line in lines(tmp_path / "audit.1")] == ["user-42"]
    assert [line["owner"] for line in lines(path)] == ["later"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_working_directory_matters_only_when_it_is_made(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    log = AuditLog(path.name)
    monkeypatch.chdir("/")
    log(EVENT)
    assert len(lines(path)) == 1


def test_a_full_disk_raises_and_spoils_only_the_line_that_did_not_fit(path: Path) -> None:
    """`OSError`, for the vault to log. The limit is on the size of files, which takes part of the line."""
    size = len(audit._line(EVENT))

    def act() -> None:
        log = AuditLog(path)
        log(EVENT)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
        for _ in range(2):  # a part of the line, then nothing
            with pytest.raises(OSError):  # noqa: PT011
                log(EVENT)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        log(EVENT)
        log(EVENT)

    assert ended_well(in_child(act))
    whole, torn, *rest = path.read_text().splitlines()
    assert json.loads(whole) == json.loads(rest[-1]) == json.loads(rest[-2])
    assert len(rest) == 2
    assert torn == whole[:20]


def test_no_descriptor_stays_open(path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0

    before, log = count(), AuditLog(path)
    log(EVENT)
    path.chmod(0o666)
    with pytest.raises(ConfigurationError):
        log(EVENT)
    assert count() == before


# --- many writers -----------------------------------------------------------------------------------


def test_threads_and_processes_share_a_file_without_tearing_a_line(path: Path) -> None:
    log = AuditLog(path)

    def write(writer: str) -> None:
        for number in range(100):
            log(replace(EVENT, owner=writer, reason="r" * 3000, generation=number))

    def process(child: int) -> None:
        threads = [threading.Thread(target=write, args=(f"{child}.{thread}",)) for thread in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    children = [in_child(partial(process, child)) for child in range(3)]
    assert [ended_well(child) for child in children] == [True] * 3
    found = lines(path)
    assert len(found) == 900
    for writer in {line["owner"] for line in found}:
        assert [line["generation"] for line in found if line["owner"] == writer] == list(range(100))


def test_a_line_is_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write, writes = AuditLog(path), os.write, []

    def counted(descriptor: int, data: bytes) -> int:
        writes.append(data)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", counted)
    log(replace(EVENT, reason="r" * 100_000))
    assert writes == [path.read_bytes()]


class Slow(io.StringIO):
    """A stream that a thread can be stopped in the middle of."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def write(self, text: str) -> int:
        for number, character in enumerate(text):
            super().write(character)
            if number == 10 and not self.go.is_set():
                self.begun.set()
                self.go.wait(10)
        return len(text)


def test_threads_share_a_stream_without_mixing_lines() -> None:
    stream = Slow()
    log = AuditLog(stream)
    threads = [threading.Thread(target=log, args=(EVENT,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert stream.begun.wait(5)
    stream.go.set()
    for thread in threads:
        thread.join()
    assert stream.getvalue() == audit._line(EVENT) * 4


def test_a_stream_is_flushed_for_each_event_and_left_open(path: Path) -> None:
    with path.open("w", encoding="utf-8") as stream:
        log = AuditLog(stream)
        log(EVENT)
        assert len(lines(path)) == 1
        del log
        assert not stream.closed


def test_a_fork_waits_for_a_line_in_a_stream_and_the_child_can_write(path: Path) -> None:
    class Stopping(Slow):
        def flush(self) -> None:
            with path.open("a", encoding="utf-8") as file:
                file.write(self.getvalue())
            self.seek(0)
            self.truncate()

    stream = Stopping()
    log = AuditLog(stream)
    writer = threading.Thread(target=log, args=(EVENT,))
    writer.start()
    assert stream.begun.wait(5)
    threading.Timer(0.1, stream.go.set).start()

    def act() -> None:
        signal.alarm(10)  # instead of a deadlock
        thread = threading.Thread(target=log, args=(EVENT,))
        thread.start()
        thread.join()

    child = in_child(act)
    writer.join()
    later = threading.Thread(target=log, args=(EVENT,), daemon=True)
    later.start()
    later.join(10)
    assert not later.is_alive()
    assert ended_well(child)
    assert path.read_text() == audit._line(EVENT) * 3


def test_an_error_of_a_stream_reaches_the_vault_and_the_next_line_is_written() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            if not self.tell():
                super().write("\n")
                raise BrokenPipeError
            return super().write(text)

    log = AuditLog(Broken())
    with pytest.raises(BrokenPipeError):
        log(EVENT)
    log(EVENT)


def test_a_directory_that_can_not_be_written_is_named_at_the_start() -> None:
    directory = tempfile.mkdtemp()
    try:

        def act() -> None:
            if os.geteuid() == 0:  # whom no mode stops
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            with pytest.raises(ConfigurationError, match="Permission denied"):
                AuditLog(os.path.join(directory, "audit"))

        os.chmod(directory, 0o500)
        assert ended_well(in_child(act))
    finally:
        os.chmod(directory, 0o700)
        shutil.rmtree(directory)
