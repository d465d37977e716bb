"""Everything that CI checks; each session makes its own virtual environment. `nox -l` lists them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "typing", "docs", "demo", "wheel", "interop", "web", "torture", "tests"]

ROOT = Path(__file__).parent
INTEROP = ROOT / "tests" / "interop"
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: What tests and type checks need besides the library: every extra that has code behind it.
EXTRAS = "fastapi,flask,django,demo,cli,sqlalchemy,redis,aws,gcp,azure,hashicorp"

#: What a freshly installed wheel must pass; none of it may need the source tree.
SMOKE = [
    "support", "stores", "vault/conftest.py", "vault/test_flow.py", "vault/test_tokens.py", "vault/test_sweep.py",
    "project/test_public_face.py",
]  # fmt: skip


def group(name: str) -> list[str]:
    """Return the requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), name))


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, and imports that point one way."""
    session.install("-e", ".", *group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def typing(session: nox.Session) -> None:
    """Mypy and pyright over the library, the public face's types, the examples and the code in the docs."""
    session.install("-e", f".[{EXTRAS}]", *group("typing"))
    snippets = write_snippets(Path(session.create_tmp()) / "snippets")
    examples = ["examples"] if any((ROOT / "examples").rglob("*.py")) else []
    session.run("mypy", "--strict", "src", "tests/typing", *examples)
    session.run("mypy", "--strict", *snippets)
    session.run("pyright", "src", "tests/typing", *examples, *snippets)


def write_snippets(folder: Path) -> list[str]:
    """Write each python block of README and docs to a module of its own; return their paths."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for number, block in enumerate(PYTHON_BLOCK.findall(page.read_text("utf-8")), start=1):
            name = f"{page.stem.lower().replace('-', '_')}_{number}.py"
            (folder / name).write_text(block, "utf-8")
    return [str(path) for path in sorted(folder.iterdir())]


@nox.session
def tests(session: nox.Session) -> None:
    """All tests but those against foreign implementations and real servers, with branch coverage."""
    session.install("-e", f".[{EXTRAS}]", *group("test"))
    session.run("coverage", "erase")
    # Not pytest-cov: the package's own pytest plugin is imported before pytest-cov could start measuring.
    session.run("coverage", "run", "-m", "pytest", "--ignore=tests/interop", "--ignore=tests/web", *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def interop(session: nox.Session) -> None:
    """Against OAuth servers that others wrote, in Node."""
    session.install("-e", ".[demo,cli]", *group("test"))
    session.run("npm", "ci", "--no-audit", "--no-fund", "--prefix", str(INTEROP), external=True)
    session.run("pytest", "tests/interop", *session.posargs)


@nox.session
def web(session: nox.Session) -> None:
    """The routes end to end: each framework under a real server; needs Node, nginx, OpenSSL and Chromium."""
    session.install("-e", f".[{EXTRAS}]", *group("test"), *group("web"))
    session.run("npm", "ci", "--no-audit", "--no-fund", "--prefix", str(INTEROP), external=True)
    session.run("pytest", "tests/web", *session.posargs)


@nox.session
def torture(session: nox.Session) -> None:
    """The torture bench's short form; ``-- --long --report docs/torture`` for the long one and its report."""
    session.install("-e", ".[demo,cli]", *group("test"), *group("torture"))
    session.run("python", "-m", "torture", *session.posargs, env={"PYTHONPATH": str(ROOT / "tests")})


@nox.session(reuse_venv=False)
def wheel(session: nox.Session) -> None:
    """The built wheel, installed where the source tree can't be imported."""
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder / "dist", ignore_errors=True)
    shutil.rmtree(folder / "tests", ignore_errors=True)
    session.install("build", *group("test"))
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"), str(ROOT))
    [built] = (folder / "dist").glob("*.whl")
    session.install(f"{built}[demo,cli]")
    for name in SMOKE:
        source, target = ROOT / "tests" / name, folder / "tests" / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(ROOT / "CHANGELOG.md", folder)
    session.chdir(folder)
    session.run(
        "python", "-c",
        "import socialvault, pathlib;"
        "where = pathlib.Path(socialvault.__file__).parent;"
        "assert 'site-packages' in where.parts, where;"
        "assert (where / 'py.typed').exists()",
    )  # fmt: skip
    session.run("pytest", "tests")


@nox.session
def demo(session: nox.Session) -> None:
    """The demo, start to end, and the example."""
    session.install(".[demo,cli]")
    session.run("socialvault", "demo", "--json")
    session.run("python", "examples/quickstart.py")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation; every warning is an error."""
    session.install(*group("docs"))
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})
