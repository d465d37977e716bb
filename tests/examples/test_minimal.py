"""The smallest applications, as they are, but for X: in these tests it is the sandbox's."""

from __future__ import annotations

import runpy
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.examples import EXAMPLES

from socialvault import LocalKeyring
from socialvault.sandbox.browser import Decision, consent

if TYPE_CHECKING:
    from pathlib import Path

    from socialvault.sandbox import Sandbox

PUBLIC = "https://app.example"
PROGRAM = {"Accept": "application/json", "X-Requested-With": "tests"}


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # where vault.db goes
    for name, value in {
        "X_CLIENT_ID": "id", "X_CLIENT_SECRET": "secret", "SECRET_KEY": "tests-only", "PUBLIC_URL": PUBLIC,
        "SOCIALVAULT_KEYS": LocalKeyring.generate(),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


@pytest.fixture
def emulated_x(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    provider = sandbox.provider("x")
    monkeypatch.setattr("socialvault.providers.X", lambda _id, _secret: provider)


def run(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


@pytest.mark.parametrize("name", ["fastapi_minimal.py", "flask_minimal.py"])
def test_they_have_at_most_15_lines(name: str) -> None:
    text = (EXAMPLES / name).read_text("utf-8")
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 15
    assert ";" not in text.partition('"""\n')[2]


async def test_fastapi_connects_lists_and_disconnects(emulated_x: None, sandbox: Sandbox) -> None:
    made = run("fastapi_minimal.py")
    transport = httpx.ASGITransport(made["app"])
    headers = {**PROGRAM, "Remote-User": "ada"}
    async with made["vault"], httpx.AsyncClient(transport=transport, base_url=PUBLIC, headers=headers) as http:
        nobody = await http.get("/api/v1/oauth/connections", headers={"Remote-User": ""})
        assert nobody.status_code == 401
        begun = await http.post("/api/v1/oauth/x/start", json={"return_to": "/account"})
        back = consent(begun.json()["url"], Decision())
        done = await http.get(back.url, headers={"Accept": "text/html"})
        assert (done.status_code, done.headers["location"].partition("=")[0]) == (303, "/account?connection")
        [connection] = (await http.get("/api/v1/oauth/connections")).json()["connections"]
        assert connection["username"] == "ada"
        receipt = await http.delete(f"/api/v1/oauth/connections/{connection['id']}")
        assert receipt.json()["outcome"] == "revoked"


def test_flask_connects_lists_and_disconnects(emulated_x: None, sandbox: Sandbox) -> None:
    made = run("flask_minimal.py")
    http = made["app"].test_client()

    def ask(method: str, path: str, **more: Any) -> Any:
        return http.open(path, method=method, base_url=PUBLIC, headers=PROGRAM, **more)

    assert ask("GET", "/api/v1/oauth/connections").status_code == 401
    with http.session_transaction(base_url=PUBLIC) as session:
        session["user"] = "ada"
    begun = ask("POST", "/api/v1/oauth/x/start", json={"return_to": "/account"})
    back = consent(begun.json["url"], Decision())
    done = http.get(back.url, base_url=PUBLIC, headers={"Accept": "text/html"})
    assert (done.status_code, done.headers["location"].partition("=")[0]) == (303, "/account?connection")
    [connection] = ask("GET", "/api/v1/oauth/connections").json["connections"]
    assert connection["username"] == "ada"
    receipt = ask("DELETE", f"/api/v1/oauth/connections/{connection['id']}")
    assert receipt.json["outcome"] == "revoked"
    made["vault"].close()


async def test_as_they_are_they_lead_to_the_real_x() -> None:
    made = run("fastapi_minimal.py")
    transport = httpx.ASGITransport(made["app"])
    headers = {**PROGRAM, "Remote-User": "ada"}
    async with made["vault"], httpx.AsyncClient(transport=transport, base_url=PUBLIC, headers=headers) as http:
        begun = await http.post("/api/v1/oauth/x/start", json={})
    url = httpx.URL(begun.json()["url"])
    assert (url.host, url.params["client_id"]) == ("x.com", "id")
    assert url.params["redirect_uri"] == f"{PUBLIC}/api/v1/oauth/x/callback"
