"""The smallest Flask application with connected accounts: who is signed in is a cookie."""

from __future__ import annotations

import os
from typing import Any

from flask import Flask, Response, g, request
from hosting import FAILURE, PREFIX, Sessions, integration_options, transport_arguments, vault_arguments

from socialvault import Vault
from socialvault.integrations.flask import oauth_blueprint
from socialvault.transports.httpx import HttpxTransport

vault = Vault(**vault_arguments(), transport=HttpxTransport(**transport_arguments()))
sessions = Sessions()


def current_owner() -> str | None:
    if "session" in request.cookies:
        return sessions.owner_of(request.cookies["session"])
    return request.cookies.get("owner")


def connected(completed: Any) -> None:
    if "fail" in request.cookies:
        raise RuntimeError(FAILURE)
    if "session" in request.cookies:
        g.session = sessions.renew(request.cookies["session"])


app = Flask(__name__)
app.register_blueprint(
    oauth_blueprint(
        vault, owner=current_owner, tenant=lambda: request.cookies.get("tenant"), on_connected=connected,
        **integration_options(),
    ),
    url_prefix=PREFIX,
)  # fmt: skip


@app.after_request
def edge(response: Response) -> Response:
    """Say which worker answered, and set the session's cookie."""
    response.headers["X-Worker"] = str(os.getpid())
    if "session" in g:
        response.set_cookie("session", g.session, httponly=True)
    return response


@app.get("/home")
def home() -> str:
    return "<!doctype html><title>Home</title><h1>Home</h1>"


@app.post("/login")
def login() -> dict[str, str]:
    g.session = sessions.create(request.args["owner"])
    return {}


@app.get("/fail/<connection_id>")
def fail(connection_id: str) -> None:
    owner, tenant = request.cookies.get("owner", ""), request.cookies.get("tenant", "")
    token = vault.token(connection_id, owner=owner, tenant=tenant)
    raise RuntimeError(f"{FAILURE} {token!r}")
