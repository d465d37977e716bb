"""Every operation as its OpenAPI document has it: schemathesis makes up requests and judges the answers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: id: (host, path of the document; below the prefix or, for FastAPI's own, at the root)
DOCUMENTS = {
    "fastapi": ("fastapi-memory", "/oauth/openapi.json"),
    "fastapi-own": ("fastapi-sqlite", "/openapi.json"),
    "flask": ("flask-sqlite", "/oauth/openapi.json"),
    "django": ("django-sqlite", "/oauth/openapi.json"),
}
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance",
)  # fmt: skip
EXAMPLES, SEED = 15, 7


@dataclass
class Run:
    process: subprocess.Popen[bytes]
    output: Path

    def wait(self) -> str:
        status = self.process.wait(150)
        text = self.output.read_text("utf-8", "replace")
        assert status == 0, text[-12000:]
        return text


@pytest.fixture(scope="module")
def runs(farm: Any, every_host: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Run]]:
    """All at once: they wait more than they work."""
    directory = tmp_path_factory.mktemp("schemathesis")
    started = {name: start(farm.standard(host), path, directory / name) for name, (host, path) in DOCUMENTS.items()}
    yield started
    for run in started.values():
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def start(host: Any, path: str, directory: Path) -> Run:
    directory.mkdir()
    own = path.startswith("/openapi")
    base = host.site.origin if own else host.site.public
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", base + path, "--url", base,
        "--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", str(SEED),
        "--checks", ",".join(CHECKS), "--max-redirects", "0", "--no-shrink", "--warnings", "off",
        "--header", f"Cookie: owner=schemathesis; tenant={directory.name}",
        "--header", "X-Requested-With: schemathesis",
    ]  # fmt: skip
    with (directory / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=directory, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
    return Run(process, directory / "output.txt")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_answer_is_one_that_the_document_names(runs: dict[str, Run], name: str) -> None:
    text = runs[name].wait()
    assert "No issues found" in text


def test_every_framework_has_the_same_document(every_host: list[Any]) -> None:
    documents = [host.browser(owner=None).get("/oauth/openapi.json").json() for host in every_host]
    first = documents[0]
    assert first["openapi"].startswith("3.1")
    assert len(first["paths"]) >= 12
    for other in documents[1:]:
        assert other["paths"] == first["paths"]
        assert other["components"] == first["components"]


def test_fastapis_own_document_has_every_operation(every_host: list[Any]) -> None:
    [host] = [one for one in every_host if one.name == "fastapi-sqlite"]
    browser = host.browser(owner=None)
    own = browser.request("GET", f"{browser.site.origin}/openapi.json").json()["paths"]
    ours = browser.get("/oauth/openapi.json").json()["paths"]
    assert {f"/api/v1{path}": set(methods) for path, methods in ours.items()} == {
        path: set(methods) for path, methods in own.items()
    }
