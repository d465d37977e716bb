"""What protocol tests share: answers as providers send them, and a driver for exchanges."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from socialvault.protocol.messages import Exchange, HttpRequest, HttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SENT_AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def now() -> datetime:
    return SENT_AT


@pytest.fixture(scope="session")
def answer() -> Callable[..., HttpResponse]:
    """Build an answer: a value becomes JSON, bytes stay as they are."""

    def build(body: object = b"", status: int = 200, **headers: str) -> HttpResponse:
        named = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return HttpResponse(status, SENT_AT, {name: text for name, text in named.items() if text}, data)

    return build


@pytest.fixture(scope="session")
def drive() -> Callable[[Exchange[Any], Iterable[HttpResponse | Exception]], tuple[Any, list[HttpRequest]]]:
    """Run an exchange against prepared answers; return its result and the requests it made."""

    def run(exchange: Exchange[Any], answers: Iterable[HttpResponse | Exception]) -> tuple[Any, list[HttpRequest]]:
        requests: list[HttpRequest] = []
        pending = iter(answers)
        try:
            requests.append(next(exchange))
            while True:
                reply = next(pending)
                requests.append(exchange.throw(reply) if isinstance(reply, Exception) else exchange.send(reply))
        except StopIteration as stop:
            return stop.value, requests

    return run
