"""Against npm's oidc-provider, a certified authorization server, over real HTTP: nothing on its side is ours."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx
import pytest

from socialvault import AsyncVault, LocalKeyring, Vault
from socialvault.crypto.records import open_record
from socialvault.exceptions import (
    AuthorizationDeniedError,
    ClientRejectedError,
    IssuerMismatchError,
    ReauthorizationRequiredError,
)
from socialvault.providers import OpenIDConnect
from socialvault.stores.memory import AsyncMemoryStore, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from socialvault.model.login import Login
    from socialvault.model.secret import Secret

HERE = Path(__file__).parent
SECRET = "a:b%/+ ~secret-of-the-interop-client"
REDIRECT_URI = "http://127.0.0.1:9/oauth/{provider}/callback"
MINE: dict[str, Any] = {"owner": "user-42", "tenant": "acme"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module", params=["rotation-on", "rotation-off"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    """A running server: its issuer, and whether it rotates refresh tokens."""
    assert shutil.which("node"), "the interoperability tests need Node.js"
    assert (HERE / "node_modules" / "oidc-provider").is_dir(), "run `npm ci` in tests/interop first"
    port, rotates = free_port(), request.param == "rotation-on"
    process = subprocess.Popen(
        ["node", "server.mjs", str(port), "on" if rotates else "off"],
        cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert any("listening" in line for line in lines), "the server did not start"
        yield f"http://127.0.0.1:{port}", rotates
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def consent(login: Login, user: str) -> dict[str, str]:
    """Go through the server's pages as a browser would, up to the application's callback."""
    with httpx.Client(trust_env=False) as browser:
        url = f"{login.url}&{urlencode({'login_hint': user, 'prompt': 'consent'})}"
        for _ in range(10):
            answer = browser.get(url)
            assert answer.is_redirect, answer.text
            url = urljoin(url, answer.headers["location"])
            if urlsplit(url).port == 9:
                return dict(parse_qsl(urlsplit(url).query))
    raise AssertionError("the server never came back to the callback")


class Face:
    """Both colours behind one awaitable face."""

    def __init__(self, vault: Vault | AsyncVault) -> None:
        self.vault = vault

    def __getattr__(self, name: str) -> Any:
        target = getattr(self.vault, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if isinstance(self.vault, AsyncVault):
                return await target(*args, **kwargs)
            return await asyncio.to_thread(target, *args, **kwargs)

        return call

    async def connect(self, user: str, **changes: Any) -> Any:
        login = await self.begin("oidc", **MINE)
        params = {**await asyncio.to_thread(consent, login, user), **changes}
        cookies = {login.cookie.name: login.cookie.value}
        return (await self.complete(params, provider="oidc", **MINE, cookies=cookies)).connection


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["basic", "post", "public"])
async def face(request: pytest.FixtureRequest, server: tuple[str, bool], colour: str) -> Any:
    issuer, _ = server
    methods: dict[str, Any] = {"basic": "client_secret_basic", "post": "client_secret_post", "public": "none"}
    face = build(issuer, colour, client_id=request.param, client_auth=methods[request.param])
    yield face
    await (face.aclose() if colour == "async" else face.close())


def build(issuer: str, colour: str, *, client_id: str, client_auth: Any, secret: str = SECRET) -> Face:
    provider = OpenIDConnect(
        slug="oidc", issuer=issuer, client_id=client_id, client_secret=None if client_auth == "none" else secret,
        client_auth=client_auth, scopes=["openid", "profile", "offline_access"], allow_loopback_http=True,
    )  # fmt: skip
    keys = LocalKeyring([LocalKeyring.generate()])
    if colour == "async":
        return Face(AsyncVault(providers=[provider], store=AsyncMemoryStore(), keys=keys, redirect_uri=REDIRECT_URI))
    return Face(Vault(providers=[provider], store=MemoryStore(), keys=keys, redirect_uri=REDIRECT_URI))


async def test_discovery_code_flow_id_token_userinfo_refresh_and_revocation(
    face: Face, server: tuple[str, bool]
) -> None:
    issuer, _ = server
    connection = await face.connect("ada")
    assert (connection.subject, connection.name, connection.username) == ("ada", "Name of ada", "ada")
    assert connection.issuer == issuer
    assert connection.scopes >= {"openid", "profile"}
    assert connection.renewable

    first = await face.token(connection.id, **MINE)
    assert first.expires_at is not None
    assert await whose(issuer, first.reveal()) == (200, "ada")
    second = await face.refresh(connection.id, **MINE)
    assert second.reveal() != first.reveal()
    assert await whose(issuer, second.reveal()) == (200, "ada")

    assert (await face.disconnect(connection.id, **MINE)).outcome == "revoked"
    assert (await whose(issuer, second.reveal()))[0] == 401


async def whose(issuer: str, access_token: str) -> tuple[int, str]:
    """Ask the server itself what a token is worth."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"{issuer}/me", headers={"Authorization": f"Bearer {access_token}"})
    return answer.status_code, answer.json().get("sub", "")


async def refresh_token_of(face: Face, connection_id: str) -> Secret[str]:
    """The stored refresh token, opened as the vault itself opens it."""
    core = face.vault._cases.core
    row = await core.store.get(connection_id, MINE["tenant"], MINE["owner"])
    assert row is not None
    sealer = await core.keyring.for_opening(row.envelope, MINE["tenant"], MINE["owner"])
    record = open_record(sealer, row.envelope, row.account.provider, row.account.issuer, row.id, row.generation)
    assert record.token.refresh_token is not None
    return record.token.refresh_token


async def test_rotation_is_followed_and_a_replay_ends_the_connection(face: Face, server: tuple[str, bool]) -> None:
    issuer, rotates = server
    connection = await face.connect("grace")
    spent = await refresh_token_of(face, connection.id)
    await face.refresh(connection.id, **MINE)
    kept = await refresh_token_of(face, connection.id)
    assert (kept == spent) is not rotates
    if not rotates:  # the same token goes on working
        assert (await face.refresh(connection.id, **MINE)).generation == 3
        return
    form = {"grant_type": "refresh_token", "refresh_token": spent.reveal()}
    credentials = face.vault._cases.core.providers.get("oidc").credentials
    async with httpx.AsyncClient(trust_env=False) as thief:
        if credentials.method == "client_secret_basic":
            from urllib.parse import quote_plus

            answer = await thief.post(f"{issuer}/token", data=form, auth=(quote_plus("basic"), quote_plus(SECRET)))
        else:
            secret = {} if credentials.method == "none" else {"client_secret": SECRET}
            answer = await thief.post(f"{issuer}/token", data={**form, "client_id": credentials.client_id, **secret})
    assert answer.json()["error"] == "invalid_grant"
    with pytest.raises(ReauthorizationRequiredError) as caught:  # the server ended the whole grant
        await face.refresh(connection.id, **MINE)
    assert caught.value.reason == "invalid_grant"
    again = await face.connect("grace")
    assert again.id == connection.id
    assert (await whose(issuer, (await face.token(again.id, **MINE)).reveal()))[0] == 200


async def test_a_denial_and_a_mixed_up_issuer_are_refused(face: Face) -> None:
    with pytest.raises(AuthorizationDeniedError) as caught:
        await face.connect("nobody")
    assert caught.value.error == "access_denied"
    with pytest.raises(IssuerMismatchError):
        await face.connect("ada", iss="https://evil.example")


async def test_a_wrong_secret_blames_the_application(server: tuple[str, bool], colour: str) -> None:
    face = build(server[0], colour, client_id="basic", client_auth="client_secret_basic", secret="wrong")
    with pytest.raises(ClientRejectedError) as caught:
        await face.connect("ada")
    assert caught.value.action == "fix_configuration"
    await (face.aclose() if colour == "async" else face.close())
