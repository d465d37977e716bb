"""Canaries in everything that is sent and received; none may be in a log, an exception or a frame's locals."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import signal
import socket
import traceback
from pathlib import Path

import httpcore
import httpx
import pytest

from socialvault.exceptions import TransportError
from socialvault.protocol.messages import HttpRequest

CANARY = "CANARY-7f3a"
BODY = CANARY.encode()
TOO_BIG_TO_SEND = b"x" * 8_000_000


@pytest.fixture(autouse=True)
def everything_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "httpcore.http11", "httpcore.connection", "httpcore.proxy", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)


def logged(caplog) -> str:
    return "\n".join(f"{record.getMessage()} {record.args} {record.exc_info}" for record in caplog.records)


def shown(error: BaseException) -> str:
    """Everything that an error reporter can reach from `error`, save in the test's own frames."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    text = []
    while todo:
        current = todo.pop()
        if current is None or current in seen:
            continue
        seen.append(current)
        todo += [current.__cause__, current.__context__]
        text.append(f"{current!r} {current} {current.args!r} {vars(current)!r}")
        for frame, line in traceback.walk_tb(current.__traceback__):
            if not Path(frame.f_code.co_filename).is_relative_to(Path(__file__).parent):
                text.append(f"{frame.f_code.co_qualname}:{line} { {k: repr(v) for k, v in frame.f_locals.items()} }")
    captured = traceback.TracebackException.from_exception(error, capture_locals=True)
    text.extend(
        f"{frame.name} {frame.locals}"
        for frame in captured.stack
        if not Path(frame.filename).is_relative_to(Path(__file__).parent)
    )
    return "\n".join(text)


def marked(url: str, *, body: bytes = BODY) -> HttpRequest:
    return HttpRequest(
        "POST",
        f"{url}?code={CANARY}",
        headers=(("Authorization", f"Bearer {CANARY}"), ("DPoP", CANARY), ("Cookie", CANARY)),
        body=body,
    )


def head(*lines: str) -> bytes:
    secrets = (f"Set-Cookie: {CANARY}", f"Location: https://e/?token={CANARY}")
    return "\r\n".join(("HTTP/1.1 200 OK", *secrets, *lines, "\r\n")).encode()


def close(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RDWR)


def cut_off(server, sock) -> None:
    sock.sendall(head("Content-Length: 99") + BODY)
    close(sock)


def stall(server, sock) -> None:
    sock.sendall(head("Content-Length: 99") + BODY)
    server.hold()


ANSWERS = {
    "whole": lambda server, sock: sock.sendall(head("Content-Length: 11") + BODY),
    "encoded": lambda server, sock: sock.sendall(head(f"Content-Encoding: {CANARY}")),
    "too_long": lambda server, sock: sock.sendall(head("Content-Length: 999999") + BODY),
    "illegal_status": lambda server, sock: sock.sendall(b"HTTP/1.1 " + BODY + b"\r\n\r\n"),
    "illegal_header": lambda server, sock: sock.sendall(b"HTTP/1.1 200 OK\r\n" + BODY + b"\r\n\r\n"),
    "illegal_chunk": lambda server, sock: sock.sendall(head("Transfer-Encoding: chunked") + BODY + b"\r\n"),
    "cut_off": cut_off,
    "closed": lambda server, sock: close(sock),
    "slow": stall,
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_l_02_l_03_l_04_l_05_no_answer_shows_a_secret(serve, drive, caplog, name, tls):
    server = serve(lambda sock, _: ANSWERS[name](server, sock), tls=tls)
    driver = drive(deadline_seconds=0.2)
    error: TransportError | None = None
    try:
        response = driver.send(marked(server.url("/path")))
    except TransportError as caught:
        error = caught
    assert (error is None) == (name == "whole")
    if error is None:
        assert response.body == BODY
        assert CANARY not in repr(response)
    else:
        assert CANARY not in shown(error)
    assert "send_request_headers" in logged(caplog)
    assert CANARY not in logged(caplog)


def test_l_02_l_04_l_05_no_failure_to_connect_shows_a_secret(serve, drive, caplog):
    def resolve(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    untrusted = serve(b"", tls=True)
    for driver, url in (
        (drive(), f"http://127.0.0.1:{port}/"),
        (drive(resolve=resolve), "https://nowhere.example/"),
        (drive(verify=None), untrusted.url()),
        (drive(connect_timeout=dt.timedelta(microseconds=1)), untrusted.url()),
    ):
        with pytest.raises(TransportError) as caught:
            driver.send(marked(url))
        assert CANARY not in shown(caught.value)
    assert CANARY not in logged(caplog)


def test_l_05_a_deadline_while_the_body_is_written_shows_no_secret(drive, caplog):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        driver = drive(deadline_seconds=0.2)
        with pytest.raises(TransportError) as caught:
            driver.send(marked(f"http://127.0.0.1:{listener.getsockname()[1]}/", body=BODY + TOO_BIG_TO_SEND))
    assert CANARY not in shown(caught.value)
    assert CANARY not in logged(caplog)


def test_l_05_an_interrupt_while_the_body_is_written_shows_no_secret(drive):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        driver = drive(deadline_seconds=3)
        request = marked(f"http://127.0.0.1:{listener.getsockname()[1]}/", body=BODY + TOO_BIG_TO_SEND)
        if driver.runner is None:
            error = _interrupted(lambda: driver.send(request))
        else:
            error = driver.runner.run(_cancelled(driver.transport.send(request)))
    assert CANARY not in shown(error)


@contextlib.contextmanager
def _interrupt_after(seconds: float):
    def interrupt(*_):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _interrupted(work) -> BaseException:
    with pytest.raises(KeyboardInterrupt) as caught, _interrupt_after(0.1):
        work()
    return caught.value


async def _cancelled(coroutine) -> BaseException:
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0.1)
    task.cancel("why")
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


# --- API calls: the token is in a header, the rest is the application's ---------------------------


def test_l_02_l_03_the_client_for_api_calls_logs_no_token(serve, call_api, caplog):
    server = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert call_api(CANARY).request("GET", server.url("/me")).status_code == 200
    assert "HTTP Request: GET" in logged(caplog)
    assert CANARY not in logged(caplog)


@pytest.mark.parametrize("name", ["closed", "illegal_header", "illegal_status"])
def test_l_04_l_05_a_broken_answer_to_an_api_call_shows_no_secret(serve, call_api, name):
    server = serve(lambda sock, _: ANSWERS[name](server, sock))
    with pytest.raises(httpx.RemoteProtocolError) as caught:
        call_api(CANARY).request("GET", server.url())
    assert caught.value.request.url.port == server.port
    assert CANARY not in shown(caught.value)


def test_l_05_a_timeout_while_an_api_call_is_written_shows_no_token(call_api):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        api = call_api(CANARY)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        with pytest.raises(httpx.WriteTimeout) as caught:
            api.request("POST", url, content=TOO_BIG_TO_SEND, timeout=0.1)
    assert CANARY not in shown(caught.value)


def test_l_05_an_api_call_that_is_interrupted_shows_no_token(call_api):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        api = call_api(CANARY)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        request = {"method": "POST", "url": url, "content": TOO_BIG_TO_SEND}
        if api.driver.runner is None:
            error = _interrupted(lambda: api.client.request(**request))
        else:
            error = api.driver.runner.run(_cancelled(api.client.request(**request)))
    assert CANARY not in shown(error)


# --- the searches themselves ----------------------------------------------------------------------


def test_the_search_finds_what_httpcore_would_show(serve, caplog):
    server = serve(lambda sock, _: ANSWERS["illegal_header"](server, sock))
    with httpcore.ConnectionPool() as pool, pytest.raises(httpcore.RemoteProtocolError) as caught:
        pool.request("POST", server.url(), content=BODY)
    assert CANARY in shown(caught.value)
    assert CANARY in logged(caplog)
