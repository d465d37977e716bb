"""The types of the public face, as callers see them. Never run: mypy and pyright check it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, assert_type

import httpx

from socialvault import (
    AccessToken,
    AsyncVault,
    Completed,
    Connection,
    Erasure,
    Event,
    Health,
    LocalKeyring,
    Login,
    Receipt,
    Secret,
    SocialVaultError,
    Status,
    SubAccount,
    Sweep,
    Vault,
)
from socialvault.exceptions import (
    AuthorizationError,
    MissingScopesError,
    ProviderError,
    RefreshBusyError,
    TransportError,
)
from socialvault.integrations.audit import AuditLog
from socialvault.providers import Facebook, Instagram, LinkedIn, OAuth2, OpenIDConnect, Provider, X

if TYPE_CHECKING:
    from socialvault.ports.token_source import AsyncTokenSource, TokenSource

PROVIDERS: list[Provider] = [
    X(client_id="id", client_secret="secret"),
    X("id", Secret("secret"), scopes=["tweet.read"]),
    X(client_id="a public client"),
    LinkedIn(client_id="id", client_secret="secret"),
    Facebook(client_id="id", client_secret="secret", previous_client_secret="old"),
    Instagram(client_id="id", client_secret="secret"),
    OAuth2(client_id="id", slug="forum", authorize_url="https://a.example/", token_url="https://b.example/"),
    OpenIDConnect(issuer="https://login.example", client_id="id", slug="company"),
]


def observe(event: Event) -> None:
    assert_type(event.at, datetime)
    assert_type(event.connection_id, str)
    assert_type(event.generation, int)


async def observe_later(event: Event) -> None:
    observe(event)


def keys() -> LocalKeyring:
    assert_type(LocalKeyring.generate(), str)
    assert_type(LocalKeyring.from_file("keys"), LocalKeyring)
    return LocalKeyring.from_env("SOCIALVAULT_KEYS")


def blocking() -> None:
    with Vault(
        providers=PROVIDERS,
        store="sqlite:///vault.db",
        keys=keys(),
        redirect_uri="https://app.example/{provider}/callback",
        return_to=["/settings"],
        escrow="escrow",
        observers=[observe, AuditLog("audit.jsonl", reads=True)],
        leeway=timedelta(seconds=30),
        lease=timedelta(seconds=20),
        patience=timedelta(seconds=5),
        on_shared_account="separate",
    ) as vault:
        assert_type(vault, Vault)
        assert_type(vault.begin("x", owner="u", tenant="t", scopes=["a"], return_to="/", connection_id="c"), Login)
        assert_type(vault.complete("code=1&state=2", provider="x", owner="u", cookies={}), Completed)
        assert_type(vault.complete({"code": "1"}, provider="x", owner="u", tenant="t", cookies={}), Completed)
        assert_type(vault.complete([("code", "1")], provider="x", owner="u", cookies={}), Completed)
        assert_type(vault.token("c", owner="u", tenant="t", reason="posting"), AccessToken)
        assert_type(vault.refresh("c", owner="u"), AccessToken)
        assert_type(vault.connections(owner="u"), Sequence[Connection])
        assert_type(vault.connection("c", owner="u"), Connection)
        assert_type(vault.sub_accounts("c", owner="u"), Sequence[SubAccount])
        assert_type(vault.select_sub_accounts("c", ["s"], owner="u"), Sequence[Connection])
        assert_type(vault.disconnect("c", owner="u"), Receipt)
        assert_type(vault.receipt("c", owner="u", tenant="t"), Receipt)
        assert_type(vault.renew_due(limit=10, budget={"x": 5}), Sweep)
        assert_type(vault.erase_owner("u", tenant="t"), Erasure)
        assert_type(vault.import_tokens("x", owner="u", access_token="a", refresh_token=Secret("r")), Connection)
        assert_type(vault.health(), Health)
        assert_type(vault.client("c", owner="u"), httpx.Client)
        assert_type(vault.admin.find(provider="x", limit=10), Sequence[Connection])
        assert_type(vault.admin.counts(), Mapping[str, int])
        assert_type(vault.admin.revoke("c", owner="u"), Receipt)
        source: TokenSource = vault.source("c", owner="u")
        assert_type(source.token(), AccessToken)
        vault.require_scopes("c", ["a"], owner="u")
        vault.open()
        vault.close()


async def asynchronous() -> None:
    async with AsyncVault(
        providers=PROVIDERS,
        store=":memory:",
        keys=keys(),
        redirect_uri="https://app.example/{provider}/callback",
        escrow=None,
        observers=[observe, observe_later, AuditLog("audit.jsonl")],
    ) as vault:
        assert_type(vault, AsyncVault)
        assert_type(await vault.begin("x", owner="u", tenant="t", scopes=["a"], return_to="/"), Login)
        assert_type(await vault.complete("code=1&state=2", provider="x", owner="u", cookies={}), Completed)
        assert_type(await vault.complete({"code": "1"}, provider="x", owner="u", tenant="t", cookies={}), Completed)
        assert_type(await vault.complete([("code", "1")], provider="x", owner="u", cookies={}), Completed)
        assert_type(await vault.token("c", owner="u", tenant="t"), AccessToken)
        assert_type(await vault.refresh("c", owner="u"), AccessToken)
        assert_type(await vault.connections(owner="u"), Sequence[Connection])
        assert_type(await vault.connection("c", owner="u"), Connection)
        assert_type(await vault.sub_accounts("c", owner="u"), Sequence[SubAccount])
        assert_type(await vault.select_sub_accounts("c", ["s"], owner="u"), Sequence[Connection])
        assert_type(await vault.disconnect("c", owner="u"), Receipt)
        assert_type(await vault.receipt("c", owner="u", tenant="t"), Receipt)
        assert_type(await vault.renew_due(limit=10, budget={"x": 5}), Sweep)
        assert_type(await vault.erase_owner("u", tenant="t"), Erasure)
        assert_type(await vault.import_tokens("x", owner="u", access_token="a", refresh_token=Secret("r")), Connection)
        assert_type(await vault.health(), Health)
        assert_type(vault.client("c", owner="u"), httpx.AsyncClient)
        assert_type(await vault.admin.find(provider="x", limit=10), Sequence[Connection])
        assert_type(await vault.admin.counts(), Mapping[str, int])
        assert_type(await vault.admin.revoke("c", owner="u"), Receipt)
        source: AsyncTokenSource = vault.source("c", owner="u")
        assert_type(await source.token(), AccessToken)
        await vault.require_scopes("c", ["a"], owner="u")
        await vault.open()
        await vault.aclose()


def values(token: AccessToken, login: Login, done: Completed, connection: Connection, receipt: Receipt) -> None:
    assert_type(token.reveal(), str)
    assert_type(token.expires_at, datetime | None)
    assert_type(token.scopes, frozenset[str])
    assert_type(login.url, str)
    assert_type(login.cookie.name, str)
    assert_type(done.connection, Connection)
    assert_type(done.return_to, str)
    assert_type(done.missing_scopes, frozenset[str])
    assert_type(connection.status, Status)
    assert_type(connection.expires_at, datetime | None)
    assert_type(receipt.children, tuple[Receipt, ...])
    assert_type(Secret("a").reveal(), str)
    assert_type(Secret(b"a").reveal(), bytes)


def errors(problem: SocialVaultError) -> None:
    assert_type(problem.action, Literal["retry", "reauthorize", "fix_configuration", "report"])
    match problem:
        case AuthorizationError():
            assert_type(problem.return_to, str | None)
        case ProviderError():
            assert_type(problem.status, int | None)
            assert_type(problem.retry_after, timedelta | None)
        case MissingScopesError():
            assert_type(problem.missing, frozenset[str])
            assert_type(problem.required, frozenset[str])
        case TransportError():
            assert_type(problem.request_sent, bool)
        case RefreshBusyError():
            assert_type(problem.retry_after, timedelta)
        case _:
            pass
