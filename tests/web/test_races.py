"""Callbacks that come several times, and tabs that finish in any order, over several processes."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.browser import check_problem, connection_of, together

if TYPE_CHECKING:
    from support.browser import Browser

    from socialvault.sandbox import Sandbox

PLATFORMS = ("x", "linkedin", "facebook", "oidc")


def exchanges(sandbox: Sandbox, slug: str, user: str) -> int:
    """How often codes of this person were presented."""
    entries = sandbox.log.entries(provider=slug, endpoint="token", user=user)
    return len([one for one in entries if one.grant_type == "authorization_code"])


@pytest.mark.parametrize("slug", PLATFORMS)
def test_five_deliveries_of_one_callback_make_one_exchange(browser: Browser, sandbox: Sandbox, slug: str) -> None:
    callback = browser.consent(browser.start(slug, return_to="/home"))
    sandbox.fault(slug, "token", latency=timedelta(seconds=0.3), at="after_commit")
    began = time.monotonic()

    def the_exchange_is_under_way() -> None:
        until = time.monotonic() + 10
        while not exchanges(sandbox, slug, browser.user):
            assert time.monotonic() < until, "the first delivery never reached the provider"
            time.sleep(0.002)

    browser.abandon(callback.url, when=the_exchange_is_under_way)
    delivered: list[float] = []

    def deliver() -> Any:
        delivered.append(time.monotonic() - began)
        return browser.deliver(callback)

    answers = together(*[deliver] * 4)
    assert max(delivered) < 0.5, "the deliveries were too far apart to prove anything"
    assert len({connection_of(answer) for answer in answers}) == 1
    assert exchanges(sandbox, slug, browser.user) == 1
    assert connection_of(browser.deliver(callback)) == connection_of(answers[0])  # and long afterwards

    stranger = browser.elsewhere()
    check_problem(stranger.callback_as_program(callback), 400, "state_mismatch", "reauthorize")
    shown = stranger.deliver(callback)
    assert shown.status_code == 400
    assert "state_mismatch" in shown.text
    assert exchanges(sandbox, slug, browser.user) == 1
    [connection] = browser.get("/oauth/connections").json()["connections"]
    assert connection["status"] == "active"


def test_deliveries_of_the_same_moment_make_one_exchange(browser: Browser, sandbox: Sandbox) -> None:
    """Nobody has a head start: each worker finds the flow unclaimed, and one claims it."""
    for attempt in range(6):
        user = f"{browser.user}-{attempt}"
        callback = browser.consent(browser.start("x", return_to="/home"), user=user)
        answers = together(*[lambda callback=callback: browser.deliver(callback)] * 6)
        assert len({connection_of(answer) for answer in answers}) == 1
        assert exchanges(sandbox, "x", user) == 1


def test_a_program_learns_that_it_came_again(browser: Browser) -> None:
    callback = browser.consent(browser.start("x"))
    first, again = browser.callback_as_program(callback).json(), browser.callback_as_program(callback).json()
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert first["connection"]["id"] == again["connection"]["id"]


def test_a_failure_is_the_same_for_each_delivery(browser: Browser, sandbox: Sandbox) -> None:
    callback = browser.consent(browser.start("x"))
    sandbox.fault("x", "token", error="invalid_client")
    check_problem(browser.callback_as_program(callback), 502, "client_rejected", "fix_configuration")
    before = len(sandbox.log)
    check_problem(browser.callback_as_program(callback), 502, "client_rejected", "fix_configuration")
    assert not [entry for entry in sandbox.log[before:] if entry.endpoint == "token"]


def test_five_tabs_at_three_platforms_finish_in_any_order(browser: Browser, sandbox: Sandbox, host: Any) -> None:
    begun = len(browser.site.answers)
    tabs = [(slug, f"{browser.user}-{tab}") for slug in ("x", "linkedin", "facebook") for tab in range(5)]
    urls = [browser.start(slug, return_to="/home") for slug, _ in tabs[:8]]
    with host.without(dict(browser.site.answers[-1].headers)["x-worker"]):
        urls += [browser.start(slug, return_to="/home") for slug, _ in tabs[8:]]
    callbacks = [
        (slug, browser.consent(url, user=user)) for url, (slug, user) in zip(urls, tabs, strict=True)
    ]  # every flow is begun before one is finished
    random.Random(7).shuffle(callbacks)
    answers = together(*[lambda callback=callback: browser.deliver(callback) for _, callback in callbacks])
    ids = {connection_of(answer) for answer in answers}
    assert len(ids) == 15
    workers = {dict(answer.headers)["x-worker"] for answer in browser.site.answers[begun:]}
    assert (len(workers) > 1) == (host.workers > 1)
    connections = browser.get("/oauth/connections").json()["connections"]
    assert {one["id"] for one in connections if one["status"] == "active"} == ids
    assert sorted(one["provider"] for one in connections) == sorted(slug for slug, _ in tabs)
    assert {one["name"] for one in connections} == {user.title() for _, user in tabs}
    assert sum(exchanges(sandbox, slug, user) for slug, user in tabs) == 15
