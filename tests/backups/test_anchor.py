"""C-19, F-34: a row that was put back from an old copy is noticed, because an anchor remembers a newer one."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from socialvault import AsyncVault, Connection, LocalKeyring, Vault
from socialvault.exceptions import ConfigurationError, StoreUnavailableError, TamperedError
from socialvault.runtimes.threads import run
from socialvault.stores.anchor import AsyncFileAnchor, FileAnchor
from socialvault.vault.blocking import BlockingAnchor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from socialvault.model.events import Event
    from socialvault.ports.anchor import AsyncAnchor
    from socialvault.sandbox import Sandbox

# --- the file -------------------------------------------------------------------------------------


@pytest.fixture(params=["sync", "async"])
def anchor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AsyncAnchor]:
    if request.param == "async":
        made: AsyncAnchor = AsyncFileAnchor(tmp_path / "anchors")
    else:
        made = BlockingAnchor(FileAnchor(tmp_path / "anchors"))
    yield made
    asyncio.run(made.aclose())


def test_generations_only_rise_but_for_a_reset(anchor: AsyncAnchor) -> None:
    async def main() -> None:
        assert await anchor.highest("a") == 0
        for generation in (3, 7, 7, 5):
            await anchor.raise_to("a", generation)
        await anchor.raise_to("b", 1)
        assert (await anchor.highest("a"), await anchor.highest("b")) == (7, 1)
        await anchor.reset("a")
        await anchor.reset("a")
        assert (await anchor.highest("a"), await anchor.highest("b")) == (0, 1)

    asyncio.run(main())


def test_what_is_anchored_outlives_the_process_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "anchors"
    with closing(FileAnchor(path)) as anchor:
        anchor.raise_to("a", 4)
        assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    with closing(FileAnchor(path)) as first, closing(FileAnchor(path)) as second:
        first.raise_to("a", 6)
        assert second.highest("a") == 6
    assert anchor.highest("a") == 6  # a closed one opens again
    anchor.close()


def test_a_forked_child_goes_on_with_a_connection_of_its_own(tmp_path: Path) -> None:
    with closing(FileAnchor(tmp_path / "anchors")) as anchor:
        anchor.raise_to("a", 1)
        child = os.fork()
        if not child:
            if anchor._connection is not None:  # the parent's, whose locks this process does not hold
                os._exit(2)
            anchor.raise_to("a", 2)
            os._exit(0 if anchor.highest("a") == 2 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert anchor.highest("a") == 2


def test_a_file_that_others_could_change_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").touch(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "open").touch()
    (tmp_path / "open").chmod(0o620)
    for name in ("link", "open", "."):
        with pytest.raises(ConfigurationError, match="anchor"):
            FileAnchor(tmp_path / name)
    with pytest.raises(StoreUnavailableError, match="No such file"):
        FileAnchor(tmp_path / "nowhere" / "anchors")


def test_a_file_that_is_no_database_is_unavailable_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "anchors"
    path.write_bytes(b"not a database, but as long as the first page of one has to be" * 100)
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailableError, match="SQLITE_NOTADB"):
        FileAnchor(path)
    assert path.read_bytes() == before


# --- a vault with one -----------------------------------------------------------------------------


class Stage:
    """A service whose database is put back behind its back."""

    def __init__(self, sandbox: Sandbox, folder: Path, colour: str) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.colour = colour
        self.key = LocalKeyring.generate()
        self.provider = sandbox.provider("x")
        self.events: list[Event] = []
        self.vault = self.build()

    @property
    def database(self) -> Path:
        return self.folder / "vault.db"

    @property
    def anchors(self) -> Path:
        return self.folder / "anchors"

    def build(self, **changes: Any) -> Any:
        make: Any = AsyncVault if self.colour == "async" else Vault
        given = {
            "providers": [self.provider],
            "store": f"sqlite:///{self.database}",
            "keys": LocalKeyring([self.key]),
            "redirect_uri": "https://app.example/{provider}/callback",
            "clock": self.sandbox.clock,
            "observers": [self.events.append],
            "anchor": self.anchors,
            **changes,
        }
        return make(**given)

    async def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        outcome = getattr(self.vault, name)(*arguments, **named)
        return await outcome if self.colour == "async" else outcome

    async def connect(self, user: str = "ada", **options: Any) -> Connection:
        issued = self.sandbox.issue("x", user=user)
        made: Connection = await self.call(
            "import_tokens", "x", owner="owner", access_token=issued.access_token,
            refresh_token=issued.refresh_token, expires_at=issued.expires_at, **options,
        )  # fmt: skip
        return made

    async def token(self, one: Connection) -> Any:
        return await self.call("token", one.id, owner="owner")

    async def refresh(self, one: Connection) -> Any:
        return await self.call("refresh", one.id, owner="owner")

    def anchored(self, one: Connection) -> int:
        with closing(FileAnchor(self.anchors)) as anchor:
            return anchor.highest(one.id)

    def row(self, one: Connection) -> dict[str, Any]:
        with closing(sqlite3.connect(self.database)) as database:
            database.row_factory = sqlite3.Row
            return dict(database.execute("SELECT * FROM connections WHERE id = ?", (one.id,)).fetchone())

    def put_back(self, row: dict[str, Any]) -> None:
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        with closing(sqlite3.connect(self.database, isolation_level=None)) as database:
            database.execute(f"REPLACE INTO connections ({names}) VALUES ({marks})", tuple(row.values()))

    async def close(self) -> None:
        await self.call("aclose" if self.colour == "async" else "close")


@pytest.fixture(params=["sync", "async"])
def stage(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Stage:
    return Stage(sandbox, tmp_path, request.param)


async def test_c_19_a_row_that_was_put_back_is_refused_and_left_as_it_is(stage: Stage) -> None:
    one = await stage.connect()
    old = stage.row(one)
    await stage.refresh(one)
    assert (await stage.token(one)).generation == stage.anchored(one) == 2
    stage.put_back(old)
    stage.events.clear()
    sent = stage.sandbox.log.count(provider="x", endpoint="token")
    for call in (stage.token, stage.refresh):
        with pytest.raises(TamperedError, match="rolled back"):
            await call(one)
    stage.sandbox.clock.advance(timedelta(hours=3))  # now it is due: an old refresh token is not even presented
    with pytest.raises(TamperedError, match="rolled back"):
        await stage.token(one)
    assert (await stage.call("renew_due")).failed == 1
    assert stage.sandbox.log.count(provider="x", endpoint="token") == sent
    assert {(event.name, event.reason) for event in stage.events} == {("record_refused", "TamperedError")}
    assert stage.row(one) == old
    assert stage.anchored(one) == 2
    await stage.close()


async def test_without_an_anchor_nothing_is_noticed_and_nothing_is_kept(stage: Stage) -> None:
    await stage.close()
    stage.anchors.unlink()
    stage.vault = stage.build(anchor=None)
    one = await stage.connect()
    old = stage.row(one)
    await stage.refresh(one)
    stage.put_back(old)
    assert (await stage.token(one)).generation == 1
    assert not stage.anchors.exists()
    await stage.close()


async def test_a_restore_on_purpose_is_accepted_once_its_anchor_is_reset(stage: Stage) -> None:
    one = await stage.connect()
    old = stage.row(one)
    await stage.refresh(one)
    stage.put_back(old)
    with closing(FileAnchor(stage.anchors)) as anchor:
        anchor.reset(one.id)
    assert (await stage.token(one)).generation == 1
    assert stage.anchored(one) == 1
    await stage.close()


async def test_a_new_grant_ends_the_refusal(stage: Stage) -> None:
    one = await stage.connect()
    old = stage.row(one)
    for _ in range(3):
        await stage.refresh(one)
    stage.put_back(old)
    again = await stage.connect(replace=True)
    assert (again.id, again.generation) == (one.id, 2)
    assert (await stage.token(one)).generation == 2
    assert stage.anchored(one) == 2
    await stage.refresh(one)
    assert stage.anchored(one) == 3
    await stage.close()


async def test_a_browser_flow_reconnects_what_was_put_back(sandbox: Sandbox, tmp_path: Path) -> None:
    stage = Stage(sandbox, tmp_path, "async")
    one = await stage.connect()
    old = stage.row(one)
    await stage.refresh(one)
    await stage.refresh(one)
    stage.put_back(old)
    login = await stage.vault.begin("x", owner="owner", connection_id=one.id)
    params = await asyncio.to_thread(sandbox.authorize, login.url)
    cookies = {login.cookie.name: login.cookie.value}
    done = await stage.vault.complete(params, provider="x", owner="owner", cookies=cookies)
    assert (done.connection.id, done.connection.generation) == (one.id, 2)
    assert (await stage.token(one)).generation == stage.anchored(one) == 2
    await stage.close()


async def test_a_put_back_connection_can_be_disconnected_and_erased(stage: Stage) -> None:
    one = await stage.connect()
    old = stage.row(one)
    await stage.refresh(one)
    stage.put_back(old)
    assert (await stage.call("erase_owner", "owner")).erased == 1
    assert stage.anchored(one) == 0
    await stage.close()


async def test_an_anchor_that_came_later_learns_from_what_it_sees(stage: Stage) -> None:
    await stage.close()
    stage.vault = stage.build(anchor=None)
    one = await stage.connect()
    await stage.refresh(one)
    await stage.close()
    stage.vault = stage.build()
    assert stage.anchored(one) == 0
    await stage.token(one)
    assert stage.anchored(one) == 2
    await stage.close()


class Broken:
    """An anchor that can't be written, or not be reached at all."""

    def __init__(self, path: Path, *failing: str) -> None:
        self._anchor = FileAnchor(path)
        self.failing = set(failing)

    def _called(self, name: str, *arguments: Any) -> Any:
        if name in self.failing:
            raise StoreUnavailableError("the anchor is away")
        return getattr(self._anchor, name)(*arguments)

    def highest(self, connection_id: str) -> int:
        found: int = self._called("highest", connection_id)
        return found

    def raise_to(self, connection_id: str, generation: int) -> None:
        self._called("raise_to", connection_id, generation)

    def reset(self, connection_id: str) -> None:
        self._called("reset", connection_id)

    def close(self) -> None:
        self._anchor.close()


@pytest.fixture
def sync_stage(sandbox: Sandbox, tmp_path: Path) -> Stage:
    return Stage(sandbox, tmp_path, "sync")


async def test_an_anchor_that_can_not_be_written_loses_no_token(sync_stage: Stage, caplog: Any) -> None:
    stage = sync_stage
    await stage.close()
    broken = Broken(stage.anchors)
    stage.vault = stage.build(anchor=broken)
    one = await stage.connect()
    broken.failing = {"raise_to"}
    assert (await stage.refresh(one)).generation == 2
    assert (await stage.token(one)).generation == 2
    assert "a generation was not anchored" in caplog.text
    assert stage.anchored(one) == 1
    broken.failing = set()
    assert (await stage.token(one)).generation == stage.anchored(one) == 2
    broken.close()
    await stage.close()


async def test_an_anchor_that_can_not_be_reached_lets_nothing_be_served(sync_stage: Stage) -> None:
    stage = sync_stage
    await stage.close()
    broken = Broken(stage.anchors)
    stage.vault = stage.build(anchor=broken)
    one = await stage.connect()
    broken.failing = {"highest"}
    for call in (stage.token, stage.refresh):
        with pytest.raises(StoreUnavailableError, match="the anchor is away") as caught:
            await call(one)
        assert caught.value.action == "retry"
    broken.failing = set()
    assert (await stage.token(one)).generation == 1
    broken.close()
    await stage.close()


async def test_a_renewal_between_read_and_anchor_is_no_rollback(
    sync_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = sync_stage
    one = await stage.connect()
    tokens = stage.vault._cases.tokens
    valid: Callable[..., Any] = tokens._valid
    other = stage.build(anchor=stage.anchors)

    async def renewed_meanwhile(*arguments: Any) -> Any:
        token = await valid(*arguments)
        if token.generation == 1:
            other.refresh(one.id, owner="owner")
        return token

    monkeypatch.setattr(tokens, "_valid", renewed_meanwhile)
    token = run(tokens._anchored(one.id, "owner", ""))
    assert token.generation == 2
    other.close()
    await stage.close()


async def test_what_waits_in_the_escrow_is_not_anchored_before_it_is_stored(
    sync_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = sync_stage
    await stage.close()
    monkeypatch.setattr("socialvault.vault.saving._WRITE_ATTEMPTS", 1)
    stage.vault = stage.build(escrow=stage.folder / "escrow")
    one = await stage.connect()
    core = stage.vault._cases.core

    async def away(_write: Any) -> None:
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patched:
        patched.setattr(core.store, "write_token", away)
        assert (await stage.refresh(one)).generation == 2
        assert stage.anchored(one) == 1
    assert (await stage.token(one)).generation in (1, 2)
    await stage.call("renew_due")
    assert (await stage.token(one)).generation == stage.anchored(one) == 2
    await stage.close()


def test_a_whole_backup_that_is_put_back_is_noticed_row_by_row(sandbox: Sandbox, tmp_path: Path) -> None:
    stage = Stage(sandbox, tmp_path, "sync")

    async def main() -> tuple[Connection, Connection]:
        first, second = await stage.connect("ada"), await stage.connect("grace")
        with (
            closing(sqlite3.connect(stage.database)) as source,
            closing(sqlite3.connect(tmp_path / "backup.db")) as copy,
        ):
            source.backup(copy)
        await stage.refresh(first)
        await stage.close()
        return first, second

    first, second = asyncio.run(main())
    for suffix in ("", "-wal", "-shm"):
        stage.database.with_name(f"vault.db{suffix}").unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", stage.database)
    stage.database.chmod(0o600)
    stage.vault.open()
    assert stage.vault.token(second.id, owner="owner").generation == 1  # it had not changed since
    with pytest.raises(TamperedError, match="rolled back"):
        stage.vault.token(first.id, owner="owner")
    stage.vault.close()


@pytest.mark.parametrize(("make", "given"), [(Vault, AsyncFileAnchor), (AsyncVault, FileAnchor)])
def test_an_anchor_of_the_other_colour_is_refused(make: Any, given: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="anchor is"):
        make(
            providers=[], store=":memory:", keys=LocalKeyring([LocalKeyring.generate()]),
            redirect_uri="https://app.example/{provider}", anchor=given(tmp_path / "anchors"),
        )  # fmt: skip
