"""Pages and organizations: listed, selected, renewed and removed with their parent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from support.world import OWNER, TENANT, World

from socialvault.exceptions import ConfigurationError, ReauthorizationRequiredError
from socialvault.model.status import Status

if TYPE_CHECKING:
    from socialvault.model.connection import Connection

MINE: dict[str, Any] = {"owner": OWNER, "tenant": TENANT}


async def pages_of(world: World, connection: Connection) -> Any:
    return await world.vault.sub_accounts(connection.id, **MINE)


async def test_pain_32_every_page_is_listed_and_what_was_not_granted_is_shown(world: World) -> None:
    world.sandbox.settings("facebook", pages=13)
    login = await world.vault.begin("facebook", **MINE, scopes=["public_profile", "pages_show_list"])
    asked = await world.callback(login, pages=None)
    done = await world.complete(login, asked, "facebook")
    everything = await pages_of(world, done.connection)
    assert len(everything) == 13
    assert all(page.granted for page in everything)

    some = [page.id for page in everything[:10]]
    again = await world.connect("facebook", scopes=["public_profile", "pages_show_list"], pages=some)
    listed = await pages_of(world, again)
    assert len(listed) == 13
    assert {page.id for page in listed if page.granted} == set(some)
    before = len(await world.vault.connections(**MINE))
    refused = next(page.id for page in listed if not page.granted)
    with pytest.raises(ConfigurationError, match="not granted"):
        await world.vault.select_sub_accounts(again.id, [some[0], refused], **MINE)
    assert len(await world.vault.connections(**MINE)) == before


async def selected_page(world: World) -> tuple[Connection, Connection]:
    parent = await world.connect("facebook", scopes=["public_profile", "pages_show_list"])
    page = (await pages_of(world, parent))[0]
    (child,) = await world.vault.select_sub_accounts(parent.id, [page.id], **MINE)
    return parent, child


async def test_a_selected_page_has_a_token_of_its_own(world: World) -> None:
    parent, child = await selected_page(world)
    assert (child.parent_id, child.kind, child.provider) == (parent.id, "page", "facebook")
    own = (await world.vault.token(child.id, **MINE)).reveal()
    parents = (await world.vault.token(parent.id, **MINE)).reveal()
    assert own != parents
    assert {own, parents} <= world.sandbox.live_tokens("facebook")
    listed = await pages_of(world, parent)
    assert [page.connection_id for page in listed if page.connection_id] == [child.id]
    assert [c.id for c in await world.vault.connections(**MINE)] == [parent.id, child.id]


async def test_selecting_is_exact_and_repeatable(world: World) -> None:
    parent, child = await selected_page(world)
    pages = await pages_of(world, parent)
    (kept, added) = await world.vault.select_sub_accounts(parent.id, [pages[0].id, pages[1].id], **MINE)
    assert kept.id == child.id
    (last,) = await world.vault.select_sub_accounts(parent.id, [pages[1].id], **MINE)
    assert last.id == added.id
    assert [c.id for c in await world.vault.connections(**MINE)] == [parent.id, added.id]
    with pytest.raises(ConfigurationError, match="no sub-account"):
        await world.vault.select_sub_accounts(parent.id, ["nowhere"], **MINE)


async def test_a_password_change_ends_the_page_with_its_parent(world: World) -> None:
    parent, child = await selected_page(world)
    world.sandbox.change_password("facebook")
    with pytest.raises(ReauthorizationRequiredError):
        await world.vault.refresh(parent.id, **MINE)
    for connection in await world.vault.connections(**MINE):
        assert (connection.status, connection.reason) == (Status.REAUTHORIZATION_REQUIRED, "password_changed")
    with pytest.raises(ReauthorizationRequiredError):
        await world.vault.token(child.id, **MINE)
    names = [event.name for event in world.events]
    assert names.count("reauthorization_required") == 2

    again = await world.connect("facebook", scopes=["public_profile", "pages_show_list"])
    assert again.id == parent.id
    revived = await world.vault.token(child.id, **MINE)  # the reconnect brought its Page along
    assert revived.reveal() in world.sandbox.live_tokens("facebook")


async def test_a_rejected_page_token_is_read_again_through_its_parent(world: World) -> None:
    _, child = await selected_page(world)
    before = await world.vault.token(child.id, **MINE)
    after = await world.vault.refresh(child.id, **MINE)
    assert after.generation == before.generation + 1
    assert after.reveal() in world.sandbox.live_tokens("facebook")


async def test_a_paging_link_to_another_host_gets_no_token(world: World) -> None:
    parent = await world.connect("facebook", scopes=["public_profile", "pages_show_list"])
    for link in ("https://evil.example/me/accounts?after=x", "http://localhost:1/me/accounts"):
        world.sandbox.fault("facebook", "accounts", replace={"paging": {"next": link}})
        with pytest.raises(ConfigurationError, match=str(urlsplit(link).hostname)):
            await pages_of(world, parent)


async def test_an_organization_acts_with_its_members_token(world: World) -> None:
    parent = await world.connect("linkedin", scopes=["openid", "profile", "r_organization_admin"])
    organizations = await pages_of(world, parent)
    assert len(organizations) == 2
    assert all(entry.kind == "organization" and entry.name for entry in organizations)
    (child,) = await world.vault.select_sub_accounts(parent.id, [organizations[0].id], **MINE)
    own = await world.vault.token(child.id, **MINE)
    assert own.reveal() == (await world.vault.token(parent.id, **MINE)).reveal()
    assert (await world.vault.connection(child.id, **MINE)).scopes == parent.scopes
    receipt = await world.vault.disconnect(child.id, **MINE)
    assert receipt.outcome == "kept_for_sibling"
    assert world.sandbox.log.count(endpoint="revoke") == 0
    assert (await world.vault.token(parent.id, **MINE)).reveal() in world.sandbox.live_tokens("linkedin")


async def test_a_sub_account_has_none_of_its_own(world: World) -> None:
    _, child = await selected_page(world)
    with pytest.raises(ConfigurationError):
        await world.vault.sub_accounts(child.id, **MINE)
    with pytest.raises(ConfigurationError):
        await world.vault.begin("facebook", **MINE, connection_id=child.id)
