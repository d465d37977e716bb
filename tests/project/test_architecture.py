"""The import contracts hold, and each of them can fail."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "socialvault"
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
}
SANS_IO = [name.removeprefix("socialvault.") for name in CONTRACTS["sans-io"]["source_modules"]]

#: Contract id -> a module to add (path, source), and the forbidden import that it must be blamed for.
PLANTED: dict[str, tuple[str, str, str]] = {
    "layers": ("model/planted_layers.py", "import socialvault.ports.clock\n", "socialvault.ports"),
    "sibling-stores": ("stores/planted_stores.py", "import socialvault.stores.memory\n", "socialvault.stores.memory"),
    "sibling-keys": ("keys/planted_keys.py", "import socialvault.keys.local\n", "socialvault.keys.local"),
    "sibling-integrations": (
        "integrations/planted_flask.py",
        "import socialvault.integrations.flask\n",
        "socialvault.integrations.flask",
    ),
    "http-frameworks": ("http/planted_flask.py", "import flask\n", "flask"),
    "sibling-runtimes": (
        "runtimes/planted_runtimes.py",
        "import socialvault.runtimes.threads\n",
        "socialvault.runtimes.threads",
    ),
    "sibling-providers": ("providers/planted_x.py", "import socialvault.providers.x\n", "socialvault.providers.x"),
    "provider-base": (
        "providers/base.py",
        "import socialvault.providers._families.planted\n",
        "socialvault.providers._families.planted",
    ),
    "adapters-stores": (
        "stores/planted_crypto.py",
        "import socialvault.crypto.envelope\n",
        "socialvault.crypto.envelope",
    ),
    "adapters-keys": ("keys/planted_records.py", "import socialvault.crypto.records\n", "socialvault.crypto.records"),
    "adapters-transports": (
        "transports/planted_token.py",
        "import socialvault.protocol.token\n",
        "socialvault.protocol.token",
    ),
    "adapters-runtimes": ("runtimes/planted_model.py", "import socialvault.model.token\n", "socialvault.model.token"),
    "sans-io": ("protocol/planted_socket.py", "import socket\n", "socket"),
    "httpx": ("keys/planted_httpx.py", "import httpx\n", "httpx"),
}


def lint_imports(root: Path) -> tuple[int, dict[str, bool], str]:
    """Run import-linter over the tree at `root`; return its exit code, contract name -> kept, and its report."""
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()",
         "--no-cache", "--config", str(root / "pyproject.toml")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "NO_COLOR": "1", "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    report = done.stdout + done.stderr
    lines = re.findall(r"^(.+?) (KEPT|BROKEN)\b", report, re.MULTILINE)
    return done.returncode, {name.strip(): verdict == "KEPT" for name, verdict in lines}, report


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, bool], str]:
    """What import-linter says of a copy of the tree that breaks every contract once."""
    root = tmp_path_factory.mktemp("planted")
    shutil.copytree(PACKAGE, root / "src" / "socialvault", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    (root / "src/socialvault/providers/_families/planted.py").touch()
    (root / "src/socialvault/planted_package").mkdir()
    (root / "src/socialvault/planted_package/__init__.py").touch()
    for path, source, _ in PLANTED.values():
        with (root / "src" / "socialvault" / path).open("a", encoding="utf-8") as module:
            module.write(source)
    return lint_imports(root)


def test_the_tree_keeps_every_contract() -> None:
    code, verdicts, report = lint_imports(ROOT)
    assert code == 0, report
    assert verdicts == {contract["name"]: True for contract in CONTRACTS.values()}


def test_every_contract_has_a_planted_violation() -> None:
    assert set(PLANTED) == set(CONTRACTS)


@pytest.mark.parametrize("contract_id", CONTRACTS)
def test_a_planted_violation_breaks_its_contract(contract_id: str, planted: tuple[int, dict[str, bool], str]) -> None:
    code, verdicts, report = planted
    path, _, imported = PLANTED[contract_id]
    name = CONTRACTS[contract_id]["name"]
    importer = "socialvault." + path.removesuffix(".py").replace("/", ".")
    assert code != 0
    assert verdicts[name] is False
    details = report[report.index("Broken contracts") :]
    section = details[details.index(f"{name}\n") :].split("\n\n\n")[0]
    assert f"{importer} -> {imported}" in section


def test_a_package_that_no_layer_names_breaks_the_layers(planted: tuple[int, dict[str, bool], str]) -> None:
    assert "planted_package" in planted[2]


def test_only_transports_and_api_are_free_to_import_httpx() -> None:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")} | {"exceptions"}
    bound = {name.removeprefix("socialvault.") for name in CONTRACTS["httpx"]["source_modules"]}
    assert packages - bound == {"transports", "api"}


# --- what import-linter cannot see: parts of a standard package, and clocks reached through datetime ---

IO_MODULES = {"http.client", "http.server", "urllib.request"}
CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def io_of(source: str) -> Iterator[str]:
    """Name what `source` imports or calls that does I/O or reads a clock."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in {*IO_MODULES, "http", "urllib"})
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
            yield from sorted(names & IO_MODULES)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in CLOCKS:
            yield ast.unparse(node.func)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import urllib.request", ["urllib.request"]),
        ("from urllib.request import urlopen", ["urllib.request"]),
        ("from urllib import request", ["urllib.request"]),
        ("from http import client", ["http.client"]),
        ("import http.server", ["http.server"]),
        ("datetime.now(UTC)", ["datetime.now"]),
        ("date.today()", ["date.today"]),
        ("from urllib.parse import urlsplit", []),
    ],
)
def test_the_search_for_io_finds_what_it_is_for(source: str, found: list[str]) -> None:
    assert list(io_of(source)) == found


@pytest.mark.parametrize("package", SANS_IO)
def test_the_core_reaches_no_io_through_a_standard_package(package: str) -> None:
    files = [PACKAGE / f"{package}.py"] if package == "exceptions" else sorted((PACKAGE / package).rglob("*.py"))
    assert files
    assert {str(path): found for path in files if (found := list(io_of(path.read_text("utf-8"))))} == {}
