"""Who is signed in: the sign-in page, the session's cookie, and what other routes ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from .rendering import render
from .sessions import LIFETIME_SECONDS, Sessions
from .users import User, Users

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from socialvault import Completed

    from .settings import Settings


def current_user(request: Request) -> User | None:
    """Return who is signed in, None for nobody."""
    sessions: Sessions = request.app.state.sessions
    session_id = request.cookies.get(_cookie_name(request))
    return sessions.user_of(session_id) if session_id else None


# --8<-- [start:owner]
def current_owner(user: Annotated[User | None, Depends(current_user)]) -> str | None:
    """Tell the vault whose connections a request is about."""
    return user.id if user else None


def renew_session(request: Request, _done: Completed) -> None:
    """Change the session's id after an account was connected; `keep_session` sets the cookie."""
    sessions: Sessions = request.app.state.sessions
    request.state.session_id = sessions.renew(request.cookies[_cookie_name(request)])


# --8<-- [end:owner]
def signed_in(user: Annotated[User | None, Depends(current_user)]) -> User:
    """Return who is signed in; anybody else is sent to the sign-in page."""
    if user is None:
        raise HTTPException(303, headers={"Location": "/sign-in"})
    return user


def from_own_page(request: Request) -> None:
    """Refuse forms of other sites' pages: browsers say where a request comes from, and no page can make them lie."""
    settings: Settings = request.app.state.settings
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if request.method == "POST" and site != "same-origin" and origin != settings.public_url:
        raise HTTPException(403, "this form is not from a page of this service")


router = APIRouter(dependencies=[Depends(from_own_page)])


@router.get("/sign-in")
def sign_in_page(request: Request) -> Response:
    """Ask for name and password."""
    return render(request, "sign_in.html", name="")


@router.post("/sign-in")
def sign_in(request: Request, name: Annotated[str, Form()] = "", password: Annotated[str, Form()] = "") -> Response:
    """Begin a session, under an id that nobody knew before."""
    users: Users = request.app.state.users
    user = users.check(name, password)
    if user is None:
        return render(request, "sign_in.html", status=403, name=name, failed=True)
    end_session(request)
    sessions: Sessions = request.app.state.sessions
    request.state.session_id = sessions.begin(user)
    return RedirectResponse("/accounts", 303)


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End the session, here and in the browser."""
    end_session(request)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(_cookie_name(request), secure=_uses_tls(request), httponly=True, samesite="lax")
    return answer


def end_session(request: Request) -> None:
    """End the session that the request came with, if any."""
    sessions: Sessions = request.app.state.sessions
    sessions.end(request.cookies.get(_cookie_name(request), ""))


async def keep_session(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Set the cookie of a session that began, or got another id, while a request was answered."""
    answer = await call_next(request)
    session_id: str | None = getattr(request.state, "session_id", None)
    if session_id:
        answer.set_cookie(
            _cookie_name(request), session_id, max_age=LIFETIME_SECONDS, secure=_uses_tls(request), httponly=True,
            samesite="lax",
        )  # fmt: skip
    return answer


def _cookie_name(request: Request) -> str:
    return "__Host-session" if _uses_tls(request) else "session"  # browsers accept the prefix over TLS alone


def _uses_tls(request: Request) -> bool:
    settings: Settings = request.app.state.settings
    return settings.uses_tls
