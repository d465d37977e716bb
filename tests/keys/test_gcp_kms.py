"""``GcpKms`` against a fake of Cloud KMS's HTTP surface; nothing here was held against the real service."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError
from support.fake_gcp_kms import RING, checksum
from support.key_services import CONTEXT, KEY, SHORT, SHORTER
from support.loopback import Answer

from socialvault.exceptions import (
    ConfigurationError,
    EncryptionError,
    KeyNotFoundError,
    KeyServiceUnavailableError,
    TamperedError,
)
from socialvault.keys.gcp_kms import GcpKms, crc32c
from socialvault.sandbox.contracts import RemoteKeyServiceContract

if TYPE_CHECKING:
    from support.fake_gcp_kms import FakeGcpKms
    from support.relay import Relay

FIRST, SECOND = f"{RING}/first", f"{RING}/second"


def gcp_kms(port: int, name: str = FIRST, **options: Any) -> GcpKms:
    options = {"timeout": SHORT, **options}
    return GcpKms(name, credentials=AnonymousCredentials(), endpoint=f"http://127.0.0.1:{port}", **options)  # type: ignore[no-untyped-call]  # google's


class TestGcpKms(RemoteKeyServiceContract):
    @pytest.fixture
    def open_service(self, gcp_relay: Relay) -> Callable[[], GcpKms]:
        return lambda: gcp_kms(gcp_relay.port)

    @pytest.fixture
    def other(self, gcp_relay: Relay) -> GcpKms:
        return gcp_kms(gcp_relay.port, SECOND)

    @pytest.fixture
    def successor(self, gcp_relay: Relay) -> GcpKms:
        return gcp_kms(gcp_relay.port, SECOND, former=[FIRST])

    @pytest.fixture
    def outage(self, gcp_relay: Relay) -> Callable[[], AbstractContextManager[None]]:
        return gcp_relay.refusing


@pytest.fixture
def service(gcp: FakeGcpKms) -> GcpKms:
    return gcp_kms(gcp.server.port)


def test_versions_of_the_key_are_keys_of_their_own(gcp: FakeGcpKms, service: GcpKms) -> None:
    old = service.wrap(KEY, CONTEXT)
    assert service.primary_id == f"{FIRST}/cryptoKeyVersions/1"
    gcp.keys[FIRST].rotate()
    newer = gcp_kms(gcp.server.port)
    assert newer.primary_id == f"{FIRST}/cryptoKeyVersions/2"
    assert newer.unwrap(old, CONTEXT) == KEY
    assert service.unwrap(newer.wrap(KEY, CONTEXT), CONTEXT) == KEY
    service.wrap(KEY, CONTEXT)
    assert service.primary_id == f"{FIRST}/cryptoKeyVersions/1"


def test_a_disabled_version_is_not_found_and_left_behind(gcp: FakeGcpKms, service: GcpKms) -> None:
    wrapped = service.wrap(KEY, CONTEXT)
    gcp.keys[FIRST].rotate()
    gcp.keys[FIRST].disabled.add(1)
    with pytest.raises(KeyNotFoundError):
        service.unwrap(wrapped, CONTEXT)
    with pytest.raises(KeyNotFoundError):
        service.wrap(KEY, CONTEXT)
    assert service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT) == KEY


@pytest.mark.parametrize("field", ["plaintext", "additionalAuthenticatedData"])
def test_each_request_carries_checksums(gcp: FakeGcpKms, service: GcpKms, field: str) -> None:
    service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT)
    encrypting, decrypting = (request.json for request in gcp.server.requests)
    assert f"{field}Crc32c" in encrypting
    assert {"ciphertextCrc32c", "additionalAuthenticatedDataCrc32c"} <= set(decrypting)


@pytest.mark.parametrize(
    "field", ["ciphertextCrc32c", "verifiedPlaintextCrc32c", "verifiedAdditionalAuthenticatedDataCrc32c"]
)
def test_a_damaged_request_or_answer_is_not_used(gcp: FakeGcpKms, service: GcpKms, field: str) -> None:
    gcp.damage = field
    with pytest.raises(KeyServiceUnavailableError, match="damaged on its way"):
        service.wrap(KEY, CONTEXT)
    assert len(gcp.server.requests) == 3


def test_a_damaged_key_is_not_used(gcp: FakeGcpKms, service: GcpKms) -> None:
    wrapped = service.wrap(KEY, CONTEXT)
    gcp.damage = "plaintextCrc32c"
    with pytest.raises(KeyServiceUnavailableError, match="damaged on its way"):
        service.unwrap(wrapped, CONTEXT)


@pytest.mark.parametrize("data", [b"", b"\0", b"123456789", bytes(range(256)) * 3], ids=len)
def test_the_checksum_is_crc32c(data: bytes) -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4
    assert crc32c(data) == checksum(data)


def failure(status: int, code: str) -> Answer:
    return Answer(status, {"error": {"code": status, "message": "the fake's message", "status": code}})


MEANINGS: dict[str, tuple[Answer, type[EncryptionError], str, int]] = {
    "missing": (failure(404, "NOT_FOUND"), KeyNotFoundError, "missing, disabled", 1),
    "disabled": (failure(400, "FAILED_PRECONDITION"), KeyNotFoundError, "missing, disabled", 1),
    "altered": (failure(400, "INVALID_ARGUMENT"), TamperedError, "altered, or moved", 1),
    "not allowed": (failure(403, "PERMISSION_DENIED"), KeyServiceUnavailableError, "operator must grant roles/", 1),
    "not known": (failure(401, "UNAUTHENTICATED"), KeyServiceUnavailableError, "operator must", 1),
    "throttled": (failure(429, "RESOURCE_EXHAUSTED"), KeyServiceUnavailableError, "overloaded", 3),
    "internal": (failure(500, "INTERNAL"), KeyServiceUnavailableError, "overloaded", 3),
    "away": (failure(503, "UNAVAILABLE"), KeyServiceUnavailableError, "overloaded", 3),
    "late": (failure(504, "DEADLINE_EXCEEDED"), KeyServiceUnavailableError, "overloaded", 3),
    "proxy": (Answer(502, b"<html></html>"), KeyServiceUnavailableError, "overloaded", 3),
    "portal": (Answer(200, b"<html></html>"), KeyServiceUnavailableError, "can't be", 3),
    "a list": (Answer(200, []), KeyServiceUnavailableError, "can't be", 3),
    "empty": (Answer(200, {}), KeyServiceUnavailableError, "can't be", 3),
    "strange": (Answer(400, []), KeyServiceUnavailableError, "can't be", 3),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_each_failure_has_its_meaning(gcp: FakeGcpKms, service: GcpKms, name: str) -> None:
    wrapped = service.wrap(KEY, CONTEXT)
    gcp.failing, kind, says, asked = MEANINGS[name]
    for call in (lambda: service.wrap(KEY, CONTEXT), lambda: service.unwrap(wrapped, CONTEXT)):
        del gcp.server.requests[:]
        with pytest.raises(kind, match=says) as caught:
            call()
        assert type(caught.value) is kind
        assert "the fake's message" not in str(caught.value)
        assert len(gcp.server.requests) == asked


def test_a_service_that_hangs_is_given_up_soon(gcp_relay: Relay) -> None:
    service = gcp_kms(gcp_relay.port, timeout=SHORTER)
    with gcp_relay.hanging():
        began = time.monotonic()
        with pytest.raises(KeyServiceUnavailableError, match="can't be reached"):
            service.wrap(KEY, CONTEXT)
        assert time.monotonic() - began < 10
    assert service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT) == KEY


def test_without_credentials_the_operator_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> object:
        raise DefaultCredentialsError("no credentials")

    monkeypatch.setattr("google.auth.default", nobody)
    with pytest.raises(KeyServiceUnavailableError, match="operator must configure credentials"):
        GcpKms(FIRST).wrap(KEY, CONTEXT)


@pytest.mark.parametrize("name", ["", "first", f"{FIRST}/cryptoKeyVersions/1", f"/{FIRST}", FIRST.replace("demo", "")])
def test_keys_are_named_in_full_and_without_a_version(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cryptoKeys"):
        GcpKms(name)
    with pytest.raises(ConfigurationError, match="cryptoKeys"):
        GcpKms(FIRST, former=[name])
