"""A desk: the routes over a world's vault, asked as an integration asks them, without a framework."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from support.canaries import assert_absent_from_files
from support.world import OWNER, TENANT, World, open_world

from socialvault.http.endpoints import Endpoints
from socialvault.http.limits import counting, in_place
from socialvault.http.messages import Request, Response
from socialvault.http.routes import by_path
from socialvault.http.settings import settings_of
from socialvault.runtimes.threads import run
from socialvault.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from socialvault.http.routes import Route
    from socialvault.sandbox.browser import Callback

#: Both colours and both stores; the vault's own tests have every combination.
COMBINATIONS = [("sync", "sqlite"), ("async", "memory")]
FORM = "application/x-www-form-urlencoded"
#: What a program sends, and what a browser sends from a page of ours.
PROGRAM = {"x-requested-with": "tests"}
BROWSER = {"accept": "text/html,*/*;q=0.8", "sec-fetch-site": "same-origin"}


@dataclass(frozen=True)
class Answer:
    """A response, as a test looks at it."""

    response: Response

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def text(self) -> str:
        return self.response.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.response.body)

    @property
    def content_type(self) -> str:
        return self.response.content_type

    @property
    def code(self) -> str:
        """The problem's."""
        assert self.content_type == "application/problem+json", self.text
        return str(self.json["code"])

    def header(self, name: str) -> str:
        found = [value for key, value in self.response.headers if key == name]
        assert len(found) <= 1, found
        return found[0] if found else ""


@dataclass(frozen=True)
class Flow:
    """A flow that has begun, with the cookie that the browser keeps for it."""

    url: str
    cookie: str


@dataclass
class Desk:
    """The routes of one world's vault.

    Attributes:
        told: what `on_connected` was called with.
        answers: everything that went out.
    """

    world: World
    options: dict[str, Any] = field(default_factory=dict)
    on_connected: Callable[..., Any] | None = None
    told: list[tuple[object, Any]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._blocking = self.world.colour == "sync"
        vault = self.world.vault.vault
        self.settings = settings_of(vault, {"rate_limits": None, **self.options})
        self.counting = counting(self.settings.rate_limits, in_place if self._blocking else asyncio.to_thread)
        self.endpoints = Endpoints(vault, self.settings, self.counting, self.on_connected or self._told())

    def _told(self) -> Callable[..., Any]:
        if self._blocking:
            return lambda native, done: self.told.append((native, done))

        async def told(native: object, done: Any) -> None:
            self.told.append((native, done))

        return told

    async def ask(
        self, method: str, path: str, *, owner: object = OWNER, tenant: object = TENANT,
        headers: Mapping[str, str] | None = None, browser: bool = False, body: bytes = b"", data: Any = None,
        form: Any = None, cookie: str = "", peer: str = "203.0.113.7", native: object = "native",
    ) -> Answer:  # fmt: skip
        """Ask as a program or, with `browser`, from a page of ours; `data` goes as JSON and `form` as a form."""
        sent = dict(BROWSER if browser else PROGRAM)
        if data is not None:
            sent["content-type"], body = "application/json", json.dumps(data).encode()
        elif form is not None:
            sent["content-type"], body = FORM, urlencode(form).encode()
        if cookie:
            sent["cookie"] = cookie
        sent |= headers or {}
        bare, _, query = path.partition("?")
        route, params = find(method, bare)
        request = Request(method, bare, params, query, sent, body, peer, native)
        if self._blocking:
            response = await asyncio.to_thread(lambda: run(self._answered(route, request, owner, tenant)))
        else:
            response = await self._answered(route, request, owner, tenant)
        self.answers.append(Answer(response))
        return self.answers[-1]

    async def _answered(self, route: Route, request: Request, owner: object, tenant: object) -> Response:
        return await self.endpoints.admit(route, request) or await self.endpoints.answer(route, request, owner, tenant)

    async def start(self, slug: str = "x", **how: Any) -> Flow:
        """Begin a flow as a program and keep its cookie."""
        begun = await self.ask("POST", f"/oauth/{slug}/start", **how)
        assert begun.status == 200, begun.text
        return Flow(begun.json["url"], begun.header("Set-Cookie").partition(";")[0])

    async def consent(self, flow: Flow, **how: Any) -> Callback:
        """Let a person decide; return the callback's parameters."""
        return await asyncio.to_thread(lambda: self.world.sandbox.authorize(flow.url, **how))

    async def callback(self, slug: str, flow: Flow, params: Mapping[str, str], **how: Any) -> Answer:
        """Deliver a callback to the browser that began the flow."""
        how = {"cookie": flow.cookie, **how}
        return await self.ask("GET", f"/oauth/{slug}/callback?{urlencode(params)}", **how)

    async def store(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Use the world's store, of whichever colour."""
        found = getattr(self.world.store, method)(*args, **kwargs)
        return found if self._blocking else await found


def find(method: str, path: str) -> tuple[Route, dict[str, str]]:
    """Find a route as an integration does; HEAD is looked up as GET."""
    for pattern, routes in by_path().items():
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern), path)
        if found:
            return routes["GET" if method == "HEAD" else method], found.groupdict()
    raise LookupError(path)


@pytest.fixture
def make_request() -> Callable[..., Request]:
    """Make a request that says only what a test is about."""

    def make(
        *, method: str = "GET", path: str = "/health", params: Mapping[str, str] | None = None, query: str = "",
        body: bytes = b"",
        peer: str = "203.0.113.7", headers: Mapping[str, str] | None = None, native: object = None,
    ) -> Request:  # fmt: skip
        return Request(method, path, params or {}, query, headers or {}, body, peer, native)

    return make


@pytest.fixture(params=COMBINATIONS, ids="-".join)
async def world(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[World]:
    colour, kind = request.param
    async with open_world(sandbox, colour, kind, tmp_path) as opened:
        yield opened


@pytest.fixture
def desk_of(world: World, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[..., Desk]]:
    """Make desks over the world's vault; in the end nothing that a provider issued is in an answer, log or file."""
    caplog.set_level("DEBUG")
    desks: list[Desk] = []

    def make(*, on_connected: Callable[..., Any] | None = None, **options: Any) -> Desk:
        desks.append(Desk(world, options, on_connected))
        return desks[-1]

    yield make
    secrets = world.sandbox.issued_tokens()
    assert_absent_from_files(secrets, world.directory)
    said = "\n".join(record.getMessage() for record in caplog.records)
    for answer in (one for desk in desks for one in desk.answers):
        if 'action="/oauth/' not in answer.text or "/resume" not in answer.text:  # that page posts its code again
            said += f"\n{answer.text}\n{answer.response.headers}"
    leaked = [secret[:12] for secret in secrets if secret in said]
    assert not leaked, f"in an answer or a log: {leaked}"
    assert world.sandbox.log.count(outcome="code_reused") == 0


@pytest.fixture
def desk(desk_of: Callable[..., Desk]) -> Desk:
    return desk_of()
