"""Starting: wrong keys, wrong settings and wrong parts refuse, each with its own error, and write nothing."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault import AsyncVault, LocalKeyring, Vault
from socialvault.exceptions import (
    ConfigurationError,
    EncryptionError,
    KeyNotFoundError,
    MalformedEnvelopeError,
    StoreUnavailableError,
    TamperedError,
    WrongKeyError,
)
from socialvault.integrations.audit import AuditLog
from socialvault.providers import OAuth2, X
from socialvault.stores.memory import AsyncMemoryStore, MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}
GOOD: dict[str, Any] = {
    "providers": [X("id", "secret")],
    "store": ":memory:",
    "redirect_uri": "https://app.example/cb/{provider}",
}


def digest(world: World) -> str:
    with sqlite3.connect(world.database) as database:
        return hashlib.sha256("\n".join(database.iterdump()).encode()).hexdigest()


async def test_f_32_a_wrong_key_refuses_to_start_and_writes_nothing(world: World) -> None:
    connection = await world.connect("x")
    before = digest(world) if world.kind == "sqlite" else ""
    other = world.build(keys=LocalKeyring([LocalKeyring.generate()]))
    for call in (other.open(), other.token(connection.id, **MINE), other.begin("x", **MINE)):
        with pytest.raises(WrongKeyError) as caught:
            await call
        assert caught.value.action == "fix_configuration"
    health = await other.health()
    assert not health.ok
    assert [check.name for check in health.checks if check.problem] == ["keys"]
    assert (digest(world) if world.kind == "sqlite" else "") == before
    assert (await world.vault.token(connection.id, **MINE)).generation == 1


async def test_an_old_key_opens_and_a_new_primary_does_not_lock_out(world: World) -> None:
    connection = await world.connect("x")
    both = world.build(keys=LocalKeyring([LocalKeyring.generate(), world.keys]))
    assert (await both.token(connection.id, **MINE)).generation == 1


def tamper(world: World, sql: str, *values: object) -> None:
    with sqlite3.connect(world.database) as database:
        assert database.execute(sql, values).rowcount == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ("substr(envelope, 1, 60) || x'00' || substr(envelope, 62)", TamperedError),
        ("substr(envelope, 1, 63)", MalformedEnvelopeError),
        ("substr(envelope, 1, length(envelope) - 1)", TamperedError),
        ("x'5356' || x'09' || substr(envelope, 4)", MalformedEnvelopeError),
        ("substr(envelope, 1, 4) || zeroblob(32) || substr(envelope, 37)", KeyNotFoundError),
    ],
)
async def test_f_33_i7_a_damaged_record_is_named_and_left_alone(
    world: World, change: str, error: type[EncryptionError]
) -> None:
    if world.kind == "memory":
        return  # there is no file to damage
    connection = await world.connect("x")
    healthy = await world.connect("linkedin")
    tamper(world, f"UPDATE connections SET envelope = CAST({change} AS BLOB) WHERE id = ?", connection.id)
    before = digest(world)
    for _ in range(2):
        with pytest.raises(error):
            await world.vault.token(connection.id, **MINE)
    assert digest(world) == before
    assert (await world.vault.token(healthy.id, **MINE)).generation == 1


async def test_c_05_pain_19_a_moved_record_never_opens(world: World) -> None:
    if world.kind == "memory":
        return  # there is no file to move rows in
    mine = await world.connect("x", owner="one", user="ada")
    sibling = await world.connect("x", owner="one", user="joan")
    theirs = await world.connect("x", owner="two", user="grace")
    elsewhere = await world.connect("x", owner="one", tenant="other", user="linus")
    await world.vault.token(mine.id, owner="one", tenant=TENANT)  # its key is at hand, which must not help
    for source in (sibling, theirs, elsewhere):
        with sqlite3.connect(world.database) as database:
            database.execute(
                "UPDATE connections SET envelope = (SELECT envelope FROM connections WHERE id = ?) WHERE id = ?",
                (source.id, mine.id),
            )
        with pytest.raises(TamperedError):
            await world.vault.token(mine.id, owner="one", tenant=TENANT)
    for column, value in (("generation", 7), ("provider", "linkedin"), ("issuer", "https://evil.example")):
        tamper(world, f"UPDATE connections SET {column} = ? WHERE id = ?", value, sibling.id)
        with pytest.raises(TamperedError):
            await world.vault.token(sibling.id, owner="one", tenant=TENANT)


async def test_f_33_signing_in_again_mends_a_damaged_record(world: World) -> None:
    if world.kind == "memory":
        return  # there is no file to damage
    connection = await world.connect("x")
    tamper(world, "UPDATE connections SET envelope = CAST(envelope || x'00' AS BLOB) WHERE id = ?", connection.id)
    again = await world.connect("x", connection_id=connection.id)
    assert (again.id, again.generation) == (connection.id, 2)
    assert (await world.vault.token(connection.id, **MINE)).generation == 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"redirect_uri": ""}, "redirect_uri"),
        ({"redirect_uri": "http://app.example/cb"}, "redirect_uri"),
        ({"redirect_uri": "https://user@app.example/cb"}, "redirect_uri"),
        ({"redirect_uri": "https://app.example/cb#x"}, "redirect_uri"),
        ({"return_to": ["//evil"]}, "return_to"),
        ({"return_to": "/settings"}, "return_to"),
        ({"store": "nosql://somewhere"}, "nosql"),
        ({"store": "mysql://somewhere/db"}, "mysql"),
        ({"dek_scope": "galaxy"}, "dek_scope"),
        ({"vault_key_scope": "owner"}, "vault_key_scope"),
        ({"cryptoperiod": timedelta(0)}, "cryptoperiod"),
        ({"vault_key_cache": timedelta(0)}, "vault_key_cache"),
        ({"store": object()}, "store"),
        ({"keys": object()}, "keys"),
        ({"transport": object()}, "transport"),
        ({"providers": [X("a", "s"), X("b", "s")]}, "'x'"),
        ({"providers": [X]}, "Provider"),
        ({"leeway": timedelta(seconds=-1)}, "leeway"),
        ({"state_lifetime": timedelta(0)}, "state_lifetime"),
        ({"on_shared_account": "steal"}, "on_shared_account"),
    ],
    ids=str,
)
@pytest.mark.parametrize("make", [Vault, AsyncVault])
def test_r_19_each_wrong_setting_is_named_at_the_start(make: Any, change: dict[str, Any], named: str) -> None:
    options = {**GOOD, "keys": LocalKeyring([LocalKeyring.generate()]), **change}
    with pytest.raises(ConfigurationError, match=named) as caught:
        make(**options)
    assert caught.value.action == "fix_configuration"


def test_a_part_of_the_other_colour_is_refused() -> None:
    keys = LocalKeyring([LocalKeyring.generate()])

    async def observer(_event: object) -> None: ...

    for make, change in (
        (Vault, {"store": AsyncMemoryStore()}),
        (AsyncVault, {"store": MemoryStore()}),
        (Vault, {"observers": [observer]}),
    ):
        with pytest.raises(ConfigurationError):
            make(**{**GOOD, "keys": keys, **change})  # type: ignore[operator]  # a mapping of options


@pytest.mark.parametrize(
    "endpoint", ["http://plain.example/token", "ftp://x.example/t", "https://u:p@x.example/t", "https://", "//x/t"]
)
def test_an_endpoint_that_is_not_https_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="token_url"):
        OAuth2(slug="mine", client_id="a", client_secret="b", authorize_url="https://x.example/a", token_url=endpoint)


async def test_an_observer_that_fails_disturbs_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def broken(_event: object) -> None:
        raise ValueError("a secret in an observer's message")

    def working(event: Any) -> None:
        told.append(event.name)

    await world.connect("x", vault=world.build(observers=[broken, working]))
    assert told == ["connected"]
    assert "ValueError" in caplog.text
    assert "a secret" not in caplog.text


async def test_asynchronous_observers_are_awaited(async_world: World) -> None:
    told: list[str] = []

    async def observer(event: Any) -> None:
        await asyncio.sleep(0)
        told.append(event.name)

    await async_world.connect("x", vault=async_world.build(observers=[observer]))
    assert told == ["connected"]


async def test_a_closed_vault_says_so(world: World, tmp_path: Path) -> None:
    store = ":memory:" if world.kind == "memory" else f"sqlite:///{tmp_path}/closed.db"
    vault = world.build(store=store)
    await vault.open()
    assert (await vault.health()).ok
    await (vault.aclose() if world.colour == "async" else vault.close())
    with pytest.raises(StoreUnavailableError):
        await vault.token("x", owner=OWNER)
    assert not (await vault.health()).ok


def test_a_missing_directory_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError):
        Vault(
            **{**GOOD, "store": f"sqlite:///{tmp_path}/nowhere/v.db", "keys": LocalKeyring([LocalKeyring.generate()])}
        )


def test_the_context_manager_opens_and_closes(tmp_path: Path) -> None:
    keys = LocalKeyring([LocalKeyring.generate()])
    options = {**GOOD, "store": f"sqlite:///{tmp_path}/v.db", "keys": keys}
    with Vault(**options) as vault:
        assert vault.health().ok
        assert vault.admin.counts() == {}

    async def main() -> None:
        async with AsyncVault(**options) as asynchronous:
            assert (await asynchronous.health()).ok
            assert await asynchronous.admin.find() == ()

    asyncio.run(main())


async def test_reads_and_keys_are_told_to_those_who_want_them_and_reads_with_their_reason(world: World) -> None:
    lines = io.StringIO()
    heard: list[Any] = []
    everything, renewals = AuditLog(lines, reads=True), AuditLog(io.StringIO())
    vault = world.build(observers=[everything, renewals, heard.append])
    connection = await world.connect("x", vault=vault, owner="somebody new")
    await vault.token(connection.id, owner="somebody new", tenant=TENANT, reason="posting")
    told = [line for line in map(json.loads, lines.getvalue().splitlines()) if line["owner"] == "somebody new"]
    assert [line["event"] for line in told] == ["data_key_created", "connected", "token_read"]
    assert told[0]["key_id"]
    assert (told[-1]["connection_id"], told[-1]["reason"], told[-1]["generation"]) == (connection.id, "posting", 1)
    assert [event.name for event in heard] == ["connected"]
    quiet = world.build(observers=[renewals])
    await quiet.token(connection.id, owner="somebody new", tenant=TENANT, reason="posting")
    assert not quiet.vault._cases.core.events.reads
