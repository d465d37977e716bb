"""The flow's cookie, as its header says it."""

from datetime import timedelta

import pytest
from support.world import OWNER, TENANT

BEGIN = {"owner": OWNER, "tenant": TENANT}


def parts_of(header):
    first, *rest = header.split("; ")
    return first, set(rest)


@pytest.mark.parametrize(
    ("redirect_uri", "path", "secure"),
    [
        ("https://app.example/api/v1/oauth/{provider}/callback", "/api/v1/oauth/x/callback", True),
        ("http://127.0.0.1:8000/oauth/{provider}/callback", "/oauth/x/callback", False),
        ("http://localhost/oauth/{provider}/callback", "/oauth/x/callback", False),
    ],
)
async def test_a_flows_cookie_reaches_its_callback_and_nothing_else(world, redirect_uri, path, secure):
    begun = await world.build(redirect_uri=redirect_uri).begin("x", **BEGIN)
    pair, attributes = parts_of(begun.cookie.header)
    assert pair == f"{begun.cookie.name}={begun.cookie.value}"
    expected = {"Max-Age=600", f"Path={path}", "SameSite=Lax", "HttpOnly"}
    assert attributes == (expected | {"Secure"} if secure else expected)


async def test_the_cookie_lives_as_long_as_its_flow(world):
    vault = world.build(state_lifetime=timedelta(minutes=2))
    assert "Max-Age=120" in (await vault.begin("x", **BEGIN)).cookie.header


async def test_the_cookie_reaches_the_resumed_callback_too(world):
    begun = await world.vault.begin("x", **BEGIN)
    [path] = [part.removeprefix("Path=") for part in begun.cookie.header.split("; ") if part.startswith("Path=")]
    assert "/oauth/x/callback/resume".startswith(f"{path}/")


async def test_each_flow_has_a_cookie_of_its_own(world):
    first, second = await world.vault.begin("x", **BEGIN), await world.vault.begin("x", **BEGIN)
    assert first.cookie.name != second.cookie.name
    assert first.cookie.value != second.cookie.value
