from __future__ import annotations

import gzip
import time

import httpx
import pytest

from socialvault.transports.bearer import AsyncBearerAuth, BearerAuth
from socialvault.transports.client import shared_async_client, shared_client
from socialvault.transports.httpx import AsyncHttpxTransport, HttpxTransport


def test_clients_share_connections_and_closing_one_closes_none(serve, call_api, drive, respond):
    server = serve(respond(200, b"[]"), tls=True)
    driver = drive()
    for _ in range(3):
        api = call_api(driver=driver)
        assert api.request("GET", server.url()).json() == []
        api.close()
        assert api.client.is_closed
    assert server.accepted == 1


def test_a_client_used_as_a_context_closes_no_connection(serve, drive, respond):
    server = serve(respond())
    driver = drive()
    for _ in range(2):
        if driver.runner is None:
            with shared_client(driver.transport, None) as client:
                client.get(server.url())
        else:
            driver.runner.run(_use(driver.transport, server.url()))
    assert server.accepted == 1


async def _use(transport, url) -> None:
    async with shared_async_client(transport, None) as client:  # type: ignore[arg-type]
        await client.get(url)


def test_answers_to_api_calls_are_decoded_and_not_capped(serve, call_api, respond):
    body = bytes(1_000_000)
    server = serve(respond(200, gzip.compress(body), "Content-Encoding: gzip"))
    assert call_api().request("GET", server.url()).content == body


def test_o_46_api_calls_take_nothing_from_the_environment(serve, call_api, respond, monkeypatch, tmp_path):
    server, proxy = serve(respond()), serve(respond(502))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url())
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password pass\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    api = call_api("token")
    assert api.request("GET", server.url()).status_code == 200
    assert proxy.accepted == 0
    assert server.received[0].headers["authorization"] == "Bearer token"
    assert api.client.trust_env is False


def test_api_calls_go_through_the_configured_proxy(serve, call_api, respond):
    proxy = serve(respond(200, b"by proxy"))
    api = call_api(proxy=f"http://127.0.0.1:{proxy.port}")
    assert api.request("GET", "http://api.example/").content == b"by proxy"


def test_api_calls_have_timeouts_of_their_own(serve, call_api):
    silent = serve(lambda sock, _: silent.hold())
    api = call_api()
    assert api.client.timeout == httpx.Timeout(5, connect=5)
    with pytest.raises(httpx.ReadTimeout):
        api.request("GET", silent.url(), timeout=0.05)


def test_a_failed_api_call_says_what_httpx_says(call_api):
    with pytest.raises(httpx.ConnectError) as caught:
        call_api().request("GET", "http://127.0.0.1:1/")
    assert caught.value.request.url == "http://127.0.0.1:1/"
    assert "refused" in str(caught.value) or "attempts failed" in str(caught.value)


@pytest.mark.parametrize(
    ("transport_class", "auth_class", "build"),
    [(HttpxTransport, BearerAuth, shared_client), (AsyncHttpxTransport, AsyncBearerAuth, shared_async_client)],
    ids=["sync", "async"],
)
def test_a_client_costs_microseconds(transport_class, auth_class, build, clock, record_property, capsys):
    transport, auth = transport_class(clock=clock), auth_class(None, lambda url: True)
    client_us = min(microseconds(lambda: build(transport, auth), times=50) for _ in range(10))
    context_us = min(microseconds(lambda: httpx.create_ssl_context(trust_env=False), times=1) for _ in range(3))
    record_property("microseconds", client_us)
    with capsys.disabled():
        print(f" [{build.__name__}: {client_us:.0f} us; a TLS context: {context_us:.0f} us] ", end="")
    assert client_us < context_us / 50  # a bound that holds on a busy machine too; the budget is 80 us


def microseconds(work, *, times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - started) / times * 1e6
