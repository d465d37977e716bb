"""A refusal names the caller's argument, so that a form can show it there; a setting is nobody's argument."""

from __future__ import annotations

from typing import Any

import pytest
from support.world import OWNER, TENANT, World

from socialvault.exceptions import ConfigurationError

PAGES = ["public_profile", "pages_show_list"]
MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}


async def refused(call: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        await call
    return raised.value.argument


@pytest.mark.parametrize(
    ("argument", "given"),
    [
        ("return_to", {"return_to": "https://evil.example/"}),
        ("scopes", {"scopes": "public_profile"}),
        ("scopes", {"scopes": [""]}),
        ("", {"owner": ""}),
        ("", {"tenant": None}),
    ],
)
async def test_a_flow_that_may_not_begin_names_the_argument(world: World, argument: str, given: dict[str, Any]) -> None:
    assert await refused(world.vault.begin("facebook", **(MINE | given))) == argument


async def test_an_unknown_provider_is_the_callers_when_beginning_and_completing(world: World) -> None:
    assert await refused(world.vault.begin("nowhere", **MINE)) == "provider"
    completing = world.vault.complete({"state": "s", "code": "c"}, provider="nowhere", cookies={}, **MINE)
    assert await refused(completing) == "provider"


async def test_a_provider_that_the_vault_lost_is_its_settings(world: World) -> None:
    connection = await world.connect("facebook")
    other = world.build(providers=[world.providers["x"]])
    assert await refused(other.refresh(connection.id, **MINE)) == ""


async def test_a_connection_that_can_not_be_used_so_is_named(world: World) -> None:
    parent = await world.connect("facebook", scopes=PAGES)
    page = (await world.vault.sub_accounts(parent.id, **MINE))[0]
    (child,) = await world.vault.select_sub_accounts(parent.id, [page.id], **MINE)
    assert await refused(world.vault.begin("x", connection_id=parent.id, **MINE)) == "connection_id"
    assert await refused(world.vault.begin("facebook", connection_id=child.id, **MINE)) == "connection_id"
    assert await refused(world.vault.sub_accounts(child.id, **MINE)) == "connection_id"
    assert await refused(world.vault.select_sub_accounts(child.id, [page.id], **MINE)) == "connection_id"


async def test_sub_accounts_that_are_not_there_or_not_granted_are_named(world: World) -> None:
    granted = (await world.vault.sub_accounts((await world.connect("facebook", scopes=PAGES)).id, **MINE))[0].id
    parent = await world.connect("facebook", scopes=PAGES, pages=[granted])
    declined = next(page.id for page in await world.vault.sub_accounts(parent.id, **MINE) if not page.granted)
    for wanted in ("nowhere", declined):
        assert await refused(world.vault.select_sub_accounts(parent.id, [granted, wanted], **MINE)) == "ids"
