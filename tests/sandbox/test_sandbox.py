"""The sandbox as a thing to start, stop, configure and point providers at."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.sandbox import FacebookSettings, LinkedInSettings, Sandbox, __all__


def test_the_face_is_sorted_complete_and_lazy():
    import socialvault.sandbox as face

    assert sorted(__all__) == list(__all__)
    assert all(hasattr(face, name) for name in __all__)
    assert set(__all__) == set(dir(face))
    with pytest.raises(AttributeError, match="nonsense"):
        face.nonsense  # noqa: B018


def test_a_sandbox_starts_and_stops_fast():
    started = time.perf_counter()
    with Sandbox() as sandbox:
        assert time.perf_counter() - started < 0.5
        assert httpx.get(sandbox.base_url, trust_env=False).status_code == 200
        assert sandbox.start() is sandbox
        started = time.perf_counter()
    assert time.perf_counter() - started < 0.5
    with pytest.raises(httpx.ConnectError):
        httpx.get(sandbox.base_url, trust_env=False)
    sandbox.stop()


def test_a_stopped_sandbox_can_be_started_again_and_remembers(x, http):
    sandbox = Sandbox()
    for _ in range(2):
        with sandbox:
            http.get(f"{sandbox.base_url}/oidc/jwks")
    assert sandbox.log.count(endpoint="jwks") == 2


def test_stopping_cuts_off_a_request_that_hangs():
    failures = []

    def call(url):
        try:
            httpx.post(url, timeout=10, trust_env=False)
        except httpx.RemoteProtocolError as error:
            failures.append(error)

    with Sandbox() as sandbox:
        sandbox.fault("x", "token", hang="before_commit")
        caller = threading.Thread(target=call, args=[sandbox.url("x", "/2/oauth2/token")])
        caller.start()
        while not len(sandbox.log):
            time.sleep(0.005)
    caller.join(5)
    assert len(failures) == 1


def test_a_port_can_be_chosen_and_a_taken_one_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=str(port)):
            Sandbox(port=port).start()
    with Sandbox(port=port) as sandbox:
        assert sandbox.base_url == f"http://127.0.0.1:{port}"


def test_a_public_address_is_used_in_everything_the_server_says():
    with Sandbox(base_url="https://sandbox.example/") as sandbox:
        assert sandbox.url("x", "/2/users/me") == "https://sandbox.example/x/2/users/me"


async def test_the_plain_application_serves_the_same_without_a_server():
    sandbox = Sandbox(base_url="http://sandbox.test")
    transport = httpx.ASGITransport(app=sandbox.app)
    async with httpx.AsyncClient(transport=transport, base_url=sandbox.base_url) as client:
        document = (await client.get("/oidc/.well-known/openid-configuration")).json()
        assert document["issuer"] == "http://sandbox.test/oidc"
        assert (await client.get("/nowhere")).status_code == 404
        assert (await client.get("/x/2/oauth2/token")).status_code == 405
        sandbox.fault("oidc", "jwks", drop="before_commit")
        with pytest.raises(ConnectionResetError):
            await client.get("/oidc/jwks")
    with pytest.raises(ConfigurationError, match="needs the server"):
        sandbox.authorize("http://sandbox.test/oidc/authorize")


def test_reset_leaves_nothing_but_the_signing_keys(oidc, sandbox):
    tokens = oidc.connect()
    sandbox.settings("x", reuse_grace=timedelta(seconds=30))
    sandbox.fault("oidc", "token", status=500, times=None)
    sandbox.clock.advance(timedelta(days=1))
    sandbox.register("x", client_id="mine")
    keys = oidc.get("/jwks").json()
    sandbox.reset()
    assert len(sandbox.log) == 0
    assert sandbox.issued_tokens() == frozenset()
    assert sandbox.settings("x").reuse_grace == timedelta(0)
    assert abs(sandbox.clock.now_seconds() - time.time()) < 1
    assert oidc.get("/jwks").json() == keys
    assert oidc.refresh(tokens["refresh_token"]).json()["error"] == "invalid_grant"
    assert oidc.connect()["access_token"]


def test_settings_are_typed_per_provider_and_checked(sandbox):
    assert isinstance(sandbox.settings("facebook", pages=3), FacebookSettings)
    assert sandbox.settings("facebook").pages == 3
    assert isinstance(sandbox.settings("linkedin"), LinkedInSettings)
    with pytest.raises(ConfigurationError, match="pages"):
        sandbox.settings("x", pages=3)
    with pytest.raises(ConfigurationError, match="myspace"):
        sandbox.settings("myspace")


def test_credentials_are_the_same_in_every_run(sandbox):
    client, again = sandbox.register("x"), Sandbox().register("x")
    assert (client.id, client.secret.reveal()) == (again.id, again.secret.reveal())
    assert client.secret.reveal() not in repr(client)
    assert sandbox.register("x", public=True).secret is None
    assert sandbox.register("linkedin").refresh_tokens is False
    assert sandbox.register("linkedin", refresh_tokens=True).id == "sandbox-linkedin-partner"


def test_headless_consent_refuses_what_is_no_sandbox(sandbox):
    for url in ("https://x.com/i/oauth2/authorize", "nonsense"):
        with pytest.raises(ConfigurationError, match="does not lead to a sandbox"):
            sandbox.authorize(url)


def test_200_requests_at_once(x, sandbox):
    token = x.connect()["access_token"]
    url = sandbox.url("x", "/2/users/me")

    request = f"GET {urlsplit(url).path} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
        writer.write(request)
        status = await reader.readline()
        writer.close()
        return status

    async def all_at_once():
        return await asyncio.gather(*[one() for _ in range(200)])

    assert set(asyncio.run(all_at_once())) == {b"HTTP/1.1 200 OK\r\n"}
    assert sandbox.log.count(endpoint="userinfo", outcome="answered") == 200


def test_of_50_racing_refreshes_one_wins_and_the_grant_dies(x, sandbox):
    tokens = x.connect()
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: x.refresh(tokens["refresh_token"]).status_code, range(50)))
    assert answers.count(200) == sandbox.log.count(outcome="refreshed") == 1
    assert sandbox.log.count(outcome="reuse_detected") == 1
    assert sandbox.live_tokens("x") == frozenset()


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_a_missing_extra_says_what_to_install(missing):
    probe = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from socialvault.sandbox import Sandbox\n"
        "from socialvault.exceptions import ConfigurationError\n"
        "try: Sandbox().start()\n"
        "except ConfigurationError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "pip install 'socialvault[demo]'" in done.stdout


# --- notices --------------------------------------------------------------------------------------


def opened_notice(posted, secret):
    signature, encoded = posted.split(".")
    expected = hmac.new(secret.encode(), encoded.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "=") == expected
    return json.loads(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))


def test_facebook_signs_a_notice_for_the_application_about_the_person_as_it_knows_them(sandbox, facebook):
    me = facebook.graph("/me", facebook.connect()["access_token"]).json()["id"]
    sandbox.clock.freeze()
    notice = opened_notice(sandbox.signed_request("facebook"), facebook.secret)
    assert notice == {
        "algorithm": "HMAC-SHA256", "issued_at": int(sandbox.clock.now().timestamp()), "user_id": me,
    }  # fmt: skip
    assert opened_notice(sandbox.signed_request("facebook", user="grace"), facebook.secret)["user_id"] != me


def test_another_applications_notice_is_signed_and_named_for_it(sandbox):
    client = sandbox.register("facebook", client_id="another-app")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    posted = sandbox.signed_request("facebook", client_id=client.id, issued_at=at)
    notice = opened_notice(posted, client.secret.reveal())
    assert notice["issued_at"] == int(at.timestamp())
    usual = sandbox.register("facebook")
    assert notice["user_id"] != opened_notice(sandbox.signed_request("facebook"), usual.secret.reveal())["user_id"]


def test_nothing_is_signed_by_who_signs_nothing_or_for_who_has_no_secret(sandbox):
    for provider in ("x", "linkedin", "instagram", "oidc"):
        with pytest.raises(ConfigurationError, match="sends no signed requests"):
            sandbox.signed_request(provider)
    with pytest.raises(ConfigurationError, match="register it first"):
        sandbox.signed_request("facebook", client_id="nobody")
    with pytest.raises(ConfigurationError, match="has no secret"):
        sandbox.signed_request("facebook", client_id="sandbox-facebook-public")
