"""The application: ``uvicorn --factory fastapi_app.main:create_app --workers 4``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from socialvault import SocialVaultError
from socialvault.integrations.fastapi import oauth_router

from . import pages, sign_in
from .accounts import PREFIX, form_targets, open_accounts
from .database import create_tables
from .sessions import Sessions
from .settings import Settings
from .users import Users

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


# --8<-- [start:app]
def create_app() -> FastAPI:
    """Make the application from what the environment says."""
    settings = Settings.from_env()
    create_tables(settings.database)
    accounts = open_accounts(settings)

    app = FastAPI(title="Example", docs_url=None, redoc_url=None)
    app.state.settings, app.state.accounts = settings, accounts
    app.state.users, app.state.sessions = Users(settings.database), Sessions(settings.database)
    app.include_router(sign_in.router)
    app.include_router(pages.router)
    app.include_router(
        oauth_router(accounts.vault, owner=sign_in.current_owner, on_connected=sign_in.renew_session), prefix=PREFIX
    )
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.middleware("http")(sign_in.keep_session)
    app.middleware("http")(_with_headers(form_targets(settings)))
    app.exception_handler(SocialVaultError)(pages.show_problem)
    return app


# --8<-- [end:app]
def _with_headers(targets: str) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    policy = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {targets}"
    )
    safe = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }

    async def add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Close our pages; what the library's routes say themselves stays as it is."""
        answer = await call_next(request)
        for name, value in safe.items():
            answer.headers.setdefault(name, value)
        return answer

    return add_headers
