"""Views of the vault's colour: one for each path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.http import HttpRequest, HttpResponse, RawPostDataException, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from socialvault.api.vault import Vault
from socialvault.http import endpoints
from socialvault.http.messages import Request, Response, joined
from socialvault.http.mounting import route_for
from socialvault.http.settings import MOST_BODY_BYTES
from socialvault.integrations.django.colours import asynchronous, blocking
from socialvault.runtimes.threads import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from socialvault.http.route import Route
    from socialvault.integrations.django.apps import SocialVaultConfig


def view_of(config: SocialVaultConfig, by_method: Mapping[str, Route]) -> Callable[..., Any]:
    """Return the view of one path. The routes do what Django's CSRF protection does, for programs too."""
    make = _blocking_view if isinstance(config.vault, Vault) else _async_view
    return csrf_exempt(make(config, by_method))


def _blocking_view(config: SocialVaultConfig, by_method: Mapping[str, Route]) -> Callable[..., HttpResponse]:
    served, ask_owner, ask_tenant = config.endpoints, blocking(config.owner), blocking(config.tenant)

    def view(native: HttpRequest, **params: str) -> HttpResponse:
        route, read = route_for(by_method, native.method), _read(native, params)
        if route is None or read is None:
            return _refused(native, by_method, route)
        refused = run(served.admit(route, read))
        if refused is not None:
            return _native(refused)
        try:
            owner, tenant = (ask_owner(native), ask_tenant(native)) if route.needs_owner else (None, None)
        except PermissionDenied:
            return _native(endpoints.forbidden())
        return _native(run(served.answer(route, read, owner, tenant)))

    return view


def _async_view(config: SocialVaultConfig, by_method: Mapping[str, Route]) -> Callable[..., Any]:
    served, ask_owner, ask_tenant = config.endpoints, asynchronous(config.owner), asynchronous(config.tenant)

    async def view(native: HttpRequest, **params: str) -> HttpResponse:
        route, read = route_for(by_method, native.method), _read(native, params)
        if route is None or read is None:
            return _refused(native, by_method, route)
        refused = await served.admit(route, read)
        if refused is not None:
            return _native(refused)
        try:
            owner, tenant = (await ask_owner(native), await ask_tenant(native)) if route.needs_owner else (None, None)
        except PermissionDenied:
            return _native(endpoints.forbidden())
        return _native(await served.answer(route, read, owner, tenant))

    return view


def _refused(native: HttpRequest, by_method: Mapping[str, Route], route: Route | None) -> HttpResponse:
    return _native(endpoints.other_method(native.method or "", by_method) if route is None else endpoints.too_large())


def _read(native: HttpRequest, params: Mapping[str, str]) -> Request | None:
    """Read the request, or None where its body is too long, or the client is gone before its end."""
    said = str(native.META.get("CONTENT_LENGTH", ""))
    if said.isdecimal() and int(said) > MOST_BODY_BYTES:
        return None
    try:
        body = native.body
    except RawPostDataException:  # a multipart form that the application has read before: none of these routes takes it
        body = b""
    except (RequestDataTooBig, UnreadablePostError):
        return None
    if len(body) > MOST_BODY_BYTES:
        return None
    return Request(
        method=native.method or "",
        path=native.path,
        params=params,
        query=native.META.get("QUERY_STRING", ""),
        headers=joined(native.headers.items()),
        body=body,
        peer=native.META.get("REMOTE_ADDR", ""),
        native=native,
    )


def _native(answer: Response) -> HttpResponse:
    native = HttpResponse(answer.body, status=answer.status, content_type=answer.content_type or None)
    if not answer.content_type:
        del native["Content-Type"]
    for name, value in answer.headers:
        native.headers[name] = value
    return native
