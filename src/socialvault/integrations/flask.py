"""Flask: the routes as a ``Blueprint``. Needs ``pip install 'socialvault[flask]'``."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Unpack
from urllib.parse import urlencode

from socialvault.api.vault import Vault
from socialvault.exceptions import ConfigurationError
from socialvault.http import endpoints
from socialvault.http.access_log import hide_callback_queries
from socialvault.http.limits import counting
from socialvault.http.messages import Request, Response, joined
from socialvault.http.mounting import METHODS, name_of, no_tenant, route_for, with_parameters
from socialvault.http.routes import by_path
from socialvault.http.settings import MOST_BODY_BYTES, check_callable, settings_of, settled
from socialvault.runtimes.threads import run

try:
    from flask import Blueprint, current_app, request
    from flask import Response as NativeResponse
    from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
except ImportError:
    raise ConfigurationError("Flask is missing: pip install 'socialvault[flask]'") from None

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from socialvault.http.call import OnConnected
    from socialvault.http.endpoints import Endpoints
    from socialvault.http.route import Route
    from socialvault.http.settings import Options
    from socialvault.model.login import Completed


def oauth_blueprint(
    vault: Vault,
    *,
    owner: Callable[[], Any],
    tenant: Callable[[], Any] | None = None,
    on_connected: Callable[[Completed], Any] | None = None,
    name: str = "socialvault",
    **options: Unpack[Options],
) -> Blueprint:
    """Return the routes; mount them with ``app.register_blueprint(…, url_prefix="/api/v1")``.

    The prefix is what stands before ``/oauth/{provider}/callback`` in the vault's ``redirect_uri``, or what a proxy
    leaves of it. Registering opens the vault, so that wrong keys stop the start. Access logs lose the query of
    callbacks.

    Args:
        owner: called within the request; returns the id of who is signed in, or None for nobody. It may be a
            coroutine function where ``flask[async]`` is installed, and abort as it likes.
        tenant: returns your customer or workspace; without it there is none.
        on_connected: called with the outcome when a callback has connected an account.
        name: the blueprint's.
        options: see `Options`.

    Raises:
        ConfigurationError: an argument or option can't be used; the message names it.
    """
    if not isinstance(vault, Vault):
        raise ConfigurationError(f"vault: Flask needs a Vault, not {type(vault).__name__}")
    ask_owner, ask_tenant = _callable(owner, "owner"), _callable(tenant or no_tenant, "tenant")
    settings = settings_of(vault, options)
    served = endpoints.Endpoints(vault, settings, counting(settings.rate_limits), _told(on_connected))
    hide_callback_queries()
    blueprint = Blueprint(name, __name__)
    for path, by_method in by_path().items():
        rule, view = with_parameters(path, r"<\1>"), _view(served, by_method, ask_owner, ask_tenant)
        # No merging of slashes: it would redirect, and repeat a callback's query on the way.
        blueprint.add_url_rule(
            rule, name_of(by_method), view, methods=METHODS, provide_automatic_options=False, merge_slashes=False
        )
    blueprint.record_once(lambda _state: vault.open())
    return blueprint


def _callable(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Check a function of the application, and that Flask can call it."""
    check_callable(function, name)
    if iscoroutinefunction(function):
        try:
            import asgiref  # noqa: F401  # what Flask calls coroutine functions by
        except ImportError:
            raise ConfigurationError(f"{name} is a coroutine function: pip install 'flask[async]'") from None
    return function


def _told(hook: Callable[[Completed], Any] | None) -> OnConnected | None:
    if hook is None:
        return None
    _callable(hook, "on_connected")
    return lambda _request, done: settled(current_app.ensure_sync(hook)(done), "on_connected")


def _view(
    served: Endpoints, by_method: Mapping[str, Route], ask_owner: Callable[..., Any], ask_tenant: Callable[..., Any]
) -> Callable[..., NativeResponse]:
    def view(**params: str) -> NativeResponse:
        route = route_for(by_method, request.method)
        if route is None:
            return _native(endpoints.other_method(request.method, by_method))
        read = _read(params)
        if read is None:
            return _native(endpoints.too_large())
        refused = run(served.admit(route, read))
        if refused is not None:
            return _native(refused)
        owner, tenant = (_asked(ask_owner), _asked(ask_tenant)) if route.needs_owner else (None, None)
        return _native(run(served.answer(route, read, owner, tenant)))

    return view


def _asked(function: Callable[..., Any]) -> Any:
    """Ask the application; where it aborts, that is its answer, with our headers."""
    try:
        return current_app.ensure_sync(function)()
    except HTTPException as problem:
        response = problem.get_response()
        for name, value in endpoints.SAFE_HEADERS:
            response.headers[name] = value
        problem.response = response
        raise


def _read(params: Mapping[str, str]) -> Request | None:
    """Read the request, or None where its body is too long."""
    request.max_content_length = MOST_BODY_BYTES + 1  # werkzeug cuts off a body of chunks there, and does not say so
    try:  # empty where the application has read the form before
        body = request.get_data() or urlencode(list(request.form.items(multi=True))).encode()
    except RequestEntityTooLarge:
        return None
    if len(body) > MOST_BODY_BYTES:
        return None
    return Request(
        method=request.method,
        path=f"{request.root_path}{request.path}",
        params=params,
        query=request.query_string.decode("latin-1"),
        headers=joined(request.headers.items()),
        body=body,
        peer=request.remote_addr or "",
        native=None,  # the application has Flask's own `request`
    )


def _native(answer: Response) -> NativeResponse:
    native = NativeResponse(answer.body, answer.status, content_type=answer.content_type or None)
    if not answer.content_type:
        native.headers.pop("Content-Type", None)
    for name, value in answer.headers:
        native.headers.add(name, value)
    return native
