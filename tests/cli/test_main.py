from __future__ import annotations

import sys

import pytest

from socialvault.cli import main


@pytest.mark.parametrize("extra", ["typer", "rich"])
def test_a_missing_extra_ends_in_one_line_that_says_what_to_install(run, extra):
    code = f"import sys; sys.modules[{extra!r}] = None; from socialvault.cli import main; main()"
    ended = run("providers", code=code)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "the command line needs an extra: pip install 'socialvault[cli]'\n"


def test_a_missing_server_for_the_demo_is_told_in_one_line_too(run):
    code = "import sys; sys.modules['starlette'] = None; from socialvault.cli import main; main()"
    ended = run("demo", code=code)
    assert ended.returncode == 78
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert "pip install 'socialvault[demo]'" in ended.stderr


def test_a_defect_is_not_mistaken_for_a_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "socialvault.cli.app", None)
    with pytest.raises(ModuleNotFoundError, match="socialvault"):
        main()


def test_the_command_ends_with_its_own_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["socialvault", "providers", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert '"slug": "x"' in capsys.readouterr().out


def test_help_names_every_command(invoke):
    shown = invoke("--help").stdout
    for command in ("keygen", "providers", "sandbox", "connections", "doctor", "demo"):
        assert f"│ {command} " in shown
