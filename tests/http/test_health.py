"""Whether the process answers, and whether the vault can do its work."""

from __future__ import annotations

from datetime import timedelta

import pytest

from socialvault import LocalKeyring
from socialvault.exceptions import StoreUnavailableError

CHECKS = ["store", "keys", "providers", "clock", "escrow"]


async def close_store(world):
    if world.colour == "async":
        await world.store.aclose()
    else:
        world.store.close()


def checks_of(answer):
    assert set(answer.json) == {"status", "checks"}
    assert [one["name"] for one in answer.json["checks"]] == CHECKS
    return {one["name"]: one["status"] for one in answer.json["checks"]}


async def test_a_process_that_answers_is_alive_whatever_the_vault_does(desk, world):
    await close_store(world)
    answer = await desk.ask("GET", "/health", owner=None)
    assert (answer.status, answer.json) == (200, {"status": "ok"})


async def test_a_vault_that_works_is_ready(desk):
    answer = await desk.ask("GET", "/health/ready", owner=None)
    assert (answer.status, answer.content_type, answer.json["status"]) == (200, "application/json", "ready")
    assert checks_of(answer) == dict.fromkeys(CHECKS, "pass") | {"escrow": "off"}


async def test_health_checks_need_nobody_and_no_page(desk):
    for path in ("/health", "/health/ready"):
        answer = await desk.ask("GET", path, owner=None, browser=True)
        assert (answer.status, answer.content_type) == (200, "application/json")


@pytest.mark.parametrize("world", [("sync", "sqlite"), ("async", "sqlite")], indirect=True, ids="-".join)
async def test_a_store_that_is_closed_is_not_ready(desk, world, caplog):
    await close_store(world)
    answer = await desk.ask("GET", "/health/ready", owner=None)
    assert (answer.status, answer.json["status"]) == (503, "unavailable")
    assert checks_of(answer)["store"] == "fail"
    assert "not ready: store: " in caplog.text


async def test_a_store_that_fails_is_not_ready_and_the_reason_is_in_the_log(desk, world, caplog, monkeypatch):
    def fail():
        raise StoreUnavailableError("canary of the store")

    async def fail_later():
        fail()

    monkeypatch.setattr(world.store, "load_vault", fail if world.colour == "sync" else fail_later)
    answer = await desk.ask("GET", "/health/ready", owner=None)
    assert (answer.status, checks_of(answer)["store"]) == (503, "fail")
    assert "canary" not in answer.text
    assert "not ready: store: canary of the store" in caplog.text


async def test_keys_of_another_database_are_not_ready(world, desk_of, caplog):
    await world.connect("x")
    world.vault = world.build(keys=LocalKeyring([LocalKeyring.generate()]))
    answer = await desk_of().ask("GET", "/health/ready", owner=None)
    assert (answer.status, answer.json["status"]) == (503, "unavailable")
    assert checks_of(answer)["keys"] == "fail"
    assert "not ready: keys: " in caplog.text


async def test_a_vault_without_a_provider_is_not_ready(world, desk_of):
    world.vault = world.build(providers=[])
    answer = await desk_of().ask("GET", "/health/ready", owner=None)
    assert (answer.status, checks_of(answer)["providers"]) == (503, "fail")


async def test_a_clock_before_the_vaults_first_start_is_not_ready(desk, world):
    world.sandbox.clock.advance(timedelta(days=-2))
    answer = await desk.ask("GET", "/health/ready", owner=None)
    assert (answer.status, checks_of(answer)["clock"]) == (503, "fail")
