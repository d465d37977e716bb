from __future__ import annotations

import asyncio
import hmac

import httpx
import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.transports.bearer import AsyncBearerAuth, BearerAuth


def authorizations(server) -> list[str | None]:
    return [received.headers.get("authorization") for received in server.received]


@pytest.fixture
def by_token(respond):
    """An API that knows one token and says 401 to any other."""

    def make(known: str):
        def handler(sock, received):
            good = hmac.compare_digest(received.headers.get("authorization", ""), f"Bearer {known}")
            sock.sendall(respond(200 if good else 401, received.body or b"ok"))

        return handler

    return make


def test_a_request_is_signed(serve, call_api, by_token):
    server = serve(by_token("one"))
    api = call_api("one")
    assert api.request("GET", server.url("/me?fields=name")).text == "ok"
    assert api.source.rejected == [None]


def test_a_request_to_another_host_raises_before_anything_is_sent(serve, call_api, respond):
    server, other = serve(respond()), serve(respond())
    api = call_api(signs=lambda url: url.startswith(server.url()))
    with pytest.raises(ConfigurationError) as caught:
        api.request("GET", other.url("/?next=CANARY"))
    assert "CANARY" not in str(caught.value)
    assert other.accepted == 0


@pytest.mark.parametrize("token", ["a\nb", "a\r\nX: 1", "a\x00b", "", "a b"])
def test_f_26_a_token_that_fits_in_no_header_is_never_sent(serve, call_api, respond, token):
    server = serve(respond())
    with pytest.raises(ConfigurationError) as caught:
        call_api(token).request("GET", server.url())
    assert repr(token) not in str(caught.value)
    assert server.received == []


def test_what_a_call_must_carry_besides_follows_the_token_and_leaves_the_query_as_it_is(serve, call_api, by_token):
    server = serve(by_token("two"))
    api = call_api("one", "two", params=lambda token: {"proof": f"of-{token.reveal()}"})
    assert api.request("GET", server.url("/me?a=1&a=2")).status_code == 200
    assert [received.path for received in server.received] == ["/me?a=1&a=2&proof=of-one", "/me?a=1&a=2&proof=of-two"]


# --- 401 ------------------------------------------------------------------------------------------


def test_after_a_401_another_token_is_tried_once(serve, call_api, by_token):
    server = serve(by_token("two"))
    api = call_api("one", "two")
    response = api.request("POST", server.url(), json={"a": 1})
    assert (response.status_code, response.content) == (200, b'{"a":1}')
    assert authorizations(server) == ["Bearer one", "Bearer two"]
    assert [token and token.generation for token in api.source.rejected] == [None, 1]


def test_a_second_401_is_the_answer(serve, call_api, by_token):
    server = serve(by_token("three"))
    assert call_api("one", "two", "three").request("GET", server.url()).status_code == 401
    assert authorizations(server) == ["Bearer one", "Bearer two"]


def test_the_same_token_is_not_tried_again(serve, call_api, by_token):
    server = serve(by_token("two"))
    api = call_api("one")
    assert api.request("GET", server.url()).status_code == 401
    assert len(server.received) == 1
    assert len(api.source.rejected) == 2


def test_a_403_asks_for_no_other_token(serve, call_api, respond):
    api = call_api("one", "two")
    assert api.request("GET", serve(respond(403)).url()).status_code == 403
    assert api.source.rejected == [None]


def test_a_body_that_can_be_read_only_once_is_not_sent_again(serve, call_api, by_token):
    server = serve(by_token("two"))
    api = call_api("one", "two")

    def parts():
        yield b"once"

    async def async_parts():
        yield b"once"

    content = parts() if api.driver.runner is None else async_parts()
    response = api.request("POST", server.url(), content=content, headers={"Content-Length": "4"})
    assert response.status_code == 401
    assert len(server.received) == 1
    assert api.source.rejected == [None]


# --- redirects ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_r_22_a_cross_host_redirect_never_carries_the_token(serve, call_api, respond, status):
    other = serve(respond(200, b"other"))
    server = serve(lambda sock, _: sock.sendall(respond(status, b"", f"Location: {other.url('/stolen')}")))
    response = call_api().request("GET", server.url(), follow_redirects=True)
    assert response.content == b"other"
    assert authorizations(server) == ["Bearer CANARY-token"]
    assert authorizations(other) == [None]


def test_r_22_a_redirect_to_another_name_of_the_same_server_never_carries_the_token(serve, call_api, respond):
    def handler(sock, received):
        first = received.headers["host"].startswith("127.")
        sock.sendall(respond(307, b"", f"Location: {server.url(host='localhost')}") if first else respond())

    server = serve(handler)
    api = call_api(resolve=lambda host, port: ("127.0.0.1",))
    api.request("GET", server.url(), follow_redirects=True)
    assert authorizations(server) == ["Bearer CANARY-token", None]


def test_r_22_a_downgrade_to_http_never_carries_the_token(serve, call_api, respond):
    plain = serve(respond())
    server = serve(lambda sock, _: sock.sendall(respond(308, b"", f"Location: {plain.url()}")), tls=True)
    call_api().request("GET", server.url(), follow_redirects=True)
    assert authorizations(plain) == [None]


def test_r_22_a_401_of_a_host_that_was_redirected_to_asks_for_no_other_token(serve, call_api, respond):
    other = serve(respond(401))
    server = serve(lambda sock, _: sock.sendall(respond(302, b"", f"Location: {other.url()}")))
    api = call_api("one", "two", signs=lambda url: url.startswith(server.url()))
    assert api.request("GET", server.url(), follow_redirects=True).status_code == 401
    assert api.source.rejected == [None]
    assert authorizations(other) == [None]


def test_a_redirect_within_the_api_keeps_the_token(serve, call_api, respond):
    def handler(sock, received):
        sock.sendall(respond(302, b"", "Location: /second") if received.path == "/" else respond())

    server = serve(handler)
    call_api().request("GET", server.url(), follow_redirects=True)
    assert authorizations(server) == ["Bearer CANARY-token"] * 2


def test_a_redirect_is_not_followed_unless_asked(serve, call_api, respond):
    server = serve(respond(302, b"", "Location: /second"))
    assert call_api().request("GET", server.url()).status_code == 302
    assert len(server.received) == 1


# --- colours --------------------------------------------------------------------------------------


class NoSource:
    def token(self, *, rejected=None):
        raise AssertionError("never asked")


def test_the_blocking_auth_refuses_an_async_client():
    async def use():
        async with httpx.AsyncClient(auth=BearerAuth(NoSource(), lambda url: True), trust_env=False) as client:
            await client.get("http://127.0.0.1:9/")

    with pytest.raises(TypeError, match="AsyncBearerAuth"):
        asyncio.run(use())


def test_the_async_auth_refuses_a_blocking_client():
    auth = AsyncBearerAuth(NoSource(), lambda url: True)  # type: ignore[arg-type]
    with httpx.Client(auth=auth, trust_env=False) as client, pytest.raises(TypeError, match="BearerAuth"):
        client.get("http://127.0.0.1:9/")
