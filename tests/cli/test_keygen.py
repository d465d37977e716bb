from __future__ import annotations

import os

import pytest

from socialvault import LocalKeyring


def test_stdout_holds_the_key_and_nothing_else(run):
    ended = run("keygen")
    assert ended.returncode == 0
    assert ended.stdout.count("\n") == 1
    assert len(LocalKeyring([ended.stdout.strip()]).key_ids) == 1
    assert "svk1_" not in ended.stderr
    assert "Keep it where the database is not" in ended.stderr


def test_every_key_is_new(invoke):
    assert invoke("keygen").stdout != invoke("keygen").stdout


def test_a_key_file_is_made_for_its_owner_alone(invoke, tmp_path):
    file = tmp_path / "keys"
    ended = invoke("keygen", "--file", file)
    assert ended.exit_code == 0
    assert ended.stdout == ""
    assert "svk1_" not in ended.stderr
    assert "it is the primary" in ended.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(LocalKeyring.from_file(file).key_ids) == 1


@pytest.mark.parametrize("end", ["\n", ""], ids=["with_line_end", "without_line_end"])
def test_a_key_is_appended_and_the_primary_stays_first(invoke, tmp_path, end):
    file = tmp_path / "keys"
    first = LocalKeyring.generate()
    file.write_text(f"# made by hand\n{first}{end}")
    file.chmod(0o600)
    ended = invoke("keygen", "--file", file)
    assert "the primary" in ended.stderr
    keyring = LocalKeyring.from_file(file)
    assert keyring.primary_id == LocalKeyring([first]).primary_id
    assert len(keyring.key_ids) == 2


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_gets_no_key(invoke, tmp_path, mode):
    file = tmp_path / "keys"
    file.touch()
    file.chmod(mode)
    ended = invoke("keygen", "--file", file)
    assert ended.exit_code == 78
    assert f"chmod 600 {file}" in ended.stderr
    assert file.read_text() == ""


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "nowhere"])
def test_what_is_no_file_gets_no_key(invoke, tmp_path, kind):
    file = tmp_path / "keys"
    if kind == "link":
        (tmp_path / "elsewhere").touch(0o600)
        file.symlink_to(tmp_path / "elsewhere")
    elif kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file, 0o600)
    else:
        file = tmp_path / "missing" / "keys"
    ended = invoke("keygen", "--file", file)
    assert ended.exit_code == 78
    assert "svk1_" not in ended.output
    if kind == "link":
        assert (tmp_path / "elsewhere").read_text() == ""
