"""Commands run in this process or in one of their own; whatever they print is searched for secrets."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from support.canaries import found_in
from typer.testing import CliRunner, Result

from socialvault import AsyncVault, Connection, LocalKeyring, Vault
from socialvault.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

    from socialvault.sandbox import Sandbox

OWNER, TENANT = "user-42", "acme"
MAIN = "from socialvault.cli import main; main()"
#: How the sandbox writes its secrets, how keys are written, and how ID tokens begin.
SECRET_SHAPES = re.compile(r"\b(?:x|linkedin|facebook|oidc)-(?:at|rt|pt|code)-g\d|svk1_[\w-]{48}|eyJ[A-Za-z0-9_-]{20}")

Invoke = Callable[..., Result]
Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass
class Service:
    """An application with a vault: what operators point the command line at."""

    sandbox: Sandbox
    folder: Path
    key: str

    @property
    def database(self) -> Path:
        return self.folder / "vault.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.database}"

    def options(self, **changes: Any) -> dict[str, Any]:
        providers = [self.sandbox.provider("x"), self.sandbox.provider("facebook", scopes=["pages_show_list"])]
        return {
            "providers": providers,
            "store": self.url,
            "keys": LocalKeyring([self.key]),
            "redirect_uri": "https://app.example/{provider}/callback",
            "clock": self.sandbox.clock,
            **changes,
        }

    def make_vault(self) -> Vault:
        return Vault(**self.options())

    def make_async_vault(self) -> AsyncVault:
        return AsyncVault(**self.options())

    def connect(
        self, provider: str = "x", *, owner: str = OWNER, tenant: str = TENANT, user: str = "ada"
    ) -> Connection:
        with self.make_vault() as vault:
            login = vault.begin(provider, owner=owner, tenant=tenant)
            cookies = {login.cookie.name: login.cookie.value}
            params = self.sandbox.authorize(login.url, user=user)
            return vault.complete(params, provider=provider, owner=owner, tenant=tenant, cookies=cookies).connection

    def status(self, connection_id: str, *, owner: str = OWNER, tenant: str = TENANT) -> str:
        with self.make_vault() as vault:
            [found] = [one for one in vault.admin.find(owner=owner, tenant=tenant) if one.id == connection_id]
            return found.status.value


@pytest.fixture
def service(socialvault_sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose vault the command line reaches as ``service:make_vault`` and ``service:make_async_vault``."""
    made = Service(socialvault_sandbox, tmp_path, LocalKeyring.generate())
    module = ModuleType("service")
    module.make_vault = made.make_vault  # type: ignore[attr-defined]
    module.make_async_vault = made.make_async_vault  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "service", module)
    monkeypatch.setenv("SOCIALVAULT_KEYS", made.key)
    return made


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in this process; nothing it prints may look like a secret."""
    monkeypatch.delenv("SOCIALVAULT_VAULT", raising=False)
    monkeypatch.delenv("SOCIALVAULT_STORE", raising=False)

    def run(*arguments: object, **options: Any) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], **options)
        if arguments[0] != "keygen":
            assert not SECRET_SHAPES.search(result.output), result.output
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def invoke_service(invoke: Invoke, service: Service) -> Iterator[Invoke]:
    """Run commands against `service`; their output holds no token that was ever issued, in no spelling."""
    printed: list[bytes] = []

    def run(*arguments: object, **options: Any) -> Result:
        result = invoke(*arguments, **options)
        printed.append(result.output.encode())
        return result

    yield run
    assert service.sandbox.issued_tokens()
    assert not found_in([*service.sandbox.issued_tokens(), service.key], b"\n".join(printed))


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line as a process of its own; `code` may prepare it."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, code: str = MAIN, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, **options,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def run(spawn: Callable[..., subprocess.Popen[str]]) -> Run:
    """Run the command line as a process of its own, to its end."""

    def finish(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        process = spawn(*arguments, **options)
        stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    return finish
