"""A sandbox in a process of its own: one judge for every process, ended by nobody but its own starter's end."""

import base64
import http.client
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from socialvault import LocalKeyring, Vault
from socialvault.exceptions import ConfigurationError
from socialvault.sandbox import FacebookSettings, RemoteSandbox, token_fingerprint

from .conftest import App


@pytest.fixture(scope="module")
def running():
    with RemoteSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def remote(running):
    running.reset()
    return running


@pytest.fixture
def x(remote, http):
    return App(remote, http, "x")


def ended(pid):
    """Wait until a process is gone, or a zombie that nobody fetched."""
    for _ in range(500):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


# --- it is the same sandbox -------------------------------------------------------------------------


def test_a_flow_and_a_refresh_go_to_the_other_process_and_into_its_log(remote, x):
    assert remote.pid != os.getpid()
    tokens = x.connect()
    assert x.refresh(tokens["refresh_token"]).status_code == 200
    assert [entry.outcome for entry in remote.log] == ["shown", "granted", "issued", "refreshed"]
    assert remote.log.count(outcome="refreshed", presented=token_fingerprint(tokens["refresh_token"])) == 1
    assert [entry.outcome for entry in remote.log.about(tokens["refresh_token"])] == ["issued", "refreshed"]
    assert (len(remote.log), remote.log[-1].outcome, len(remote.log[1:3])) == (4, "refreshed", 2)
    assert set(tokens.values()) & remote.issued_tokens() == {tokens["access_token"], tokens["refresh_token"]}
    assert len(remote.live_tokens("x")) == 3
    remote.log.clear()
    assert len(remote.log) == 0


def test_settings_and_faults_reach_it(remote, x):
    assert isinstance(remote.settings("facebook", pages=3), FacebookSettings)
    remote.settings("x", reuse="refused")
    remote.fault("x", "token", status=503, retry_after=7, times=None)
    assert x.refresh("anything").headers["retry-after"] == "7"
    remote.clear_faults()
    assert x.refresh("anything").status_code == 400
    remote.reset()
    assert remote.settings("x").reuse == "ends_grant"


def test_it_issues_registers_changes_secrets_and_ends_grants(remote, x):
    issued = remote.issue_many("x", [f"user-{number}" for number in range(500)])
    assert len({one.subject for one in issued}) == 500
    assert x.refresh(issued[3].refresh_token.reveal()).status_code == 200
    x.secret = remote.change_secret("x", overlap=False).secret.reveal()
    assert x.refresh(issued[4].refresh_token.reveal()).status_code == 200
    assert (remote.revoke_grant("x", user="user-5"), remote.change_password("x", user="user-6")) == (1, 1)
    assert remote.live_tokens("x", issued[5].grant_id) == frozenset()
    assert remote.issue("facebook", scopes=["public_profile"]).refresh_token is None
    assert remote.signed_request("facebook").count(".") == 1
    assert remote.change_signing_key("oidc") == "oidc-key-1"


def test_its_clock_moves_for_everybody(remote, x):
    remote.clock.freeze()
    before = remote.clock.now()
    remote.clock.advance(timedelta(days=400))
    assert remote.clock.now() - before == timedelta(days=400)
    x.connect()
    assert remote.log[-1].at == remote.clock.now()
    remote.clock.reset()
    assert abs(remote.clock.now_seconds() - time.time()) < 5


def test_what_it_refuses_is_refused_here(remote):
    with pytest.raises(ConfigurationError, match="nonsense"):
        remote.settings("x", nonsense=1)
    with pytest.raises(ConfigurationError, match="no endpoint"):
        remote.fault("x", "nonsense", status=500)
    with pytest.raises(IndexError):
        remote.log[0]
    with pytest.raises(TypeError):
        remote.fault("x", "token", nonsense=1)
    assert remote.log.count() == 0


def test_a_vault_renews_against_it(remote):
    vault = Vault(
        providers=[remote.provider("x")],
        store=":memory:",
        keys=LocalKeyring([LocalKeyring.generate()]),
        redirect_uri="https://app.example/{provider}/callback",
        clock=remote.clock,
    )
    with vault:
        login = vault.begin("x", owner="u")
        cookies = {login.cookie.name: login.cookie.value}
        done = vault.complete(remote.authorize(login.url), provider="x", owner="u", cookies=cookies)
        first = vault.token(done.connection.id, owner="u").reveal()
        remote.clock.advance(timedelta(hours=3))
        assert vault.token(done.connection.id, owner="u").reveal() != first
    assert remote.log.count(outcome="refreshed") == 1


# --- many processes ---------------------------------------------------------------------------------


def issue_in_forks(remote):
    """Return the exit codes of three children that each issue a grant."""
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            try:
                remote.issue("x", user=f"user-{number}")
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    return [os.waitpid(child, 0)[1] for child in children]


def issue_in_spawned(remote):
    context = multiprocessing.get_context("spawn")
    children = [
        context.Process(target=RemoteSandbox.issue, args=(remote, "x"), kwargs={"user": f"user-{number}"})
        for number in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
    return [child.exitcode for child in children]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("issue", [issue_in_forks, issue_in_spawned])
def test_forked_and_spawned_processes_steer_the_same_sandbox(remote, x, issue):
    assert remote.log.count() == 0  # the connection is open before it is inherited
    assert issue(remote) == [0, 0, 0]
    assert len(remote.live_tokens("x")) == 6
    assert [remote.revoke_grant("x", user=f"user-{number}") for number in range(4)] == [1, 1, 1, 0]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_process_never_reads_its_parents_answers(remote):
    assert remote.log.count() == 0
    child = os.fork()
    if child == 0:
        right = all(remote.settings("x").grant_error == "invalid_request" for _ in range(500))
        os._exit(0 if right else 1)
    assert all(remote.log.count() == 0 for _ in range(500))
    assert os.waitpid(child, 0)[1] == 0


def test_another_program_finds_it_by_address_and_key(remote):
    probe = (
        "import sys; from socialvault.sandbox import RemoteSandbox\n"
        f"sandbox = RemoteSandbox.at({remote.address!r}, bytes.fromhex(sys.stdin.read()))\n"
        "sandbox.issue('x'); print(sandbox.base_url); sandbox.stop()"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], input=remote.authkey.hex(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == remote.base_url
    assert len(remote.live_tokens("x")) == 2


def test_who_has_not_the_key_steers_nothing(remote):
    with pytest.raises(ConfigurationError, match="does not accept this authkey"):
        RemoteSandbox.at(remote.address, b"guessed")
    assert remote.authkey not in repr(remote).encode()


def test_who_stops_in_the_middle_of_a_handshake_holds_nobody_up(remote):
    with socket.create_connection(remote.address):
        assert pickle.loads(pickle.dumps(remote)).log.count() == 0


def test_threads_ask_at_once(remote):
    with ThreadPoolExecutor(16) as threads:
        issued = list(threads.map(lambda number: remote.issue("x", user=f"u{number}"), range(200)))
    assert len({one.grant_id for one in issued}) == 200


def test_it_answers_several_hundred_token_requests_a_second(remote, x):
    tokens = [one.refresh_token.reveal() for one in remote.issue_many("x", [f"u{n}" for n in range(1000)])]
    headers = {"Authorization": f"Basic {base64.b64encode(f'{x.client_id}:{x.secret}'.encode()).decode()}"}
    headers["Content-Type"] = "application/x-www-form-urlencoded"

    def refresh(part):
        line = http.client.HTTPConnection(urlsplit(remote.base_url).netloc, timeout=20)
        for token in part:
            line.request("POST", "/x/2/oauth2/token", f"grant_type=refresh_token&refresh_token={token}", headers)
            answer = line.getresponse()
            answer.read()
            assert answer.status == 200
        line.close()

    started = time.perf_counter()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(refresh, [tokens[n::4] for n in range(4)]))
    took = time.perf_counter() - started
    assert remote.log.count(outcome="refreshed") == 1000
    assert 1000 / took > 200  # about 1000 a second on two idle cores, with the clients beside it


# --- how it ends ------------------------------------------------------------------------------------

_PARENT = """
import os, sys, time
from socialvault.sandbox import RemoteSandbox
sandbox = RemoteSandbox().start()
if os.fork() == 0:  # keeps every pipe of its parent open
    time.sleep(20)
    os._exit(0)
print(sandbox.pid, flush=True)
time.sleep(20)
"""


def test_it_dies_with_a_killed_parent_though_a_forked_sibling_lives():
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _PARENT], stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        pid = int(parent.stdout.readline())
        assert not ended_now(pid)
        parent.kill()
        assert ended(pid)
        os.killpg(parent.pid, signal.SIGKILL)  # the sibling


def ended_now(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_stopping_ends_it_and_whoever_asks_then_is_told():
    with RemoteSandbox() as sandbox:
        assert sandbox.start() is sandbox
        pid, copy = sandbox.pid, pickle.loads(pickle.dumps(sandbox))
        copy.stop()
        copy = pickle.loads(pickle.dumps(sandbox))
        assert copy.log.count() == 0
    assert ended(pid)
    with pytest.raises(ConfigurationError, match="does not answer"):
        copy.log.count()
    with pytest.raises(ConfigurationError, match="is not running"):
        sandbox.log.count()
    sandbox.stop()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_child_that_leaves_the_block_does_not_end_it(remote):
    child = os.fork()
    if child == 0:
        remote.stop()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert remote.log.count() == 0
    assert not ended_now(remote.pid)


def test_signals_to_the_group_of_the_tested_do_not_reach_it(remote):
    assert os.getpgid(remote.pid) != os.getpgid(0)


def test_a_taken_port_is_named_and_leaves_no_process():
    threads = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=str(port)):
            RemoteSandbox(port=port).start()
    assert threading.active_count() == threads
