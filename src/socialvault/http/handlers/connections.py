"""An owner's connections: the catalogue, the list, and what can be done with one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from socialvault.http.bodies import (
    ConnectionDocument,
    ConnectionsDocument,
    PlatformDocument,
    PlatformsDocument,
    ReceiptDocument,
    SelectionBody,
    SubAccountsDocument,
)
from socialvault.http.messages import json_response
from socialvault.http.reading import read_body

if TYPE_CHECKING:
    from socialvault.http.call import Call
    from socialvault.http.messages import Response


async def platforms(call: Call) -> Response:
    """List where accounts can be connected, and what is."""
    mine = await call.cases.connections.list(call.owner, call.tenant)
    offered = call.cases.core.providers.by_slug.values()
    return json_response(PlatformsDocument(platforms=[PlatformDocument.of(one, mine) for one in offered]))


async def connections(call: Call) -> Response:
    """List the owner's connections."""
    return json_response(ConnectionsDocument.of(await call.cases.connections.list(call.owner, call.tenant)))


async def connection(call: Call) -> Response:
    """Show one connection."""
    return json_response(await _shown(call))


async def refresh(call: Call) -> Response:
    """Renew a connection's token now."""
    await call.cases.tokens.refresh(call.connection_id, call.owner, call.tenant)
    return json_response(await _shown(call))


async def disconnect(call: Call) -> Response:
    """End a connection."""
    receipt = await call.cases.revocation.disconnect(call.connection_id, call.owner, call.tenant)
    return json_response(ReceiptDocument.of(receipt))


async def sub_accounts(call: Call) -> Response:
    """Ask the provider what a connection can act for."""
    found = await call.cases.sub_accounts.list(call.connection_id, call.owner, call.tenant)
    return json_response(SubAccountsDocument.of(found))


async def select_sub_accounts(call: Call) -> Response:
    """Choose what a connection acts for."""
    ids = read_body(call.request, SelectionBody).ids
    chosen = await call.cases.sub_accounts.select(call.connection_id, ids, call.owner, call.tenant)
    return json_response(ConnectionsDocument.of(chosen))


async def _shown(call: Call) -> ConnectionDocument:
    return ConnectionDocument.of(await call.cases.connections.get(call.connection_id, call.owner, call.tenant))
