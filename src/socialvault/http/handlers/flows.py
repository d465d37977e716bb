"""Browser flows: begin one, take what the provider sends back."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from socialvault.exceptions import SocialVaultError
from socialvault.http.bodies import CompletedDocument, ReconnectBody, StartBody, StartedDocument
from socialvault.http.messages import Response, json_response, redirect
from socialvault.http.pages import error_page, resubmission_page
from socialvault.http.problems import code_of, log_failure
from socialvault.http.reading import form_fields, read_body
from socialvault.http.route import CALLBACK_PARAMETERS

if TYPE_CHECKING:
    from socialvault.http.call import Call
    from socialvault.http.problems import HttpError
    from socialvault.model.login import Completed, Login, Parameters

#: Refusals that beginning again would meet again.
_OWN_REFUSALS = frozenset({"not_signed_in", "too_many_requests"})

#: What the page behind ``return_to`` is told.
_TOLD = frozenset({"connection", "connection_error", "missing_scopes"})

#: What a posted callback may hold that matters.
_POSTED = frozenset(name for name, _ in CALLBACK_PARAMETERS)


async def start(call: Call) -> Response:
    """Begin a flow."""
    slug = call.platform.slug
    body = read_body(call.request, StartBody)
    login = await call.cases.flows.begin(
        slug,
        owner=call.owner,
        tenant=call.tenant,
        scopes=body.scopes,
        return_to=body.return_to,
        connection_id=body.connection_id,
    )
    return _begun(call, login)


async def reconnect(call: Call) -> Response:
    """Begin a flow for a connection that exists; for a sub-account that is its parent."""
    body = read_body(call.request, ReconnectBody)
    connection = await call.cases.connections.get(call.connection_id, call.owner, call.tenant)
    login = await call.cases.flows.begin(
        connection.provider,
        owner=call.owner,
        tenant=call.tenant,
        scopes=body.scopes,
        return_to=body.return_to,
        connection_id=connection.parent_id or connection.id,
    )
    return _begun(call, login)


def _begun(call: Call, login: Login) -> Response:
    """Send a browser to the provider, or tell a program where to send it; the flow's cookie goes along."""
    cookie = (("Set-Cookie", login.cookie.header),)
    if call.request.wants_page:
        return redirect(login.url, headers=cookie)
    return json_response(StartedDocument.of(login), headers=cookie)


async def callback(call: Call) -> Response:
    """Finish a flow with what came in the query."""
    return await _complete(call, call.request.query)


async def resumed(call: Call) -> Response:
    """Finish a flow with what our own page posted again."""
    return await _complete(call, call.request.body)


async def _complete(call: Call, params: Parameters) -> Response:
    slug = call.platform.slug
    delivery = call.cases.flows.receive(params, call.request.cookies)
    del params  # this frame may raise, and a traceback shows its locals
    try:
        done = await call.cases.flows.complete(delivery, slug=slug, owner=call.owner, tenant=call.tenant)
    except SocialVaultError as problem:
        if not call.request.wants_page:
            raise
        failure = problem
    else:
        await call.tell_connected(done)
        return _completed(call, done)
    return_to = await call.cases.flows.verified_return_to(delivery, slug=slug, owner=call.owner, tenant=call.tenant)
    if return_to is None:
        raise failure
    log_failure("callback", failure)
    return redirect(_extended(return_to, {"connection_error": code_of(failure)}))


def _completed(call: Call, done: Completed) -> Response:
    """Send a browser to where the flow was to end, or tell a program what it ended in."""
    if call.request.wants_page:
        return redirect(_extended(done.return_to, _told(done)))
    return json_response(CompletedDocument.of(done))


def _told(done: Completed) -> dict[str, str]:
    """What the page behind ``return_to`` learns: nothing of it is secret, and nothing of it is to be believed."""
    missing = {"missing_scopes": " ".join(sorted(done.missing_scopes))} if done.missing_scopes else {}
    return {"connection": done.connection.id, **missing}


def _extended(return_to: str, told: dict[str, str]) -> str:
    """Return a path with what it is told; what was given to `begin` can't say it first."""
    path, _, query = return_to.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in _TOLD]
    return f"{path}?{urlencode([*kept, *told.items()])}"


async def posted(call: Call) -> Response:
    """Take a callback that another site's page posted: without our cookies, which are SameSite=Lax.

    Our own page posts it again, and then they come along (OAuth 2.0 Form Post Response Mode).
    """
    path = call.settings.path(f"/oauth/{call.platform.slug}/callback/resume")
    known = [(name, value) for name, value in form_fields(call.request) if name in _POSTED]
    return resubmission_page(path, known)


def failure_page(call: Call, error: HttpError, title: str) -> Response:
    """Tell a person what failed, and let them begin again where the vault refused and that may help."""
    slug = call.request.params.get("platform", "")
    helps = error.action in ("reauthorize", "retry") and error.code not in _OWN_REFUSALS
    known = slug in call.cases.core.providers.by_slug
    return error_page(error, title, retry=call.settings.path(f"/oauth/{slug}/start") if helps and known else "")
