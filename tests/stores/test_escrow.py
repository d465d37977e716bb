"""The escrow in a directory: what was kept is there after any kill, what is torn or planted is left alone."""

from __future__ import annotations

import asyncio
import base64
import errno
import hashlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.canaries import assert_absent_from_files, found_in, whole_story

from socialvault.exceptions import ConfigurationError, StoreError, StoreUnavailableError
from socialvault.model.rows import AccountKey, ConnectionRow, EscrowRecord
from socialvault.model.status import Status
from socialvault.stores import escrow as module
from socialvault.stores.escrow import AsyncFileEscrow, FileEscrow
from socialvault.vault.blocking import BlockingEscrow

if TYPE_CHECKING:
    from pathlib import Path

    from socialvault.ports.escrow import AsyncEscrow, Escrow

InChild = Callable[[Callable[[], Any]], Any]
InChildren = Callable[[int, Callable[[int], Any]], list[Any]]

# Some of these fork while a thread of an earlier test may not be gone yet; newer Pythons warn of it.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")

AWKWARD = "Zoë 🗝️ \u202e\x00\n\r\x7f\ud800/../'\"\\"


def record(
    number: int = 1, *, owner: str = "user-42", envelope: bytes = b"sealed \x00\n\xff", **row: Any
) -> EscrowRecord:
    account = AccountKey("acme", "x", "client-1", "https://issuer.example", f"subject-{number}", "", "")
    known: dict[str, Any] = {
        "status": Status.ACTIVE,
        "reason": "",
        "envelope": b"stored \x00",
        "key_id": "ab" * 32,
        "created_at_seconds": 1_800_000_000.125,
        "updated_at_seconds": 1_800_000_000.1 + 0.2,
    }
    connection = ConnectionRow(f"con-{number}", account, owner, "", **{**known, "generation": 7, **row})
    return EscrowRecord("", connection, False, 7, envelope, 1_800_000_000.0 + number)


def nameless(records: Any) -> list[EscrowRecord]:
    return [replace(one, name="") for one in records]


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "escrow"


@pytest.fixture
def escrow(spool: Path) -> FileEscrow:
    escrow = FileEscrow(spool)
    escrow.open()
    return escrow


def files(spool: Path) -> list[str]:
    return sorted(os.listdir(spool))


# --- what is kept -----------------------------------------------------------------------------------


def full(number: int) -> EscrowRecord:
    """A record whose every field has a value of its own that is not its default."""
    row = record(
        number, owner=AWKWARD, reason="refresh_interrupted", status=Status.REAUTHORIZATION_REQUIRED,
        envelope=os.urandom(64 * 1024),
    ).row  # fmt: skip
    account = AccountKey(AWKWARD, "facebook", "client", "", "12", "parent", AWKWARD)
    values: dict[str, Any] = {"account": account, "kind": "page"}
    for place, field in enumerate(fields(ConnectionRow)):
        if field.name not in {"id", "account", "owner", "kind", "status", "reason", "envelope"}:
            typed: dict[str, Any] = {"int": place, "str": f"text {place}", "bytes": bytes(range(256))}
            values[field.name] = typed.get(str(field.type), place + 0.1)
    return EscrowRecord("", replace(row, **values), True, 12, os.urandom(64 * 1024), 1_800_000_123.456789)


def test_a_record_comes_back_as_it_was_kept(escrow: FileEscrow) -> None:
    kept = [record(1), full(2), record(3, envelope=b""), record(4, envelope=bytes(range(256)) * 256)]
    names = [escrow.keep(one) for one in kept]
    found = escrow.records()
    by_name = {one.name: replace(one, name="") for one in found}
    assert [by_name[name] for name in names] == kept
    assert type(found[0].row.account) is AccountKey
    assert type(found[0].row.status) is Status
    for field in fields(ConnectionRow):
        assert type(getattr(by_name[names[1]].row, field.name)) is type(getattr(kept[1].row, field.name))


def test_records_come_oldest_first_and_those_of_one_moment_in_the_order_they_were_kept(escrow: FileEscrow) -> None:
    for number in (5, 2, 9, 2, 2, 0):
        escrow.keep(record(number, owner=f"{number}-{len(escrow.records())}"))
    assert [one.row.owner for one in escrow.records()] == ["0-5", "2-1", "2-3", "2-4", "5-0", "9-2"]


def test_times_before_the_epoch_can_be_kept(escrow: FileEscrow) -> None:
    early = replace(record(), at_seconds=-5.5)
    escrow.keep(early)
    assert nameless(escrow.records()) == [early]


def test_what_was_forgotten_is_gone_and_may_be_forgotten_again(escrow: FileEscrow, spool: Path) -> None:
    first, second = escrow.keep(record(1)), escrow.keep(record(2))
    escrow.forget(first)
    escrow.forget(first)
    assert [one.name for one in escrow.records()] == [second]
    escrow.forget(second)
    assert files(spool) == []


@pytest.mark.parametrize("name", ["", ".", "../outside", "/etc/passwd", "a\0b", "1" * 20, AWKWARD])
def test_only_names_of_records_can_be_forgotten(escrow: FileEscrow, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.sealed").touch()
    with pytest.raises(StoreError):
        escrow.forget(name)
    assert (tmp_path / "outside.sealed").exists()


def test_every_colour_does_the_same(spool: Path) -> None:
    blocking: Escrow = FileEscrow(spool)
    both: list[AsyncEscrow] = [AsyncFileEscrow(spool), BlockingEscrow(blocking)]

    async def use(escrow: AsyncEscrow) -> None:
        await escrow.open()
        name = await escrow.keep(record())
        assert await escrow.records() == [replace(record(), name=name)]
        await escrow.forget(name)
        assert await escrow.records() == []

    for escrow in both:
        asyncio.run(use(escrow))


def test_an_empty_escrow_is_not_listed_twice_and_what_comes_is_seen_at_once(
    escrow: FileEscrow, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    listing = module._Spool.list
    monkeypatch.setattr(module._Spool, "list", lambda opened: listed.append("") or listing(opened))
    assert not escrow.records()
    assert not escrow.records()
    assert len(listed) >= 3  # a change in this very tick of the clock would not show
    os.utime(spool, (1_800_000_000, 1_700_000_000))
    assert not escrow.records()
    listed.clear()
    for _ in range(3):
        assert not escrow.records()
    assert listed == []
    FileEscrow(spool).keep(record())  # of another process
    [found] = escrow.records()
    os.utime(spool, (1_800_000_000, 1_700_000_000))
    assert len(escrow.records()) == len(escrow.records()) == 1
    escrow.forget(found.name)
    assert not escrow.records()


def test_what_is_set_aside_is_kept_and_not_given_out(escrow: FileEscrow, spool: Path) -> None:
    name = escrow.keep(record())
    data = (spool / f"{name}.sealed").read_bytes()
    escrow.set_aside(name)
    assert escrow.records() in ((), [])
    assert files(spool) == [f"{name}.aside"]
    assert (spool / f"{name}.aside").read_bytes() == data
    escrow.set_aside(name)
    with pytest.raises(StoreError):
        escrow.set_aside("../another")


async def test_a_record_whose_keeper_is_cancelled_is_kept(spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    escrow, begun, go, rename = AsyncFileEscrow(spool), threading.Event(), threading.Event(), os.rename

    def slow(*args: Any, **kwargs: Any) -> None:
        begun.set()
        go.wait(5)
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "rename", slow)
    keeping = asyncio.create_task(escrow.keep(record()))
    await asyncio.to_thread(begun.wait, 5)
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    go.set()
    for _ in range(500):
        if [file for file in files(spool) if file.endswith(".sealed")]:
            break
        await asyncio.sleep(0.01)
    assert nameless(await escrow.records()) == [record()]


def test_the_module_loads_neither_an_event_loop_nor_pathlib_nor_a_database() -> None:
    script = (
        "import sys\nbefore = set(sys.modules)\nimport socialvault.stores.escrow\nprint(*set(sys.modules) - before)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    added = set(run.stdout.split())
    assert "socialvault.stores.escrow" in added
    assert added & {"asyncio", "pathlib", "sqlite3", "logging", "socialvault.stores.sqlite"} == set()


def test_the_vault_is_imported_without_it() -> None:
    script = "import sys\nfrom socialvault import Vault, AsyncVault\nprint('socialvault.stores.escrow' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert run.stdout.strip() == "False"


# --- the format -------------------------------------------------------------------------------------

GOLDEN_NAME = "00001800000001000000-01800000001000000000-0123456789abcdef"
GOLDEN = (
    b"SOCIALVAULT ESCROW 1\n"
    b'{"row": {"id": "con-1", "account": {"tenant": "acme", "provider": "x", "client_id": "client-1", '
    b'"issuer": "https://issuer.example", "subject": "subject-1", "parent_id": "", "shared_with": ""}, '
    b'"owner": "Zo\\u00eb", "kind": "", "status": "active", "reason": "", "generation": 7, "envelope": "c3RvcmVkIAA=", '
    b'"key_id": "' + b"ab" * 32 + b'", "created_at_seconds": 1800000000.125, "updated_at_seconds": 1800000000.25, '
    b'"intent_digest": "AQID"}, "is_new": true, "generation": 7, "at_seconds": 1800000001.0, "envelope_bytes": 7}\n'
    b"SV\x01\x01\n\x00\xff" + bytes.fromhex("5df575b0ae79d54f16d1ef6231e24460c0f8d74174558df01301060adeb2411b")
)


def test_every_later_version_reads_a_record_of_format_1(escrow: FileEscrow, spool: Path) -> None:
    """It lacks the fields of a row that have defaults, as those that are added later will be lacking."""
    (spool / f"{GOLDEN_NAME}.sealed").write_bytes(GOLDEN)
    row = replace(record(1, owner="Zoë").row, updated_at_seconds=1_800_000_000.25, intent_digest=b"\x01\x02\x03")
    expected = EscrowRecord(GOLDEN_NAME, row, True, 7, b"SV\x01\x01\n\x00\xff", 1_800_000_001.0)
    assert escrow.records() == [expected]


def test_a_record_is_written_as_documented(escrow: FileEscrow, spool: Path) -> None:
    name = escrow.keep(record(owner=AWKWARD))
    data = (spool / f"{name}.sealed").read_bytes()
    assert data[-32:] == hashlib.sha256(data[:-32]).digest()
    magic, line, envelope = data[:-32].split(b"\n", 2)
    assert magic == b"SOCIALVAULT ESCROW 1"
    assert envelope == record().envelope
    head = json.loads(line.decode("ascii"))
    assert head.keys() == {"row", "is_new", "generation", "at_seconds", "envelope_bytes"}
    assert head["row"].keys() == {field.name for field in fields(ConnectionRow)}
    assert base64.b64decode(head["row"]["envelope"]) == b"stored \x00"


def sealed(head: Any, envelope: bytes = b"sealed") -> bytes:
    return closed(b"SOCIALVAULT ESCROW 1\n" + json.dumps(head).encode() + b"\n" + envelope)


def closed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()


def test_a_whole_file_of_another_version_or_kind_is_left_alone(escrow: FileEscrow, spool: Path) -> None:
    escrow.keep(record(9))
    own = (spool / files(spool)[0]).read_bytes()
    head = json.loads(own[:-32].split(b"\n", 2)[1])
    assert head["envelope_bytes"] != 6
    foreign = {
        "another format": closed(own[:-32].replace(b"ESCROW 1", b"ESCROW 2")),
        "an empty head": sealed({}),
        "no head": sealed(None),
        "a list": sealed([head]),
        "another length": sealed(head),
        "an unknown status": sealed({**head, "envelope_bytes": 6, "row": {**head["row"], "status": "asleep"}}),
        "an unknown field": sealed({**head, "envelope_bytes": 6, "row": {**head["row"], "colour": "red"}}),
        "an account that is none": sealed({**head, "envelope_bytes": 6, "row": {**head["row"], "account": "x"}}),
        "no base64": sealed({**head, "envelope_bytes": 6, "row": {**head["row"], "envelope": "????"}}),
        "a deep head": closed(sealed("")[:-32].replace(b'""', b"[" * 100_000)),
        "nothing": b"",
    }
    for number, content in enumerate(foreign.values()):
        (spool / f"{number:020d}{GOLDEN_NAME[20:]}.sealed").write_bytes(content)
    (spool / "README").write_bytes(own)
    (spool / f"x{GOLDEN_NAME}.sealed").write_bytes(own)
    before = {file: (spool / file).read_bytes() for file in files(spool)}
    assert nameless(escrow.records()) == [record(9)]
    assert {file: (spool / file).read_bytes() for file in files(spool)} == before
    whole = sealed({**head, "envelope_bytes": 6})  # what the others were made from can be read
    (spool / f"{GOLDEN_NAME}.sealed").write_bytes(whole)
    assert len(escrow.records()) == 2


def test_a_torn_file_is_recognised_at_every_offset_and_stops_no_other(escrow: FileEscrow, spool: Path) -> None:
    name = escrow.keep(record(1))
    data = (spool / f"{name}.sealed").read_bytes()
    escrow.keep(record(0))
    escrow.keep(record(2))
    torn = spool / f"{name}.sealed"
    for length in range(len(data)):
        torn.write_bytes(data[:length])
        assert [one.row.id for one in escrow.records()] == ["con-0", "con-2"], length
    for changed in (data + b"\0", data + data):
        torn.write_bytes(changed)
        assert [one.row.id for one in escrow.records()] == ["con-0", "con-2"]
    torn.write_bytes(data)
    assert nameless(escrow.records()) == [record(0), record(1), record(2)]


def test_a_changed_byte_is_recognised_wherever_it_is(escrow: FileEscrow, spool: Path) -> None:
    name = escrow.keep(record(1))
    file = spool / f"{name}.sealed"
    data = bytearray(file.read_bytes())
    for offset in range(len(data)):
        data[offset] ^= 0x20
        file.write_bytes(data)
        assert escrow.records() == [], offset
        data[offset] ^= 0x20


# --- kills ------------------------------------------------------------------------------------------

STEPS = ("open", "write", "fsync", "rename", "unlink", "close")


class Steps:
    """Every system call of the escrow, in order; at number `at` the process is killed, before or after it.

    Writes are made in small pieces, so that some kills tear the file.
    """

    def __init__(self, at: int | None = None, *, after: bool = False) -> None:
        self.taken: list[str] = []
        for name in STEPS:
            setattr(os, name, self.around(name, getattr(os, name), at, after))

    def around(self, name: str, call: Callable[..., Any], at: int | None, after: bool) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            number = len(self.taken)
            self.taken.append(name)
            if number == at and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(args[0], args[1][:400]) if name == "write" else call(*args, **kwargs)
            if number == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return step


def steps_of(act: Callable[[], Any], in_child: InChild) -> list[str]:
    def run() -> list[str]:
        steps = Steps()
        act()
        return steps.taken

    taken: list[str] = in_child(run)
    return taken


def kill_in(act: Callable[[], Any], at: int, *, after: bool) -> None:
    child = os.fork()
    if child == 0:
        Steps(at, after=after)
        act()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


def test_a_record_is_on_disk_before_it_has_its_name_and_its_name_before_keep_returns(
    escrow: FileEscrow, in_child: InChild
) -> None:
    taken = steps_of(lambda: escrow.keep(record(envelope=bytes(4000))), in_child)
    assert taken[-7:] == ["write", "write", "fsync", "close", "rename", "fsync", "close"]
    name = escrow.records()[0].name
    assert steps_of(lambda: escrow.forget(name), in_child) == ["open", "unlink", "unlink", "fsync", "close"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_between_any_two_steps_of_keep_loses_nothing_that_was_kept(
    escrow: FileEscrow, spool: Path, in_child: InChild, after: bool
) -> None:
    older, late = record(0), record(1, envelope=bytes(1000))
    escrow.keep(older)
    taken = steps_of(lambda: escrow.keep(late), in_child)
    assert taken.count("write") > 3
    escrow.forget(escrow.records()[1].name)
    torn = 0
    for at in range(len(taken)):
        kill_in(lambda: escrow.keep(late), at, after=after)
        written = at + after > max(number for number, step in enumerate(taken) if step == "write")
        assert nameless(escrow.records()) == [older, *([late] if written else [])], (at, taken[at])
        for one in escrow.records()[1:]:
            escrow.forget(one.name)
        left = [file for file in files(spool) if file.endswith(".draft")]
        assert len([file for file in files(spool) if file.endswith(".sealed")]) == 1
        torn += bool(left)
        for file in left:
            (spool / file).unlink()
    assert torn > 3


def test_a_kill_between_any_two_steps_of_forget_leaves_the_record_whole_or_nothing(
    escrow: FileEscrow, spool: Path, in_child: InChild
) -> None:
    escrow.keep(record(0))
    name = escrow.keep(record(1))
    steps = steps_of(partial(escrow.forget, name), in_child)
    for at in range(len(steps)):
        name = escrow.keep(record(1))
        kill_in(partial(escrow.forget, name), at, after=False)
        assert nameless(escrow.records()) in ([record(0), record(1)], [record(0)])
        escrow.forget(name)
        assert len(files(spool)) == 1


def test_a_record_taken_by_another_while_it_gets_its_name_is_kept(
    escrow: FileEscrow, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, other = os.rename, FileEscrow(spool)

    def overtaken(*args: Any, **kwargs: Any) -> None:
        (found,) = other.records()
        other.forget(found.name)
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "rename", overtaken)
    escrow.forget(escrow.keep(record()))
    assert files(spool) == []


def test_a_record_that_gets_its_name_while_it_is_read_is_found_once(
    escrow: FileEscrow, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = escrow.keep(record())
    final, draft = spool / f"{name}.sealed", spool / f"{name}.draft"
    final.rename(draft)
    read = module._Spool.read

    def just_before(spool: Any, file: str) -> bytes:
        data = read(spool, file)
        if draft.exists():
            draft.rename(final)
        return data

    monkeypatch.setattr(module._Spool, "read", just_before)
    assert [one.name for one in escrow.records()] == [name]


# --- who may use the directory ----------------------------------------------------------------------


def test_the_directory_and_the_files_are_their_owners_alone_whatever_the_umask_says(
    spool: Path, in_child: InChild
) -> None:
    def act() -> list[int]:
        os.umask(0)
        escrow = FileEscrow(spool)
        escrow.open()
        name = escrow.keep(record())
        return [os.stat(spool).st_mode & 0o7777, os.stat(spool / f"{name}.sealed").st_mode & 0o7777]

    assert in_child(act) == [0o700, 0o600]


@pytest.mark.parametrize("mode", [0o701, 0o704, 0o702, 0o710, 0o740, 0o720, 0o777, 0o1777, 0o2750])
def test_a_directory_that_others_may_use_is_refused_at_the_start(spool: Path, mode: int) -> None:
    spool.mkdir()
    spool.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod it to 700"):
        FileEscrow(spool).open()
    assert files(spool) == []
    spool.chmod(0o700)
    FileEscrow(spool).open()


def test_a_directory_opened_up_later_still_keeps_what_would_be_lost(escrow: FileEscrow, spool: Path) -> None:
    spool.chmod(0o755)
    escrow.keep(record())
    assert nameless(escrow.records()) == [record()]
    assert (spool / files(spool)[0]).stat().st_mode & 0o777 == 0o600


def test_a_directory_removed_later_is_made_again(escrow: FileEscrow, spool: Path) -> None:
    spool.rmdir()
    assert escrow.records() == []
    spool.rmdir()
    escrow.keep(record())
    assert nameless(escrow.records()) == [record()]
    assert spool.stat().st_mode & 0o777 == 0o700


def test_a_symbolic_link_is_no_escrow(tmp_path: Path, spool: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(0o700)
    spool.symlink_to(target)
    for path in (spool, f"{spool}/"):
        with pytest.raises(ConfigurationError, match="symbolic link"):
            FileEscrow(path).open()
    for act in (lambda: FileEscrow(spool).keep(record()), FileEscrow(spool).records):
        with pytest.raises(StoreUnavailableError, match="symbolic link"):
            act()
    assert files(target) == []


def test_a_directory_exchanged_for_a_link_after_the_start_is_not_written_to(
    tmp_path: Path, escrow: FileEscrow, spool: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir(0o700)
    spool.rename(tmp_path / "away")
    spool.symlink_to(target)
    name = GOLDEN_NAME
    (target / f"{name}.sealed").touch()
    for act in (lambda: escrow.keep(record()), escrow.records, lambda: escrow.forget(name)):
        with pytest.raises(StoreUnavailableError, match="symbolic link"):
            act()
    assert files(target) == [f"{name}.sealed"]


def test_a_directory_exchanged_in_the_middle_of_a_call_changes_nothing(
    tmp_path: Path, escrow: FileEscrow, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, away = tmp_path / "target", tmp_path / "away"
    target.mkdir(0o700)
    rename = os.rename

    def exchanged(*args: Any, **kwargs: Any) -> None:
        rename(spool, away)
        os.symlink(target, spool)
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "rename", exchanged)
    name = escrow.keep(record())
    assert files(target) == []
    assert files(away) == [f"{name}.sealed"]


def test_a_file_is_no_escrow(spool: Path) -> None:
    spool.touch()
    with pytest.raises(ConfigurationError, match="no directory"):
        FileEscrow(spool).open()
    with pytest.raises(StoreUnavailableError, match="no directory"):
        FileEscrow(spool).keep(record())
    assert spool.read_bytes() == b""


def test_only_the_directory_itself_is_created(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        FileEscrow(tmp_path / "missing" / "escrow").open()
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("path", ["", "a\0b", b"/tmp/escrow"])
def test_what_is_no_path_is_refused_at_once(path: Any) -> None:
    with pytest.raises(ConfigurationError, match="path"):
        FileEscrow(path)


def test_the_working_directory_matters_only_when_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    escrow = FileEscrow("escrow")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    escrow.open()
    assert (tmp_path / "escrow").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_directory_is_refused_and_another_users_file_is_no_record(
    escrow: FileEscrow, spool: Path
) -> None:
    name = escrow.keep(record())
    os.chown(spool / f"{name}.sealed", 12345, -1)
    assert escrow.records() == []
    os.chown(spool, 12345, -1)
    with pytest.raises(ConfigurationError, match="another user"):
        escrow.open()
    with pytest.raises(StoreUnavailableError, match="another user"):
        escrow.keep(record())
    assert files(spool) == [f"{name}.sealed"]


def test_a_link_or_a_pipe_under_a_records_name_is_not_followed(tmp_path: Path, escrow: FileEscrow, spool: Path) -> None:
    name = escrow.keep(record(1))
    outside = tmp_path / "outside"
    (spool / f"{name}.sealed").rename(outside)
    (spool / f"{name}.sealed").symlink_to(outside)
    pipe = f"{0:020d}{GOLDEN_NAME[20:]}"
    os.mkfifo(spool / f"{pipe}.sealed", 0o600)
    (spool / f"{GOLDEN_NAME}.sealed").mkdir()
    escrow.keep(record(2))
    assert nameless(escrow.records()) == [record(2)]
    escrow.forget(name)
    assert outside.exists()


def test_a_link_planted_under_the_name_to_come_is_not_written_through(
    tmp_path: Path, escrow: FileEscrow, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_new_name", lambda _: GOLDEN_NAME)
    for target in (tmp_path / "precious", tmp_path / "missing"):
        if target.name == "precious":
            target.write_text("precious")
        (spool / f"{GOLDEN_NAME}.draft").symlink_to(target)
        with pytest.raises(StoreUnavailableError, match="File exists"):
            escrow.keep(record())
        (spool / f"{GOLDEN_NAME}.draft").unlink()
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "missing").exists()


def test_a_umask_that_takes_files_from_their_owner_is_found_at_the_start(in_child: InChild) -> None:
    spool = tempfile.mkdtemp()  # below no directory that is private to root

    def act() -> str:
        if os.geteuid() == 0:  # whom no mode stops
            os.chown(spool, 65534, 65534)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        escrow = FileEscrow(spool)
        escrow.open()
        os.umask(0o777)
        return told(escrow.open)

    try:
        assert "the umask takes files from their owner" in in_child(act)
        assert os.listdir(spool) == []
    finally:
        shutil.rmtree(spool)


# --- what stands in the way -------------------------------------------------------------------------


def told(act: Callable[[], object]) -> str:
    try:
        act()
    except (ConfigurationError, StoreUnavailableError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_a_record_that_does_not_fit_is_told_and_leaves_nothing(
    escrow: FileEscrow, spool: Path, in_child: InChild
) -> None:
    escrow.keep(record(0))

    def act() -> list[str]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        large = record(2, envelope=bytes(64 * 1024))
        return [told(lambda: escrow.keep(large)), told(escrow.open), told(lambda: escrow.keep(record(1)))]

    assert in_child(act) == ["StoreUnavailableError: the escrow can't be written: File too large", "", ""]
    assert nameless(escrow.records()) == [record(0), record(1)]
    assert len(files(spool)) == 2


def test_a_process_out_of_descriptors_is_told(escrow: FileEscrow, spool: Path, in_child: InChild) -> None:
    name = escrow.keep(record(0))

    def act() -> list[str]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = []
        with pytest.raises(OSError, match="Too many"):
            while True:
                taken.append(os.dup(0))
        none = [told(one) for one in (lambda: escrow.keep(record(1)), escrow.records, lambda: escrow.forget(name))]
        os.close(taken.pop())  # enough for the directory, not for a file
        one = [told(one) for one in (escrow.open, lambda: escrow.keep(record(1)), escrow.records)]
        os.close(taken.pop())
        return [*none, *one, told(lambda: escrow.keep(record(1)))]

    answers = in_child(act)
    assert answers.pop() == ""
    assert all(answer.endswith(("Too many open files", "with room left")) for answer in answers), answers
    assert [answer.partition(":")[0] for answer in answers] == [
        *["StoreUnavailableError"] * 3, "ConfigurationError", *["StoreUnavailableError"] * 2,
    ]  # fmt: skip
    assert nameless(escrow.records()) == [record(0), record(1)]


FULL = """
    import os, subprocess, sys, tempfile
    sys.path[:0] = {path!r}
    from stores_test_escrow import record, told
    from socialvault.stores.escrow import FileEscrow

    root = tempfile.mkdtemp()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", root], check=True)
    print("mounted")
    escrow = FileEscrow(root)
    escrow.open()
    small = escrow.keep(record(0))
    print(told(lambda: escrow.keep(record(1, envelope=bytes(70_000)))))
    assert os.listdir(root) == [small + ".sealed"]
    with open(root + "/filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass
    print(told(lambda: escrow.keep(record(2))))
    print(told(escrow.open))
    assert [one.row.id for one in escrow.records()] == ["con-0"]
    os.unlink(root + "/filler")
    escrow.forget(escrow.keep(record(3)))
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    print(told(lambda: escrow.keep(record(2))))
    print(told(lambda: escrow.forget(small)))
    print(told(escrow.open))
    assert [one.row.id for one in escrow.records()] == ["con-0"]
"""


def test_a_full_or_read_only_disk_is_told_and_costs_no_other_record(tmp_path: Path) -> None:
    (tmp_path / "stores_test_escrow.py").symlink_to(__file__)
    script = textwrap.dedent(FULL).format(path=[str(tmp_path), *sys.path])
    namespace = ["unshare", "--map-root-user", "--mount"]
    try:
        run = subprocess.run(
            [*namespace, sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if "mounted" not in run.stdout:
        pytest.skip(f"no file system may be mounted here: {run.stderr.strip()[-200:]}")
    assert run.returncode == 0, run.stderr
    kept, opened = "StoreUnavailableError: the escrow can't be written: ", "ConfigurationError: the escrow can't be "
    hint = ": give a directory that this process may write to, with room left"
    assert run.stdout.splitlines()[1:] == [
        f"{kept}No space left on device",
        f"{kept}No space left on device",
        f"{opened}written: No space left on device{hint}",
        f"{kept}Read-only file system",
        "StoreUnavailableError: the escrow can't be changed: Read-only file system",
        f"{opened}written: Read-only file system{hint}",
    ]


def test_a_record_that_can_not_be_synced_is_told_and_stays_for_what_it_is_worth(
    escrow: FileEscrow, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(StoreUnavailableError, match="written: Input/output error"):
            escrow.keep(record())
        with pytest.raises(ConfigurationError, match="written: Input/output error"):
            escrow.open()
    assert nameless(escrow.records()) == [record()]
    assert len(files(spool)) == 1


@pytest.mark.parametrize(
    ("code", "stops"), [(errno.EIO, False), (errno.EACCES, False), (errno.EMFILE, True), (errno.ENFILE, True)]
)
def test_a_file_that_can_not_be_read_hides_no_other_unless_none_can_be_opened(
    escrow: FileEscrow, monkeypatch: pytest.MonkeyPatch, code: int, stops: bool
) -> None:
    bad = escrow.keep(record(1))
    escrow.keep(record(2))
    open_ = os.open

    def broken(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).startswith(bad):
            raise OSError(code, os.strerror(code))
        return open_(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", broken)
    if stops:
        with pytest.raises(StoreUnavailableError, match=f"read: {os.strerror(code)}"):
            escrow.records()
    else:
        assert nameless(escrow.records()) == [record(2)]


def test_a_bad_sector_hides_no_other(escrow: FileEscrow, monkeypatch: pytest.MonkeyPatch) -> None:
    escrow.keep(record(1))
    escrow.keep(record(2))
    opened = []

    class Bad(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def first_is_bad(descriptor: int, *args: Any, **kwargs: Any) -> Any:
        opened.append(descriptor)
        return Bad() if len(opened) == 1 else open(descriptor, *args, **kwargs)

    monkeypatch.setattr(module, "open", first_is_bad, raising=False)
    assert nameless(escrow.records()) == [record(2)]
    assert len(opened) == 2


# --- processes --------------------------------------------------------------------------------------


def test_any_number_of_processes_keep_read_and_forget_at_once(
    escrow: FileEscrow, spool: Path, in_children: InChildren
) -> None:
    def keep(child: int) -> int:
        own = FileEscrow(spool)
        own.open()
        for number in range(25):
            own.keep(record(number, owner=f"{child}", envelope=os.urandom(3000)))
            own.records()
        return len({one.row.id for one in own.records() if one.row.owner == f"{child}"})

    assert in_children(3, keep) == [25, 25, 25]
    found = escrow.records()
    assert len({(one.row.owner, one.row.id) for one in found}) == len(found) == 75
    assert [one.at_seconds for one in found] == sorted(one.at_seconds for one in found)

    def forget(_child: int) -> None:
        for one in FileEscrow(spool).records():
            escrow.forget(one.name)

    in_children(3, forget)
    assert files(spool) == []


def test_a_forked_child_goes_on_with_its_parents_escrow(
    escrow: FileEscrow, spool: Path, in_child: InChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, rename = threading.Event(), threading.Event(), os.rename

    def slow(*args: Any, **kwargs: Any) -> None:
        begun.set()
        go.wait(10)
        rename(*args, **kwargs)

    monkeypatch.setattr(os, "rename", slow)
    keeper = threading.Thread(target=escrow.keep, args=(record(1),))
    keeper.start()  # is in the middle of keeping when the fork comes
    assert begun.wait(5)

    def act() -> str:
        monkeypatch.setattr(os, "rename", rename)
        return escrow.keep(record(2))

    try:
        name = in_child(act)
    finally:
        go.set()
        keeper.join()
    assert [one.row.id for one in escrow.records()] == ["con-1", "con-2"]
    assert escrow.records()[1].name == name
    assert len(files(spool)) == 2


def test_no_descriptor_stays_open(escrow: FileEscrow, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    for _ in range(3):
        escrow.open()
        escrow.forget(escrow.keep(record()))
        escrow.records()
    spool.chmod(0o755)
    with pytest.raises(ConfigurationError):
        escrow.open()
    monkeypatch.setattr(module, "_foreign", lambda _: True)
    with pytest.raises(StoreUnavailableError):
        escrow.records()
    assert len(os.listdir("/proc/self/fd") if before else []) == len(before)


# --- secrets ----------------------------------------------------------------------------------------


def test_no_secret_is_in_the_directory_or_in_an_error(
    tmp_path: Path, escrow: FileEscrow, spool: Path, in_child: InChild
) -> None:
    canary = "canary-" + os.urandom(16).hex()
    cipher, nonce = AESGCM(AESGCM.generate_key(256)), os.urandom(12)
    sealed = cipher.encrypt(nonce, canary.encode(), b"")
    secret = record(owner="owner-of-it", envelope=sealed, candidate=sealed)
    escrow.keep(secret)
    kill_in(lambda: escrow.keep(secret), 6, after=False)
    spool.rename(tmp_path / "moved")
    spool.touch()
    with pytest.raises(StoreUnavailableError) as caught:
        escrow.keep(secret)
    assert_absent_from_files([canary], tmp_path)
    assert found_in([canary], whole_story(caught.value).encode()) == []
    assert str(tmp_path) not in str(caught.value)
    assert "owner-of-it" not in str(caught.value)
    assert cipher.decrypt(nonce, FileEscrow(tmp_path / "moved").records()[0].envelope, b"").decode() == canary
