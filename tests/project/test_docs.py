"""What README and docs say is so: set-up lines, links, extras, who must act, and the test they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from socialvault import exceptions, providers

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DRAWINGS = sorted((ROOT / "docs" / "img").glob("*.svg"))  # drawn by hand; charts are made
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_readme_has_one_line_for_the_demo_and_one_for_the_tests_and_docs_repeat_them() -> None:
    lines = re.findall(r"^python3 -m venv (\.venv-\w+) .*$", README, re.MULTILINE)
    assert lines == [".venv-demo", ".venv-test"]
    front = (ROOT / "docs/index.md").read_text("utf-8")
    for line in re.findall(r"^python3 -m venv .*$", README, re.MULTILINE):
        assert f"\n{line}\n" in front


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("drawing", DRAWINGS, ids=relative)
def test_a_drawing_is_plain_svg_that_takes_the_colour_of_the_text_around_it(drawing: Path) -> None:
    tags = set()
    for element in ET.parse(drawing).iter():  # our own file
        tags.add(element.tag.removeprefix("{http://www.w3.org/2000/svg}"))
        if element.tag.endswith("text"):
            assert element.get("fill") == "currentColor"
    assert tags <= {"svg", "title", "desc", "rect", "path", "text"}


@pytest.mark.parametrize("name", ["fastapi_minimal.py", "flask_minimal.py"])
def test_readme_shows_a_whole_application_of_at_most_15_lines_as_it_is(name: str) -> None:
    code = (ROOT / "examples" / name).read_text("utf-8")
    assert f"```python\n{code}```" in README
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


def test_extras_are_the_ones_promised_and_all_is_all_of_them() -> None:
    planned = {
        "sqlalchemy",
        "redis",
        "fastapi",
        "flask",
        "django",
        "celery",
        "procrastinate",
        "sentry",
        "opentelemetry",
    }
    assert set(EXTRAS) == {*planned, "prometheus", "aws", "gcp", "azure", "hashicorp", "cli", "demo", "all"}
    everything = {name for one in EXTRAS["all"] for name in re.findall(r"[\w-]+", one.partition("[")[2])}
    assert everything == set(EXTRAS) - {"all"}


def test_readme_names_exactly_the_extras_that_have_no_code_yet() -> None:
    said = re.search(r"Their extras \(`([^`]+)`\)", README)
    assert said is not None
    built = {"sqlalchemy", "redis", "fastapi", "flask", "django", "aws", "gcp", "azure", "hashicorp", "cli", "demo"}
    assert set(said[1].split()) == set(EXTRAS) - built - {"all"}


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs/providers.md"], ids=relative)
def test_the_tables_of_providers_name_every_provider_and_claim_no_live_check(page: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]+) \|$", page.read_text("utf-8"), re.MULTILINE)
    rows = [row for row in rows if row[0] in providers.__all__]
    assert {name for name, _ in rows} == set(providers.__all__) - {"Provider"}
    assert {status for _, status in rows} == {"emulated, not checked live"}


def test_readmes_table_of_errors_agrees_with_the_classes() -> None:
    actions = ["retry", "reauthorize", "fix_configuration", "report"]
    rows = re.findall(rf"^\| `({'|'.join(actions)})` \| [^|]+ \| ([^|]+) \|$", README, re.MULTILINE)
    assert [action for action, _ in rows] == actions
    for action, examples in rows:
        names = re.findall(r"\w+Error", examples)
        assert len(names) >= 3
        assert {name: getattr(exceptions, name).action for name in names} == dict.fromkeys(names, action)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_error_that_a_page_names_exists(page: Path) -> None:
    names = set(re.findall(r"`(\w+Error)`", page.read_text("utf-8")))
    assert {name for name in names if not hasattr(exceptions, name)} == set()


def test_the_command_line_page_names_every_command_and_every_exit_code() -> None:
    from typer.main import get_command

    from socialvault.cli.app import app
    from socialvault.cli.failures import EXIT_CODES

    def commands(group: Any, prefix: str) -> list[str]:
        found = []
        for name, command in group.commands.items():
            deeper = hasattr(command, "commands")
            found += commands(command, f"{prefix} {name}") if deeper else [f"{prefix} {name}"]
        return found

    page = (ROOT / "docs/cli.md").read_text("utf-8")
    told = re.findall(r"^\| `(socialvault [a-z -]+?)(?: ID)?` \|", page, re.MULTILINE)
    assert sorted(told) == sorted(commands(get_command(app), "socialvault"))
    codes = {action: int(code) for code, action in re.findall(r"^\| (\d+) \| `(\w+)` \|", page, re.MULTILINE)}
    assert codes == EXIT_CODES


def test_the_shown_test_passes(tmp_path: Path) -> None:
    page = (ROOT / "docs/testing.md").read_text("utf-8")
    shown = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert shown is not None
    (tmp_path / "test_shown.py").write_text(shown[1], "utf-8")
    # As a user runs it: in a folder of its own, without our configuration, the fixture found by its entry point.
    command = f"-q -W error -p no:cacheprovider -p no:asyncio --rootdir {tmp_path} {tmp_path}".split()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *command],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
