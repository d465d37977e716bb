"""``socialvault backup verify``: a copy of a SQLite file, dumps of Postgres, and what is neither."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from support.backups import SEALED, Service
from typer.testing import CliRunner, Result

from socialvault import AsyncVault, LocalKeyring, Vault
from socialvault.cli.app import app
from socialvault.vault.verification import verify_records

if TYPE_CHECKING:
    from pathlib import Path

    from socialvault.model.verification import Verification

Verify = Callable[..., Result]


@pytest.fixture
def verify(service: Service, monkeypatch: pytest.MonkeyPatch) -> Verify:
    """Run the command; no token and no key may be shown."""
    monkeypatch.setenv("SOCIALVAULT_KEYS", service.key)

    def run(source: object, *options: str) -> Result:
        result = CliRunner().invoke(app, ["backup", "verify", str(source), *options])
        assert "Traceback" not in result.output
        for secret in ("access-ada", "refresh-ada", service.key):
            assert secret not in result.output
        return result

    return run


def document(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Every file's digest and time."""
    return {
        file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns) for file in folder.iterdir()
    }


# --- a copy of a SQLite file ----------------------------------------------------------------------


def test_a_copy_opens_and_no_byte_of_it_changes(
    database: Path, verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    copy = shutil.copy(database, folder / "copy.db")
    os.chmod(copy, 0o400)
    folder.chmod(0o500)
    before = contents(folder)
    during: list[object] = []

    async def watched(*arguments: Any, **named: Any) -> Verification:
        found = await verify_records(*arguments, **named)
        during.append(contents(folder))
        return found

    monkeypatch.setattr("socialvault.cli.backup.verify_records", watched)
    try:
        result = verify(copy, "--json")
    finally:
        folder.chmod(0o700)
    assert result.exit_code == 0, result.output
    assert document(result)["ok"] is True
    assert document(result)["opened"] == SEALED
    assert during == [before]
    assert contents(folder) == before
    assert verify(f"sqlite:///{copy}").exit_code == 0


def test_a_log_beside_a_copy_is_part_of_it(service: Service, verify: Verify, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    vault = service.vault()
    with vault:
        vault.import_tokens("x", owner="ada", access_token="at", subject="one")
        for name in ("vault.db", "vault.db-wal"):  # while it is open, the newest rows are in the log alone
            shutil.copy(tmp_path / name, folder / name)
    assert (folder / "vault.db-wal").stat().st_size
    before = contents(folder)
    result = verify(folder / "vault.db", "--json")
    assert document(result)["opened"]["token"] == 1
    assert contents(folder) == before
    (folder / "vault.db-wal").unlink()
    assert verify(folder / "vault.db").exit_code == 78  # without it there is not even a table


def test_a_table_tells_people_what_opens_by_kind_and_by_key(service: Service, database: Path, verify: Verify) -> None:
    result = verify(database)
    assert result.exit_code == 0
    assert LocalKeyring([service.key]).primary_id in result.stdout
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert ["token", "3", "0"] in lines
    assert ["data", "all", "others", "5", "0", "records"] in lines


def test_what_does_not_open_is_listed_and_fails(database: Path, verify: Verify) -> None:
    with sqlite3.connect(database) as opened:
        opened.execute("UPDATE connections SET envelope = CAST(envelope || x'00' AS BLOB) WHERE owner = 'ada'")
    result = verify(database)
    assert result.exit_code == 1
    assert "TamperedError" in result.stdout
    found = document(verify(database, "--json"))
    assert [(bad["kind"], bad["owner"], bad["error"]) for bad in found["bad"]] == [("token", "ada", "TamperedError")]


def test_a_wrong_keyring_is_named(
    service: Service, database: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = LocalKeyring.generate()
    monkeypatch.setenv("OTHER_KEYS", other)
    result = verify(database, "--keys-env", "OTHER_KEYS", "--json")
    assert result.exit_code == 78
    needed, held = LocalKeyring([service.key]).primary_id, LocalKeyring([other]).primary_id
    assert f"key {needed[:12]}… is needed and not at hand; the keyring holds {held[:12]}…" in result.stderr
    assert document(result)["keys_missing"] == [needed]
    assert document(result)["opened"] == {}


@pytest.mark.parametrize("make", [Vault, AsyncVault])
def test_the_keys_can_be_those_of_an_application(
    service: Service, database: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    module = ModuleType("application")
    given: dict[str, Any] = {
        "providers": [],
        "store": ":memory:",
        "keys": LocalKeyring([service.key]),
        "redirect_uri": "https://app.example/{provider}",
    }
    module.make_vault = lambda: make(**given)  # type: ignore[attr-defined]  # a module of the test's own
    monkeypatch.setitem(sys.modules, "application", module)
    monkeypatch.delenv("SOCIALVAULT_KEYS")
    assert verify(database, "--keys-of", "application:make_vault").exit_code == 0
    assert verify(database).exit_code == 78


def test_an_older_schema_can_be_verified_and_a_newer_one_is_refused(database: Path, verify: Verify) -> None:
    with sqlite3.connect(database) as opened:
        opened.execute("DROP TABLE keks")
        opened.execute("ALTER TABLE data_keys DROP COLUMN seals")
        opened.execute("PRAGMA user_version=1")
    assert verify(database).exit_code == 0
    with sqlite3.connect(database) as opened:
        opened.execute("PRAGMA user_version=99")
    result = verify(database)
    assert (result.exit_code, "upgrade socialvault" in result.stderr) == (78, True)


# --- what is no backup ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"REDIS0011\xfa", "start a scratch server"),
        (b"something else", "this is no backup that can be read here"),
        (b"", "this is no backup that can be read here"),
        (b"PGDMP\x01\x10", "pg_restore"),
    ],
)
def test_what_can_not_be_read_says_what_can(
    tmp_path: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch, start: bytes, said: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "file").write_bytes(start)
    result = verify(tmp_path / "file")
    assert result.exit_code == 78
    assert said in result.stderr


@pytest.mark.parametrize("output", ["", "SELECT 1;"])
def test_an_archive_that_pg_restore_refuses_is_not_called_cut_off(
    tmp_path: Path, verify: Verify, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "pg_restore"
    program.write_text(f"#!/bin/sh\necho '{output}'\nexit 1\n", "utf-8")
    program.chmod(0o700)
    (tmp_path / "file").write_bytes(b"PGDMP\x01\x10")
    result = verify(tmp_path / "file")
    assert result.exit_code == 78
    assert "ended with code 1: is the archive whole, and pg_restore as new as" in result.stderr


def test_a_file_that_is_missing_or_another_applications_is_named(tmp_path: Path, verify: Verify) -> None:
    assert "No such file" in verify(tmp_path / "nothing.db").stderr
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE connections (id)")
    result = verify(tmp_path / "other.db")
    assert (result.exit_code, "no database of a socialvault store" in result.stderr) == (78, True)


# --- dumps of Postgres, as text -------------------------------------------------------------------


def dump_of(database: Path, *, schema: str = "public", bytea: Callable[[bytes], bytes] | None = None) -> bytes:
    """Write a file's rows as ``pg_dump`` would, since COPY's format is one and the same in every version."""
    head = b"--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n\n"
    foreign = b"COPY other.connections (id, name) FROM stdin;\n1\ta\\tb\n\\.\n\n"
    tables = []
    with sqlite3.connect(database) as opened:
        for table in ("connections", "vault", "keks", "vault_keys", "data_keys", "revocations", "states"):
            rows = opened.execute(f"SELECT * FROM {table}")
            columns = ", ".join(f'"{name[0]}"' if name[0] == "owner" else name[0] for name in rows.description)
            lines = [b"\t".join(field_of(value, bytea) for value in row) + b"\n" for row in rows]
            header = f"COPY {schema}.{table} ({columns}) FROM stdin;\n".encode()
            tables.append(header + b"".join(lines) + b"\\.\n\n")
    return head + foreign + b"".join(tables) + b"--\n-- PostgreSQL database dump complete\n--\n\n"


def field_of(value: object, bytea: Callable[[bytes], bytes] | None) -> bytes:
    if value is None:
        return b"\\N"
    if isinstance(value, bytes):
        return (bytea or hexadecimal)(value).replace(b"\\", b"\\\\")
    text = str(value).encode()
    for char, escaped in ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\r", b"\\r")):
        text = text.replace(char, escaped)
    return text


def hexadecimal(value: bytes) -> bytes:
    return b"\\x" + value.hex().encode()


def octal(value: bytes) -> bytes:
    return b"".join(
        bytes([byte]) if 0x20 <= byte < 0x7F and byte != 0x5C else b"\\\\" if byte == 0x5C else b"\\%03o" % byte
        for byte in value
    )


@pytest.mark.parametrize("bytea", [hexadecimal, octal])
@pytest.mark.parametrize("packed", [False, True])
def test_a_plain_dump_opens(
    database: Path, verify: Verify, tmp_path: Path, *, bytea: Callable[[bytes], bytes], packed: bool
) -> None:
    dump = dump_of(database, schema='"the vault"', bytea=bytea)
    (tmp_path / "dump.sql").write_bytes(gzip.compress(dump) if packed else dump)
    result = verify(tmp_path / "dump.sql", "--json")
    assert result.exit_code == 0, result.output
    assert document(result)["opened"] == SEALED


def test_names_with_every_escape_are_read_from_a_dump(service: Service, verify: Verify, tmp_path: Path) -> None:
    with service.vault() as vault:
        vault.import_tokens("x", owner="tab\tback\\slash\nline\rreturn é", tenant="\\N", access_token="at", subject="s")
    (tmp_path / "dump.sql").write_bytes(dump_of(tmp_path / "vault.db"))
    assert verify(tmp_path / "dump.sql").exit_code == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda dump: dump[: dump.index(b"COPY public.vault_keys") - 4], "cut off in the middle of table keks"),
        (lambda dump: dump[: dump.index(b"COPY public.revocations")], "its last line is missing"),
        (lambda dump: gzip.compress(dump)[:-200], "its compression does not end"),
        (lambda dump: dump.replace(b"'UTF8'", b"'LATIN1'"), "pg_dump --encoding=UTF8"),
        (
            lambda dump: dump.replace(b"COPY public.", b"INSERT public."),
            "lacks connections, data_keys, keks, revocations, vault, vault_keys",
        ),
        (lambda dump: dump.replace(b"COPY public.revocations", b"COPY other.revoked"), "lacks revocations of"),
        (lambda dump: dump + dump.replace(b"COPY public.", b"COPY second."), "say which with --schema"),
        (lambda dump: dump.replace(b"\\\\x5356", b"\\\\xzz56", 1), "a field that can't be read"),
        (lambda dump: dump.replace(b"active\t", b"", 1), "a field that can't be read"),
        (lambda dump: dump.replace(b", generation,", b", generations,", 1), "lacks connections of"),
        (lambda dump: dump.replace(b", reason,", b", reasons,", 1), "not those of a socialvault store"),
    ],
)
def test_a_dump_that_is_not_whole_is_refused(
    database: Path, verify: Verify, tmp_path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    (tmp_path / "dump.sql").write_bytes(change(dump_of(database)))
    result = verify(tmp_path / "dump.sql")
    assert result.exit_code == 78, result.output
    assert said in result.stderr


def test_one_of_two_schemas_is_chosen(service: Service, database: Path, verify: Verify, tmp_path: Path) -> None:
    dump = dump_of(database)
    (tmp_path / "dump.sql").write_bytes(dump.replace(b"COPY public.", b"COPY first.") + dump)
    assert verify(tmp_path / "dump.sql", "--schema", "public").exit_code == 0
    assert verify(tmp_path / "dump.sql", "--schema", "third").exit_code == 78


def test_what_a_dump_was_read_into_is_private_and_gone_afterwards(
    database: Path, verify: Verify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    seen: list[int] = []
    load = "socialvault.cli.backup.sources.load_dump"
    from socialvault.cli.backup.postgres_dump import load_dump

    def watched(source: Path, target: Path, schema: str | None) -> None:
        load_dump(source, target, schema)
        seen.extend([stat.S_IMODE(target.parent.stat().st_mode), stat.S_IMODE(target.stat().st_mode)])

    monkeypatch.setattr(load, watched)
    (tmp_path / "dump.sql").write_bytes(dump_of(database))
    assert verify(tmp_path / "dump.sql").exit_code == 0
    assert seen == [0o700, 0o600]
    assert list(scratch.iterdir()) == []
