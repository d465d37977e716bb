"""The smallest Django project with connected accounts, in one file: who is signed in is a cookie."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.urls import include, path
from hosting import FAILURE, PREFIX, debug, integration_options, transport_arguments, vault_arguments

from socialvault import Vault
from socialvault.transports.httpx import HttpxTransport

if TYPE_CHECKING:
    from collections.abc import Callable

vault = Vault(**vault_arguments(), transport=HttpxTransport(**transport_arguments()))


def current_owner(request: HttpRequest) -> str | None:
    if "session" in request.COOKIES:
        return request.session.get("owner")
    return request.COOKIES.get("owner")


def current_tenant(request: HttpRequest) -> str | None:
    return request.COOKIES.get("tenant")


def connected(request: HttpRequest, completed: Any) -> None:
    if "fail" in request.COOKIES:
        raise RuntimeError(FAILURE)
    if "session" in request.COOKIES:
        request.session.cycle_key()


def edge(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Say which worker answered."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response["X-Worker"] = str(os.getpid())
        return response

    return middleware


settings.configure(
    DEBUG=debug(),
    LOGGING_CONFIG=None,  # as it was set up already
    SECRET_KEY=hashlib.sha256(os.environ["WEB_KEYS"].encode()).hexdigest(),  # the same in every worker
    ALLOWED_HOSTS=["*"],  # the worst case: whatever Host a request names is let through
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["socialvault.integrations.django"],
    MIDDLEWARE=[f"{__name__}.edge", "django.contrib.sessions.middleware.SessionMiddleware"],
    SESSION_ENGINE="django.contrib.sessions.backends.file",
    SESSION_FILE_PATH=os.environ["WEB_SESSIONS"],
    SESSION_COOKIE_NAME="session",
    SOCIALVAULT={
        "vault": f"{__name__}.vault",
        "owner": f"{__name__}.current_owner",
        "tenant": current_tenant,
        "on_connected": connected,
        **integration_options(),
    },
)

application = get_wsgi_application()  # before the URLs below, which are those of the app that this loads


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<!doctype html><title>Home</title><h1>Home</h1>")


def login(request: HttpRequest) -> JsonResponse:
    request.session["owner"] = request.GET["owner"]
    return JsonResponse({})


def fail(request: HttpRequest, connection_id: str) -> None:
    owner, tenant = request.COOKIES.get("owner", ""), request.COOKIES.get("tenant", "")
    token = vault.token(connection_id, owner=owner, tenant=tenant)
    raise RuntimeError(f"{FAILURE} {token!r}")


urlpatterns = [
    path(f"{PREFIX[1:]}/", include("socialvault.integrations.django.urls")),
    path("home", home),
    path("login", login),
    path("fail/<str:connection_id>", fail),
]
