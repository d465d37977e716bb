"""Everything that CI checks; each session makes its own virtual environment. `nox -l` lists them."""

from __future__ import annotations

import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = [
    "lint", "typing", "docs", "demo", "wheel", "interop", "web", "contracts", "torture", "tests"
]  # fmt: skip

ROOT = Path(__file__).parent
INTEROP = ROOT / "tests" / "interop"
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: What tests and type checks need besides the library: every extra that has code behind it.
EXTRAS = "fastapi,flask,django,demo,cli,sqlalchemy,redis,aws,gcp,azure,hashicorp"

#: What a freshly installed wheel must pass: the contract on one store, the flow, and what the package exports. None of
#: it may need the source tree.
SMOKE = [
    "support", "conftest.py", "contracts/test_sqlite.py", "vault/conftest.py", "vault/test_flow.py",
    "project/test_public_face.py",
]  # fmt: skip

#: One store, one kind of world: the rest is told apart by `tests`.
SMOKE_CASES = "(TestSQLiteStore and not InMemory) or (test_flow and sync) or test_public_face"

#: Folders of tests with sessions of their own.
APART = ["contracts", "interop", "web", "torture", "support"]
#: About half of the rest, by time: the tests run in two processes.
FIRST_HALF = ["vault", "stores", "runtimes", "webhooks", "importers", "migrations"]


def install_all(session: nox.Session, *requirements: str) -> None:
    """Install the library with everything that it works with.

    Not compiled: of the clouds' packages few modules are ever imported, and compiling all takes minutes.
    """
    session.install("--no-compile", "-e", f".[{EXTRAS}]", *requirements)


def group(name: str) -> list[str]:
    """Return the requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(nox.project.load_toml(ROOT / "pyproject.toml"), name))


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, and imports that point one way."""
    session.install("-e", ".", *group("lint"))
    look_at_style(session)


def look_at_style(session: nox.Session) -> None:
    """Run the linters."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def typing(session: nox.Session) -> None:
    """Mypy and pyright over the library, the public face's types, the examples and the code in the docs."""
    install_all(session, *group("typing"))
    check_types(session)


def check_types(session: nox.Session) -> None:
    """Run both type checkers."""
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
    """All tests but those against foreign implementations and real applications, in two processes."""
    install_all(session, *group("test"))
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    halves = [[name for name in folders_of_tests() if (name in FIRST_HALF) is first] for first in (True, False)]
    logs = Path(session.create_tmp())

    def run(number: int) -> None:
        with (logs / f"half-{number}.log").open("w", encoding="utf-8") as log:
            session.run("pytest", *(f"tests/{name}" for name in halves[number]), stdout=log)

    with ThreadPoolExecutor() as pool:
        ends = [pool.submit(run, number) for number in range(len(halves))]
    for number in range(len(halves)):
        sys.stdout.write((logs / f"half-{number}.log").read_text("utf-8"))
        sys.stdout.flush()
    for end in ends:
        end.result()


def folders_of_tests() -> list[str]:
    """Return the folders that have no session of their own."""
    folders = (folder for folder in (ROOT / "tests").iterdir() if folder.is_dir() and folder.name not in APART)
    return sorted(folder.name for folder in folders if any(folder.rglob("test_*.py")))


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """The same tests and the stores' contracts, traced: lines and branches; takes about twice as long."""
    install_all(session, *group("test"))
    session.run("coverage", "erase")
    # Not pytest-cov: the package's own pytest plugin is imported before pytest-cov could start measuring.
    tested = session.posargs or [f"tests/{name}" for name in ["contracts", *folders_of_tests()]]
    session.run("coverage", "run", "-m", "pytest", *tested)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def interop(session: nox.Session) -> None:
    """Against OAuth servers that others wrote, in Node."""
    session.install("-e", ".[demo,cli]", *group("test"))
    install_node_packages(session)
    session.run("pytest", "tests/interop", *session.posargs)


def install_node_packages(session: nox.Session) -> None:
    """Install the servers that the tests bring along."""
    session.run("npm", "ci", "--no-audit", "--no-fund", "--prefix", str(INTEROP), external=True)


@nox.session
def web(session: nox.Session) -> None:
    """The routes end to end: each framework under a real server; needs Node, nginx, OpenSSL and Chromium."""
    install_all(session, *group("test"), *group("web"))
    install_node_packages(session)
    session.run("pytest", "tests/web", *session.posargs)


@nox.session
def contracts(session: nox.Session) -> None:
    """The contract that every store is held to, on every adapter in both colours; the servers come from pip."""
    install_all(session, *group("test"))
    hold_stores_to_contracts(session)


def hold_stores_to_contracts(session: nox.Session) -> None:
    """Run the contract suites."""
    session.run("pytest", "tests/contracts", *session.posargs)


@nox.session
def torture(session: nox.Session) -> None:
    """The torture bench in its quick form on every store, or as the arguments after ``--`` say."""
    session.install("-e", ".[demo,cli,sqlalchemy,redis]", *group("test"), *group("torture"))
    run_torture(session)


def run_torture(session: nox.Session, colour: str = "both") -> None:
    """Run the bench."""
    how = session.posargs or ["--ci", "--colour", colour]
    session.run("python", "-m", "torture", *how, env={"PYTHONPATH": str(ROOT / "tests")})


@nox.session(reuse_venv=False)
def wheel(session: nox.Session) -> None:
    """The built wheel, installed where the source tree can't be imported."""
    folder = Path(session.create_tmp()).resolve()
    shutil.rmtree(folder / "dist", ignore_errors=True)
    shutil.rmtree(folder / "tests", ignore_errors=True)
    session.install("build", *(one for one in group("test") if one.startswith("pytest")))
    session.run("python", "-m", "build", "--outdir", str(folder / "dist"), str(ROOT))
    [built] = (folder / "dist").glob("*.whl")
    session.install(f"{built}[demo,cli,sqlalchemy]")
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
    session.run("pytest", "tests", "-k", SMOKE_CASES)


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
    build_docs(session)


def build_docs(session: nox.Session) -> None:
    """Build the site."""
    session.run("mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session(default=False)
def beside(session: nox.Session) -> None:
    """What CI runs beside `tests`, in one environment: the names of steps that follow each other."""
    install_all(session, *group("dev"))
    lanes = {
        "around": look_around,
        "contracts": hold_stores_to_contracts,
        "torture-sync": partial(run_torture, colour="sync"),
        "torture-async": partial(run_torture, colour="async"),
    }
    names = [*session.posargs] or [*lanes]
    session.posargs.clear()  # the steps read their own from it
    for name in names:
        lanes[name](session)


def look_around(session: nox.Session) -> None:
    """Run what the sessions lint, typing, docs, interop and web run."""
    install_node_packages(session)
    look_at_style(session)
    check_types(session)
    build_docs(session)
    session.run("pytest", "tests/interop", "tests/web")
