from __future__ import annotations

import datetime as dt
import gzip
import os
import socket
import struct
import threading
import time
import tracemalloc

import pytest

from socialvault.exceptions import ConfigurationError, TransportError
from socialvault.protocol.messages import HttpRequest
from socialvault.transports.httpx import default_context


def fails(driver, request) -> TransportError:
    with pytest.raises(TransportError) as caught:
        driver.send(request)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    return caught.value


def elapsed_seconds(started: float) -> float:
    return time.monotonic() - started


def get(url: str, **fields) -> HttpRequest:
    return HttpRequest("GET", url, **fields)


# --- what is sent, and what comes back -----------------------------------------------------------


def test_a_plain_loopback_request_and_its_answer(serve, drive, respond):
    server = serve(respond(201, b'{"a":1}', "X-Thing: One", "x-thing: Two", "Content-Type: application/json"))
    request = HttpRequest("POST", server.url("/token?x=1"), headers=(("Accept", "a/b"),), body=b"grant=1")
    response = drive().send(request)
    assert response.status == 201
    assert response.body == b'{"a":1}'
    assert response.headers["x-thing"] == "One, Two"
    assert response.headers["content-type"] == "application/json"
    assert response.sent_at == dt.datetime(2023, 11, 14, 22, 13, 20, 250_000, tzinfo=dt.UTC)
    [received] = server.received
    assert (received.method, received.path, received.body) == ("POST", "/token?x=1", b"grant=1")
    assert received.headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "a/b",
        "accept-encoding": "identity",
        "user-agent": "socialvault",
        "content-length": "7",
    }


def test_a_request_without_a_body_announces_none_and_keeps_its_user_agent(serve, drive, respond):
    server = serve(respond())
    drive().send(get(server.url(), headers=(("User-Agent", "app/1"),)))
    [received] = server.received
    assert "content-length" not in received.headers
    assert received.headers["user-agent"] == "app/1"


def test_an_empty_post_announces_its_length(serve, drive, respond):
    server = serve(respond())
    drive().send(HttpRequest("POST", server.url()))
    assert server.received[0].headers["content-length"] == "0"


def test_https_with_a_trusted_certificate(serve, drive, respond):
    server = serve(respond(), tls=True)
    assert drive().send(get(server.url())).status == 200


def test_an_ipv6_host_is_bracketed_in_the_host_header(drive, respond):
    received = []

    def serve_once():
        sock, _ = listener.accept()
        with sock:
            received.append(sock.recv(4096))
            sock.sendall(respond())

    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this host has no IPv6")
    with listener:
        thread = threading.Thread(target=serve_once)
        thread.start()
        port = listener.getsockname()[1]
        assert drive().send(get(f"http://[::1]:{port}/")).status == 200
        thread.join()
    assert f"Host: [::1]:{port}\r\n".encode() in received[0]


def test_connections_are_kept_and_reused(serve, drive, respond):
    server = serve(respond())
    driver = drive()
    for _ in range(3):
        driver.send(get(server.url()))
    assert len(server.received) == 3
    assert server.accepted == 1


def test_an_idle_connection_is_not_kept_past_its_time(serve, drive, respond):
    server = serve(respond())
    driver = drive(idle_timeout=dt.timedelta(milliseconds=1))
    driver.send(get(server.url()))
    time.sleep(0.01)
    driver.send(get(server.url()))
    assert server.accepted == 2


def test_a_closed_transport_opens_new_connections(serve, drive, respond):
    server = serve(respond())
    driver = drive()
    driver.send(get(server.url()))
    if driver.runner is None:
        driver.transport.close()
    else:
        driver.runner.run(driver.transport.aclose())
    driver.send(get(server.url()))
    assert server.accepted == 2


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/",
        "/path",
        "http://",
        "http://a b/",
        "http://user@h/",
        "http://:p@h/",
        "http://h:99999/",
        "http://h\\@e/",
        "http://h/\n",
        "http://é/",
        "http://[::1/",
        "http://h%41/",
    ],
)
def test_a_url_that_is_none_is_a_configuration_error_without_its_query(drive, url):
    with pytest.raises(ConfigurationError) as caught:
        drive().send(get(f"{url}?secret=CANARY"))
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(("Authorization", "Bearer CANARY\r\nX-Evil: 1"), id="newline"),
        pytest.param(("Authorization", "Bearer CANARY\u00e9"), id="non_ascii"),
        pytest.param(("Authorization", "Bearer CANARY "), id="trailing_space"),
        pytest.param(("X Y", "CANARY"), id="name"),
        pytest.param(("Host", "CANARY"), id="host"),
        pytest.param(("transfer-encoding", "CANARY"), id="framing"),
    ],
)
def test_f_26_a_header_that_could_split_the_request_is_never_sent(serve, drive, respond, header):
    server = serve(respond())
    with pytest.raises(ConfigurationError) as caught:
        drive().send(get(server.url(), headers=(header,)))
    assert header[0] in str(caught.value)
    assert "CANARY" not in str(caught.value)
    assert server.received == []


# --- one request, one answer, no detours ---------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("same_host", [True, False], ids=["same_host", "cross_host"])
def test_o_45_f_27_a_redirect_is_an_answer_and_is_not_followed(serve, drive, respond, status, same_host):
    other = serve(respond())
    server = serve(lambda sock, _: sock.sendall(respond(status, b"", f"Location: {target}")))
    target = server.url("/next") if same_host else other.url()
    response = drive().send(HttpRequest("POST", server.url(), body=b"refresh_token=1"))
    assert response.status == status
    assert response.headers["location"] == target
    assert len(server.received) == 1
    assert other.received == []


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_o_46_proxies_and_netrc_of_the_environment_are_ignored(serve, drive, respond, monkeypatch, tmp_path, tls):
    proxy = serve(respond(502))
    server = serve(respond(), tls=tls)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url())
        monkeypatch.setenv(name.lower(), proxy.url())
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password CANARY\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert drive().send(get(server.url())).status == 200
    assert proxy.accepted == 0
    assert "authorization" not in server.received[0].headers


def test_a_server_error_is_an_answer_and_is_not_retried(serve, drive, respond):
    server = serve(respond(503, b"", "Retry-After: 7"))
    response = drive().send(get(server.url()))
    assert (response.status, response.headers["retry-after"]) == (503, "7")
    assert len(server.received) == 1


# --- failures, and whether anything was sent -----------------------------------------------------


def test_f_20_a_refused_connection_sent_nothing(drive):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = fails(drive(), get(f"http://127.0.0.1:{port}/path?q=CANARY"))
    assert error.request_sent is False
    assert str(error) == "127.0.0.1: no connection"


def test_f_20_a_name_without_an_address_sent_nothing(drive):
    def resolve(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    error = fails(drive(resolve=resolve), get("http://nowhere.example/"))
    assert error.request_sent is False
    assert str(error) == "nowhere.example: the name has no address"


def test_f_20_a_name_with_no_answer_at_all_sent_nothing(drive):
    error = fails(drive(resolve=lambda host, port: ()), get("http://nowhere.example/"))
    assert (error.request_sent, str(error)) == (False, "nowhere.example: the name has no address")


def test_f_20_a_resolver_that_breaks_sent_nothing(drive):
    error = fails(drive(resolve=lambda host, port: 1 / 0), get("http://nowhere.example/"))
    assert (error.request_sent, str(error)) == (False, "nowhere.example: ZeroDivisionError")


def test_f_20_an_untrusted_certificate_sent_nothing(serve, drive, respond):
    server = serve(respond(), tls=True)
    error = fails(drive(verify=None), get(server.url()))
    assert error.request_sent is False
    assert str(error) == "127.0.0.1: the TLS handshake failed"
    assert server.received == []


def test_f_20_a_certificate_for_another_name_sent_nothing(serve, drive, respond):
    server = serve(respond(), tls=True)
    driver = drive(resolve=lambda host, port: ("127.0.0.1",))
    error = fails(driver, get(server.url(host="other.example")))
    assert (error.request_sent, str(error)) == (False, "other.example: the TLS handshake failed")
    assert server.received == []


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionResetError  # the server closes the socket, which resets it


def cut_off_body(sock, _):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf CANARY")
    sock.shutdown(socket.SHUT_WR)


def reset_mid_body(sock, _):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf CANARY")
    time.sleep(0.02)
    reset(sock)


BROKEN_ANSWERS = {
    "reset_before_the_answer": lambda sock, _: reset(sock),
    "closed_before_the_answer": lambda sock, _: sock.shutdown(socket.SHUT_RDWR),
    "cut_off_headers": lambda sock, _: (sock.sendall(b"HTTP/1.1 200 OK\r\nX: CANARY"), sock.shutdown(socket.SHUT_WR)),
    "cut_off_body": cut_off_body,
    "reset_mid_body": reset_mid_body,
    "not_http": lambda sock, _: sock.sendall(b"CANARY is not HTTP\r\n\r\n"),
    "illegal_header": lambda sock, _: sock.sendall(b"HTTP/1.1 200 OK\r\nCANARY\r\n\r\n"),
    "endless_headers": lambda sock, _: sock.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: CANARY\r\n" * 20_000 + b"\r\n"),
}


@pytest.mark.parametrize("name", BROKEN_ANSWERS)
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_f_20_a_broken_answer_may_have_been_to_a_request_that_was_sent(serve, drive, name, tls):
    server = serve(BROKEN_ANSWERS[name], tls=tls)
    error = fails(drive(), HttpRequest("POST", server.url(), body=b"x=1"))
    assert error.request_sent is True
    assert "CANARY" not in str(error)
    assert str(error).startswith("127.0.0.1: ")
    assert len(server.received) == 1


def test_f_20_a_reset_while_the_request_is_written_may_have_been_sent(drive):
    def hang_up() -> None:
        sock, _ = listener.accept()
        sock.recv(1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        error = fails(drive(), HttpRequest("POST", url, body=bytes(30_000_000)))
        thread.join()
    assert error.request_sent is True


def test_a_name_is_looked_up_by_the_system(serve, drive, respond):
    server = serve(respond())
    assert drive().send(get(server.url(host="localhost"))).status == 200


def test_a_second_address_is_tried_when_the_first_one_refuses(serve, drive, respond):
    server = serve(respond())
    driver = drive(resolve=lambda host, port: ("127.0.0.2", "127.0.0.1"))
    assert driver.send(get(server.url(host="two.example"))).status == 200


# --- the total deadline --------------------------------------------------------------------------


def drip(server, sock, head: bytes, piece: bytes) -> None:
    sock.sendall(head)
    while not server.pause(0.02):
        sock.sendall(piece)


DRIPS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "interim_answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "silence": (b"", b""),
}


@pytest.mark.parametrize("name", DRIPS)
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_f_22_a_slow_answer_ends_at_the_deadline(serve, drive, name, tls):
    server = serve(lambda sock, _: drip(server, sock, *DRIPS[name]), tls=tls)
    driver = drive(deadline_seconds=0.3)
    started = time.monotonic()
    error = fails(driver, get(server.url()))
    assert 0.25 < elapsed_seconds(started) < 0.8
    assert (error.request_sent, str(error)) == (True, "127.0.0.1: no complete answer in time")


def test_f_22_a_name_server_that_hangs_ends_at_the_deadline(drive):
    release = threading.Event()
    driver = drive(deadline_seconds=0.2, resolve=lambda host, port: release.wait(5) and ())
    started = time.monotonic()
    error = fails(driver, get("http://slow.example/"))
    assert elapsed_seconds(started) < 0.6
    assert error.request_sent is False
    release.set()


def test_f_22_a_name_server_that_hangs_ends_at_the_connect_timeout(drive):
    release = threading.Event()
    driver = drive(connect_timeout=dt.timedelta(seconds=0.1), resolve=lambda host, port: release.wait(5) and ())
    started = time.monotonic()
    error = fails(driver, get("http://slow.example/"))
    assert elapsed_seconds(started) < 0.6
    assert (error.request_sent, str(error)) == (False, "slow.example: connecting took too long")
    release.set()


def test_f_22_a_tls_handshake_that_hangs_ends_at_the_connect_timeout(drive):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        driver = drive(connect_timeout=dt.timedelta(seconds=0.1))
        started = time.monotonic()
        error = fails(driver, get(f"https://127.0.0.1:{listener.getsockname()[1]}/"))
        assert elapsed_seconds(started) < 0.6
    assert (error.request_sent, str(error)) == (False, "127.0.0.1: connecting took too long")


def test_f_22_a_host_that_drops_packets_ends_at_the_connect_timeout(drive):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:  # a full backlog drops what else comes
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        driver = drive(connect_timeout=dt.timedelta(seconds=0.1))
        started = time.monotonic()
        error = fails(driver, get(f"http://127.0.0.1:{listener.getsockname()[1]}/"))
        assert elapsed_seconds(started) < 0.6
        for filler in fillers:
            filler.close()
    assert (error.request_sent, str(error)) == (False, "127.0.0.1: connecting took too long")


def sip(listener: socket.socket, stopping: threading.Event) -> None:
    sock, _ = listener.accept()
    with sock:
        while not stopping.wait(0.02) and sock.recv(256 * 1024):
            pass


@pytest.mark.parametrize("reads", [False, True], ids=["not_at_all", "slowly"])
def test_f_22_a_server_that_hardly_reads_ends_at_the_deadline(drive, reads):
    stopping = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = threading.Thread(target=sip, args=(listener, stopping))
        if reads:
            reader.start()
        driver = drive(deadline_seconds=0.3)
        started = time.monotonic()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        error = fails(driver, HttpRequest("POST", url, body=bytes(30_000_000)))
        assert elapsed_seconds(started) < 1
        stopping.set()
        if reads:
            reader.join()
    assert error.request_sent is True


def test_f_22_waiting_for_a_free_connection_counts(serve, drive, respond):
    server = serve(respond())
    driver = drive(deadline_seconds=0.2, max_connections=1)
    driver.send(get(server.url()))
    [lane] = driver.transport._lanes.values()
    taken = lane.slots.acquire()
    if driver.runner is not None:
        driver.runner.run(taken)
    started = time.monotonic()
    error = fails(driver, get(server.url()))
    assert 0.15 < elapsed_seconds(started) < 0.8
    assert error.request_sent is False
    assert len(server.received) == 1


# --- the bounds on size --------------------------------------------------------------------------


def stream_chunks(sock, _):
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    for _ in range(800):
        sock.sendall(chunk)


def announce_too_much(sock, _):
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + bytes(1000))


@pytest.mark.parametrize("handler", [stream_chunks, announce_too_much])
def test_f_23_a_huge_body_is_refused_while_it_is_read(serve, drive, handler):
    server = serve(handler)
    driver = drive()
    tracemalloc.start()
    try:
        error = fails(driver, get(server.url()))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (error.request_sent, str(error)) == (True, "127.0.0.1: more than 262144 bytes")
    assert peak_bytes < 2 * 1024 * 1024


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "identity, gzip"])
def test_f_23_an_encoded_answer_is_refused_unread(serve, drive, respond, encoding):
    bomb = gzip.compress(bytes(10_000_000))
    server = serve(respond(200, bomb, f"Content-Encoding: {encoding}"))
    error = fails(drive(), get(server.url()))
    assert error.request_sent is True
    assert str(error) == "127.0.0.1: an encoded answer, which was not asked for"
    assert server.received[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("headers", [(), ("Content-Encoding: identity",), ("Content-Encoding: ",)])
def test_f_23_a_body_of_just_the_limit_is_accepted(serve, drive, respond, headers):
    server = serve(respond(200, b"12345", *headers))
    assert drive().send(get(server.url(), max_response_bytes=5)).body == b"12345"


def test_f_23_one_byte_more_than_the_limit_is_refused(serve, drive):
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n1\r\n6\r\n0\r\n\r\n")
    assert "more than 5 bytes" in str(fails(drive(), get(server.url(), max_response_bytes=5)))


def test_f_23_a_refused_answer_costs_only_its_own_connection(serve, drive, respond):
    answers = iter([respond(200, b"123456"), respond(200, b"12345")])
    server = serve(lambda sock, _: sock.sendall(next(answers)))
    driver = drive(max_connections=1)
    fails(driver, get(server.url(), max_response_bytes=5))
    assert driver.send(get(server.url(), max_response_bytes=5)).body == b"12345"
    assert server.accepted == 2


# --- a configured proxy --------------------------------------------------------------------------


def tunnel(sock, request) -> None:
    _, _, port = request.path.partition(":")
    with socket.create_connection(("127.0.0.1", int(port))) as upstream:
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        pump = threading.Thread(target=copy, args=(upstream, sock), daemon=True)
        pump.start()
        copy(sock, upstream)
        pump.join(5)


def copy(source, sink) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def test_a_configured_proxy_forwards_plain_requests(serve, drive, respond):
    proxy = serve(respond(200, b"by proxy"))
    driver = drive(proxy=f"http://user:p%40ss@127.0.0.1:{proxy.port}")
    assert driver.send(get("http://api.example/path")).body == b"by proxy"
    [received] = proxy.received
    assert received.path == "http://api.example:80/path"
    assert received.headers["host"] == "api.example"
    assert received.headers["proxy-authorization"] == "Basic dXNlcjpwQHNz"


def test_a_configured_proxy_tunnels_tls_and_learns_no_token(serve, drive, respond):
    server = serve(respond(200, b"by tunnel"), tls=True)
    proxy = serve(tunnel)
    driver = drive(proxy=f"http://127.0.0.1:{proxy.port}")
    request = get(server.url(host="social.example"), headers=(("Authorization", "Bearer CANARY"),))
    assert driver.send(request).body == b"by tunnel"
    [received] = proxy.received
    assert (received.method, received.path) == ("CONNECT", f"social.example:{server.port}")
    assert "authorization" not in received.headers
    assert server.received[0].headers["authorization"] == "Bearer CANARY"


@pytest.mark.parametrize("handler", [b"HTTP/1.1 407 No CANARY\r\nContent-Length: 0\r\n\r\n", b"CANARY\r\n\r\n"])
def test_f_20_a_proxy_that_refuses_the_tunnel_was_sent_no_request(serve, drive, handler):
    proxy = serve(handler)
    error = fails(drive(proxy=f"http://127.0.0.1:{proxy.port}"), get("https://social.example/"))
    assert error.request_sent is False
    assert "CANARY" not in str(error)


def test_the_environment_names_no_trusted_authority(monkeypatch, tmp_path):
    monkeypatch.setenv("SSL_CERT_FILE", os.fspath(tmp_path / "missing.pem"))
    default_context.cache_clear()
    context = default_context()
    assert len(context.get_ca_certs()) > 50
    assert default_context() is context
