"""The recipe for pages on an origin of their own, exactly as the documentation shows it."""

from __future__ import annotations

import runpy
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.examples import EXAMPLES

from socialvault import LocalKeyring
from socialvault.sandbox.browser import Decision, consent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from socialvault.sandbox import Sandbox

API, SPA, FOREIGN = "https://api.app.example", "https://app.example", "https://evil.example"
START = "/api/v1/oauth/x/start"


@pytest.fixture
async def http(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    monkeypatch.setenv("SPA_ORIGIN", SPA)
    monkeypatch.setenv("PUBLIC_URL", API)
    monkeypatch.setenv("VAULT_STORE", f"sqlite:///{tmp_path}/vault.db")
    monkeypatch.setenv("SOCIALVAULT_KEYS", LocalKeyring.generate())
    app = runpy.run_path(str(EXAMPLES / "fastapi_spa.py"))["create_app"]([sandbox.provider("x")])
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=API, headers={"Remote-User": "ada"}) as http,
    ):
        yield http


def from_page(origin: str) -> dict[str, str]:
    """What a browser says about a script's request to the API."""
    return {
        "Origin": origin, "Accept": "application/json",
        "Sec-Fetch-Site": "same-site" if origin == SPA else "cross-site", "Sec-Fetch-Mode": "cors",
    }  # fmt: skip


async def preflight(http: httpx.AsyncClient, origin: str, method: str = "POST", path: str = START) -> httpx.Response:
    asks = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type"}
    return await http.options(path, headers={**from_page(origin), **asks})


def admits(answer: httpx.Response, origin: str) -> bool:
    """Whether a browser lets the page read the answer to a request with credentials."""
    return (
        answer.headers.get("access-control-allow-origin") == origin
        and answer.headers.get("access-control-allow-credentials") == "true"
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", START),
        ("DELETE", "/api/v1/oauth/connections/some"),
        ("PUT", "/api/v1/oauth/connections/some/sub-accounts"),
    ],
)
async def test_preflights_of_the_own_pages_are_answered(http: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await preflight(http, SPA, method, path)
    assert answer.status_code == 200
    assert admits(answer, SPA)
    assert method in answer.headers["access-control-allow-methods"]


async def test_the_own_pages_read_with_credentials(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/v1/oauth/connections", headers=from_page(SPA))
    assert answer.json() == {"connections": []}
    assert admits(answer, SPA)
    assert "Origin" in answer.headers["vary"]


async def test_the_own_pages_begin_a_flow_and_get_its_outcome(http: httpx.AsyncClient) -> None:
    begun = await http.post(START, headers=from_page(SPA), json={"return_to": "/connected"})
    assert begun.status_code == 200
    assert admits(begun, SPA)
    assert "samesite=lax" in begun.headers["set-cookie"].lower()
    back = consent(begun.json()["url"], Decision())
    done = await http.get(back.url, headers={"Accept": "text/html"})
    onward = await http.get(done.headers["location"])
    assert onward.headers["location"].startswith(f"{SPA}/accounts?connection=")
    [connection] = (await http.get("/api/v1/oauth/connections", headers=from_page(SPA))).json()["connections"]
    ended = await http.delete(f"/api/v1/oauth/connections/{connection['id']}", headers=from_page(SPA))
    assert ended.json()["outcome"] == "revoked"


async def test_foreign_pages_neither_read_nor_change_anything(http: httpx.AsyncClient, sandbox: Sandbox) -> None:
    assert not admits(await preflight(http, FOREIGN), FOREIGN)
    assert not admits(await http.get("/api/v1/oauth/connections", headers=from_page(FOREIGN)), FOREIGN)
    refused: Any = await http.post(START, headers=from_page(FOREIGN), json={})
    assert (refused.status_code, refused.json()["code"]) == (403, "cross_site_request")
    assert not admits(refused, FOREIGN)
    assert "set-cookie" not in refused.headers
