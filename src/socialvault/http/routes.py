"""Every route: what each framework mounts and what the OpenAPI document describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.http import bodies
from socialvault.http.handlers import connections, flows, health, notices
from socialvault.http.handlers.description import describing
from socialvault.http.route import CALLBACK_PARAMETERS, Route

if TYPE_CHECKING:
    from collections.abc import Mapping

SIGNED_REQUEST = (("signed_request", "Signed by the provider with the application's secret."),)

ROUTES: tuple[Route, ...] = (
    Route(
        name="platforms", summary="List where accounts can be connected, and what is connected there",
        method="GET", path="/oauth/platforms",
        handler=connections.platforms, document=bodies.PlatformsDocument,
    ),
    Route(
        name="start", summary="Begin to connect an account",
        method="POST", path="/oauth/{platform}/start",
        handler=flows.start, body=bodies.StartBody, document=bodies.StartedDocument,
        changes=True, browser="redirect", asks_provider=True,
    ),
    Route(
        name="callback", summary="Finish to connect an account: where the provider sends the browser",
        method="GET", path="/oauth/{platform}/callback",
        handler=flows.callback, query=CALLBACK_PARAMETERS, document=bodies.CompletedDocument,
        browser="redirect", happens_once=True, asks_provider=True,
    ),
    Route(
        name="posted_callback", summary="Take a callback that the provider's page posted, and let it be posted again",
        method="POST", path="/oauth/{platform}/callback",
        handler=flows.posted, form=CALLBACK_PARAMETERS, document=None,
        browser="page", needs_owner=False,
    ),
    Route(
        name="resumed_callback", summary="Finish to connect an account after a posted callback",
        method="POST", path="/oauth/{platform}/callback/resume",
        handler=flows.resumed, form=CALLBACK_PARAMETERS, document=bodies.CompletedDocument,
        browser="redirect", asks_provider=True,
    ),
    Route(
        name="connections", summary="List the owner's connections",
        method="GET", path="/oauth/connections",
        handler=connections.connections, document=bodies.ConnectionsDocument,
    ),
    Route(
        name="connection", summary="Show one connection",
        method="GET", path="/oauth/connections/{connection_id}",
        handler=connections.connection, document=bodies.ConnectionDocument,
    ),
    Route(
        name="disconnect", summary="End a connection, here at once and at the provider where that is possible",
        method="DELETE", path="/oauth/connections/{connection_id}",
        handler=connections.disconnect, document=bodies.ReceiptDocument,
        changes=True,
    ),
    Route(
        name="refresh", summary="Renew a connection's token now",
        method="POST", path="/oauth/connections/{connection_id}/refresh",
        handler=connections.refresh, document=bodies.ConnectionDocument,
        changes=True, asks_provider=True,
    ),
    Route(
        name="reconnect", summary="Begin to connect the same account again",
        method="POST", path="/oauth/connections/{connection_id}/reconnect",
        handler=flows.reconnect, body=bodies.ReconnectBody, document=bodies.StartedDocument,
        changes=True, browser="redirect", asks_provider=True,
    ),
    Route(
        name="sub_accounts", summary="List what a connection can act for: Pages, organizations, channels",
        method="GET", path="/oauth/connections/{connection_id}/sub-accounts",
        handler=connections.sub_accounts, document=bodies.SubAccountsDocument,
        asks_provider=True,
    ),
    Route(
        name="select_sub_accounts", summary="Choose what a connection acts for; what was chosen before is replaced",
        method="PUT", path="/oauth/connections/{connection_id}/sub-accounts",
        handler=connections.select_sub_accounts, body=bodies.SelectionBody, document=bodies.ConnectionsDocument,
        changes=True, asks_provider=True,
    ),
    Route(
        name="deauthorize", summary="Take note that a person removed the application at the provider",
        method="POST", path="/oauth/{platform}/deauthorize",
        handler=notices.deauthorize, form=SIGNED_REQUEST, document=None, status=204,
        needs_owner=False, limited=False,
    ),
    Route(
        name="data_deletion", summary="Delete what is kept of an account, as the provider asks for its person",
        method="POST", path="/oauth/{platform}/data-deletion",
        handler=notices.data_deletion, form=SIGNED_REQUEST,
        document=bodies.DeletionDocument,
        needs_owner=False, limited=False,
    ),
    Route(
        name="data_deletion_status", summary="Say what became of a data deletion request",
        method="GET", path="/oauth/{platform}/data-deletion",
        handler=notices.data_deletion_status, query=(("code", "The confirmation code."),),
        document=bodies.DeletionStatusDocument,
        browser="page", failure_title="Nothing was found", needs_owner=False,
    ),
    Route(
        name="description", summary="Describe these routes",
        method="GET", path="/oauth/openapi.json",
        handler=describing(lambda: ROUTES), document=bodies.OpenApiDocument,
        needs_owner=False,
    ),
    Route(
        name="live", summary="Whether the process answers",
        method="GET", path="/health",
        handler=health.live, document=bodies.LivenessDocument,
        needs_owner=False, limited=False,
    ),
    Route(
        name="ready", summary="Whether the vault can do its work",
        method="GET", path="/health/ready",
        handler=health.ready, document=bodies.ReadinessDocument,
        needs_owner=False, limited=False,
    ),
)  # fmt: skip


def by_path() -> Mapping[str, Mapping[str, Route]]:
    """Return the routes of each path, by method; fixed paths come before those with a parameter in their place."""
    found: dict[str, dict[str, Route]] = {}
    for route in sorted(ROUTES, key=lambda one: one.path.count("{")):
        found.setdefault(route.path, {})[route.method] = route
    return found
