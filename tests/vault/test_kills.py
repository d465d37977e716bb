"""A process killed on the way: no half connection, no consumed code without a name, and the next try succeeds."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault.exceptions import StateExpiredError, StoreUnavailableError

if TYPE_CHECKING:
    from socialvault.model.login import Login

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}

SCRIPT = """
    import json, os, sys
    from socialvault import LocalKeyring, Vault
    from socialvault.sandbox import Sandbox
    from socialvault.stores.sqlite import SQLiteStore

    given = json.loads(sys.stdin.read())
    point = given["point"]

    class Killed(SQLiteStore):
        def _around(name):
            def method(self, *args, **kwargs):
                if point == f"before {name}":
                    os._exit(9)
                result = getattr(SQLiteStore, name)(self, *args, **kwargs)
                if point == f"after {name}":
                    os._exit(9)
                return result
            return method

        for name in ("claim_state", "add_key", "insert", "finish_state"):
            locals()[name] = _around(name)

    vault = Vault(
        providers=[Sandbox(base_url=given["base_url"]).provider("x")], store=Killed(given["database"]),
        keys=LocalKeyring([given["key"]]), redirect_uri="http://127.0.0.1:9/oauth/{provider}/callback",
    )
    whose = {"owner": given["owner"], "tenant": given["tenant"]}
    vault.complete(given["params"], provider="x", **whose, cookies=given["cookies"])
"""


def complete_and_die(world: World, login: Login, params: dict[str, str], point: str) -> None:
    given = {
        "point": point,
        "base_url": world.sandbox.base_url,
        "database": str(world.database),
        "key": world.keys,
        "params": dict(params),
        "cookies": {login.cookie.name: login.cookie.value},
        **MINE,
    }
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode == 9, run.stderr


@pytest.mark.parametrize("world", [("sync", "sqlite")], indirect=True, ids=["sync-sqlite"])
@pytest.mark.parametrize(
    ("point", "exchanged", "connected"),
    [
        pytest.param("before claim_state", 0, False, id="f_03-before-the-claim"),
        pytest.param("after claim_state", 0, False, id="f_03-after-the-claim"),
        pytest.param("before add_key", 0, False, id="f_05-before-the-key"),
        pytest.param("after add_key", 0, False, id="f_05-between-key-and-row"),
        pytest.param("before insert", 1, False, id="f_04-after-the-exchange"),
        pytest.param("after insert", 1, True, id="f_04-after-the-row"),
        pytest.param("before finish_state", 1, True, id="f_04-before-the-outcome"),
    ],
)
async def test_f_03_f_04_f_05_a_killed_callback_leaves_no_half_connection(
    world: World, point: str, exchanged: int, connected: bool
) -> None:
    login = await world.vault.begin("x", **MINE)
    params = await world.callback(login)
    complete_and_die(world, login, params, point)
    assert world.token_requests("x") == exchanged
    assert len(await world.vault.connections(**MINE)) == connected

    impatient = world.build(exchange_deadline=timedelta(milliseconds=300))
    if point in ("before claim_state", "before add_key", "after add_key"):
        await world.complete(login, params, "x", vault=impatient)  # nothing was used up
    else:
        with pytest.raises(StateExpiredError):
            await world.complete(login, params, "x", vault=impatient)
        assert world.token_requests("x") == exchanged
    connection = await world.connect("x")
    token = await world.vault.token(connection.id, **MINE)
    assert token.reveal() in world.sandbox.live_tokens("x")
    assert len(await world.vault.connections(**MINE)) == 1


async def test_f_01_no_url_is_given_out_for_a_state_that_is_not_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_args: object) -> None:
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(world.vault.vault._cases.core.store, "put_state", away)
    with pytest.raises(StoreUnavailableError):
        await world.vault.begin("x", **MINE)


async def test_f_01_an_orphaned_state_is_gone_after_its_time(world: World) -> None:
    login = await world.vault.begin("x", **MINE)
    params = await world.callback(login)
    world.sandbox.clock.advance(timedelta(minutes=11))
    await world.vault.begin("x", **MINE)  # sweeps
    with pytest.raises(Exception, match="unknown") as caught:
        await world.complete(login, params, "x")
    assert type(caught.value).__name__ == "StateMismatchError"
