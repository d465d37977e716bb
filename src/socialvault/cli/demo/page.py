"""The demo's page: connect an account by hand at the emulated providers, see it, disconnect it."""

from __future__ import annotations

import hmac
import secrets
from html import escape
from string import Template
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from socialvault.cli.demo.stage import PROVIDERS
from socialvault.exceptions import SocialVaultError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.datastructures import FormData
    from starlette.requests import Request
    from starlette.types import StatelessLifespan

    from socialvault.api.async_vault import AsyncVault
    from socialvault.model.connection import Connection

OWNER = "you"

_PAGE = Template("""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>socialvault demo</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style nonce="$nonce">
:root{color-scheme:light dark}
body{font:1.05rem/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}
form{display:inline}
button{font:inherit;padding:.6rem 1rem;margin:.2rem .4rem .2rem 0;min-height:2.75rem}
td,th{text-align:left;padding:.3rem .8rem .3rem 0}
.notice{border:2px solid;border-radius:.4rem;padding:.6rem .9rem}
:focus-visible{outline:3px solid Highlight;outline-offset:2px}
</style></head><body><main><h1>socialvault demo</h1>
<p class="notice">The providers behind these buttons are emulated on this machine. No real account is involved.
The demo has pushed the clock on by two months.</p>
$body</main></body></html>""")


def build_page(vault: AsyncVault, sandbox_url: str, lifespan: StatelessLifespan[Starlette]) -> Starlette:
    """Return the page as an application; it answers to 127.0.0.1 alone, so no other name leads a browser here."""
    page = Page(vault, sandbox_url)
    routes = [
        Route("/", page.index),
        Route("/connect/{provider}", page.connect, methods=["POST"]),
        Route("/callback/{provider}", page.callback),
        Route("/disconnect/{connection_id}", page.disconnect, methods=["POST"]),
    ]
    only_here = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"], www_redirect=False)
    return Starlette(routes=routes, middleware=[only_here], lifespan=lifespan)


class Page:
    """The routes. One person uses them, so one anti-forgery token will do: other sites can't read it."""

    def __init__(self, vault: AsyncVault, sandbox_url: str) -> None:
        self._vault = vault
        self._sandbox_url = sandbox_url
        self._token = secrets.token_urlsafe(32)

    async def index(self, _request: Request) -> Response:
        """Show what is connected, and what can be."""
        rows = await self._vault.connections(owner=OWNER)
        buttons = "".join(self._button(f"/connect/{slug}", f"Connect {slug}") for slug in PROVIDERS)
        return self._html(f"{buttons}<h2>Connections</h2>{self._table(rows)}")

    async def connect(self, request: Request) -> Response:
        """Begin a flow, and send the browser to the provider with the flow's cookie."""

        async def begin() -> Response:
            login = await self._vault.begin(request.path_params["provider"], owner=OWNER, return_to="/")
            answer = RedirectResponse(login.url, 303)
            answer.set_cookie(login.cookie.name, login.cookie.value, **login.cookie.attributes)
            return answer

        return await self._guarded(request, begin)

    async def callback(self, request: Request) -> Response:
        """Finish a flow."""

        async def complete() -> Response:
            done = await self._vault.complete(
                request.url.query, provider=request.path_params["provider"], owner=OWNER, cookies=request.cookies
            )
            return RedirectResponse(done.return_to, 303)

        return await self._answered(complete)

    async def disconnect(self, request: Request) -> Response:
        """End a connection."""

        async def end() -> Response:
            await self._vault.disconnect(request.path_params["connection_id"], owner=OWNER)
            return RedirectResponse("/", 303)

        return await self._guarded(request, end)

    async def _guarded(self, request: Request, work: Callable[[], Awaitable[Response]]) -> Response:
        """Do `work` if the form came from this page."""
        form: FormData = await request.form()
        if not hmac.compare_digest(str(form.get("token", "")).encode(), self._token.encode()):
            return self._html('<p role="alert">This form did not come from this page.</p>', 403)
        return await self._answered(work)

    async def _answered(self, work: Callable[[], Awaitable[Response]]) -> Response:
        """Do `work`; what goes wrong is told, with who must act."""
        try:
            answer = await work()
        except SocialVaultError as problem:
            told = f"{type(problem).__name__}: {problem} ({problem.action})"
            return self._html(f'<p role="alert">{escape(told)}</p><p><a href="/">Back</a></p>', 400)
        return self._closed(answer, "default-src 'none'")

    def _html(self, body: str, status: int = 200) -> Response:
        nonce = secrets.token_urlsafe(16)
        # A browser holds a form's redirect against form-action, too: it leads to the emulated provider.
        policy = f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self' {self._sandbox_url}"
        return self._closed(HTMLResponse(_PAGE.substitute(nonce=nonce, body=body), status), policy)

    @staticmethod
    def _closed(answer: Response, policy: str) -> Response:
        answer.headers["Content-Security-Policy"] = f"{policy}; base-uri 'none'; frame-ancestors 'none'"
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    def _button(self, action: str, label: str) -> str:
        return (
            f'<form method="post" action="{escape(action)}">'
            f'<input type="hidden" name="token" value="{self._token}"><button>{escape(label)}</button></form>'
        )

    def _table(self, rows: Sequence[Connection]) -> str:
        if not rows:
            return "<p>None yet.</p>"
        lines = "".join(
            f"<tr><td>{escape(one.provider)}</td><td>{escape(one.name or one.subject)}</td>"
            f"<td>{escape(one.status.value)}</td><td>{_until(one)}</td>"
            f"<td>{self._button(f'/disconnect/{one.id}', 'Disconnect')}</td></tr>"
            for one in rows
        )
        heads = "".join(f"<th scope=col>{head}</th>" for head in ("Provider", "Account", "Status", "Token until", ""))
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>"


def _until(one: Connection) -> str:
    return f"{one.expires_at:%Y-%m-%d %H:%M} UTC" if one.expires_at else "no fixed end"
