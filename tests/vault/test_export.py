"""Exporting an owner: everything that is held but tokens; and what erasing one says it does not reach."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from support.canaries import found_in
from support.world import OWNER, TENANT, World

from socialvault import OwnerExport
from socialvault.model.connection import NOT_REACHED


async def export(world: World, owner: str = OWNER, **options: Any) -> OwnerExport:
    exported: OwnerExport = await world.vault.export_owner(owner, tenant=TENANT, **options)
    return exported


async def test_everything_about_an_owner_is_exported_and_no_token(world: World) -> None:
    live = await world.connect("oidc", user="ada", scopes=["openid", "profile", "email"])
    ended = await world.connect("x", user="grace")
    await world.connect("x", user="linus", owner="somebody else")
    await world.connect("x", user="joan", tenant="elsewhere")
    await world.vault.disconnect(ended.id, owner=OWNER, tenant=TENANT)
    exported = await export(world)
    assert (exported.owner, exported.tenant) == (OWNER, TENANT)
    assert exported.at <= world.sandbox.clock.now()
    first, second = exported.connections
    assert first.connection == await world.vault.connection(live.id, owner=OWNER, tenant=TENANT)
    assert first.connection.name
    assert first.email.startswith("ada")
    assert (first.holds_token, first.readable, first.requested_scopes != ()) == (True, True, True)
    assert (second.connection.id, second.connection.status.value, second.connection.reason) == (
        ended.id, "revoked", "revoked",
    )  # fmt: skip
    assert (second.holds_token, second.readable, second.email) == (False, True, "")
    [key] = exported.keys
    assert (key.state, key.shared, len(key.key_id)) == ("primary", False, 64)
    assert (exported.revocations, exported.waiting) == ((), 0)


async def test_the_document_is_plain_json_without_secrets(world: World) -> None:
    await world.connect("oidc", user="ada")
    await world.connect("facebook", user="ada")
    exported = await export(world)
    document = exported.to_json()
    assert json.loads(document) == exported.to_dict()
    assert not found_in([*world.sandbox.issued_tokens(), world.keys], document.encode())
    [first, second] = json.loads(document)["connections"]
    assert first["connection"]["scopes"] == sorted(first["connection"]["scopes"])
    assert first["connection"]["created_at"].endswith("+00:00")
    assert second["connection"]["status"] == "active"
    assert "wrapped" not in document


async def test_a_revocation_that_waits_is_exported(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.fault("x", "revoke", times=None, status=503)
    receipt = await world.vault.disconnect(connection.id, owner=OWNER, tenant=TENANT)
    assert receipt.outcome == "pending"
    exported = await export(world)
    [waits] = exported.revocations
    assert (waits.connection_id, waits.provider, waits.subject) == (connection.id, "x", connection.subject)
    assert waits.attempts == 1
    assert exported.connections[0].holds_token


async def test_a_record_that_does_not_open_is_exported_without_what_is_sealed(world: World) -> None:
    if world.kind == "memory":
        return  # there is no file to damage
    connection = await world.connect("x")
    with sqlite3.connect(world.database) as database:
        database.execute("UPDATE connections SET envelope = CAST(envelope || x'00' AS BLOB)")
    [held] = (await export(world)).connections
    assert (held.connection.id, held.readable, held.holds_token) == (connection.id, False, True)
    assert held.connection.name == ""


async def test_an_unknown_owner_has_nothing(world: World) -> None:
    exported = await export(world, "nobody")
    assert (exported.connections, exported.revocations, exported.keys) == ((), (), ())


async def test_erasing_says_what_it_does_not_reach(world: World) -> None:
    await world.connect("x")
    erased = await world.vault.erase_owner(OWNER, tenant=TENANT)
    assert erased.not_reached == NOT_REACHED == ("backups", "escrow_elsewhere", "event_logs", "provider")
    exported = await export(world)
    assert (exported.connections, exported.keys) == ((), ())
    shared = world.build(dek_scope="tenant")
    await world.connect("x", vault=shared)
    erased = await shared.erase_owner(OWNER, tenant=TENANT)
    assert erased.not_reached == (*NOT_REACHED, "tenant_key")
