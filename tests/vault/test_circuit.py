"""Leaving a provider alone: after how many failures, for how long, and who finds out that it is back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from socialvault.exceptions import (
    ClientRejectedError,
    MalformedResponseError,
    ProviderUnavailableError,
    RateLimitedError,
    ReauthorizationRequiredError,
    SocialVaultError,
    TransportError,
)
from socialvault.sandbox.contracts.base import ManualClock
from socialvault.vault.circuit import Circuits, counts

DOWN = ProviderUnavailableError("down", provider="x", status=503)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def circuits(clock: ManualClock) -> Circuits:
    return Circuits(clock, timedelta(seconds=45))


def fail(circuits: Circuits, times: int, problem: SocialVaultError = DOWN) -> None:
    for _ in range(times):
        circuits.failed("x", problem)


def test_a_few_failures_in_a_row_open_it_for_this_provider_alone(circuits: Circuits) -> None:
    fail(circuits, 4)
    assert circuits.refusal("x") is None
    fail(circuits, 1)
    refusal = circuits.refusal("x")
    assert isinstance(refusal, ProviderUnavailableError)
    assert refusal.action == "retry"
    assert refusal.retry_after is not None
    assert timedelta(0) < refusal.retry_after <= timedelta(seconds=1.25)
    assert circuits.waiting("x") is not None
    assert circuits.most("x", 10) == 0
    assert circuits.refusal("y") is None


def test_a_success_in_between_starts_the_count_anew(circuits: Circuits) -> None:
    fail(circuits, 4)
    circuits.succeeded("x")
    fail(circuits, 4)
    assert circuits.refusal("x") is None


def test_one_caller_finds_out_whether_it_is_back(circuits: Circuits, clock: ManualClock) -> None:
    fail(circuits, 5)
    clock.advance(2.0)
    assert circuits.waiting("x") is circuits.waiting("x") is None  # asking is not trying
    assert circuits.most("x", 10) == 1
    assert circuits.refusal("x") is None
    assert circuits.refusal("x") is not None  # the others wait for what it finds
    circuits.succeeded("x")
    assert circuits.refusal("x") is None


def test_one_that_never_says_what_it_found_does_not_keep_it_closed_for_ever(
    circuits: Circuits, clock: ManualClock
) -> None:
    fail(circuits, 5)
    clock.advance(2.0)
    assert circuits.refusal("x") is None
    clock.advance(44.0)
    assert circuits.refusal("x") is not None
    clock.advance(2.0)
    assert circuits.refusal("x") is None


def test_an_attempt_that_was_not_made_is_given_back(circuits: Circuits, clock: ManualClock) -> None:
    fail(circuits, 5)
    clock.advance(2.0)
    assert circuits.refusal("x") is None
    circuits.unused("x")
    assert circuits.refusal("x") is None


def test_pauses_grow_up_to_a_minute(circuits: Circuits, clock: ManualClock) -> None:
    fail(circuits, 5)
    pauses = []
    for _ in range(12):
        refusal = circuits.refusal("x")
        assert isinstance(refusal, ProviderUnavailableError)
        assert refusal.retry_after is not None
        pauses.append(refusal.retry_after.total_seconds())
        clock.advance(pauses[-1])
        assert circuits.refusal("x") is None
        fail(circuits, 1)
    assert pauses[0] < 1.3
    assert 40.0 <= min(pauses[8:]) <= max(pauses) <= 75.0


@pytest.mark.parametrize("kind", [RateLimitedError, ProviderUnavailableError])
def test_a_provider_that_asks_to_wait_is_left_alone_at_once(
    circuits: Circuits, clock: ManualClock, kind: type[RateLimitedError]
) -> None:
    fail(circuits, 1, kind("wait", provider="x", status=429, retry_after=timedelta(seconds=90)))
    refusal = circuits.refusal("x")
    assert isinstance(refusal, kind)
    assert refusal.retry_after == timedelta(seconds=90)
    clock.advance(91.0)
    assert circuits.refusal("x") is None


def test_no_provider_can_ask_for_more_than_an_hour(circuits: Circuits, clock: ManualClock) -> None:
    fail(circuits, 1, RateLimitedError("wait", provider="x", status=429, retry_after=timedelta(days=1)))
    clock.advance(3601.0)
    assert circuits.refusal("x") is None


def test_a_clock_that_is_put_back_freezes_nothing(circuits: Circuits, clock: ManualClock) -> None:
    fail(circuits, 5)
    clock.advance(-86_400.0)
    assert circuits.refusal("x") is None


def test_a_rejected_application_is_frozen_and_told_of_once(circuits: Circuits, clock: ManualClock) -> None:
    rejected = ClientRejectedError("no", provider="x", status=401, error="invalid_client")
    assert circuits.failed("x", rejected) is True
    assert circuits.failed("x", rejected) is False
    refusal = circuits.refusal("x")
    assert isinstance(refusal, ClientRejectedError)
    assert (refusal.action, refusal.error) == ("fix_configuration", "invalid_client")
    clock.advance(301.0)
    assert circuits.refusal("x") is None
    assert circuits.succeeded("x") is True
    assert circuits.succeeded("x") is False


def test_what_is_about_one_grant_says_nothing_about_the_provider() -> None:
    about_the_provider = [
        TransportError("", request_sent=False),
        TransportError("", request_sent=True),
        DOWN,
        RateLimitedError(""),
        ClientRejectedError(""),
    ]
    assert all(map(counts, about_the_provider))
    assert not counts(ReauthorizationRequiredError(""))
    assert not counts(MalformedResponseError(""))


def test_a_refusal_holds_no_frame_of_what_failed(circuits: Circuits) -> None:
    try:
        secret = "refresh-token"
        raise DOWN
    except ProviderUnavailableError as problem:
        assert secret
        fail(circuits, 5, problem)
    refusal = circuits.refusal("x")
    assert refusal is not None
    assert refusal.__traceback__ is refusal.__cause__ is None
