"""Valid tokens: one renewal for all callers, durable before anybody sees it, and never lost to a caller's fate."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.world import OWNER, SLUGS, TENANT, World

from socialvault.exceptions import (
    AccountMismatchError,
    ClientRejectedError,
    ConfigurationError,
    ConnectionNotFoundError,
    IssuerMismatchError,
    MalformedResponseError,
    OutcomeUnknownError,
    ProviderUnavailableError,
    RateLimitedError,
    ReauthorizationRequiredError,
    StoreUnavailableError,
    TokenAtRiskError,
    TransportError,
)
from socialvault.model.rows import TokenWrite
from socialvault.model.status import Status

if TYPE_CHECKING:
    from socialvault.model.connection import Connection

HOURS_3 = timedelta(hours=3)
DAY = timedelta(days=1)


async def token_of(world: World, connection: Connection, **changes: Any) -> Any:
    return await world.vault.token(connection.id, **{"owner": OWNER, "tenant": TENANT, **changes})


async def stored(world: World, connection: Connection) -> Any:
    return await world.vault.connection(connection.id, owner=OWNER, tenant=TENANT)


async def holds_newest(world: World, connection: Connection, slug: str = "x") -> bool:
    """I3: what the vault would present is what the provider will accept."""
    token = await world.vault.refresh(connection.id, owner=OWNER, tenant=TENANT)
    return token.reveal() in world.sandbox.live_tokens(slug)


async def test_a_fresh_token_costs_no_request(world: World) -> None:
    connection = await world.connect("x")
    before = len(world.sandbox.log)
    tokens = {(await token_of(world, connection)).reveal() for _ in range(10)}
    assert len(tokens) == 1
    assert len(world.sandbox.log) == before


@pytest.mark.parametrize("callers", [20])
async def test_twenty_callers_make_one_refresh(world: World, callers: int) -> None:
    connection = await world.connect("x")
    old = (await token_of(world, connection)).reveal()
    world.sandbox.clock.advance(HOURS_3)
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=150))
    tokens = await asyncio.gather(*(token_of(world, connection) for _ in range(callers)))
    assert len({token.reveal() for token in tokens}) == 1
    assert tokens[0].reveal() != old
    assert world.token_requests("x", grant_type="refresh_token") == 1
    assert world.sandbox.log.count(outcome="reuse_detected") == 0
    assert [event.name for event in world.events] == ["connected", "refreshed"]


async def test_f_17_a_rotated_refresh_token_is_kept_every_time(world: World) -> None:
    connection = await world.connect("x")
    for cycle in range(5):
        world.sandbox.clock.advance(HOURS_3)
        token = await token_of(world, connection)
        assert token.generation == cycle + 2
        assert token.reveal() in world.sandbox.live_tokens("x")
    assert world.sandbox.log.count(outcome="refreshed") == 5


async def test_f_16_an_answer_without_a_refresh_token_keeps_the_stored_one(world: World) -> None:
    connection = await world.connect("linkedin")
    for missing in (None, "", "absent"):
        world.sandbox.clock.advance(timedelta(days=61))
        if missing != "absent":
            world.sandbox.fault("linkedin", "token", replace={"refresh_token": missing})
        await token_of(world, connection)
    assert world.sandbox.log.count(provider="linkedin", outcome="refreshed") == 3
    assert (await stored(world, connection)).renewable


async def test_f_18_a_dead_grant_is_said_once_and_not_asked_again(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.revoke_grant("x")
    world.sandbox.clock.advance(HOURS_3)
    for _ in range(3):
        with pytest.raises(ReauthorizationRequiredError) as caught:
            await token_of(world, connection)
        assert (caught.value.reason, caught.value.action) == ("invalid_grant", "reauthorize")
    assert world.token_requests("x", grant_type="refresh_token") == 1
    after = await stored(world, connection)
    assert (after.status, after.reason) == (Status.REAUTHORIZATION_REQUIRED, "invalid_grant")
    assert [event.name for event in world.events] == ["connected", "reauthorization_required"]
    again = await world.connect("x", connection_id=connection.id)
    assert (again.id, again.status) == (connection.id, Status.ACTIVE)
    assert (await token_of(world, connection)).reveal() in world.sandbox.live_tokens("x")


async def test_f_18_a_writer_that_knows_no_lock_and_no_intent_raises_no_false_alarm(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It rotates at the provider and writes that down a moment later; our refusal comes in between."""
    monkeypatch.setattr("socialvault.vault.attempt._SECOND_LOOKS_SECONDS", (0.1, 0.3, 0.6))
    connection = await world.connect("x")
    world.sandbox.settings("x", reuse="refused")
    world.sandbox.clock.advance(HOURS_3)
    core = world.vault.vault._cases.core
    row = await core.row(connection.id, TENANT, OWNER)
    record, provider = await core.open(row), core.provider_of(row)
    theirs = await core.conversations.run(provider.renew(provider.static_server, record.token, row.account.subject))
    ours = asyncio.create_task(token_of(world, connection))
    await asyncio.sleep(0.3)
    assert not ours.done()
    written = replace(record, token=theirs, due_at=None)
    envelope = (await core.sealers(row)).seal(written, row, row.generation + 1)
    assert await core.store.write_token(
        TokenWrite(row.id, row.generation, envelope, row.key_id, row.updated_at_seconds, None, None)
    )
    assert (await ours).reveal() == theirs.access_token.reveal()
    assert (await stored(world, connection)).status is Status.ACTIVE
    assert "reauthorization_required" not in [event.name for event in world.events]


TRANSIENT: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"status": 500}, ProviderUnavailableError),
    ({"status": 503, "retry_after": 30}, ProviderUnavailableError),
    ({"status": 429, "retry_after": 30}, RateLimitedError),
    ({"status": 503, "body": "html"}, ProviderUnavailableError),
    ({"body": "html"}, MalformedResponseError),
    ({"body": "malformed"}, MalformedResponseError),
    ({"body": "empty"}, MalformedResponseError),
    ({"drop": "before_commit"}, OutcomeUnknownError),
]


@pytest.mark.parametrize(("fault", "error"), TRANSIENT, ids=lambda value: str(value) if isinstance(value, dict) else "")
async def test_f_20_f_21_a_transient_failure_blames_nobody(
    world: World, fault: dict[str, Any], error: type[Exception]
) -> None:
    connection = await world.connect("linkedin")
    world.sandbox.clock.advance(timedelta(days=61))
    world.sandbox.fault("linkedin", "token", **fault)
    with pytest.raises(error) as caught:
        await token_of(world, connection)
    assert caught.value.action == "retry"  # type: ignore[attr-defined]  # it has it
    if "retry_after" in fault:
        assert caught.value.retry_after == timedelta(seconds=30)  # type: ignore[attr-defined]  # it has it
    after = await stored(world, connection)
    assert (after.status, after.generation) == (Status.ACTIVE, 1)
    requests = world.token_requests("linkedin")
    with pytest.raises(error):  # nobody asks again at once
        await token_of(world, connection)
    assert world.token_requests("linkedin") == requests
    world.sandbox.clock.advance(timedelta(minutes=1))
    assert (await token_of(world, connection)).generation == 2
    names = [event.name for event in world.events]
    assert names[1:] == ["renewal_failing", "refreshed", "renewal_recovered"]


async def test_f_20_a_token_that_is_still_valid_is_served_meanwhile(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(timedelta(hours=2) - timedelta(seconds=50))
    world.sandbox.fault("x", "token", status=503, times=None)
    token = await token_of(world, connection)
    assert token.generation == 1
    with pytest.raises(ProviderUnavailableError):  # who asks for a renewal is told
        await world.vault.refresh(connection.id, owner=OWNER, tenant=TENANT)
    world.sandbox.clock.advance(timedelta(seconds=51))
    with pytest.raises(ProviderUnavailableError):
        await token_of(world, connection)
    world.sandbox.clear_faults()
    world.sandbox.clock.advance(timedelta(minutes=1))
    assert (await token_of(world, connection)).generation == 2


async def test_f_19_a_rejected_client_never_flags_its_users(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    world.sandbox.fault("x", "token", error="invalid_client", status=401)
    with pytest.raises(ClientRejectedError) as caught:
        await token_of(world, connection)
    assert caught.value.action == "fix_configuration"
    assert (await stored(world, connection)).status is Status.ACTIVE
    with pytest.raises(ClientRejectedError):  # frozen: who asks once more learns nothing new
        await token_of(world, connection)
    assert world.token_requests("x") == 2  # the code, and one renewal
    world.sandbox.clock.advance(timedelta(minutes=6))
    assert (await token_of(world, connection)).generation == 2
    about_client = [(event.name, event.reason) for event in world.events if not event.connection_id]
    assert about_client == [("client_rejected", "invalid_client"), ("client_accepted", "")]


async def test_another_client_id_is_a_configuration_error(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    world.provider("x", client_id="another-application")
    with pytest.raises(ConfigurationError, match="another-application"):
        await world.build().token(connection.id, owner=OWNER, tenant=TENANT)
    assert world.token_requests("x", grant_type="refresh_token") == 0


# --- expiry -------------------------------------------------------------------------------------


@pytest.mark.parametrize("expires_in", [True, -5, "soon", 1e18, None, [], "NaN"])
async def test_f_25_an_unknown_expiry_is_not_forever_and_not_a_crash(world: World, expires_in: Any) -> None:
    world.sandbox.fault("x", "token", replace={"expires_in": expires_in})
    connection = await world.connect("x")
    assert connection.expires_at is None
    assert (await token_of(world, connection)).expires_at is None
    rejected = await token_of(world, connection)
    async_source = world.vault.vault.source(connection.id, owner=OWNER, tenant=TENANT)
    fresh = (
        await async_source.token(rejected=rejected)
        if world.colour == "async"
        else await asyncio.to_thread(async_source.token, rejected=rejected)
    )
    assert fresh.generation == 2
    assert world.token_requests("x", grant_type="refresh_token") == 1


@pytest.mark.parametrize("expires_in", [3600, "3600", 3600.5, "3600.0"])
async def test_f_25_numbers_come_in_many_spellings(world: World, expires_in: Any) -> None:
    world.sandbox.fault("x", "token", replace={"expires_in": expires_in})
    connection = await world.connect("x")
    assert connection.expires_at is not None
    left = connection.expires_at - datetime.fromtimestamp(world.sandbox.clock.now_seconds(), UTC)
    assert timedelta(seconds=3590) < left <= timedelta(seconds=3600)


async def test_f_25_a_token_that_comes_expired_is_renewed_at_its_first_use(world: World) -> None:
    world.sandbox.fault("x", "token", replace={"expires_in": 0})
    connection = await world.connect("x")
    assert (await token_of(world, connection)).generation == 2


async def test_f_28_expiry_counts_from_the_request(world: World) -> None:
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=300))
    start = world.sandbox.clock.now_seconds()
    connection = await world.connect("x")
    assert connection.expires_at is not None
    assert connection.expires_at.timestamp() <= start + 7200 + 0.3


@pytest.mark.parametrize("step", [DAY, -DAY])
async def test_f_28_a_clock_that_jumps_costs_one_refresh_at_most(world: World, step: timedelta) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(step)
    for _ in range(5):
        await token_of(world, connection)
    assert world.token_requests("x", grant_type="refresh_token") == (1 if step > timedelta(0) else 0)


async def test_no_expired_token_is_served_and_none_renewed_too_early(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(timedelta(minutes=118))  # 120 minutes of life, 60 to 90 seconds of lead
    assert (await token_of(world, connection)).generation == 1
    world.sandbox.clock.advance(timedelta(seconds=61))
    assert (await token_of(world, connection)).generation == 2


async def test_an_ordinary_linkedin_application_is_told_when_its_token_ends(world: World) -> None:
    world.provider("linkedin", refresh_tokens=False)
    vault = world.build()
    connection = await world.connect("linkedin", vault=vault)
    assert connection.renewable is False
    assert connection.dies_at == connection.expires_at
    world.sandbox.clock.advance(timedelta(days=60) - timedelta(seconds=30))
    assert (await vault.token(connection.id, owner=OWNER, tenant=TENANT)).generation == 1
    world.sandbox.clock.advance(timedelta(seconds=31))
    for _ in range(2):
        with pytest.raises(ReauthorizationRequiredError) as caught:
            await vault.token(connection.id, owner=OWNER, tenant=TENANT)
        assert caught.value.reason == "expired"
    assert [event.name for event in world.events] == ["connected", "reauthorization_required"]
    assert world.token_requests("linkedin") == 1


async def test_linkedins_refresh_deadline_is_never_extended(world: World) -> None:
    connection = await world.connect("linkedin")
    first = connection.dies_at
    assert first is not None
    for _ in range(5):
        world.sandbox.clock.advance(timedelta(days=60))
        await token_of(world, connection)
    kept = (await stored(world, connection)).dies_at
    assert kept is not None
    assert abs(kept - first) < timedelta(seconds=5)


async def test_facebooks_token_is_exchanged_while_it_is_valid(world: World) -> None:
    connection = await world.connect("facebook")
    assert connection.expires_at is not None
    world.sandbox.clock.advance(timedelta(days=51))
    renewed = await token_of(world, connection)
    world.sandbox.clock.advance(timedelta(days=40))
    assert (await token_of(world, connection)).generation >= renewed.generation
    world.sandbox.clock.advance(timedelta(days=70))
    with pytest.raises(ReauthorizationRequiredError) as caught:
        await token_of(world, connection)
    assert caught.value.reason == "expired"


# --- the caller's fate --------------------------------------------------------------------------


@pytest.mark.parametrize("steps", range(12))
async def test_f_06_a_caller_cancelled_anywhere_loses_no_token(async_world: World, steps: int) -> None:
    world = async_world
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    caller = asyncio.create_task(token_of(world, connection))
    for _ in range(steps):
        await asyncio.sleep(0)
    caller.cancel()
    follower = await token_of(world, connection)
    assert follower.generation == 2
    assert world.token_requests("x", grant_type="refresh_token") == 1
    assert await holds_newest(world, connection)


@pytest.mark.parametrize("after_ms", [0, 2, 5, 10, 20, 40, 80])
async def test_f_06_a_flow_cancelled_anywhere_is_finished_all_the_same(async_world: World, after_ms: int) -> None:
    world = async_world
    login = await world.vault.begin("x", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    first = asyncio.create_task(world.complete(login, params, "x"))
    await asyncio.sleep(after_ms / 1000)
    first.cancel()
    done = await world.complete(login, params, "x")
    assert done.connection.status is Status.ACTIVE
    assert world.token_requests("x") == 1


async def test_one_vault_serves_four_event_loops(async_world: World) -> None:
    world = async_world
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=100))

    def on_its_own_loop() -> set[str]:
        async def main() -> set[str]:
            tokens = await asyncio.gather(*(token_of(world, connection) for _ in range(5)))
            await world.vault.vault._transport.aclose()
            return {token.reveal() for token in tokens}

        return asyncio.run(main())

    found = await asyncio.gather(*(asyncio.to_thread(on_its_own_loop) for _ in range(4)))
    assert len(set().union(*found)) == 1
    assert world.token_requests("x", grant_type="refresh_token") == 1
    assert await holds_newest(world, connection)


# --- who may ask --------------------------------------------------------------------------------


async def test_pain_29_nobody_reaches_another_owners_connection(world: World) -> None:
    mine = await world.connect("x", owner="same", tenant="one", user="ada")
    theirs = await world.connect("x", owner="same", tenant="two", user="grace")
    for owner, tenant, connection in (
        ("same", "two", mine),
        ("same", "one", theirs),
        ("other", "one", mine),
        ("same", "", mine),
    ):
        for call in ("token", "refresh", "connection", "disconnect", "sub_accounts"):
            with pytest.raises(ConnectionNotFoundError):
                await getattr(world.vault, call)(connection.id, owner=owner, tenant=tenant)
    assert [c.id for c in await world.vault.connections(owner="same", tenant="one")] == [mine.id]
    assert [c.id for c in await world.vault.connections(owner="same", tenant="two")] == [theirs.id]
    await world.vault.disconnect(mine.id, owner="same", tenant="one")
    assert (await world.vault.token(theirs.id, owner="same", tenant="two")).reveal() in world.sandbox.live_tokens("x")


async def test_a_token_is_never_sent_to_another_host(world: World) -> None:
    connection = await world.connect("x")
    elsewhere = [
        "https://evil.example/2/users/me",
        "http://127.0.0.1:1/",
        world.sandbox.base_url.replace("http", "ftp"),
        world.sandbox.base_url.replace("127.0.0.1", "localhost") + "/x/2/users/me",
    ]
    client = world.vault.vault.client(connection.id, owner=OWNER, tenant=TENANT)
    for url in elsewhere:
        with pytest.raises(ConfigurationError, match="api_hosts"):
            await client.get(url) if world.colour == "async" else await asyncio.to_thread(client.get, url)
    good = world.sandbox.url("x", "/2/users/me")
    answer = await client.get(good) if world.colour == "async" else await asyncio.to_thread(client.get, good)
    assert answer.json()["data"]["username"] == "ada"
    await client.aclose() if world.colour == "async" else client.close()
    assert (await token_of(world, connection)).generation == 1  # closing a client closes nothing of the vault


async def test_a_401_renews_once_and_repeats_the_call(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.fault("x", "userinfo", error="invalid_token", status=401)
    client = world.vault.vault.client(connection.id, owner=OWNER, tenant=TENANT)
    url = world.sandbox.url("x", "/2/users/me")
    answer = await client.get(url) if world.colour == "async" else await asyncio.to_thread(client.get, url)
    assert answer.status_code == 200
    assert world.token_requests("x", grant_type="refresh_token") == 1
    await client.aclose() if world.colour == "async" else client.close()


async def test_a_call_to_meta_carries_the_proof_that_the_apps_own_server_asks(world: World) -> None:
    connection = await world.connect("facebook")  # the emulator refuses calls without a proof, and with a wrong one
    client = world.vault.vault.client(connection.id, owner=OWNER, tenant=TENANT)
    url = world.sandbox.url("facebook", "/v24.0/me?fields=name&appsecret_proof=of-an-older-token")
    answer = await client.get(url) if world.colour == "async" else await asyncio.to_thread(client.get, url)
    assert (answer.status_code, answer.json()["name"]) == (200, "Ada Lovelace")
    await client.aclose() if world.colour == "async" else client.close()


# --- identity -----------------------------------------------------------------------------------


async def test_o_32_r_11_a_refreshed_id_token_of_another_account_is_refused(world: World) -> None:
    connection = await world.connect("oidc", scopes=["openid", "offline_access"])
    world.sandbox.clock.advance(DAY)
    world.sandbox.fault("oidc", "token", claims={"sub": "somebody-else"})
    with pytest.raises(AccountMismatchError):
        await token_of(world, connection)
    assert (await stored(world, connection)).generation == 1


async def test_o_31_r_11_user_information_about_another_subject_is_refused(world: World) -> None:
    world.sandbox.fault("oidc", "userinfo", replace={"sub": "somebody-else"})
    login = await world.vault.begin("oidc", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    with pytest.raises(AccountMismatchError):
        await world.complete(login, params, "oidc")
    assert await world.vault.connections(owner=OWNER, tenant=TENANT) == ()


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": 1},
        {"sub": None},
    ],
    ids=str,
)
async def test_o_21_o_22_o_23_o_29_a_bad_id_token_stores_nothing(world: World, claims: dict[str, Any]) -> None:
    world.sandbox.fault("oidc", "token", claims=claims)
    login = await world.vault.begin("oidc", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    with pytest.raises((IssuerMismatchError, MalformedResponseError)):
        await world.complete(login, params, "oidc")
    assert await world.vault.connections(owner=OWNER, tenant=TENANT) == ()


async def test_o_27_a_changed_signing_key_is_fetched_once(world: World) -> None:
    await world.connect("oidc", user="ada")
    world.sandbox.change_signing_key("oidc")
    world.sandbox.clock.advance(timedelta(seconds=61))
    fetched = world.sandbox.log.count(provider="oidc", endpoint="jwks")
    await world.connect("oidc", user="grace")
    await world.connect("oidc", user="joan")
    assert world.sandbox.log.count(provider="oidc", endpoint="jwks") == fetched + 1


async def test_r_15_a_facebook_token_of_another_application_is_refused(world: World) -> None:
    world.sandbox.settings("facebook", debug_app_id="999")
    login = await world.vault.begin("facebook", owner=OWNER, tenant=TENANT)
    params = await world.callback(login)
    with pytest.raises(AccountMismatchError):
        await world.complete(login, params, "facebook")
    assert await world.vault.connections(owner=OWNER, tenant=TENANT) == ()


@pytest.mark.parametrize("world", [("sync", "sqlite"), ("async", "memory")], indirect=True, ids="-".join)
@pytest.mark.parametrize("slug", SLUGS)
async def test_every_provider_survives_a_year_of_daily_use(world: World, slug: str) -> None:
    """As far as the provider's rules allow: what ends, ends with its reason, and nothing else does."""
    connection = await world.connect(slug, scopes=["openid", "offline_access"] if slug == "oidc" else None)
    for _ in range(120):
        world.sandbox.clock.advance(timedelta(days=3))
        try:
            token = await token_of(world, connection)
        except ReauthorizationRequiredError as ended:
            assert slug in ("linkedin", "facebook"), ended
            break
        assert token.reveal() in world.sandbox.live_tokens(slug)
    assert world.sandbox.log.count(outcome="reuse_detected") == 0


async def test_a_transport_that_never_sends_leaves_everything(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    world.provider("x", token_url="http://127.0.0.1:1/token")
    with pytest.raises(TransportError) as caught:
        await world.build().token(connection.id, owner=OWNER, tenant=TENANT)
    assert caught.value.request_sent is False
    world.sandbox.clock.advance(timedelta(seconds=2))
    assert (await token_of(world, connection)).generation == 2


async def test_keys_out_of_reach_do_not_stand_in_the_way_of_a_renewal(world: World) -> None:
    connection = await world.connect("oidc", scopes=["openid", "offline_access"])
    world.sandbox.clock.advance(DAY)
    world.sandbox.fault("oidc", "jwks", drop="before_commit", times=None)
    assert (await token_of(world, connection)).generation == 2


async def test_work_beyond_the_deadline_goes_on_and_is_named(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=500))
    impatient = world.build(exchange_deadline=timedelta(milliseconds=100))
    with pytest.raises(OutcomeUnknownError):
        await impatient.token(connection.id, owner=OWNER, tenant=TENANT)
    await asyncio.sleep(0.8)
    assert (await impatient.token(connection.id, owner=OWNER, tenant=TENANT)).generation == 2
    assert world.token_requests("x", grant_type="refresh_token") == 1


async def test_a_provider_that_takes_too_long_does_not_hide_a_valid_token(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(timedelta(hours=2) - timedelta(seconds=50))
    world.sandbox.fault("x", "token", latency=timedelta(milliseconds=500))
    impatient = world.build(exchange_deadline=timedelta(milliseconds=100))
    assert (await impatient.token(connection.id, owner=OWNER, tenant=TENANT)).generation == 1
    await asyncio.sleep(0.8)
    assert (await stored(world, connection)).generation == 2


async def test_o_32_a_valid_token_is_served_although_the_renewal_was_about_another_account(world: World) -> None:
    connection = await world.connect("oidc", scopes=["openid", "offline_access"])
    assert connection.expires_at is not None
    world.sandbox.clock.advance(connection.expires_at - world.sandbox.clock.now() - timedelta(seconds=30))
    world.sandbox.fault("oidc", "token", claims={"iss": "https://another.example"})
    assert (await token_of(world, connection)).generation == 1
    found = await stored(world, connection)
    assert (found.status, found.failing_with) == (Status.ACTIVE, "IssuerMismatchError")


async def test_a_store_that_hiccups_after_the_provider_answered_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)
    store = world.vault.vault._cases.core.store
    write, failures = store.write_token, iter([StoreUnavailableError("away")] * 2)

    async def hiccup(change: Any) -> bool:
        for failure in failures:
            raise failure
        done: bool = await write(change)
        return done

    monkeypatch.setattr(store, "write_token", hiccup)
    assert (await token_of(world, connection)).generation == 2
    assert world.token_requests("x", grant_type="refresh_token") == 1


async def test_f_12_a_token_that_nothing_could_keep_is_said_to_be_at_risk(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await world.connect("x")
    world.sandbox.clock.advance(HOURS_3)

    async def away(*_args: object) -> bool:
        raise StoreUnavailableError("away")

    monkeypatch.setattr("socialvault.vault.saving._LONGEST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(world.vault.vault._cases.core.store, "write_token", away)
    with pytest.raises(TokenAtRiskError) as caught:
        await token_of(world, connection)
    assert caught.value.action == "report"


# --- jobs ---------------------------------------------------------------------------------------


async def test_f_39_a_burst_of_401s_renews_once_and_repeats_each_call_once(world: World) -> None:
    """The API ends the token in the middle of a job: pages that are being fetched at once all meet that."""
    connection = await world.connect("x")
    world.sandbox.settings("x", revocation_reach="single")
    core = world.vault.vault._cases.core
    row = await core.row(connection.id, TENANT, OWNER)
    provider, record = core.provider_of(row), await core.open(row)
    access_only = replace(record.token, refresh_token=None)
    await core.conversations.run(provider.revoke(provider.static_server, access_only))
    client = world.vault.vault.client(connection.id, owner=OWNER, tenant=TENANT)
    url = world.sandbox.url("x", "/2/users/me")

    async def fetch() -> int:
        answer = await client.get(url) if world.colour == "async" else await asyncio.to_thread(client.get, url)
        return int(answer.status_code)

    assert await asyncio.gather(*(fetch() for _ in range(8))) == [200] * 8
    assert world.token_requests("x", grant_type="refresh_token") == 1
    assert world.sandbox.log.count(provider="x", endpoint="userinfo", status=200) == 8 + 1  # once while connecting
    assert 1 <= world.sandbox.log.count(provider="x", endpoint="userinfo", status=401) <= 8
    await client.aclose() if world.colour == "async" else client.close()


async def test_f_39_a_grant_that_ends_in_the_middle_of_a_job_is_said_and_not_asked_for_again(world: World) -> None:
    connection = await world.connect("x")
    world.sandbox.revoke_grant("x")
    client = world.vault.vault.client(connection.id, owner=OWNER, tenant=TENANT)
    url = world.sandbox.url("x", "/2/users/me")
    for _ in range(3):
        with pytest.raises(ReauthorizationRequiredError):
            await client.get(url) if world.colour == "async" else await asyncio.to_thread(client.get, url)
    assert world.token_requests("x", grant_type="refresh_token") == 1
    await client.aclose() if world.colour == "async" else client.close()
