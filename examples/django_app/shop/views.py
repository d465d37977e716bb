"""The one page: what is connected, and what can be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from .accounts import platforms, vault

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


@require_GET
@login_required
@never_cache
def accounts(request: HttpRequest) -> HttpResponse:
    """Show the connections, and how the last flow ended."""
    connections = vault.connections(owner=str(request.user.pk))
    ended = {one.id: one for one in connections}.get(request.GET.get("connection", ""))
    shown = {
        "connections": connections,
        "platforms": platforms(),
        "connected": ended,
        "failed": "connection_error" in request.GET,
        "emulated": "SANDBOX_URL" in os.environ,
        "answer": request.session.pop("answer", ""),
    }
    return render(request, "accounts.html", shown)


@require_POST
@login_required
def use(request: HttpRequest, connection_id: str) -> HttpResponse:
    """Use a token: ask the platform whose account this is."""
    owner = str(request.user.pk)
    connection = vault.connection(connection_id, owner=owner)
    url = next(one.userinfo_url for one in platforms() if one.slug == connection.provider)
    with vault.client(connection_id, owner=owner) as http:
        request.session["answer"] = http.get(url).text
    return redirect("/")


@require_POST
@login_required
def disconnect(request: HttpRequest, connection_id: str) -> HttpResponse:
    """End a connection, and show its receipt."""
    receipt = vault.disconnect(connection_id, owner=str(request.user.pk))
    request.session["answer"] = f"Disconnected. Outcome at the platform: {receipt.outcome}"
    return redirect("/")
