"""The few pages that a browser meets: plain, without any content from elsewhere, readable without a script."""

from __future__ import annotations

import secrets
from html import escape
from typing import TYPE_CHECKING

from socialvault.http.messages import Response

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from socialvault.http.problems import HttpError

_STYLE = """
:root{color-scheme:light dark}
body{font:1.05rem/1.5 system-ui,sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem}
button{font:inherit;padding:.6rem 1.4rem;min-height:2.75rem}
small{opacity:.75}
:focus-visible{outline:3px solid Highlight;outline-offset:2px}
"""
# Beginning again leads to the provider, and a browser holds each redirect on the way against the policy; providers
# redirect among hosts of their own. In development a provider may be on this machine, without TLS.
_ANYWHERE = "'self' https: http://127.0.0.1:* http://localhost:*"
_SUBMIT = "document.forms[0].submit()"


def page(title: str, body: str, *, status: int = 200, script: str = "", form_action: str = "'none'") -> Response:
    """Answer with a page. `body`: HTML; `form_action`: where its form may lead, redirects included."""
    nonce = secrets.token_urlsafe(16)
    scripted = f'<script nonce="{nonce}">{script}</script>' if script else ""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<style nonce="{nonce}">{_STYLE}</style></head>'
        f"<body><main><h1>{escape(title)}</h1>{body}</main>{scripted}</body></html>"
    )
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; form-action {form_action}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return Response(status, text.encode(), "text/html; charset=utf-8", (("Content-Security-Policy", policy),))


def resubmission_page(action: str, fields: Iterable[tuple[str, str]]) -> Response:
    """Let the browser post `fields` again from our own origin, so that its SameSite=Lax cookies come along."""
    inputs = "".join(f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in fields)
    body = (
        f'<form method="post" action="{escape(action)}">{inputs}'
        "<p>One moment: your account is being connected.</p><button>Continue</button></form>"
    )
    return page("Connecting", body, script=_SUBMIT, form_action="'self'")


def error_page(error: HttpError, title: str, *, retry: str) -> Response:
    """Tell a person what failed and why, and let them begin again.

    Args:
        retry: the path that begins the flow again, "" where that would not help.
    """
    again = f'<form method="post" action="{escape(retry)}"><button>Try again</button></form>' if retry else ""
    body = (
        f'<p role="alert">{escape(_sentence(error.detail))}</p>{again}'
        f"<p><small>What to tell support: <code>{escape(error.code)}</code></small></p>"
    )
    answer = page(title, body, status=error.status, form_action=_ANYWHERE if retry else "'none'")
    return Response(answer.status, answer.body, answer.content_type, (*answer.headers, *error.headers))


def deletion_page(platform: str, deleted_at: datetime) -> Response:
    """Tell a person that their data are gone."""
    when = f"{deleted_at:%Y-%m-%d %H:%M} UTC"
    body = f'<p role="status">What this application held of your {escape(platform)} account was deleted at {when}.</p>'
    return page("Your data were deleted", body)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
