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

#: A vault over a store that ends the process at the given passage of one of its methods.
HEAD = """
    import json, os, sys
    from collections import Counter
    from socialvault import LocalKeyring, Vault
    from socialvault.sandbox import Sandbox
    from socialvault.stores.sqlite import SQLiteStore

    given = json.loads(sys.stdin.read())
    point, passages = given["point"], Counter()

    class Killed(SQLiteStore):
        def _around(name):
            def method(self, *args, **kwargs):
                passages[name] += 1
                if point == f"before {name} {passages[name]}":
                    os._exit(9)
                result = getattr(SQLiteStore, name)(self, *args, **kwargs)
                if point == f"after {name} {passages[name]}":
                    os._exit(9)
                return result
            return method

        for name in ("claim_state", "add_key", "promote_key", "rewrap", "reseal", "insert", "finish_state"):
            locals()[name] = _around(name)

    vault = Vault(
        providers=[Sandbox(base_url=given["base_url"]).provider("x")], store=Killed(given["database"]),
        keys=LocalKeyring([given["key"]]), redirect_uri="http://127.0.0.1:9/oauth/{provider}/callback",
        dek_scope=given["dek_scope"],
    )
"""

CALLBACK = """
    whose = {"owner": given["owner"], "tenant": given["tenant"]}
    vault.complete(given["params"], provider="x", **whose, cookies=given["cookies"])
"""


#: Every level that is stored; row by row, where the library takes a batch.
ROTATION = """
    import socialvault.vault.rotation

    socialvault.vault.rotation._BATCH = 1
    vault.keys.promote(vault.keys.add("vault").key_id)
    vault.keys.promote(vault.keys.add("data", tenant=given["tenant"]).key_id)
    vault.rotate_keys()
"""


def run_until(point: str, world: World, work: str, **given: Any) -> int:
    """Run `work` in a process that ends itself at `point`; return its exit code."""
    given |= {
        "point": point,
        "base_url": world.sandbox.base_url,
        "database": str(world.database),
        "key": world.keys,
        "dek_scope": given.get("dek_scope", "owner"),
        **MINE,
    }
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HEAD) + textwrap.dedent(work)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert run.returncode in (0, 9), run.stderr
    return run.returncode


def complete_and_die(world: World, login: Login, params: dict[str, str], point: str) -> None:
    cookies = {login.cookie.name: login.cookie.value}
    assert run_until(f"{point} 1", world, CALLBACK, params=dict(params), cookies=cookies) == 9


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


@pytest.mark.parametrize("world", [("sync", "sqlite")], indirect=True, ids=["sync-sqlite"])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "passage",
    ["add_key 1", "promote_key 1", "rewrap 1", "add_key 2", "promote_key 2"]
    + [f"reseal {number}" for number in range(1, 5)],
)
async def test_c_18_a_rotation_killed_at_any_row_is_finished_by_beginning_it_again(
    world: World, moment: str, passage: str
) -> None:
    shared = world.build(dek_scope="tenant")
    ids = [
        (await shared.import_tokens("x", access_token=f"token-{number}", subject=str(number), **MINE)).id
        for number in range(4)
    ]
    keyring = shared.vault._cases.core.keyring
    former = [await keyring.vault_keys.primary_id(""), (await keyring.primary(TENANT, "")).name]

    assert run_until(f"{moment} {passage}", world, ROTATION, dek_scope="tenant") == 9
    assert [(await shared.token(key, **MINE)).reveal() for key in ids] == [f"token-{n}" for n in range(4)]
    assert run_until("never", world, ROTATION, dek_scope="tenant") == 0

    fresh = world.build(dek_scope="tenant")
    for key_id in former:
        assert fresh.vault.keys.key(key_id).uses == 0
        assert fresh.vault.keys.retire(key_id).state == "retired"
    assert [(await fresh.token(key, **MINE)).reveal() for key in ids] == [f"token-{n}" for n in range(4)]
