"""One small application in each framework, asked without a server, so that a scenario is written once."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest
from support.world import OWNER, TENANT, World, open_world

from socialvault.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

PREFIX = "/api/v1"
REDIRECT_URI = "http://127.0.0.1:9" + PREFIX + "/oauth/{provider}/callback"
#: How the applications know who asks; a program's header, too.
PROGRAM = {"x-owner": OWNER, "x-tenant": TENANT, "x-requested-with": "tests"}
BROWSER = {"x-owner": OWNER, "x-tenant": TENANT, "accept": "text/html", "sec-fetch-site": "same-origin"}


@dataclass(frozen=True)
class Answer:
    """What came out of an application."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str:
        found = self.all(name)
        assert len(found) <= 1, found
        return found[0] if found else ""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Host:
    """One application: what differs between the frameworks.

    Attributes:
        heard: what `on_connected` was called with.
    """

    world: World
    vault: Any = None
    heard: list[tuple[Any, ...]] = field(default_factory=list)

    colour: ClassVar[str]

    def build_vault(self, **options: Any) -> Any:
        options.setdefault("redirect_uri", REDIRECT_URI)
        self.vault = self.world.build(**options).vault
        return self.vault

    async def mount(self, *, asynchronous: bool = False, **options: Any) -> None:
        """Build the application; `asynchronous`: its functions are coroutine functions."""
        options.setdefault("owner", self.reader("x-owner", asynchronous=asynchronous))
        options.setdefault("tenant", self.reader("x-tenant", asynchronous=asynchronous))
        options.setdefault("on_connected", self.hook(asynchronous=asynchronous))
        options.setdefault("vault", self.vault or self.build_vault())
        await self.start({name: value for name, value in options.items() if value is not None})

    async def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, body: bytes = b"", data: Any = None,
        browser: bool = False, cookie: str = "",
    ) -> Answer:  # fmt: skip
        sent = {**(BROWSER if browser else PROGRAM), **(headers or {})}
        if data is not None:
            body, sent["content-type"] = json.dumps(data).encode(), "application/json"
        if cookie:
            sent["cookie"] = cookie
        return await self.send(method, PREFIX + path, {name: value for name, value in sent.items() if value}, body)

    async def begin(self, **how: Any) -> tuple[Any, str]:
        """Begin a flow and consent; return the callback's parameters and the flow's cookie."""
        begun = await self.ask("POST", "/oauth/x/start", data={"return_to": "/settings"}, **how)
        assert begun.status == 200, begun.text
        params = await asyncio.to_thread(lambda: self.world.sandbox.authorize(begun.json["url"]))
        return params, begun.header("set-cookie").partition(";")[0]

    async def connect(self, **how: Any) -> Answer:
        """Go through a whole flow."""
        params, cookie = await self.begin()
        return await self.ask("GET", f"/oauth/x/callback?{httpx.QueryParams(dict(params))}", cookie=cookie, **how)

    def reader(self, header: str, *, asynchronous: bool) -> Callable[..., Any]:
        raise NotImplementedError

    def hook(self, *, asynchronous: bool) -> Callable[..., Any]:
        if asynchronous:

            async def told_later(*args: Any) -> None:
                await asyncio.sleep(0)
                self.heard.append(args)

            return told_later
        return lambda *args: self.heard.append(args)

    def refusing(self) -> Callable[..., Any]:
        """An owner function that refuses with 403 as the framework does it."""
        raise NotImplementedError

    def failing(self) -> Callable[..., Any]:
        """An owner function with a mistake in it."""

        def owner() -> str:
            raise RuntimeError("canary of the application")

        return owner

    async def start(self, options: dict[str, Any]) -> None:
        raise NotImplementedError

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        raise NotImplementedError

    async def stop(self) -> None:
        """Undo what `start` did."""


class FastAPIHost(Host):
    """An ``AsyncVault`` behind FastAPI."""

    colour = "async"
    app: Any = None
    _running: AsyncExitStack | None = None

    def reader(self, header: str, *, asynchronous: bool) -> Callable[..., Any]:
        from fastapi import Request

        def read(request: Any) -> str | None:
            return request.headers.get(header)

        async def read_later(request: Any) -> str | None:
            await asyncio.sleep(0)
            return request.headers.get(header)

        chosen = read_later if asynchronous else read
        chosen.__annotations__ = {"request": Request}
        return chosen

    def refusing(self) -> Callable[..., Any]:
        from fastapi import HTTPException

        def owner() -> str:
            raise HTTPException(403, "not you", headers={"WWW-Authenticate": "Session"})

        return owner

    async def start(self, options: dict[str, Any]) -> None:
        from fastapi import FastAPI, Request

        from socialvault.integrations.fastapi import oauth_router

        self.app = FastAPI()

        @self.app.middleware("http")
        async def session(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            if "x-session" in request.headers:
                response.set_cookie("session", "seen", httponly=True)
            return response

        self.app.include_router(oauth_router(options.pop("vault"), **options), prefix=PREFIX)
        self._running = AsyncExitStack()
        await self._running.enter_async_context(self.app.router.lifespan_context(self.app))

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> Answer:
        return await asked(self.app, method, path, headers, body)

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.aclose()


class FlaskHost(Host):
    """A ``Vault`` behind Flask."""

    colour = "sync"
    app: Any = None

    def reader(self, header: str, *, asynchronous: bool) -> Callable[..., Any]:
        from flask import request, session

        def read() -> str | None:
            if "x-session" in request.headers:
                session["seen"] = True
            return request.headers.get(header)

        async def read_later() -> str | None:
            await asyncio.sleep(0)
            return read()

        return read_later if asynchronous else read

    def refusing(self) -> Callable[..., Any]:
        from flask import abort

        return lambda: abort(403, "not you")

    async def start(self, options: dict[str, Any]) -> None:
        from flask import Flask

        from socialvault.integrations.flask import oauth_blueprint

        self.app = Flask("an_application", root_path="/")
        self.app.secret_key = "tests"
        self.app.register_blueprint(oauth_blueprint(options.pop("vault"), **options), url_prefix=PREFIX)

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        def send() -> Answer:
            client = self.app.test_client(use_cookies=False)
            with client.open(path, method=method, headers=dict(headers), data=body or None) as answer:
                return Answer(answer.status_code, list(answer.headers.items()), answer.data)

        return await asyncio.to_thread(send)


class DjangoHost(Host):
    """A ``Vault`` behind Django, under WSGI."""

    colour = "sync"
    _undo: ExitStack | None = None

    def reader(self, header: str, *, asynchronous: bool) -> Callable[..., Any]:
        def read(request: Any) -> str | None:
            if "x-session" in request.headers:
                request.session["seen"] = True
            return request.headers.get(header)

        async def read_later(request: Any) -> str | None:
            await asyncio.sleep(0)
            return read(request)

        return read_later if asynchronous else read

    def refusing(self) -> Callable[..., Any]:
        from django.core.exceptions import PermissionDenied

        def owner(request: Any) -> str:
            raise PermissionDenied("not you")

        return owner

    def failing(self) -> Callable[..., Any]:
        fail = super().failing()
        return lambda request: fail()

    async def start(self, options: dict[str, Any]) -> None:
        self._undo = ExitStack()
        await asyncio.to_thread(lambda: self._undo.enter_context(django_serving(options)))

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return await asyncio.to_thread(lambda: self.send_blocking(method, path, headers, body))

    def send_blocking(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        from django.test import Client

        client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        native = client.generic(method, path, body, headers.get("content-type", ""), headers=dict(headers))
        cookies = [("Set-Cookie", one.OutputString()) for one in native.cookies.values()]
        return Answer(native.status_code, [*native.items(), *cookies], native.content)

    async def stop(self) -> None:
        if self._undo is not None:
            await asyncio.to_thread(self._undo.close)


class AsyncDjangoHost(DjangoHost):
    """An ``AsyncVault`` behind Django, under ASGI."""

    colour = "async"

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> Answer:
        from django.core.handlers.asgi import ASGIHandler

        return await asked(ASGIHandler(), method, path, headers, body)


async def asked(app: Any, method: str, path: str, headers: Mapping[str, str], body: Any) -> Answer:
    """Ask an ASGI application; a body that comes in chunks has no length."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9") as client:
        request = client.build_request(method, path, headers=headers, content=body or None)
        answer = await client.send(request)
    return Answer(answer.status_code, answer.headers.multi_items(), answer.content)


def django_serving(settings: dict[str, Any]) -> Any:
    """Install the app with these settings and mount its urls, until the context ends."""
    from django.test import override_settings
    from django.urls import include, path

    urlconf = ModuleType("urls_of_this_test")
    context = ExitStack()
    context.enter_context(override_settings(SOCIALVAULT=settings, ROOT_URLCONF=urlconf))
    context.enter_context(override_settings(INSTALLED_APPS=["socialvault.integrations.django"]))
    sys.modules.pop("socialvault.integrations.django.urls", None)  # it reads the app when it is imported
    urls = importlib.import_module("socialvault.integrations.django.urls")
    urlconf.urlpatterns = [path(f"{PREFIX[1:]}/", include(urls))]  # type: ignore[attr-defined]
    return context


@pytest.fixture(scope="session", autouse=True)
def _django_is_configured() -> None:
    """Once for each process; a test overrides what it is about."""
    import django
    from django.conf import settings

    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=[],
        LOGGING_CONFIG=None,
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    )
    django.setup()


HOSTS = {"fastapi": FastAPIHost, "flask": FlaskHost, "django": DjangoHost, "django-async": AsyncDjangoHost}


@pytest.fixture
async def host_of(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Callable[[str], Any]]:
    """Make hosts over worlds of their own."""
    async with AsyncExitStack() as stack:

        async def make(name: str) -> Host:
            kind = HOSTS[name]
            world = await stack.enter_async_context(open_world(sandbox, kind.colour, "memory", tmp_path))
            host = kind(world)
            stack.push_async_callback(host.stop)
            return host

        yield make


@pytest.fixture(params=HOSTS)
async def host(request: pytest.FixtureRequest, host_of: Callable[[str], Any]) -> Host:
    """Each framework, with its application not built yet."""
    made: Host = await host_of(request.param)
    return made
