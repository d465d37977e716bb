from __future__ import annotations

import re
import signal
import socket

import httpx
import pytest

from socialvault import LocalKeyring, Vault
from socialvault.cli import emulator
from socialvault.sandbox import Sandbox
from socialvault.sandbox.browser import Decision, consent


def read_until(process, text: str) -> str:
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return read
    raise AssertionError(f"it ended before it said {text!r}: {read}{process.stderr.read()}")


def test_another_process_can_use_it_until_ctrl_c(spawn):
    process = spawn("sandbox")
    said = read_until(process, "Sandbox(base_url=")
    [url] = re.findall(r"^emulated providers at (http://127\.0\.0\.1:\d+);", said, re.MULTILINE)
    assert f"token_url      {url}/x/2/oauth2/token" in said
    assert "client_id      sandbox-x" in said
    assert f"issuer         {url}/oidc" in said
    provider, keys = Sandbox(base_url=url).provider("x"), LocalKeyring([LocalKeyring.generate()])
    with Vault(providers=[provider], store=":memory:", keys=keys, redirect_uri="https://app.example/cb") as vault:
        login = vault.begin("x", owner="u")
        params = consent(login.url, Decision())
        cookies = {login.cookie.name: login.cookie.value}
        done = vault.complete(params, provider="x", owner="u", cookies=cookies)
        assert done.connection.name == "Ada Lovelace"
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert process.stderr.read() == ""
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_it_serves_where_it_is_told(invoke, monkeypatch):
    answers = []
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(
        emulator, "until_interrupted", lambda: answers.append(httpx.get(f"http://127.0.0.1:{port}/").status_code)
    )
    ended = invoke("sandbox", "--port", port)
    assert ended.exit_code == 0
    assert answers == [200]
    assert f"http://127.0.0.1:{port}/linkedin/oauth/v2/authorization" in ended.stdout


def test_a_port_in_use_is_told(invoke):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = invoke("sandbox", "--port", taken.getsockname()[1])
    assert ended.exit_code == 78
    assert ended.stderr.startswith("error: the sandbox can't serve on 127.0.0.1:")
