"""The browser flow: one state, one browser, one owner, one exchange."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from support.world import OWNER, SLUGS, TENANT, World

from socialvault import exceptions
from socialvault.exceptions import (
    AccountMismatchError,
    AlreadyConnectedError,
    AuthorizationDeniedError,
    ConfigurationError,
    ConnectionNotFoundError,
    IssuerMismatchError,
    OwnerMismatchError,
    StateExpiredError,
    StateMismatchError,
)
from socialvault.model.status import Status

each_provider = pytest.mark.parametrize("slug", SLUGS)


def snapshot(world: World) -> bytes:
    """The database as bytes; for the memory store, its picture."""
    if world.kind == "sqlite":
        import sqlite3

        with sqlite3.connect(world.database) as database:
            return "\n".join(database.iterdump()).encode()
    return repr(world.store.__dict__ if world.colour == "sync" else vars(world.store)).encode()


@each_provider
async def test_a_flow_ends_in_a_connection_of_its_owner(world: World, slug: str) -> None:
    connection = await world.connect(slug)
    assert (connection.owner, connection.tenant, connection.provider) == (OWNER, TENANT, slug)
    token = await world.vault.token(connection.id, owner=OWNER, tenant=TENANT)
    assert token.reveal() in world.sandbox.live_tokens(slug)
    assert [event.name for event in world.events] == ["connected"]


@each_provider
async def test_o_01_r_01_r_04_a_state_of_another_browser_is_refused(world: World, slug: str) -> None:
    attacker = await world.vault.begin(slug, owner=OWNER, tenant=TENANT)
    victim = await world.vault.begin(slug, owner=OWNER, tenant=TENANT)
    params = await world.callback(attacker)
    with pytest.raises(StateMismatchError):
        await world.vault.complete(
            params, provider=slug, owner=OWNER, tenant=TENANT, cookies={victim.cookie.name: victim.cookie.value}
        )
    with pytest.raises(StateMismatchError):  # the right name with another flow's value
        await world.vault.complete(
            params, provider=slug, owner=OWNER, tenant=TENANT, cookies={attacker.cookie.name: victim.cookie.value}
        )
    assert world.token_requests(slug) == 0
    assert (await world.complete(attacker, params, slug)).duplicate is False  # nothing was consumed


@each_provider
async def test_r_02_a_made_up_state_is_refused(world: World, slug: str) -> None:
    login = await world.vault.begin(slug, owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    with pytest.raises(StateMismatchError):
        await world.complete(login, {**params, "state": "A" * 43}, slug)
    assert world.token_requests(slug) == 0


@pytest.mark.parametrize(
    "query",
    [
        "", "code=abc", "state=", "state=x&state=y&code=c", "state=S&code=c&code=d", "state=S", "state=S&code=",
        "state=S&code=c&error=e", "state=S&error=", "state=S&iss=a&iss=b&code=c", "state=S&code=a%00b",
        "state=" + "x" * 5000 + "&code=c", "&".join(f"a{n}=1" for n in range(3000)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("real_state", [False, True])
async def test_o_02_o_10_o_11_a_malformed_callback_changes_nothing(world: World, query: str, real_state: bool) -> None:
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    before = snapshot(world)
    with pytest.raises(StateMismatchError) as caught:
        await world.complete(login, query.replace("=S", f"={params['state']}") if real_state else query, "x")
    assert caught.value.action == "reauthorize"
    assert snapshot(world) == before
    assert world.token_requests("x") == 0
    await world.complete(login, params, "x")


@each_provider
async def test_o_03_another_user_cannot_finish_a_flow(world: World, slug: str) -> None:
    login = await world.vault.begin(slug, owner="mallory", tenant=TENANT)
    params = await world.callback(login)
    for owner, tenant in ((OWNER, TENANT), ("mallory", "other"), ("mallory", "")):
        with pytest.raises(OwnerMismatchError):
            await world.complete(login, params, slug, owner=owner, tenant=tenant)
    assert world.token_requests(slug) == 0


async def test_o_04_r_13_a_flow_begun_at_one_provider_is_not_finished_at_another(world: World) -> None:
    for begun, finished in (("x", "linkedin"), ("facebook", "x"), ("oidc", "facebook")):
        login = await world.vault.begin(begun, owner=OWNER, tenant=TENANT)
        params = await world.callback(login)
        with pytest.raises(StateMismatchError):
            await world.complete(login, params, finished)
    assert world.sandbox.log.count(endpoint="token") == 0


async def test_o_05_a_wrong_or_missing_issuer_stops_before_the_code_leaves(world: World) -> None:
    for change in ({"iss": "https://evil.example"}, {"iss": None}, {"iss": world.sandbox.url("oidc", "") + "/"}):
        login = await world.vault.begin("oidc", owner=OWNER, tenant=TENANT)
        params = {**await world.callback(login), **change}
        with pytest.raises(IssuerMismatchError) as caught:
            await world.complete(login, {name: value for name, value in params.items() if value}, "oidc")
        assert caught.value.action == "report"
    denied = await world.vault.begin("oidc", owner=OWNER, tenant=TENANT)
    refusal = dict(await world.callback(denied, approve=False))
    with pytest.raises(IssuerMismatchError):
        await world.complete(denied, {**refusal, "iss": "https://evil.example"}, "oidc")
    assert world.token_requests("oidc") == 0


@each_provider
async def test_o_06_o_07_pkce_is_s256_with_a_fresh_verifier(world: World, slug: str) -> None:
    first, second = [await world.vault.begin(slug, owner=OWNER, tenant=TENANT) for _ in range(2)]
    queries = [parse_qs(urlsplit(login.url).query) for login in (first, second)]
    if world.providers[slug].pkce == "unsupported":  # O-07: there the bound state stands alone
        assert slug == "linkedin"
        assert all("code_challenge" not in query for query in queries)
        return
    assert [query["code_challenge_method"] for query in queries] == [["S256"], ["S256"]]
    assert all(len(query["code_challenge"][0]) == 43 for query in queries)
    assert queries[0]["code_challenge"] != queries[1]["code_challenge"]
    assert queries[0]["state"] != queries[1]["state"]
    assert len(queries[0]["state"][0]) == 43  # 256 bits


@each_provider
async def test_o_08_a_token_in_the_callback_is_ignored(world: World, slug: str) -> None:
    login = await world.vault.begin(slug, owner=OWNER, tenant=TENANT)
    assert parse_qs(urlsplit(login.url).query)["response_type"] == ["code"]
    params = {**await world.callback(login), "access_token": "smuggled", "id_token": "smuggled"}
    done = await world.complete(login, params, slug)
    token = await world.vault.token(done.connection.id, owner=OWNER, tenant=TENANT)
    assert token.reveal() != "smuggled"


async def test_o_09_the_redirect_uri_is_the_configured_one(world: World) -> None:
    for slug in SLUGS:
        login = await world.vault.begin(slug, owner=OWNER, tenant=TENANT)
        uri = dict(parse_qsl(urlsplit(login.url).query))["redirect_uri"]
        assert uri == f"http://127.0.0.1:9/oauth/{slug}/callback"


@each_provider
async def test_o_12_a_denial_tells_no_more_than_its_code(world: World, slug: str) -> None:
    login = await world.vault.begin(slug, owner=OWNER, tenant=TENANT, return_to="/settings")
    params = await world.callback(login, approve=False)
    hostile = {**params, "error_description": "<script>alert(1)</script>\r\nSet-Cookie: a=b"}
    with pytest.raises(AuthorizationDeniedError) as caught:
        await world.complete(login, hostile, slug)
    assert "script" not in str(caught.value)
    assert caught.value.return_to == "/settings"
    assert caught.value.error == params["error"]
    with pytest.raises(AuthorizationDeniedError) as again:  # the same browser learns the same outcome
        await world.complete(login, hostile, slug)
    assert again.value.return_to == "/settings"
    assert world.token_requests(slug) == 0
    assert await world.vault.connections(owner=OWNER, tenant=TENANT) == ()


@pytest.mark.parametrize(
    "target",
    ["//e", "/\\e", "\\\\e", "///e", "/\t/e", "/\n/e", "\x01//e", " //e", "/%5ce", "https:e", "https:///e",
     "javascript:alert(1)", "a@e", "/%0d%0a", "", "/elsewhere", "/dashboard", "/settings/", "/dashboard/../admin",
     "https://app.example/settings"],
)  # fmt: skip
async def test_o_13_o_44_r_18_only_allowed_own_paths_are_returned_to(world: World, target: str) -> None:
    before = snapshot(world)
    with pytest.raises(ConfigurationError) as caught:
        await world.vault.begin("x", owner=OWNER, tenant=TENANT, return_to=target)
    assert caught.value.action == "fix_configuration"
    assert snapshot(world) == before


async def test_o_13_an_allowed_path_comes_back(world: World) -> None:
    for target in ("/settings", "/dashboard/teams", None):
        login = await world.vault.begin("x", owner=OWNER, tenant=TENANT, return_to=target)
        done = await world.complete(login, await world.callback(login), "x")
        assert done.return_to == (target or "/")


async def test_a_form_post_callback_is_the_same(world: World) -> None:
    world.provider("oidc", authorize_extra={"response_mode": "form_post"})
    vault = world.build()
    login = await vault.begin("oidc", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    assert params.method == "POST"
    done = await world.complete(login, params, "oidc", vault=vault)
    assert done.connection.provider == "oidc"


@pytest.mark.parametrize("shape", ["query", "bytes", "pairs", "lists"])
async def test_frameworks_may_hand_over_parameters_in_their_own_shape(world: World, shape: str) -> None:
    from urllib.parse import urlencode

    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT)
    params = dict(await world.callback(login))
    shaped: Any = {
        "query": urlencode(params),
        "bytes": urlencode(params).encode(),
        "pairs": list(params.items()),
        "lists": {name: [value] for name, value in params.items()},
    }[shape]
    assert (await world.complete(login, shaped, "x")).connection.provider == "x"


async def test_a_state_lives_ten_minutes(world: World) -> None:
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT, return_to="/settings")
    params = await world.callback(login)
    world.sandbox.clock.advance(timedelta(seconds=601))
    with pytest.raises(StateExpiredError) as caught:
        await world.complete(login, params, "x")
    assert caught.value.return_to == "/settings"
    assert world.token_requests("x") == 0


async def test_six_ways_to_misuse_a_callback_are_told_apart(world: World) -> None:
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    cookies = {login.cookie.name: login.cookie.value}
    whole: dict[str, Any] = {"provider": "x", "owner": OWNER, "tenant": TENANT, "cookies": cookies}
    misuse: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"cookies": {}}, StateMismatchError),
        ({"owner": "somebody"}, OwnerMismatchError),
        ({"tenant": "somewhere"}, OwnerMismatchError),
        ({"provider": "linkedin"}, StateMismatchError),
    ]
    messages = set()
    for change, error in misuse:
        with pytest.raises(error) as caught:
            await world.vault.complete(params, **{**whole, **change})
        messages.add(str(caught.value))
    assert len(messages) == 3
    assert world.token_requests("x") == 0
    await world.vault.complete(params, **whole)
    assert (await world.vault.complete(params, **whole)).duplicate is True
    assert world.token_requests("x") == 1


async def test_f_07_a_duplicate_callback_gets_the_first_outcome(world: World) -> None:
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=200))
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    outcomes = await asyncio.gather(*(world.complete(login, params, "x") for _ in range(5)))
    assert len({done.connection.id for done in outcomes}) == 1
    assert sorted(done.duplicate for done in outcomes) == [False, True, True, True, True]
    assert world.token_requests("x") == 1


async def test_f_07_a_failed_exchange_is_the_outcome_for_duplicates_too(world: World) -> None:
    world.sandbox.fault("x", "token", status=503)
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT, return_to="/settings")
    params = await world.callback(login)
    for _ in range(2):
        with pytest.raises(exceptions.ProviderUnavailableError):
            await world.complete(login, params, "x")
    assert world.token_requests("x") == 1
    assert await world.vault.connections(owner=OWNER, tenant=TENANT) == ()


async def test_f_02_another_vault_on_the_same_store_finishes_the_flow(world: World) -> None:
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    other = world.build()
    assert (await world.complete(login, params, "x", vault=other)).connection.provider == "x"


async def test_f_03_a_claim_that_nobody_finishes_is_an_expired_flow(world: World) -> None:
    vault = world.build(exchange_deadline=timedelta(milliseconds=200))
    login = await vault.begin("x", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    import hashlib

    state_hash = hashlib.sha256(params["state"].encode()).digest()
    binding = hashlib.sha256(login.cookie.value.encode()).digest()
    claim = world.store.claim_state(state_hash, tenant=TENANT, owner=OWNER, provider="x", binding=binding)
    row = await claim if world.colour == "async" else claim
    assert row is not None  # a process took the state, and died
    with pytest.raises(StateExpiredError):
        await world.complete(login, params, "x", vault=vault)
    assert world.token_requests("x") == 0


async def test_five_tabs_of_one_browser_finish_in_any_order(world: World) -> None:
    jar: dict[str, str] = {}
    tabs = []
    for number, slug in enumerate(random.Random(7).sample([*SLUGS, "x"], 5)):
        login = await world.vault.begin(slug, owner=OWNER, tenant=TENANT)
        jar[login.cookie.name] = login.cookie.value
        tabs.append((slug, await world.callback(login, user=f"person-{number}")))
    assert len(jar) == 5
    random.Random(8).shuffle(tabs)
    for slug, params in tabs:
        done = await world.vault.complete(params, provider=slug, owner=OWNER, tenant=TENANT, cookies=jar)
        assert done.connection.provider == slug
    assert len(await world.vault.connections(owner=OWNER, tenant=TENANT)) == 5


async def test_the_cookie_is_for_this_browser_and_path_alone(world: World) -> None:
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT)
    assert dict(login.cookie.attributes) == {
        "max_age": 600, "path": "/oauth/x/callback", "secure": False, "httponly": True, "samesite": "lax",
    }  # fmt: skip
    secure = world.build(redirect_uri="https://app.example/cb/{provider}")
    assert (await secure.begin("x", owner=OWNER)).cookie.attributes["secure"] is True
    assert login.cookie.value not in repr(login)
    assert dict(parse_qsl(urlsplit(login.url).query))["state"] not in repr(login)


# --- whose account it is ------------------------------------------------------------------------


@each_provider
async def test_the_same_owner_connecting_again_keeps_the_connection(world: World, slug: str) -> None:
    first = await world.connect(slug)
    again = await world.connect(slug)
    assert again.id == first.id
    assert again.generation == first.generation + 1
    assert [event.name for event in world.events] == ["connected", "reconnected"]
    token = await world.vault.token(again.id, owner=OWNER, tenant=TENANT)
    newest = world.sandbox.log.entries(provider=slug, endpoint="token")[-1]
    assert world.sandbox.log.about(token.reveal())[0].grant_id == newest.grant_id


@each_provider
async def test_another_owner_cannot_take_a_connected_account(world: World, slug: str) -> None:
    first = await world.connect(slug)
    login = await world.vault.begin(slug, owner="second", tenant=TENANT, return_to="/settings")
    params = await world.callback(login)
    with pytest.raises(AlreadyConnectedError) as caught:
        await world.complete(login, params, slug, owner="second")
    assert caught.value.return_to == "/settings"
    assert await world.vault.connections(owner="second", tenant=TENANT) == ()
    assert world.sandbox.log.count(endpoint="revoke") == 0
    token = await world.vault.token(first.id, owner=OWNER, tenant=TENANT)
    assert token.reveal() in world.sandbox.live_tokens(slug)


async def test_pain_27_two_owners_race_for_one_account(world: World) -> None:
    logins = [await world.vault.begin("x", owner=owner, tenant=TENANT) for owner in ("first", "second")]
    answers = [await world.callback(login) for login in logins]
    ends = await asyncio.gather(
        *(
            world.complete(login, params, "x", owner=owner)
            for login, params, owner in zip(logins, answers, ("first", "second"), strict=True)
        ),
        return_exceptions=True,
    )
    assert sorted(type(end).__name__ for end in ends) == ["AlreadyConnectedError", "Completed"]


async def test_separate_connections_of_a_shared_account_when_asked_for(world: World) -> None:
    vault = world.build(on_shared_account="separate")
    first = await world.connect("x", owner="first", vault=vault)
    second = await world.connect("x", owner="second", vault=vault)
    assert first.id != second.id
    assert first.subject == second.subject


async def test_another_tenant_may_connect_the_same_account(world: World) -> None:
    first = await world.connect("x", tenant="one")
    second = await world.connect("x", tenant="two")
    assert first.id != second.id


@each_provider
async def test_o_33_a_reconnect_as_another_account_overwrites_nothing(world: World, slug: str) -> None:
    first = await world.connect(slug, user="ada")
    login = await world.vault.begin(slug, owner=OWNER, tenant=TENANT, connection_id=first.id)
    params = await world.callback(login, user="grace")
    with pytest.raises(AccountMismatchError):
        await world.complete(login, params, slug)
    kept = await world.vault.connection(first.id, owner=OWNER, tenant=TENANT)
    assert (kept.subject, kept.generation) == (first.subject, 1)
    assert len(await world.vault.connections(owner=OWNER, tenant=TENANT)) == 1


async def test_a_reconnect_asks_for_what_was_granted_before(world: World) -> None:
    first = await world.connect("x", scopes=["users.read", "tweet.read", "tweet.write"])
    login = await world.vault.begin(
        "x", owner=OWNER, tenant=TENANT, connection_id=first.id, scopes=["users.read", "like.read"]
    )
    asked = set(dict(parse_qsl(urlsplit(login.url).query))["scope"].split())
    assert {"users.read", "like.read", "tweet.write", "tweet.read"} <= asked


async def test_only_ones_own_connection_can_be_reconnected(world: World) -> None:
    first = await world.connect("x")
    with pytest.raises(ConnectionNotFoundError):
        await world.vault.begin("x", owner="second", tenant=TENANT, connection_id=first.id)
    with pytest.raises(ConfigurationError):
        await world.vault.begin("linkedin", owner=OWNER, tenant=TENANT, connection_id=first.id)


async def test_o_36_granted_scopes_are_stored_and_the_difference_told(world: World) -> None:
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT, scopes=["tweet.write"])
    params = await world.callback(login, scopes=["users.read", "tweet.read", "offline.access"])
    done = await world.complete(login, params, "x")
    assert done.missing_scopes == {"tweet.write"}
    assert done.connection.scopes == {"users.read", "tweet.read", "offline.access"}
    with pytest.raises(exceptions.MissingScopesError) as caught:
        await world.vault.require_scopes(done.connection.id, ["tweet.write"], owner=OWNER, tenant=TENANT)
    assert caught.value.missing == {"tweet.write"}
    assert caught.value.required >= {"tweet.write", "users.read"}
    await world.vault.require_scopes(done.connection.id, ["users.read"], owner=OWNER, tenant=TENANT)


async def test_r_12_two_hundred_interleaved_logins_never_mix(world: World) -> None:
    async def one(number: int) -> None:
        connection = await world.connect("x", owner=f"owner-{number}", user=f"person-{number}")
        token = await world.vault.token(connection.id, owner=f"owner-{number}", tenant=TENANT)
        (issue,) = [entry for entry in world.sandbox.log.about(token.reveal()) if entry.endpoint == "token"]
        assert issue.user == f"person-{number}"

    count = 200 if (world.colour, world.kind) == ("async", "sqlite") else 20
    for batch in range(0, count, 20):
        await asyncio.gather(*(one(number) for number in range(batch, batch + 20)))


async def test_r_16_request_parameters_never_change_the_configuration(world: World) -> None:
    provider = world.providers["x"]
    before = (provider.scopes, dict(provider.authorize_extra))
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT)
    params = {**await world.callback(login), "scope": "admin", "auth_type": "x"}
    done = await world.complete(login, params, "x")
    assert "admin" not in done.connection.scopes
    assert (provider.scopes, dict(provider.authorize_extra)) == before


@pytest.mark.parametrize("owner", ["", None, 7, "\ud800"])
async def test_r_24_an_owner_is_always_needed(world: World, owner: Any) -> None:
    for call in (
        world.vault.begin("x", owner=owner),
        world.vault.connections(owner=owner),
        world.vault.disconnect("id", owner=owner),
        world.vault.complete("state=a&code=b", provider="x", owner=owner, cookies={}),
        world.vault.refresh("id", owner=owner),
    ):
        with pytest.raises(ConfigurationError):
            await call


async def test_an_unknown_provider_is_named(world: World) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        await world.vault.begin("nowhere", owner=OWNER)


async def test_f_15_a_state_that_the_store_has_lost_is_a_clean_restart(world: World) -> None:
    """A failover has lost the flow: nobody gets in by that, and beginning again works."""
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    world.sandbox.clock.advance(timedelta(minutes=11))
    assert await world.vault.vault._cases.core.store.purge_states(100) == 1
    world.sandbox.clock.advance(-timedelta(minutes=11))
    with pytest.raises(StateMismatchError) as caught:
        await world.complete(login, params, "x")
    assert caught.value.action == "reauthorize"
    assert world.token_requests("x") == 0
    assert (await world.connect("x")).status is Status.ACTIVE
