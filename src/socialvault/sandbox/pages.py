"""The emulated providers' pages for people: plain, accessible, without any external content."""

from __future__ import annotations

import secrets
from html import escape
from typing import TYPE_CHECKING

from socialvault.sandbox.accounts import PEOPLE
from socialvault.sandbox.messages import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_STYLE = """
:root{color-scheme:light dark}
body{font:1.05rem/1.5 system-ui,sans-serif;max-width:36rem;margin:2rem auto;padding:0 1rem}
.notice{border:2px solid;border-radius:.4rem;padding:.6rem .9rem}
fieldset{margin:1rem 0;border-radius:.4rem}
label{display:block;padding:.25rem 0;overflow-wrap:anywhere}
input[type=text]{font:inherit;padding:.4rem;width:100%;box-sizing:border-box}
button{font:inherit;padding:.6rem 1.4rem;margin:.5rem .5rem .5rem 0;min-height:2.75rem}
:focus-visible{outline:3px solid Highlight;outline-offset:2px}
"""


def _page(title: str, body: str, *, status: int = 200, script: str = "", outcome: str) -> Answer:
    nonce = secrets.token_urlsafe(16)
    scripted = f'<script nonce="{nonce}">{script}</script>' if script else ""
    return Answer(
        status=status,
        text=(
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<style nonce="{nonce}">{_STYLE}</style></head>'
            f"<body><main><h1>{escape(title)}</h1>{body}</main>{scripted}</body></html>"
        ),
        content_type="text/html; charset=utf-8",
        headers={
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
            "X-Frame-Options": "DENY",
            "Content-Security-Policy": f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'",
        },
        outcome=outcome,
    )


def _boxes(name: str, legend: str, choices: Mapping[str, str]) -> str:
    if not choices:
        return ""
    rows = "".join(
        f'<label><input type="checkbox" name="{name}" value="{escape(value)}" checked> {escape(text)}</label>'
        for value, text in choices.items()
    )
    return f"<fieldset><legend>{escape(legend)}</legend>{rows}</fieldset>"


def consent_page(
    provider: str, client_id: str, action: str, request_id: str, scopes: Sequence[str], pages: Mapping[str, str]
) -> Answer:
    """Ask a person what an application may do."""
    people = "".join(f'<option value="{login}">{escape(user.name)}</option>' for login, user in PEOPLE.items())
    body = (
        f'<p class="notice"><strong>This is not {escape(provider)}.</strong> It is an emulated provider '
        "in a socialvault sandbox. No real account is involved.</p>"
        f"<p>The application <strong>{escape(client_id)}</strong> asks for access.</p>"
        f'<form method="post" action="{escape(action)}">'
        f'<input type="hidden" name="request" value="{escape(request_id)}">'
        '<label for="user">Sign in as</label>'
        '<input type="text" id="user" name="user" value="ada" list="people" autocomplete="off" required>'
        f'<datalist id="people">{people}</datalist>'
        f"{_boxes('scope', 'What it may do', {scope: scope for scope in scopes})}"
        f"{_boxes('page', 'Pages it may act for', pages)}"
        '<button name="decision" value="allow">Allow</button>'
        '<button name="decision" value="deny" formnovalidate>Deny</button>'
        "</form>"
    )
    return _page(f"Emulated {provider}: allow access?", body, outcome="shown")


def form_post_page(provider: str, redirect_uri: str, params: Mapping[str, str]) -> Answer:
    """Let the browser post the authorization response (OAuth 2.0 Form Post Response Mode)."""
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in params.items()
    )
    body = (
        f'<form method="post" action="{escape(redirect_uri)}">{fields}'
        "<p>You are being sent back to the application.</p><button>Continue</button></form>"
    )
    return _page(f"Emulated {provider}", body, script="document.forms[0].submit()", outcome="granted")


def error_page(provider: str, error: str, description: str) -> Answer:
    """Tell a person what is wrong where no redirect is safe."""
    body = f'<p role="alert"><strong>{escape(error)}</strong>: {escape(description)}</p>'
    return _page(f"Emulated {provider}: this request can't go on", body, status=400, outcome=error)


def index_page(base_url: str, providers: Iterable[tuple[str, str]]) -> Answer:
    """List the emulated providers."""
    rows = "".join(
        f"<li>{escape(title)}: <code>{escape(base_url)}/{escape(slug)}</code></li>" for slug, title in providers
    )
    return _page(
        "socialvault sandbox",
        f"<p>Emulated providers for development and tests. Nothing here is real.</p><ul>{rows}</ul>",
        outcome="shown",
    )
