"""Real servers on loopback, scripted byte by byte, and both colours of the transport behind one face."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from socialvault.model.token import AccessToken
from socialvault.transports.bearer import AsyncBearerAuth, BearerAuth
from socialvault.transports.client import shared_async_client, shared_client
from socialvault.transports.httpx import AsyncHttpxTransport, HttpxTransport, TransportSettings
from socialvault.transports.network import system_addresses

if TYPE_CHECKING:
    import httpx

    from socialvault.protocol.messages import HttpRequest, HttpResponse

NOW_SECONDS = 1_700_000_000.25


class FixedClock:
    def now_seconds(self) -> float:
        return NOW_SECONDS


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Handler = Callable[[socket.socket, Received], None]


def answer(status: int = 200, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass
class Server:
    """Reads requests and lets `handler` write whatever it likes; a handler that returns keeps the connection."""

    handler: Handler
    context: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    server_names: list[str | None] = field(default_factory=list)
    accepted: int = 0

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{'https' if self.context else 'http'}://{host}:{self.port}{path}"

    def hold(self) -> None:
        """Keep a client waiting until the test is over."""
        self._stopping.wait(5)

    def pause(self, seconds: float) -> bool:
        """Wait; True once the test is over."""
        return self._stopping.wait(seconds)

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            with sock.makefile("rb") as stream:
                while (request := read_request(stream)) is not None:
                    self.received.append(request)
                    self.handler(sock, request)
        except (OSError, ValueError):
            pass
        finally:
            sock.close()


def read_request(stream: Any) -> Received | None:
    line = stream.readline().decode()
    if not line:
        return None
    method, path, _ = line.split(" ")
    headers = {}
    while (line := stream.readline().decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = line.partition(": ")
        headers[name.lower()] = value
    body = stream.read(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


@dataclass(frozen=True)
class Certificate:
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    names = [x509.DNSName("localhost"), x509.DNSName("social.example"), loopback]
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return Certificate(server, ssl.create_default_context(cafile=str(path)))


@pytest.fixture
def serve(certificate: Certificate) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(handler: Handler | bytes, *, tls: bool = False) -> Server:
        def constant(sock: socket.socket, _: Received) -> None:
            assert isinstance(handler, bytes)
            sock.sendall(handler)

        server = Server(constant if isinstance(handler, bytes) else handler, certificate.server if tls else None)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@dataclass
class Driver:
    """One transport, blocking for the test whatever its colour."""

    transport: Any
    runner: asyncio.Runner | None

    def send(self, request: HttpRequest) -> HttpResponse:
        sent = self.transport.send(request)
        return sent if self.runner is None else self.runner.run(sent)

    def close(self) -> None:
        if self.runner is None:
            self.transport.close()
        else:
            self.runner.run(self.transport.aclose())
            self.runner.close()


@pytest.fixture(params=["sync", "async"])
def drive(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Callable[..., Driver]]:
    drivers: list[Driver] = []

    def make(*, resolve: Any = system_addresses, deadline_seconds: float = 5, **settings: Any) -> Driver:
        settings = {"verify": certificate.client, "total_deadline": dt.timedelta(seconds=deadline_seconds)} | settings
        transport: Any = AsyncHttpxTransport if request.param == "async" else HttpxTransport
        made = transport(clock=FixedClock(), settings=TransportSettings(**settings), resolve=resolve)
        driver = Driver(made, asyncio.Runner() if request.param == "async" else None)
        drivers.append(driver)
        return driver

    yield make
    for driver in drivers:
        driver.close()


@pytest.fixture
def respond() -> Callable[..., bytes]:
    return answer


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


# --- API calls ----------------------------------------------------------------------------------


def access_token(value: str, generation: int = 1) -> AccessToken:
    return AccessToken(value.encode(), b"", None, "c1", "example", generation)


@dataclass
class Source:
    """Gives its tokens in turn, the last one for ever, and notes what was rejected."""

    tokens: list[AccessToken]
    rejected: list[AccessToken | None] = field(default_factory=list)

    def token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        self.rejected.append(rejected)
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]


class AsyncSource(Source):
    async def token(self, *, rejected: AccessToken | None = None) -> AccessToken:  # type: ignore[override]
        return super().token(rejected=rejected)


@dataclass
class Api:
    """A shared client, blocking for the test whatever its colour."""

    driver: Driver
    client: Any
    source: Source

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        requested = self.client.request(method, url, **options)
        return requested if self.driver.runner is None else self.driver.runner.run(requested)

    def close(self) -> None:
        if self.driver.runner is None:
            self.client.close()
        else:
            self.driver.runner.run(self.client.aclose())


@pytest.fixture
def call_api(drive: Callable[..., Driver]) -> Iterator[Callable[..., Api]]:
    made: list[Api] = []

    def make(
        *tokens: str,
        signs: Callable[[str], bool] = lambda url: True,
        params: Callable[[Any], Mapping[str, str]] = lambda token: {},
        driver: Driver | None = None,
        untrusted_host: bool = False,
        **settings: Any,
    ) -> Api:
        driver = driver or drive(**settings)
        held = [access_token(value, generation) for generation, value in enumerate(tokens or ("CANARY-token",), 1)]
        client: Any
        source: Source
        if driver.runner is None:
            source = Source(held)
            client = shared_client(driver.transport, BearerAuth(source, signs, params), untrusted_host=untrusted_host)
        else:
            source = AsyncSource(held)
            auth = AsyncBearerAuth(source, signs, params)  # type: ignore[arg-type]
            client = shared_async_client(driver.transport, auth, untrusted_host=untrusted_host)
        made.append(Api(driver, client, source))
        return made[-1]

    yield make
    for api in made:
        api.close()
