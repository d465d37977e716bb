"""The applications under test: each framework over each store, as real servers that all tests share."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import Site
from support.canaries import spellings
from support.servers import PREFIX, STANDARD_HOSTS, HostPlan, Server, free_port, launch_host, launch_oidc_provider

from socialvault.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.browser import Answer, Browser

#: The parts of client secrets that no name of a client holds.
CLIENT_SECRETS = ("-client-secret", "secret-of-the-interop-client")
#: Nothing that comes out is signed: a JWT is a token that the sandbox does not know of.
JWT = re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}")
#: A line of a log about a callback at a platform that exists, with something of its query.
CALLBACK_QUERY = re.compile(rb"/oauth/(?:x|linkedin|facebook|oidc|npm|dead)/callback[^\n]*\b(?:code|state)=")


@dataclass
class Host:
    """One running application."""

    name: str
    framework: str
    workers: int
    server: Server
    site: Site
    key: str
    directory: Path
    _ready: bool = False

    def ready(self) -> Host:
        if not self._ready:
            self.server.wait()
            self._ready = True
        return self

    def browser(self, **who: Any) -> Browser:
        return self.site.browser(**who)

    @contextlib.contextmanager
    def later(self, seconds: float) -> Iterator[None]:
        """Let the vault's clock be ahead for as long as the block lasts."""
        clock = self.directory / "clock"
        clock.write_text(str(seconds))
        yield
        clock.write_text("0")

    @contextlib.contextmanager
    def without(self, worker: str) -> Iterator[None]:
        """Let a worker stand still for as long as the block lasts, so that others answer: if there are any.

        Args:
            worker: as ``X-Worker`` names it.
        """
        if self.workers == 1:
            yield
            return
        os.kill(int(worker), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(int(worker), signal.SIGCONT)

    @property
    def sandbox(self) -> Sandbox:
        return self.site.sandbox


@dataclass
class Farm:
    """Starts hosts and stops all of them at the end."""

    sandbox: Sandbox
    directory: Path
    npm_port: int
    hosts: dict[str, Host] = field(default_factory=dict)
    others: list[Server] = field(default_factory=list)
    npm: Server | None = None

    def launch(self, name: str, plan: HostPlan) -> Host:
        """Start a host without waiting for it."""
        folder = self.directory / name
        server, public, key = launch_host(name, plan, folder, self.sandbox.base_url)
        host = Host(name, plan.framework, plan.workers, server, Site(public, self.sandbox), key, folder)
        self.hosts[name] = host
        return host

    def launch_standard(self, name: str) -> Host:
        framework, store, workers = STANDARD_HOSTS[name]
        options = {
            "npm": f"http://127.0.0.1:{self.npm_port}",
            "deadline_seconds": 3,
            "origins": ["https://spa.example"],
        }
        return self.launch(name, HostPlan(framework=framework, store=store, workers=workers, options=options))

    def standard(self, name: str) -> Host:
        """One of the six hosts that most tests use."""
        return (self.hosts.get(name) or self.launch_standard(name)).ready()

    def oidc_provider(self) -> Server:
        """npm's oidc-provider, which knows the standard hosts that have been started."""
        if self.npm is None:
            callbacks = [f"{host.site.public}/oauth/npm/callback" for host in self.hosts.values()]
            self.npm = launch_oidc_provider(self.directory / "npm", self.npm_port, callbacks)
            self.npm.wait()
        return self.npm

    def stop(self) -> None:
        servers = [*self.others, *(host.server for host in self.hosts.values()), *([self.npm] if self.npm else [])]
        for server in servers:
            server.ask_to_stop()
        for server in servers:
            server.stop()


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """The providers of all hosts. It is never reset: what it issued must be known at the end."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def farm(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    farm = Farm(sandbox, tmp_path_factory.mktemp("web"), free_port())
    try:
        # all that will be needed at once: each takes a second or two, and they don't wait for each other
        needed = {item.callspec.params.get("host") for item in request.session.items if hasattr(item, "callspec")}
        if any("every_host" in getattr(item, "fixturenames", ()) for item in request.session.items):
            needed |= set(STANDARD_HOSTS)
        for name in STANDARD_HOSTS:
            if name in needed:
                farm.launch_standard(name)
        yield farm
    finally:
        farm.stop()


@pytest.fixture(scope="module", params=STANDARD_HOSTS)
def host(request: pytest.FixtureRequest, farm: Farm) -> Host:
    """A framework over a store: four uvicorn workers, two preforked gunicorn workers, or one of either."""
    return farm.standard(request.param)


@pytest.fixture(scope="session")
def every_host(farm: Farm) -> list[Host]:
    return [farm.standard(name) for name in STANDARD_HOSTS]


@pytest.fixture
def browser(host: Host) -> Browser:
    return host.browser()


@pytest.fixture(autouse=True)
def no_faults(sandbox: Sandbox) -> Iterator[None]:
    yield
    sandbox.clear_faults()


@pytest.fixture(scope="module", autouse=True)
def nothing_leaks(request: pytest.FixtureRequest, sandbox: Sandbox, farm: Farm) -> Iterator[None]:
    """Whatever a module does, no token, code or secret comes out of any host it used."""
    before = Marks.of(sandbox, farm)
    yield
    leaks = before.leaks(sandbox, farm)
    assert not leaks, "\n".join(leaks)


@dataclass
class Marks:
    """Where a module began: what had been issued, answered and logged before."""

    issued: frozenset[str]
    answers: dict[str, int]
    logs: dict[Path, int]

    @classmethod
    def of(cls, sandbox: Sandbox, farm: Farm) -> Marks:
        return cls(
            sandbox.issued_tokens(),
            {name: len(host.site.answers) for name, host in farm.hosts.items()},
            {path: path.stat().st_size for host in farm.hosts.values() for path in host.server.logs()},
        )

    def leaks(self, sandbox: Sandbox, farm: Farm) -> list[str]:
        """Search everything that came out since then; say where something was found."""
        found: list[str] = []
        fresh = sandbox.issued_tokens() - self.issued
        issued = {spelling for secret in [*fresh, *CLIENT_SECRETS] for spelling in spellings(secret)}
        for name, host in farm.hosts.items():
            secrets = issued | set(spellings(host.key))
            answers = host.site.answers[self.answers.get(name, 0) :]
            came_out = b"\n".join(set(map(what_came_out, answers)))
            if leaked := contained(secrets, came_out):
                found.append(f"{name} answered {leaked}")
            cookies = {cookie.encode() for cookie in flow_secrets(answers)}
            for path in host.server.logs():
                data = path.read_bytes()[self.logs.get(path, 0) :]
                if leaked := contained(secrets | cookies, data):
                    found.append(f"{name} logged {leaked} in {path.name}")
                if CALLBACK_QUERY.search(data):
                    found.append(f"{name} logged a callback's query in {path.name}")
        return found


def contained(secrets: set[bytes], data: bytes) -> list[bytes]:
    """The beginnings of the secrets that `data` holds, and of whatever looks like a JWT."""
    return [secret[:12] for secret in [*(one for one in secrets if one in data), *JWT.findall(data)]]


def what_came_out(answer: Answer) -> bytes:
    """Headers and body. The page that posts a provider's form again must repeat its code; nothing else may."""
    told = [f"{name}: {value}" for name, value in answer.headers if name not in ("date", "x-worker", "server")]
    headers = "\n".join(told).encode()
    return headers if answer.posted and answer.status == 200 else headers + b"\n" + answer.body


def flow_secrets(answers: list[Answer]) -> list[str]:
    """The values of the flows' cookies: for this browser, and for no log."""
    lines = [value for answer in answers for name, value in answer.headers if name.lower() == "set-cookie"]
    values = [line.partition("=")[2].partition(";")[0].strip('"') for line in lines if line.startswith("socialvault_")]
    return [value for value in values if value]


__all__ = ["PREFIX", "Farm", "Host"]
