"""What key services behind a network share: nothing secret is shown, forks, threads, missing libraries."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from google.auth.credentials import AnonymousCredentials
from support.canaries import found_in, whole_story
from support.fake_azure_key_vault import BEARER, FakeCredential
from support.fake_gcp_kms import RING
from support.frames import from_the_library
from support.key_services import CONTEXT, KEY, SHORT
from support.openbao import ROOT_TOKEN

from socialvault.api.key_service import ThreadedKeyService
from socialvault.exceptions import (
    ConfigurationError,
    EncryptionError,
    KeyServiceUnavailableError,
    MalformedEnvelopeError,
    TamperedError,
    WrongKeyError,
)
from socialvault.keys import base
from socialvault.keys.aws_kms import AwsKms
from socialvault.keys.azure_key_vault import AzureKeyVault
from socialvault.keys.base import RemoteKeyService, Wrapped
from socialvault.keys.gcp_kms import GcpKms
from socialvault.keys.hashicorp_transit import HashicorpTransit

if TYPE_CHECKING:
    from datetime import timedelta

    from support.fake_azure_key_vault import FakeKeyVault
    from support.fake_gcp_kms import FakeGcpKms
    from support.key_services import Bao, Moto
    from support.relay import Relay

    from socialvault.model.keys import KeyContext
    from socialvault.model.secret import Secret

ONE_TIME = b"one-time-canary-0123456789abcdef"
SECRETS = [KEY.decode(), ONE_TIME.decode(), ROOT_TOKEN, BEARER, "aws-secret-canary"]
SERVICES = ["aws", "transit", "gcp", "azure"]


@pytest.fixture
def remote(request: pytest.FixtureRequest) -> tuple[RemoteKeyService, Relay]:
    """The service that the test's parameter names, and the relay that it talks through."""
    if request.param == "aws":
        moto: Moto = request.getfixturevalue("moto")
        return AwsKms(moto.first, timeout=SHORT), moto.relay
    if request.param == "transit":
        bao: Bao = request.getfixturevalue("shared_bao")
        return HashicorpTransit(bao.url, bao.first, token=ROOT_TOKEN, timeout=SHORT), bao.relay
    if request.param == "gcp":
        relay: Relay = request.getfixturevalue("gcp_relay")
        nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google's
        endpoint = f"http://127.0.0.1:{relay.port}"
        return GcpKms(f"{RING}/first", credentials=nobody, endpoint=endpoint, timeout=SHORT), relay
    fake: FakeKeyVault = request.getfixturevalue("key_vault")
    options = {"connection_verify": str(fake.certificate), "verify_challenge_resource": False, "logging_enable": True}
    service = AzureKeyVault(fake.key_id("first"), FakeCredential(), timeout=SHORT, **options)
    return service, request.getfixturevalue("key_vault_relay")


@pytest.fixture
def everything_logged() -> Iterator[list[str]]:
    """What all loggers write at the lowest level, every field of every record included."""
    written: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(f"{record.name} {record.getMessage()} {record.__dict__}")

    root, handler = logging.getLogger(), Keeping()
    level, google = root.level, logging.getLogger("google")
    google_was = (google.propagate, google.level)
    root.addHandler(handler)
    root.setLevel(1)
    google.propagate = True
    google.setLevel(1)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)
    google.propagate = google_was[0]
    google.setLevel(google_was[1])


@pytest.mark.parametrize("remote", SERVICES, indirect=True)
def test_no_log_shows_a_key(
    remote: tuple[RemoteKeyService, Relay], everything_logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "urandom", lambda _: ONE_TIME)
    service, relay = remote
    assert service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT) == KEY
    with relay.refusing(), pytest.raises(KeyServiceUnavailableError):
        service.wrap(KEY, CONTEXT)
    assert found_in(SECRETS, "\n".join(everything_logged).encode()) == []


@pytest.mark.parametrize("remote", SERVICES, indirect=True)
def test_the_vault_key_is_never_sent(
    remote: tuple[RemoteKeyService, Relay], gcp: FakeGcpKms, key_vault: FakeKeyVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were the silence above to fail, for instance with a later release of a library, a log still opens nothing."""
    seen: list[Any] = []
    service, _ = remote
    encrypt = service._encrypt
    monkeypatch.setattr(
        service, "_encrypt", lambda client, kek, key, context: seen.append(key) or encrypt(client, kek, key, context)
    )
    service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT)
    assert KEY not in {key.reveal() for key in seen}
    sent = b"".join(request.body for request in [*gcp.server.requests, *key_vault.server.requests])
    assert found_in([KEY.decode()], sent) == []


def test_a_library_may_be_debugged_beside_it(moto: Moto, everything_logged: list[str]) -> None:
    """The silence is for our calls alone."""
    AwsKms(moto.first, timeout=SHORT).wrap(KEY, CONTEXT)
    assert not any(line.startswith("botocore.endpoint") for line in everything_logged)
    logging.getLogger("botocore.endpoint").debug("the application's own")
    assert any("the application's own" in line for line in everything_logged)


@pytest.mark.parametrize("remote", SERVICES, indirect=True)
@pytest.mark.parametrize("threaded", [False, True], ids=["blocking", "in a thread"])
def test_no_error_shows_a_key(
    remote: tuple[RemoteKeyService, Relay], monkeypatch: pytest.MonkeyPatch, *, threaded: bool
) -> None:
    monkeypatch.setattr(base, "urandom", lambda _: ONE_TIME)
    service, relay = remote
    wrapped = service.wrap(KEY, CONTEXT)
    parts = Wrapped.parse(wrapped)
    altered = [
        wrapped[:-1] + bytes([wrapped[-1] ^ 1]),  # found out here
        parts._replace(one_time_key=parts.one_time_key[:-1] + bytes([parts.one_time_key[-1] ^ 1])).to_bytes(),  # there
    ]
    calls: list[Callable[[], Any]]
    if threaded:
        calls = [
            lambda: asyncio.run(ThreadedKeyService(service).wrap(KEY, CONTEXT)),
            lambda: asyncio.run(ThreadedKeyService(service).unwrap(wrapped, CONTEXT)),
        ]
    else:
        calls = [lambda: service.wrap(KEY, CONTEXT), lambda: service.unwrap(wrapped, CONTEXT)]
    errors: list[EncryptionError] = []
    for bad in altered:
        with pytest.raises(TamperedError) as tampered:
            service.unwrap(bad, CONTEXT)
        errors.append(tampered.value)
    with relay.refusing():
        for call in calls:
            with pytest.raises(KeyServiceUnavailableError) as caught:
                call()
            errors.append(caught.value)
    for problem in errors:
        assert problem.__cause__ is None
        assert problem.__context__ is None
        assert found_in(SECRETS, seen_by_a_tracker(problem)) == []


def seen_by_a_tracker(problem: EncryptionError) -> bytes:
    """Messages, and every frame from the library's first down, with its locals."""
    problem = from_the_library(problem)
    report = traceback.TracebackException.from_exception(problem, capture_locals=True)
    return f"{whole_story(problem)} {[frame.locals for frame in report.stack]}".encode()


@pytest.mark.parametrize("remote", ["aws", "transit", "gcp"], indirect=True)
def test_the_service_itself_binds_the_context(remote: tuple[RemoteKeyService, Relay]) -> None:
    """Whatever the envelope does: a call with another context fails there, and shows in the service's own log."""
    service, _ = remote
    parts = Wrapped.parse(service.wrap(KEY, CONTEXT))
    for elsewhere in ({"vault_id": b"W" * 16}, {"purpose": "data-key"}, {"tenant": "globex"}, {"key_id": "00"}):
        context = replace(CONTEXT, **elsewhere)  # type: ignore[arg-type]  # one field each
        with pytest.raises(TamperedError):
            service._ask(lambda client: service._decrypt(client, parts.kek_id, parts.one_time_key, context))  # noqa: B023  (called at once)


@pytest.mark.parametrize("remote", SERVICES, indirect=True)
def test_a_forked_child_shares_no_connection(remote: tuple[RemoteKeyService, Relay]) -> None:
    service, relay = remote
    wrapped = service.wrap(KEY, CONTEXT)
    before = relay.connections
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, service.unwrap(wrapped, CONTEXT))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == KEY
    os.waitpid(pid, 0)
    assert relay.connections > before
    assert service.unwrap(wrapped, CONTEXT) == KEY


# --- what is common, with a service that is made up -------------------------------------------------


class MadeUp(RemoteKeyService):
    """Wraps by turning around."""

    service = "a service"
    loggers = ("made_up",)

    def __init__(self, timeout: timedelta = SHORT) -> None:
        super().__init__(object(), timeout)
        self.names = ["first"]
        self.asked: list[str] = []
        self.failures = 0
        self.gives: bytes | None = None
        self.waits: threading.Event | None = None

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        return (OSError,)

    def _connect(self) -> Any:
        raise NotImplementedError

    def _encrypt(self, client: Any, kek_id: str, key: Secret[bytes], context: KeyContext) -> tuple[str, bytes]:
        self._work(kek_id)
        return self.names[-1], key.reveal()[::-1]

    def _decrypt(self, client: Any, kek_id: str, wrapped: bytes, context: KeyContext) -> bytes:
        self._work(kek_id)
        return self.gives or wrapped[::-1]

    def _holds(self, kek_id: str) -> bool:
        return kek_id in self.names

    def _translated(self, problem: Exception) -> EncryptionError:
        return self.unreachable("no answer")

    def _work(self, kek_id: str) -> None:
        self.asked.append(kek_id)
        if self.waits is not None:
            self.waits.wait(10)
        if self.failures:
            self.failures -= 1
            raise OSError


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_call_without_an_answer_is_made_again(failures: int) -> None:
    service = MadeUp()
    service.failures = failures
    service.wrap(KEY, CONTEXT)
    assert len(service.asked) == failures + 1


def test_after_three_attempts_it_is_given_up() -> None:
    service = MadeUp()
    service.failures = 3
    with pytest.raises(KeyServiceUnavailableError) as caught:
        service.wrap(KEY, CONTEXT)
    assert type(caught.value) is KeyServiceUnavailableError
    assert len(service.asked) == 3


def test_when_time_is_up_it_is_not_asked_again() -> None:
    service = MadeUp(timeout=SHORT / 100)
    service.failures = 3
    with pytest.raises(KeyServiceUnavailableError):
        service.wrap(KEY, CONTEXT)
    assert len(service.asked) < 3


def test_it_stays_with_the_key_it_found_first() -> None:
    service = MadeUp()
    assert service.primary_id == "first"
    service.wrap(KEY, CONTEXT)
    assert service.asked == ["", "first"]
    service.names.append("second")
    with pytest.raises(KeyServiceUnavailableError, match="another key than it was asked to"):
        service.wrap(KEY, CONTEXT)


def test_another_key_than_was_wrapped_is_the_wrong_one() -> None:
    service = MadeUp()
    wrapped = service.wrap(KEY, CONTEXT)
    for given in (bytes(32), b"short", KEY):
        service.gives = given
        with pytest.raises(WrongKeyError, match="another key than the one that was wrapped"):
            service.unwrap(wrapped, CONTEXT)


def test_what_is_written_is_what_the_text_says() -> None:
    wrapped = MadeUp().wrap(KEY, CONTEXT)
    assert wrapped[:13] == b"SK\x01\x01" + b"\0\0\0\x05" + b"first"
    assert wrapped[13:17] == b"\0\0\0\x20"
    assert wrapped[49:53] == b"SV\x01\x01"
    assert len(wrapped) == 49 + 64 + len(KEY)
    assert Wrapped.parse(wrapped).to_bytes() == wrapped


@pytest.mark.parametrize("magic", [b"SK\x02\x01", b"SK\x01\x02", b"SV\x02\x01"], ids=repr)
def test_a_version_that_is_not_known_is_malformed(magic: bytes) -> None:
    wrapped = MadeUp().wrap(KEY, CONTEXT)
    with pytest.raises(MalformedEnvelopeError):
        MadeUp().unwrap(magic + wrapped[4:], CONTEXT)


def test_a_name_that_is_no_text_is_malformed() -> None:
    wrapped = MadeUp().wrap(KEY, CONTEXT)
    with pytest.raises(MalformedEnvelopeError):
        MadeUp().unwrap(wrapped.replace(b"first", b"fir\xff\xff"), CONTEXT)


def test_a_name_from_the_database_writes_no_lines_into_a_log() -> None:
    wrapped = Wrapped("x\n2027-01-01 all is well" + "y" * 1000, b"z", MadeUp().wrap(KEY, CONTEXT)[49:]).to_bytes()
    with pytest.raises(EncryptionError) as caught:
        MadeUp().unwrap(wrapped, CONTEXT)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_time_limit_is_positive() -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        MadeUp(timeout=-SHORT)


@pytest.mark.parametrize(
    ("module", "extra", "make"),
    [
        ("boto3", "aws", lambda: AwsKms("alias/first")),
        ("hvac", "hashicorp", lambda: HashicorpTransit("https://vault.example", "first")),
        ("google.cloud.kms_v1", "gcp", lambda: GcpKms(f"{RING}/first")),
        ("azure.keyvault.keys.crypto", "azure", lambda: AzureKeyVault("https://v.vault.azure.net/keys/first")),
    ],
)
def test_a_missing_library_is_named(
    module: str, extra: str, make: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"pip install 'socialvault\[{extra}\]'"):
        make()


async def test_a_loop_goes_on_while_the_service_takes_its_time() -> None:
    service = MadeUp()
    service.waits = threading.Event()
    wrapping = asyncio.create_task(ThreadedKeyService(service).wrap(KEY, CONTEXT))
    began = time.monotonic()
    while not service.asked:
        await asyncio.sleep(0.001)
        assert time.monotonic() - began < 5
    assert not wrapping.done()
    service.waits.set()
    assert service.unwrap(await wrapping, CONTEXT) == KEY
