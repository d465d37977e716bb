"""F-33: the tick goes on past records that do not open, however many of them are the longest due."""

from __future__ import annotations

import sqlite3
from datetime import timedelta

from support.world import OWNER, TENANT, World


async def test_records_that_do_not_open_keep_no_other_from_its_turn(world: World) -> None:
    if world.kind == "memory":
        return  # there is no file to damage
    broken = [await world.connect("x", user=user) for user in ("ada", "grace", "linus")]
    whole = await world.connect("x", user="joan")
    with sqlite3.connect(world.database) as database:
        for one in broken:
            database.execute(
                "UPDATE connections SET envelope = CAST(envelope || x'00' AS BLOB) WHERE id = ?", (one.id,)
            )
        database.execute("UPDATE connections SET due_at_seconds = 1 WHERE id <> ?", (whole.id,))
        before = database.execute("SELECT * FROM connections WHERE id <> ? ORDER BY id", (whole.id,)).fetchall()
    world.sandbox.clock.advance(timedelta(hours=3))
    world.events.clear()
    sweeps = [await world.vault.renew_due(limit=2) for _ in range(3)]
    assert [(sweep.renewed, sweep.failed) for sweep in sweeps] == [(0, 2), (1, 1), (0, 0)]
    assert [event.name for event in world.events].count("record_refused") == 3
    assert (await world.vault.token(whole.id, owner=OWNER, tenant=TENANT)).generation == 2
    with sqlite3.connect(world.database) as database:
        assert database.execute("SELECT * FROM connections WHERE id <> ? ORDER BY id", (whole.id,)).fetchall() == before
    world.sandbox.clock.advance(timedelta(hours=2))  # each is looked at again after a while
    assert (await world.vault.renew_due(limit=5)).failed == 3
