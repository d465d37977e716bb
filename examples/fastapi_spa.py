"""The API for a single-page application on an origin of its own: CORS, and cookies that come along.

``PUBLIC_URL`` is where this API is found, ``SPA_ORIGIN`` whose pages may use it: ``https://spa.example``.
"""

import os

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import RedirectResponse

from socialvault import AsyncVault, LocalKeyring
from socialvault.integrations.fastapi import oauth_router
from socialvault.providers import Provider, X


def create_app(providers: list[Provider]) -> FastAPI:
    """Make the application."""
    vault = AsyncVault(
        providers=providers,
        store=os.environ.get("VAULT_STORE", "sqlite:///vault.db"),
        keys=LocalKeyring.from_env("SOCIALVAULT_KEYS"),
        redirect_uri=os.environ["PUBLIC_URL"] + "/api/v1/oauth/{provider}/callback",
        return_to=["/connected"],
    )
    app = FastAPI()
    # --8<-- [start:cors]
    spa = os.environ["SPA_ORIGIN"]
    app.include_router(oauth_router(vault, owner=current_user, origins=[spa]), prefix="/api/v1")
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[spa],  # never "*": that and credentials exclude each other
        allow_credentials=True,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["Content-Type", "X-Requested-With"],
    )

    @app.get("/connected")
    def back_to_the_pages(request: Request) -> RedirectResponse:
        """Flows end on this origin; the outcome in the query goes on to the other one."""
        return RedirectResponse(f"{spa}/accounts?{request.url.query}", 303)

    # --8<-- [end:cors]
    return app


def current_user(request: Request) -> str | None:
    """Return who is signed in, in whatever way this application knows it."""
    return request.headers.get("Remote-User")


def from_env() -> FastAPI:
    """Make it with X: ``uvicorn --factory fastapi_spa:from_env``."""
    return create_app([X(os.environ["X_CLIENT_ID"], os.environ["X_CLIENT_SECRET"])])
