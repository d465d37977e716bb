"""A host for tests in a real browser: its OpenID provider posts callbacks, and one of its pages sends no referrer."""

from __future__ import annotations

import os

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from socialvault import AsyncVault, LocalKeyring
from socialvault.integrations.fastapi import oauth_router
from socialvault.sandbox import Sandbox

_PAGE = """<!doctype html><html lang="en"><head><title>{title}</title><link rel="icon" href="data:,"></head>
<body><h1>{title}</h1>
<form method="post" action="/api/v1/oauth/oidc/start"><input type="hidden" name="return_to" value="/home">
<button>Connect</button></form></body></html>"""


def create_app() -> FastAPI:
    """Make the application; the environment says where it and the sandbox are found."""
    sandbox = Sandbox(base_url=os.environ["CHROMIUM_SANDBOX"])
    vault = AsyncVault(
        providers=[sandbox.provider("oidc", authorize_extra={"response_mode": "form_post"})],
        store=":memory:",
        keys=LocalKeyring([LocalKeyring.generate()]),
        redirect_uri=os.environ["CHROMIUM_PUBLIC"] + "/api/v1/oauth/{provider}/callback",
        return_to=["/home"],
    )
    app = FastAPI()
    app.include_router(oauth_router(vault, owner=current_user), prefix="/api/v1")

    @app.get("/login/{user}")
    def login(user: str, samesite: str = "lax") -> Response:
        answer = RedirectResponse("/home", 303)
        kind = "none" if samesite == "none" else "lax"
        answer.set_cookie("session", user, httponly=True, samesite=kind, secure=kind == "none")
        return answer

    @app.get("/home")
    def home() -> Response:
        return HTMLResponse(_PAGE.format(title="Home"))

    @app.get("/quiet")
    def quiet() -> Response:
        return HTMLResponse(_PAGE.format(title="Quiet"), headers={"Referrer-Policy": "no-referrer"})

    return app


def current_user(request: Request) -> str | None:
    """Whoever the cookie names."""
    return request.cookies.get("session")
