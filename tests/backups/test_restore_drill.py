"""C-24, C-25: dump, wipe, restore into another database, open it with the KEK, renew once, compare."""

from __future__ import annotations

import itertools
import json
import sqlite3
import subprocess
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from support.canaries import assert_absent_from_files
from typer.testing import CliRunner, Result

from socialvault import LocalKeyring, Vault
from socialvault.cli.app import app
from socialvault.exceptions import ReauthorizationRequiredError, WrongKeyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from support.postgres import Postgres

    from socialvault import Connection
    from socialvault.sandbox import Sandbox

USERS = ("ada", "grace", "linus")
_TABLES = ("connections", "vault", "keks", "vault_keys", "data_keys", "revocations")
_numbers = itertools.count()


class Place(Protocol):
    """A kind of database: how it is made, dumped, wiped and restored."""

    def create(self) -> str: ...

    def dump(self, url: str) -> Path: ...

    def wipe(self, url: str) -> None: ...

    def restore(self, dump: Path) -> str: ...

    def rows(self, url: str) -> dict[str, list[tuple[Any, ...]]]: ...


class SQLitePlace:
    """Copied with SQLite's own backup function, while a vault has it open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self) -> str:
        return f"sqlite:///{self._folder}/original.db"

    def dump(self, url: str) -> Path:
        target = self._folder / f"backup-{next(_numbers)}.db"
        with closing(sqlite3.connect(self._path(url))) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
        return target

    def wipe(self, url: str) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._folder.joinpath(f"{self._path(url)}{suffix}").unlink(missing_ok=True)

    def restore(self, dump: Path) -> str:
        target = self._folder / f"restored-{next(_numbers)}.db"
        target.touch(0o600)
        with closing(sqlite3.connect(dump)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
        return f"sqlite:///{target}"

    def rows(self, url: str) -> dict[str, list[tuple[Any, ...]]]:
        with closing(sqlite3.connect(self._path(url))) as opened:
            return {table: sorted(opened.execute(f"SELECT * FROM {table}").fetchall(), key=repr) for table in _TABLES}

    @staticmethod
    def _path(url: str) -> str:
        return url.removeprefix("sqlite:///")


class PostgresPlace:
    """Dumped with ``pg_dump`` and restored with ``psql``, as operators do."""

    def __init__(self, folder: Path, server: Postgres) -> None:
        self._folder = folder
        self._server = server

    def create(self) -> str:
        from socialvault.stores.sqlalchemy import SQLAlchemyStore

        url = self._empty()
        with closing(SQLAlchemyStore(url)) as store:
            store.create_schema()
        return url

    def _empty(self) -> str:
        return self._server.create_database(f"drill_{next(_numbers)}").url

    def dump(self, url: str, *options: str) -> Path:
        target = self._folder / f"dump-{next(_numbers)}"
        self._run("pg_dump", f"--dbname={dsn(url)}", f"--file={target}", *options)
        return target

    def wipe(self, url: str) -> None:
        self._server.drop_database(url.rpartition("/")[2])

    def restore(self, dump: Path) -> str:
        url = self._empty()
        self._run("psql", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={dump}", dsn(url))
        return url

    def rows(self, url: str) -> dict[str, list[tuple[Any, ...]]]:
        database = self._server.database(url.rpartition("/")[2])
        return {
            table: sorted((tuple(map(plain, row)) for row in database.execute(f"SELECT * FROM {table}")), key=repr)
            for table in _TABLES
        }

    @property
    def programs(self) -> Path:
        return self._server.directory / "install" / "pg" / "install" / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self.programs / program), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr


def dsn(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return SQLitePlace(tmp_path)
    return PostgresPlace(tmp_path, request.getfixturevalue("postgres"))


class Application:
    """A service whose accounts are at the sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.provider = sandbox.provider("x")
        self.keys = [LocalKeyring.generate()]

    def vault(self, url: str, **changes: Any) -> Vault:
        given: dict[str, Any] = {
            "providers": [self.provider],
            "store": url,
            "keys": LocalKeyring(self.keys),
            "redirect_uri": "https://app.example/{provider}/callback",
            "clock": self.sandbox.clock,
            **changes,
        }
        return Vault(**given)

    def connect(self, vault: Vault) -> list[Connection]:
        return [
            vault.import_tokens(
                "x", owner=user, tenant="acme", access_token=issued.access_token, refresh_token=issued.refresh_token,
                expires_at=issued.expires_at,
            )
            for user, issued in zip(USERS, self.sandbox.issue_many("x", USERS), strict=True)
        ]  # fmt: skip


@pytest.fixture
def application(sandbox: Sandbox) -> Application:
    return Application(sandbox)


def verify(source: object, keys: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setenv("DRILL_KEYS", ",".join(keys))
    return CliRunner().invoke(app, ["backup", "verify", str(source), "--keys-env", "DRILL_KEYS", "--json"])


def test_c_24_a_restored_database_opens_renews_and_holds_what_was_dumped(
    place: Place, application: Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original = place.create()
    with application.vault(original) as vault:
        made = application.connect(vault)
        held = {one.id: vault.token(one.id, owner=one.owner, tenant="acme").reveal() for one in made}
        shown = {one.id: vault.connection(one.id, owner=one.owner, tenant="acme") for one in made}
        dump = place.dump(original)
        before = place.rows(original)
    assert_absent_from_files(application.sandbox.issued_tokens(), tmp_path)  # a dump is sealed as the database is
    place.wipe(original)

    verdict = verify(dump, application.keys, monkeypatch)
    assert (verdict.exit_code, json.loads(verdict.stdout)["opened"]["token"]) == (0, 3), verdict.output
    restored = place.restore(dump)
    assert place.rows(restored) == before
    verdict = verify(restored, application.keys, monkeypatch)
    assert verdict.exit_code == 0, verdict.output
    assert place.rows(restored) == before  # looking at it wrote nothing

    with application.vault(restored) as vault:
        assert {one.id: vault.token(one.id, owner=one.owner, tenant="acme").reveal() for one in made} == held
        assert {one.id: vault.connection(one.id, owner=one.owner, tenant="acme") for one in made} == shown
        first, *others = made
        renewed = vault.refresh(first.id, owner=first.owner, tenant="acme")
        assert renewed.reveal() != held[first.id]
        assert renewed.generation == 2
        assert vault.admin.verify().ok
    untouched = {one.id for one in others}
    assert kept(place.rows(restored), untouched) == kept(before, untouched)
    sent = application.sandbox.log.entries(provider="x", endpoint="token")
    assert [entry.outcome for entry in sent] == ["refreshed"]


def kept(rows: dict[str, list[tuple[Any, ...]]], ids: set[str]) -> list[tuple[Any, ...]]:
    return [row for row in rows["connections"] if ids & set(map(str, row))]


def test_c_25_the_old_key_does_not_open_what_was_dumped_after_the_key_rotation(
    place: Place, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    [old] = application.keys
    new = LocalKeyring.generate()
    original = place.create()
    with application.vault(original) as vault:
        [first, *_] = application.connect(vault)
        before_rotation = place.dump(original)
    application.keys = [new, old]
    with application.vault(original) as vault:
        vault.rotate_keys()
        dump = place.dump(original)
    place.wipe(original)

    restored = place.restore(dump)
    needed, held = (LocalKeyring([key]).primary_id for key in (new, old))
    for source in (dump, restored):
        verdict = verify(source, [old], monkeypatch)
        assert verdict.exit_code == 78
        assert f"key {needed[:12]}… is needed and not at hand; the keyring holds {held[:12]}…" in verdict.stderr
    written = place.rows(restored)
    application.keys = [old]
    with closing(application.vault(restored)) as vault, pytest.raises(WrongKeyError, match=needed[:12]):
        vault.open()
    assert place.rows(restored) == written
    assert verify(before_rotation, [old], monkeypatch).exit_code == 0  # as long as such backups are kept, so is its key

    application.keys = [new]
    with application.vault(restored) as vault:
        assert vault.refresh(first.id, owner=first.owner, tenant="acme").generation == 2


def test_f_34_the_first_renewal_from_an_old_backup_settles_what_it_holds(
    place: Place, application: Application, tmp_path: Path
) -> None:
    original = place.create()
    with application.vault(original) as vault:
        [spent, current, _] = application.connect(vault)
        dump = place.dump(original)
        vault.refresh(spent.id, owner=spent.owner, tenant="acme")  # its refresh token in the dump is spent now
    place.wipe(original)
    restored = place.restore(dump)
    application.sandbox.clock.advance(timedelta(hours=3))
    events: list[Any] = []
    with application.vault(restored, observers=[events.append]) as vault:
        with pytest.raises(ReauthorizationRequiredError) as caught:
            vault.token(spent.id, owner=spent.owner, tenant="acme")
        assert caught.value.reason in ("invalid_grant", "refresh_interrupted")
        assert vault.token(current.id, owner=current.owner, tenant="acme").generation == 2
    told = [(event.name, event.connection_id) for event in events]
    assert told.count(("reauthorization_required", spent.id)) == 1


def test_every_format_of_pg_dump_is_verified(
    postgres: Postgres, application: Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = PostgresPlace(tmp_path, postgres)
    original = place.create()
    with application.vault(original) as vault:
        application.connect(vault)
    monkeypatch.setenv("PATH", str(place.programs), prepend=":")
    for options in (["--format=custom"], ["--format=directory"], ["--format=tar"], ["--compress=gzip"]):
        verdict = verify(place.dump(original, *options), application.keys, monkeypatch)
        assert (verdict.exit_code, json.loads(verdict.stdout)["opened"]["token"]) == (0, 3), verdict.output
    dump = place.dump(original, "--inserts")
    refused = verify(dump, application.keys, monkeypatch)
    assert (refused.exit_code, "as rows for COPY" in refused.stderr) == (78, True)
    archive = place.dump(original, "--format=custom")
    archive.write_bytes(archive.read_bytes()[:-300])
    assert verify(archive, application.keys, monkeypatch).exit_code == 78
