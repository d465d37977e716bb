"""What a handler has at hand."""

from types import SimpleNamespace

import pytest

from socialvault.http.call import Call
from socialvault.http.problems import HttpError
from socialvault.runtimes.threads import run


@pytest.fixture
def call_of(make_request):
    def make(params=None, on_connected=None):
        cases = SimpleNamespace(core=SimpleNamespace(providers=SimpleNamespace(by_slug={"x": "the provider"})))
        request = make_request(params=params or {}, native="native")
        return Call(request, None, cases, "user-42", "acme", on_connected)

    return make


def done(*, duplicate=False):
    return SimpleNamespace(duplicate=duplicate)


def test_the_platform_is_the_one_of_the_path(call_of):
    assert call_of({"platform": "x"}).platform == "the provider"


@pytest.mark.parametrize("slug", ["y", "X", "", "x/"])
def test_a_platform_that_there_is_not_is_not_found(call_of, slug):
    with pytest.raises(HttpError) as raised:
        _ = call_of({"platform": slug}).platform
    assert (raised.value.status, raised.value.code) == (404, "unknown_platform")


def test_the_connection_is_the_one_of_the_path(call_of):
    assert call_of({"connection_id": "con-1"}).connection_id == "con-1"


def test_a_call_without_a_hook_tells_nobody(call_of):
    run(call_of().tell_connected(done()))


def test_a_plain_hook_is_called(call_of):
    told = []
    outcome = done()
    run(call_of(on_connected=lambda *args: told.append(args)).tell_connected(outcome))
    assert told == [("native", outcome)]


async def test_a_coroutine_function_is_awaited(call_of):
    told = []

    async def hook(*args):
        told.append(args)

    await call_of(on_connected=hook).tell_connected(done())
    assert len(told) == 1


def test_a_duplicate_is_told_to_nobody(call_of):
    told = []
    run(call_of(on_connected=lambda *args: told.append(args)).tell_connected(done(duplicate=True)))
    assert told == []


async def test_what_a_hook_raises_goes_no_further_than_the_log(call_of, caplog):
    def fail(native, outcome):
        raise ValueError("canary")

    async def fail_later(native, outcome):
        raise ValueError("canary")

    for hook in (fail, fail_later):
        await call_of(on_connected=hook).tell_connected(done())
    assert [record.getMessage() for record in caplog.records] == ["on_connected failed"] * 2


def test_what_stops_the_process_is_no_failure_of_a_hook(call_of):
    def stop(native, outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(call_of(on_connected=stop).tell_connected(done()))
