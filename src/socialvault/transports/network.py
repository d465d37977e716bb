"""Below httpcore: names to addresses, addresses to connections, each within a deadline.

A connection is made to the address that was checked, not to the name once more: between two look-ups a hostile name
server can change its answer. The name still goes into TLS and into the Host header.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

import httpcore

from socialvault.transports.deadline import Deadline, remaining

if TYPE_CHECKING:
    import ssl

    from socialvault.transports.addresses import AddressPolicy

#: Turns a host and a port into IP addresses, best first; blocking; raises OSError.
Resolver = Callable[[str, int], Sequence[str]]

_SocketOptions = Iterable[Any] | None


class NameLookupError(httpcore.ConnectError):
    """The host's name led to no address."""


class AddressRefusedError(httpcore.ConnectError):
    """The host's name led to an address that is not public."""


def system_addresses(host: str, port: int) -> Sequence[str]:
    """Ask the operating system."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


def look_up(resolve: Resolver, host: str, port: int) -> Future[Sequence[str]]:
    """Start to resolve `host` in a thread of its own.

    getaddrinfo takes no timeout and can't be interrupted, so it may outlive the call; in a daemon thread it holds up
    neither the caller, nor the loop's executor, nor the interpreter's end.
    """
    future: Future[Sequence[str]] = Future()
    future.set_running_or_notify_cancel()
    if _is_address(host):
        future.set_result((host,))
        return future

    def work() -> None:
        try:
            addresses = resolve(host, port)
        except Exception as error:  # noqa: BLE001  # whatever it is, whoever waits is told
            future.set_exception(error)
        else:
            future.set_result(addresses)

    threading.Thread(target=work, name="socialvault-look-up", daemon=True).start()
    return future


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _vetted(policy: AddressPolicy | None, host: str, port: int, addresses: Sequence[str]) -> Sequence[str]:
    if not addresses:
        raise NameLookupError("no address")
    if policy is not None and not policy.admits(host, port, addresses):
        raise AddressRefusedError("not a public address")
    return addresses


class TimedStream(httpcore.NetworkStream):
    """A socket whose every wait is cut to what is left of the caller's deadline."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what is there, at least one byte, or none at the end."""
        return self._stream.read(max_bytes, remaining(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of `buffer`."""
        sock: socket.socket = self._stream.get_extra_info("socket")
        left = memoryview(buffer)
        try:
            while left:
                sock.settimeout(remaining(timeout, httpcore.WriteTimeout))
                left = left[sock.send(left) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(error) from error
        except OSError as error:
            raise httpcore.WriteError(error) from error

    def close(self) -> None:
        """Close the socket."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """Begin TLS; `ssl` itself bounds the whole handshake."""
        left = remaining(timeout, httpcore.ConnectTimeout)
        return TimedStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        """As the socket's stream."""
        return self._stream.get_extra_info(info)


class CheckedNetwork(httpcore.NetworkBackend):
    """Connects to a checked address; blocking."""

    def __init__(self, resolve: Resolver, policy: AddressPolicy | None) -> None:
        self._resolve = resolve
        self._policy = policy
        self._tcp = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _SocketOptions = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that answers; each of them gets its share of the time."""
        deadline = _as_deadline(timeout)
        addresses = self._addresses(host, port, deadline)
        for tried, address in enumerate(addresses[:-1]):
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return self._connect(address, port, _share(deadline, len(addresses) - tried))
        return self._connect(addresses[-1], port, deadline)

    def _addresses(self, host: str, port: int, deadline: Deadline | None) -> Sequence[str]:
        try:
            addresses = look_up(self._resolve, host, port).result(remaining(deadline, httpcore.ConnectTimeout))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(error) from error
        except (OSError, UnicodeError) as error:
            raise NameLookupError(error) from error
        return _vetted(self._policy, host, port, addresses)

    def _connect(self, address: str, port: int, seconds: float | None) -> httpcore.NetworkStream:
        return TimedStream(self._tcp.connect_tcp(address, port, remaining(seconds, httpcore.ConnectTimeout)))


class ClosingStream(httpcore.AsyncNetworkStream):
    """A socket's stream that is closed when its TLS handshake is cancelled, as nobody has it yet who could."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # httpcore's
        """As `TimedStream.read`; the deadline is the whole exchange's."""
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109  # httpcore's
        """As `TimedStream.write`."""
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's
    ) -> httpcore.AsyncNetworkStream:
        """Begin TLS."""
        try:
            left = remaining(timeout, httpcore.ConnectTimeout)
            return ClosingStream(await self._stream.start_tls(ssl_context, server_hostname, left))
        except BaseException:
            await asyncio.shield(self._stream.aclose())
            raise

    def get_extra_info(self, info: str) -> Any:
        """As the socket's stream."""
        return self._stream.get_extra_info(info)


class AsyncCheckedNetwork(httpcore.AsyncNetworkBackend):
    """As `CheckedNetwork`, for event loops."""

    def __init__(self, resolve: Resolver, policy: AddressPolicy | None) -> None:
        self._resolve = resolve
        self._policy = policy
        self._tcp = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's
        local_address: str | None = None,
        socket_options: _SocketOptions = None,
    ) -> httpcore.AsyncNetworkStream:
        """As `CheckedNetwork.connect_tcp`."""
        deadline = _as_deadline(timeout)
        addresses = await self._addresses(host, port, deadline)
        for tried, address in enumerate(addresses[:-1]):
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._connect(address, port, _share(deadline, len(addresses) - tried))
        return await self._connect(addresses[-1], port, deadline)

    async def _addresses(self, host: str, port: int, deadline: Deadline | None) -> Sequence[str]:
        try:
            async with asyncio.timeout(remaining(deadline, httpcore.ConnectTimeout)):
                addresses = await asyncio.wrap_future(look_up(self._resolve, host, port))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(error) from error
        except (OSError, UnicodeError) as error:
            raise NameLookupError(error) from error
        return _vetted(self._policy, host, port, addresses)

    async def _connect(self, address: str, port: int, seconds: float | None) -> httpcore.AsyncNetworkStream:
        left = remaining(seconds, httpcore.ConnectTimeout)
        return ClosingStream(await self._tcp.connect_tcp(address, port, left))


def _as_deadline(timeout: float | None) -> Deadline | None:
    return timeout if timeout is None or isinstance(timeout, Deadline) else Deadline(timeout)


def _share(deadline: Deadline | None, attempts: int) -> float | None:
    """Return an equal part of what is left, so that one dead address leaves time for the others."""
    left = remaining(deadline, httpcore.ConnectTimeout)
    return None if left is None else left / attempts
