"""The application: ``gunicorn --workers 4 'flask_app.main:create_app()'``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask

from socialvault import SocialVaultError
from socialvault.integrations.flask import oauth_blueprint

from . import pages, sign_in
from .accounts import PREFIX, form_targets, open_accounts
from .database import create_tables
from .rendering import moment
from .sessions import Sessions
from .settings import Settings
from .users import Users

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask import Response


# --8<-- [start:app]
def create_app() -> Flask:
    """Make the application from what the environment says."""
    settings = Settings.from_env()
    create_tables(settings.database)
    accounts = open_accounts(settings)

    app = Flask(__name__)
    app.extensions.update(settings=settings, accounts=accounts)
    app.extensions.update(users=Users(settings.database), sessions=Sessions(settings.database))
    app.register_blueprint(sign_in.blueprint)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(
        oauth_blueprint(accounts.vault, owner=sign_in.current_owner, on_connected=sign_in.renew_session),
        url_prefix=PREFIX,
    )
    app.after_request(sign_in.keep_session)
    app.after_request(_with_headers(form_targets(settings)))
    app.register_error_handler(SocialVaultError, pages.show_problem)
    app.jinja_env.filters["moment"] = moment
    return app


# --8<-- [end:app]
def _with_headers(targets: str) -> Callable[[Response], Response]:
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

    def add_headers(answer: Response) -> Response:
        """Close our pages; what the library's routes say themselves stays as it is."""
        for name, value in safe.items():
            answer.headers.setdefault(name, value)
        return answer

    return add_headers
