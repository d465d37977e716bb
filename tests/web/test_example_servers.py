"""The example applications under the servers that their READMEs name, with several workers."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.examples import EXAMPLES, PASSWORD, Example, Visitor, launch_example

from socialvault import LocalKeyring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from socialvault.sandbox import Sandbox


def production(sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    return {
        "SANDBOX_URL": sandbox.base_url,
        "DATABASE": str(tmp_path / "app.db"),
        "VAULT_STORE": f"sqlite:///{tmp_path}/vault.db",
        "SOCIALVAULT_KEYS": LocalKeyring.generate(),
        "SECRET_KEY": "tests-only",
    }


SERVERS = {
    "fastapi_app": ["uvicorn", "--factory", "fastapi_app.main:create_app", "--workers", "2", "--port", "PORT"],
    "flask_app": ["gunicorn", "flask_app.main:create_app()", "--workers", "2", "--bind", "127.0.0.1:PORT",
                  "--no-control-socket"],
    "django_app": ["gunicorn", "shop.wsgi", "--chdir", "django_app", "--workers", "2", "--bind", "127.0.0.1:PORT",
                   "--no-control-socket"],
}  # fmt: skip


def add_user(name: str, environment: dict[str, str]) -> None:
    """As its README says, but for the terminal."""
    environment = {**environment, "PUBLIC_URL": "http://127.0.0.1", "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    command = [sys.executable, "-c", ADD_DJANGO_USER if name == "django_app" else RUN_WITHOUT_TERMINAL, name]
    subprocess.run(command, check=True, env=environment, cwd=EXAMPLES, stdout=subprocess.DEVNULL)


#: The command asks a terminal for the password; here there is none.
RUN_WITHOUT_TERMINAL = """
import getpass, runpy, sys
getpass.getpass = lambda: "analytical engine"
name, sys.argv = sys.argv[1], ["", "add-user", "ada"]
runpy.run_module(name, run_name="__main__")
"""
ADD_DJANGO_USER = """
import os, sys
sys.path.insert(0, sys.argv[1])
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
from django.core.management import execute_from_command_line
execute_from_command_line(["", "migrate", "-v", "0"])
execute_from_command_line(["", "createsuperuser", "--no-input", "--username", "ada", "--email", "ada@example.com"])
"""


@pytest.fixture(scope="module")
def servers(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Example]]:
    """Each example under the server that its README names, side by side."""
    running = {}
    for name, command in SERVERS.items():
        folder = tmp_path_factory.mktemp(f"{name}-workers")
        environment = production(sandbox, folder)
        add_user(name, {"PATH": "/usr/bin:/bin", **environment})
        running[name] = launch_example(name, folder, [sys.executable, "-m", *command], **environment)
    yield running
    for example in running.values():
        example.server.stop()


@pytest.mark.parametrize("name", SERVERS)
def test_a_production_server_with_several_workers(name: str, servers: Mapping[str, Example]) -> None:
    example = servers[name]
    example.server.wait()
    with Visitor(example) as visitor:
        visitor.http.headers["Connection"] = "close"  # each request may meet the other worker
        visitor.sign_in()
        for platform in ("X", "LinkedIn"):
            assert visitor.connect(platform).messages[-1] == "Ada Lovelace is connected."
