"""Real servers in processes of their own: on a free loopback port, with their logs in files, stopped by their pid."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from socialvault import LocalKeyring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOSTS = Path(__file__).parent.parent / "web" / "hosts"
INTEROP = Path(__file__).parent.parent / "interop"
PREFIX = "/api/v1"

#: name: (framework, store, how many workers)
STANDARD_HOSTS: Mapping[str, tuple[str, str, int]] = {
    "fastapi-sqlite": ("fastapi", "sqlite", 4),
    "flask-sqlite": ("flask", "sqlite", 2),
    "django-sqlite": ("django", "sqlite", 2),
    "fastapi-memory": ("fastapi", "memory", 1),
    "flask-memory": ("flask", "memory", 1),
    "django-memory": ("django", "memory", 1),
}

_START_SECONDS = 45.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.03
#: Everything that could carry a secret: request line, query, referrer, and what came and went in cookies.
_GUNICORN_FORMAT = '%(h)s "%(r)s" %(s)s path=%(U)s query="%(q)s" referrer="%(f)s"'


def free_port() -> int:
    """A port below those that the system gives to clients, so that no client takes it before the server does."""
    for port in random.sample(range(20000, 32000), 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is no free port")


@dataclass
class Server:
    """One running server.

    Attributes:
        directory: holds its logs and nothing else.
        ready_url: answers 200 as soon as the server works.
    """

    name: str
    port: int
    directory: Path
    process: subprocess.Popen[bytes]
    ready_url: str
    verify: bool = False  # certificates are made for each run, and most servers have none

    def wait(self) -> None:
        """Wait until it answers."""
        until = time.monotonic() + _START_SECONDS
        with httpx.Client(trust_env=False, verify=self.verify, timeout=5) as client:
            while time.monotonic() < until:
                assert self.process.poll() is None, f"{self.name} ended at its start:\n{self.output()}"
                with contextlib.suppress(httpx.TransportError):
                    if client.get(self.ready_url).status_code == 200:
                        return
                time.sleep(_POLL_SECONDS)
        raise AssertionError(f"{self.name} does not answer {self.ready_url}:\n{self.output()}")

    def logs(self) -> list[Path]:
        return sorted(path for path in self.directory.rglob("*") if path.is_file())

    def output(self) -> str:
        """The end of every log, for a failure's message."""
        return "\n".join(f"--- {path.name}\n{path.read_text('utf-8', 'replace')[-3000:]}" for path in self.logs())

    def ask_to_stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.ask_to_stop()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):  # whoever of its own group has survived
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_STOP_SECONDS)


def launch(
    name: str,
    command: Sequence[str],
    directory: Path,
    *,
    port: int,
    ready_url: str,
    environment: Mapping[str, str] = {},
    working_directory: Path | None = None,
    verify: bool = False,
) -> Server:
    """Start a server without waiting for it; standard output and error go to files."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "stdout.log").open("wb") as out, (directory / "stderr.log").open("wb") as err:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            env={**os.environ, **environment}, cwd=working_directory,
        )  # fmt: skip
    return Server(name, port, directory, process, ready_url, verify)


@dataclass(kw_only=True)
class HostPlan:
    """How to run one of ``tests/web/hosts``.

    Attributes:
        public: where browsers find the prefix; None: where the server listens.
        options: see ``tests/web/hosts/hosting.py``.
        arguments: added to the server's command line.
    """

    framework: str
    store: str = "sqlite"
    workers: int = 1
    public: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    arguments: Sequence[str] = ()


def launch_host(name: str, plan: HostPlan, directory: Path, sandbox_url: str) -> tuple[Server, str, str]:
    """Start a host; return the server, the public URL of its prefix, and the key of its vault."""
    port, key = free_port(), LocalKeyring.generate()
    public = plan.public or f"http://127.0.0.1:{port}{PREFIX}"
    for folder in ("data", "sessions"):
        (directory / folder).mkdir(parents=True)
    environment = {
        "WEB_STORE": ":memory:" if plan.store == "memory" else f"sqlite:///{directory}/data/vault.db",
        "WEB_KEYS": key,
        "WEB_CLOCK": str(directory / "clock"),
        "WEB_SANDBOX": sandbox_url,
        "WEB_PUBLIC": public,
        "WEB_SESSIONS": str(directory / "sessions"),
        "WEB_OPTIONS": json.dumps(dict(plan.options)),
    }
    build = _uvicorn if plan.framework == "fastapi" else _gunicorn
    command = [*build(plan, port, directory / "logs"), *plan.arguments]
    server = launch(
        name, command, directory / "logs", port=port, ready_url=f"http://127.0.0.1:{port}{PREFIX}/health",
        environment=environment, working_directory=HOSTS,
    )  # fmt: skip
    return server, public, key


def _uvicorn(plan: HostPlan, port: int, logs: Path) -> list[str]:
    return [
        sys.executable, "-m", "uvicorn", "fastapi_host:app", "--port", str(port), "--workers", str(plan.workers),
        "--access-log", "--no-use-colors",
    ]  # fmt: skip


def _gunicorn(plan: HostPlan, port: int, logs: Path) -> list[str]:
    """Prefork without preloading: every worker imports the application, and with it makes its vault, by itself."""
    module = {"flask": "flask_host:app", "django": "django_host:application"}[plan.framework]
    return [
        sys.executable, "-m", "gunicorn", module, "--bind", f"127.0.0.1:{port}", "--workers", str(plan.workers),
        "--worker-class", "gthread", "--threads", "4", "--no-control-socket", "--access-logfile",
        str(logs / "access.log"), "--access-logformat", _GUNICORN_FORMAT, "--error-logfile", str(logs / "error.log"),
    ]  # fmt: skip


def launch_oidc_provider(directory: Path, port: int, callbacks: Sequence[str]) -> Server:
    """Start npm's oidc-provider, which sends browsers to `callbacks` and nowhere else."""
    assert shutil.which("node"), "these tests need Node.js 20 or newer"
    assert (INTEROP / "node_modules" / "oidc-provider").is_dir(), "run `npm ci` in tests/interop first"
    return launch(
        "oidc-provider", ["node", "server.mjs", str(port), "on", ",".join(callbacks)], directory, port=port,
        ready_url=f"http://127.0.0.1:{port}/.well-known/openid-configuration", working_directory=INTEROP,
    )  # fmt: skip


def launch_nginx(directory: Path, port: int, configuration: str) -> Server:
    """Start nginx on `port` with TLS, everything it writes below `directory`.

    Args:
        configuration: what goes into its ``server`` block.
    """
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    assert Path(nginx).exists(), "these tests need nginx: apt-get install nginx-light"
    assert shutil.which("openssl"), "these tests need openssl: apt-get install openssl"
    logs, work = directory / "logs", directory / "work"
    for folder in (logs, work):
        folder.mkdir(parents=True)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(work / "key.pem"), "-out", str(work / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    temporary = " ".join(
        f"{kind}_temp_path {work}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""
    (work / "nginx.conf").write_text(
        f"""{user} daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {logs}/error.log notice;
events {{ worker_connections 256; }}
http {{
  {temporary}
  access_log off;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {work}/cert.pem; ssl_certificate_key {work}/key.pem;
    {configuration}
  }}
}}
""",
        "utf-8",
    )
    command = [nginx, "-p", str(work), "-c", str(work / "nginx.conf"), "-e", str(logs / "error.log")]
    return launch("nginx", command, logs, port=port, ready_url=f"https://127.0.0.1:{port}/proxy-is-up", verify=False)
