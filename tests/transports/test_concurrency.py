from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import os
import socket
import threading
import time
import warnings

import httpcore
import pytest

from socialvault.exceptions import TransportError
from socialvault.protocol.messages import HttpRequest
from socialvault.transports import httpx as module
from socialvault.transports.client import shared_async_client, shared_client
from socialvault.transports.httpx import AsyncHttpxTransport, HttpxTransport, TransportSettings


def get(url: str) -> HttpRequest:
    return HttpRequest("GET", url)


def in_threads(count: int, work) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- many at a time -------------------------------------------------------------------------------


def test_threads_share_the_connections_and_their_bound(serve, respond, clock):
    server = serve(respond())
    transport = HttpxTransport(clock=clock, settings=TransportSettings(max_connections=3))
    statuses: list[int] = []
    in_threads(8, lambda _: statuses.extend(transport.send(get(server.url())).status for _ in range(5)))
    transport.close()
    assert statuses == [200] * 40
    assert len(server.received) == 40
    assert server.accepted <= 3


async def test_tasks_share_the_connections_and_their_bound(serve, respond, clock):
    server = serve(respond())
    transport = AsyncHttpxTransport(clock=clock, settings=TransportSettings(max_connections=3))
    responses = await asyncio.gather(*(transport.send(get(server.url())) for _ in range(40)))
    await transport.aclose()
    assert [response.status for response in responses] == [200] * 40
    assert server.accepted <= 3


async def test_a_slow_api_keeps_no_token_from_being_refreshed(serve, respond, clock):
    slow = serve(lambda sock, _: slow.hold())
    server = serve(respond())
    transport = AsyncHttpxTransport(clock=clock, settings=TransportSettings(max_connections=1))
    async with shared_async_client(transport, None) as client:  # type: ignore[arg-type]
        call = asyncio.create_task(client.get(slow.url()))
        await asyncio.sleep(0.02)
        assert (await transport.send(get(server.url()))).status == 200
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    await transport.aclose()


def test_connections_to_many_hosts_stay_within_the_bound(serve, drive, respond):
    servers = [serve(respond()) for _ in range(5)]
    driver = drive(max_connections=2)
    for server in servers * 2:
        assert driver.send(get(server.url())).status == 200
        [lane] = driver.transport._lanes.values()
        assert len(lane.shelf._idle) <= 2
    assert [server.accepted for server in servers] == [2] * 5


def test_the_connection_used_last_is_used_next(serve, respond, clock):
    meeting = threading.Barrier(3)
    server = serve(lambda sock, _: (meeting.wait(5), sock.sendall(respond())))
    transport = HttpxTransport(clock=clock, settings=TransportSettings(idle_timeout=dt.timedelta(milliseconds=100)))
    in_threads(3, lambda _: transport.send(get(server.url())))
    assert server.accepted == 3
    server.handler = lambda sock, _: sock.sendall(respond())
    for _ in range(5):
        transport.send(get(server.url()))
        time.sleep(0.03)
    [lane] = transport._lanes.values()
    assert len(lane.shelf._idle) == 1  # the two others have expired meanwhile
    transport.close()
    assert server.accepted == 3


def test_a_connection_that_the_server_has_closed_is_not_used(serve, drive, respond):
    def answer_and_close(sock, _):
        sock.sendall(respond())
        raise ConnectionError

    servers = [serve(answer_and_close), serve(respond())]
    driver = drive()
    for server in (servers[1], servers[0]):  # so that it is not the longest unused one
        driver.send(get(server.url()))
    time.sleep(0.02)
    assert driver.send(get(servers[0].url())).status == 200
    assert servers[0].accepted == 2


def test_closing_ends_what_is_in_flight(serve, clock):
    silent = serve(lambda sock, _: silent.hold())
    transport = HttpxTransport(clock=clock)
    outcomes: list[bool] = []

    def send(_: int) -> None:
        with pytest.raises(TransportError) as caught:
            transport.send(get(silent.url()))
        outcomes.append(caught.value.request_sent)

    thread = threading.Thread(target=in_threads, args=(1, send))
    thread.start()
    while not silent.received:
        time.sleep(0.001)
    [lane] = transport._lanes.values()
    transport.close()
    silent.stop()
    thread.join()
    assert outcomes == [True]
    assert lane.shelf.clear() == []


# --- cancellation ---------------------------------------------------------------------------------


async def test_a_cancelled_request_stays_cancelled_and_gives_its_connection_back(serve, respond, clock):
    silent, server = serve(lambda sock, _: silent.hold()), serve(respond())
    transport = AsyncHttpxTransport(clock=clock, settings=TransportSettings(max_connections=1))
    for delay_seconds in (0, 0, 0, 0.001, 0.005, 0.02):
        task = asyncio.create_task(transport.send(get(silent.url())))
        await asyncio.sleep(delay_seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
    assert (await transport.send(get(server.url()))).status == 200
    await transport.aclose()


@pytest.mark.parametrize("delay_seconds", [0, 0.001, 0.02])
async def test_a_request_that_is_cancelled_in_the_handshake_leaves_nothing_open(certificate, clock, delay_seconds):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transport = AsyncHttpxTransport(clock=clock, settings=TransportSettings(verify=certificate.client))
        task = asyncio.create_task(transport.send(get(f"https://127.0.0.1:{listener.getsockname()[1]}/")))
        await asyncio.sleep(delay_seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await transport.aclose()
        del task
        await asyncio.sleep(0)
        gc.collect()  # a socket that is still open warns here, and a warning is an error


def test_a_connection_whose_clean_up_is_interrupted_is_closed(serve, drive, respond, monkeypatch):
    left_behind = []

    def interrupted(self) -> None:
        left_behind.append(self)
        raise KeyboardInterrupt

    async def cancelled(self) -> None:
        left_behind.append(self)
        raise asyncio.CancelledError

    monkeypatch.setattr(httpcore.HTTP11Connection, "_response_closed", interrupted)
    monkeypatch.setattr(httpcore.AsyncHTTP11Connection, "_response_closed", cancelled)
    with pytest.raises((KeyboardInterrupt, asyncio.CancelledError)):
        drive().send(get(serve(respond()).url()))
    assert left_behind[0].is_closed()


async def test_an_outer_timeout_is_told_from_the_transport_s_own(serve, clock):
    silent = serve(lambda sock, _: silent.hold())
    transport = AsyncHttpxTransport(clock=clock)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await transport.send(get(silent.url()))
    await transport.aclose()


# --- event loops ----------------------------------------------------------------------------------


def test_one_transport_serves_four_loops_in_four_threads(serve, respond, clock):
    server = serve(respond())
    transport = AsyncHttpxTransport(clock=clock)
    everybody = threading.Barrier(4)
    statuses: list[int] = []

    async def work() -> None:
        await asyncio.get_running_loop().run_in_executor(None, everybody.wait)
        for _ in range(3):
            responses = await asyncio.gather(*(transport.send(get(server.url())) for _ in range(3)))
            statuses.extend(response.status for response in responses)
        await transport.aclose()

    in_threads(4, lambda _: asyncio.run(work()))
    assert statuses == [200] * 36
    assert server.accepted <= 12


def test_connections_of_closed_loops_are_forgotten(serve, respond, clock):
    server = serve(respond())
    transport = AsyncHttpxTransport(clock=clock)

    async def work() -> int:
        return (await transport.send(get(server.url()))).status

    with warnings.catch_warnings():
        # A loop that is torn down before its connections are closed is what asyncio warns of.
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(3):
            assert asyncio.run(work()) == 200
            assert len(transport._lanes) == 1
        transport._lanes.clear()
        gc.collect()


async def test_closing_concerns_the_running_loop_alone(serve, respond, clock):
    server = serve(respond())
    transport = AsyncHttpxTransport(clock=clock)

    async def other() -> int:
        first = await transport.send(get(server.url()))
        closed.set()
        await asyncio.get_running_loop().run_in_executor(None, done.wait)
        second = await transport.send(get(server.url()))
        await transport.aclose()
        return first.status + second.status

    closed, done = threading.Event(), threading.Event()
    running = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(other())))
    await asyncio.to_thread(closed.wait)
    await transport.aclose()
    done.set()
    assert await running == 400
    assert server.accepted == 1


# --- fork -----------------------------------------------------------------------------------------


def forked(work) -> bytes:
    """Return what `work` returns in a child process."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads run here, as in many servers that fork
        pid = os.fork()
    if pid == 0:
        result = b"nothing"
        with contextlib.suppress(BaseException):
            result = work()
        os.write(writer, result)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        result = stream.read()
    os.waitpid(pid, 0)
    return result


def test_a_fork_gives_the_child_connections_of_its_own(serve, respond, clock):
    server = serve(respond(), tls=False)
    transport = HttpxTransport(clock=clock)
    transport.send(get(server.url()))

    def child() -> bytes:
        status = transport.send(get(server.url())).status
        return f"{status} {[key.pid == os.getpid() for key in transport._lanes]}".encode()

    assert forked(child) == b"200 [True]"
    assert transport.send(get(server.url())).status == 200
    transport.close()
    assert server.accepted == 2
    assert len(server.received) == 3


def test_a_fork_gives_the_child_s_loop_connections_of_its_own(serve, respond, clock):
    server = serve(respond())
    transport = AsyncHttpxTransport(clock=clock)

    async def send() -> int:
        return (await transport.send(get(server.url()))).status

    def child() -> bytes:
        with asyncio.Runner() as other:
            return str(other.run(send())).encode()

    with asyncio.Runner() as runner:
        assert runner.run(send()) == 200
        assert forked(child) == b"200"
        assert runner.run(send()) == 200
        runner.run(transport.aclose())
    assert server.accepted == 2
    assert len(server.received) == 3


def test_a_client_for_api_calls_survives_a_fork(serve, respond, clock):
    server = serve(respond())
    transport = HttpxTransport(clock=clock)
    client = shared_client(transport, None)  # type: ignore[arg-type]
    client.get(server.url())
    assert forked(lambda: str(client.get(server.url()).status_code).encode()) == b"200"
    assert client.get(server.url()).status_code == 200
    transport.close()
    assert server.accepted == 2


def test_inherited_connections_are_closed_in_the_child(serve, respond, clock, monkeypatch):
    server = serve(respond())
    transport = HttpxTransport(clock=clock)
    transport.send(get(server.url()))
    [connection] = next(iter(transport._lanes.values())).shelf._idle
    monkeypatch.setattr(module.os, "getpid", lambda: -1)
    assert transport.send(get(server.url())).status == 200
    assert connection.is_closed()
    transport.close()
    assert server.accepted == 2


async def test_inherited_connections_of_a_loop_are_left_alone(serve, respond, clock, monkeypatch):
    server = serve(respond())
    transport = AsyncHttpxTransport(clock=clock)
    await transport.send(get(server.url()))
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "getpid", lambda: -1)
        assert (await transport.send(get(server.url()))).status == 200
        [inherited] = transport._inherited
        [connection] = inherited.shelf.clear()
        assert not connection.is_closed()
        await transport.aclose()
    await connection.aclose()


def test_a_closed_transport_leaves_the_parent_s_connections_to_the_parent(serve, respond, clock):
    server = serve(respond())
    transport = HttpxTransport(clock=clock)
    transport.send(get(server.url()))

    def child() -> bytes:
        transport.close()
        return b"closed"

    assert forked(child) == b"closed"
    transport.send(get(server.url()))
    transport.close()
    assert server.accepted == 1


def test_a_deadline_that_has_passed_sends_nothing(serve, respond, clock):
    server = serve(respond())
    transport = HttpxTransport(clock=clock, settings=TransportSettings(total_deadline=dt.timedelta(microseconds=1)))
    with pytest.raises(TransportError) as caught:
        transport.send(get(server.url()))
    assert caught.value.request_sent is False
    assert server.received == []
