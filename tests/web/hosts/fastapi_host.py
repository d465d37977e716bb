"""The smallest FastAPI application with connected accounts: who is signed in is a cookie."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from hosting import FAILURE, PREFIX, Sessions, debug, integration_options, transport_arguments, vault_arguments

from socialvault import AsyncVault
from socialvault.integrations.fastapi import oauth_router
from socialvault.transports.httpx import AsyncHttpxTransport

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

vault = AsyncVault(**vault_arguments(), transport=AsyncHttpxTransport(**transport_arguments()))
sessions = Sessions()


async def current_owner(request: Request) -> str | None:
    if "session" in request.cookies:
        return sessions.owner_of(request.cookies["session"])
    return request.cookies.get("owner")


def current_tenant(request: Request) -> str | None:
    return request.cookies.get("tenant")


async def connected(request: Request, completed: Any) -> None:
    if "fail" in request.cookies:
        raise RuntimeError(FAILURE)
    if "session" in request.cookies:
        request.state.session = sessions.renew(request.cookies["session"])


class Edge:
    """Says which worker answered, and sets the session's cookie."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-worker", str(os.getpid()).encode())]
                if session := scope.get("state", {}).get("session"):
                    message["headers"].append((b"set-cookie", f"session={session}; Path=/; HttpOnly".encode()))
            await send(message)

        await self._app(scope, receive, send_on if scope["type"] == "http" else send)


app = FastAPI(debug=debug())
app.add_middleware(Edge)
app.include_router(
    oauth_router(vault, owner=current_owner, tenant=current_tenant, on_connected=connected, **integration_options()),
    prefix=PREFIX,
)


@app.get("/home", include_in_schema=False)
async def home() -> HTMLResponse:
    return HTMLResponse("<!doctype html><title>Home</title><h1>Home</h1>")


@app.post("/login", include_in_schema=False)
async def login(request: Request, response: Response) -> dict[str, str]:
    request.state.session = sessions.create(request.query_params["owner"])
    return {}


@app.get("/fail/{connection_id}", include_in_schema=False)
async def fail(connection_id: str, request: Request) -> None:
    owner, tenant = request.cookies.get("owner", ""), request.cookies.get("tenant", "")
    token = await vault.token(connection_id, owner=owner, tenant=tenant)
    raise RuntimeError(f"{FAILURE} {token!r}")
