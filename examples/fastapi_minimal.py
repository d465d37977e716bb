"""Accounts of X for the users of a FastAPI application, behind a proxy that signs them in."""

import os

from fastapi import FastAPI, Request

from socialvault import AsyncVault, LocalKeyring
from socialvault.integrations.fastapi import oauth_router
from socialvault.providers import X


def current_user(request: Request) -> str | None:
    """Return who is signed in, in whatever way this application knows it."""
    return request.headers.get("Remote-User")


x = X(os.environ["X_CLIENT_ID"], os.environ["X_CLIENT_SECRET"])
keys = LocalKeyring.from_env("SOCIALVAULT_KEYS")
callback = os.environ["PUBLIC_URL"] + "/api/v1/oauth/{provider}/callback"
vault = AsyncVault(providers=[x], store="sqlite:///vault.db", keys=keys, redirect_uri=callback, return_to=["/account"])
app = FastAPI()
app.include_router(oauth_router(vault, owner=current_user), prefix="/api/v1")
