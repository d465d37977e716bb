"""Who is signed in: the sign-in page, the session's cookie, and what other routes ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, abort, current_app, g, redirect, request

from .rendering import render
from .sessions import LIFETIME_SECONDS

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as BaseResponse

    from socialvault import Completed

    from .sessions import Sessions
    from .settings import Settings
    from .users import User, Users

blueprint = Blueprint("sign_in", __name__)


def current_user() -> User | None:
    """Return who is signed in, None for nobody."""
    session_id = request.cookies.get(_cookie_name())
    return _sessions().user_of(session_id) if session_id else None


# --8<-- [start:owner]
def current_owner() -> str | None:
    """Tell the vault whose connections a request is about."""
    user = current_user()
    return user.id if user else None


def renew_session(_done: Completed) -> None:
    """Change the session's id after an account was connected; `keep_session` sets the cookie."""
    g.session_id = _sessions().renew(request.cookies[_cookie_name()])


# --8<-- [end:owner]
def signed_in() -> User:
    """Return who is signed in; anybody else is sent to the sign-in page."""
    user = current_user()
    if user is None:
        abort(redirect("/sign-in", 303))
    g.user = user
    return user


def refuse_foreign_forms() -> None:
    """Refuse forms of other sites' pages: browsers say where a request comes from, and no page can make them lie."""
    settings: Settings = current_app.extensions["settings"]
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if request.method == "POST" and site != "same-origin" and origin != settings.public_url:
        abort(403, "this form is not from a page of this service")


blueprint.before_request(refuse_foreign_forms)


@blueprint.get("/sign-in")
def sign_in_page() -> str:
    """Ask for name and password."""
    return render("sign_in.html", name="")


@blueprint.post("/sign-in")
def sign_in() -> BaseResponse | tuple[str, int]:
    """Begin a session, under an id that nobody knew before."""
    users: Users = current_app.extensions["users"]
    name, password = request.form.get("name", ""), request.form.get("password", "")
    user = users.check(name, password)
    if user is None:
        return render("sign_in.html", name=name, failed=True), 403
    end_session()
    g.session_id = _sessions().begin(user)
    return redirect("/accounts", 303)


@blueprint.post("/sign-out")
def sign_out() -> BaseResponse:
    """End the session, here and in the browser."""
    end_session()
    answer = redirect("/sign-in", 303)
    answer.delete_cookie(_cookie_name(), secure=_uses_tls(), httponly=True, samesite="Lax")
    return answer


def end_session() -> None:
    """End the session that the request came with, if any."""
    _sessions().end(request.cookies.get(_cookie_name(), ""))


def keep_session(answer: Response) -> Response:
    """Set the cookie of a session that began, or got another id, while a request was answered."""
    session_id: str | None = g.get("session_id")
    if session_id:
        answer.set_cookie(
            _cookie_name(), session_id, max_age=LIFETIME_SECONDS, secure=_uses_tls(), httponly=True, samesite="Lax"
        )
    return answer


def _sessions() -> Sessions:
    sessions: Sessions = current_app.extensions["sessions"]
    return sessions


def _cookie_name() -> str:
    return "__Host-session" if _uses_tls() else "session"  # browsers accept the prefix over TLS alone


def _uses_tls() -> bool:
    settings: Settings = current_app.extensions["settings"]
    return settings.uses_tls
