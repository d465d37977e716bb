"""``AwsKms`` against moto's HTTP server, and against scripted answers where moto knows less than KMS."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from support.key_services import CONTEXT, KEY, SHORT, SHORTER
from support.loopback import Answer, Loopback

from socialvault.crypto.envelope import Sealer, key_id_of
from socialvault.exceptions import (
    ConfigurationError,
    EncryptionError,
    KeyNotFoundError,
    KeyServiceUnavailableError,
    TamperedError,
)
from socialvault.keys.aws_kms import AwsKms
from socialvault.keys.base import Wrapped
from socialvault.sandbox.contracts import RemoteKeyServiceContract

if TYPE_CHECKING:
    from support.key_services import Moto


class TestAwsKms(RemoteKeyServiceContract):
    @pytest.fixture
    def open_service(self, moto: Moto) -> Callable[[], AwsKms]:
        return lambda: AwsKms(moto.first, timeout=SHORT)

    @pytest.fixture
    def other(self, moto: Moto) -> AwsKms:
        return AwsKms(moto.second, timeout=SHORT)

    @pytest.fixture
    def successor(self, moto: Moto) -> AwsKms:
        return AwsKms(moto.second, former=[moto.first], timeout=SHORT)

    @pytest.fixture
    def outage(self, moto: Moto) -> Callable[[], AbstractContextManager[None]]:
        return moto.relay.refusing


def test_an_alias_is_resolved_once_and_then_stands_for_its_key(moto: Moto) -> None:
    service = AwsKms("alias/first", region="eu-west-1", timeout=SHORT)
    wrapped = AwsKms(moto.first, timeout=SHORT).wrap(KEY, CONTEXT)
    assert service.unwrap(wrapped, CONTEXT) == KEY
    assert service.primary_id == moto.first
    with pytest.raises(KeyNotFoundError):
        service.unwrap(AwsKms(moto.second, timeout=SHORT).wrap(KEY, CONTEXT), CONTEXT)


def test_a_service_that_hangs_is_given_up_soon(moto: Moto) -> None:
    service = AwsKms(moto.first, timeout=SHORTER)
    with moto.relay.hanging():
        began = time.monotonic()
        with pytest.raises(KeyServiceUnavailableError, match="can't be reached"):
            service.wrap(KEY, CONTEXT)
        assert time.monotonic() - began < 10
    assert service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT) == KEY


# --- what KMS answers --------------------------------------------------------------------------------

ARN = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


class Scripted:
    """Answers every call alike, and keeps what was asked."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.server = Loopback(lambda _: self.answer)

    def fails(self, code: str, status: int = 400) -> None:
        body = {"__type": f"com.amazonaws.kms#{code}", "message": "the script's message"}
        self.answer = Answer(status, body, {"Content-Type": "application/x-amz-json-1.1"})


@pytest.fixture
def scripted(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    scripted = Scripted()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{scripted.server.port}")
    yield scripted
    scripted.server.close()


MEANINGS: dict[str, tuple[type[EncryptionError], str, int]] = {
    "NotFoundException": (KeyNotFoundError, "missing, disabled", 1),
    "DisabledException": (KeyNotFoundError, "missing, disabled", 1),
    "KMSInvalidStateException": (KeyNotFoundError, "scheduled for deletion", 1),
    "InvalidKeyUsageException": (KeyNotFoundError, "missing, disabled", 1),
    "InvalidCiphertextException": (TamperedError, "altered, or moved", 1),
    "IncorrectKeyException": (TamperedError, "altered, or moved", 1),
    "AccessDeniedException": (KeyServiceUnavailableError, "operator must allow kms:Encrypt and kms:Decrypt", 1),
    "UnrecognizedClientException": (KeyServiceUnavailableError, "operator must", 1),
    "ExpiredTokenException": (KeyServiceUnavailableError, "operator must", 1),
    "ThrottlingException": (KeyServiceUnavailableError, "overloaded", 3),
    "LimitExceededException": (KeyServiceUnavailableError, "overloaded", 3),
    "KeyUnavailableException": (KeyServiceUnavailableError, "overloaded", 3),
}


@pytest.fixture(scope="module")
def parts() -> Wrapped:
    """The parts of a wrapped key; the script decides what opens."""
    envelope = Sealer(AESGCM(KEY), key_id_of(KEY), b"V" * 16, "vault-key", "acme", "").seal(KEY, "", "", b"", 0)
    return Wrapped(ARN, b"one-time key", envelope)


@pytest.mark.parametrize("code", MEANINGS)
def test_each_refusal_has_its_meaning(scripted: Scripted, parts: Wrapped, code: str) -> None:
    kind, says, asked = MEANINGS[code]
    scripted.fails(code)
    service = AwsKms(ARN, timeout=SHORT)
    for call in (lambda: service.unwrap(parts.to_bytes(), CONTEXT), lambda: service.wrap(KEY, CONTEXT)):
        del scripted.server.requests[:]
        with pytest.raises(kind, match=says) as caught:
            call()
        assert type(caught.value) is kind
        assert code in str(caught.value) or kind is TamperedError
        assert "the script's message" not in str(caught.value)
        assert len(scripted.server.requests) == asked


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, {"__type": "KMSInternalException"}),
        Answer(503, {"__type": "DependencyTimeoutException"}, {"Retry-After": "3600"}),
        Answer(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"}),
        Answer(200, b"<html>a captive portal</html>", {"Content-Type": "text/html"}),
        Answer(200, {}),
        Answer(200, {"KeyId": ARN}),
        Answer(200, {"KeyId": ARN, "CiphertextBlob": 1}),
    ],
    ids=lambda answer: f"{answer.status} {answer.body!r}",
)
def test_a_broken_answer_is_an_outage(scripted: Scripted, answer: Answer) -> None:
    scripted.answer = answer
    with pytest.raises(KeyServiceUnavailableError):
        AwsKms(ARN, timeout=SHORT).wrap(KEY, CONTEXT)


def test_a_key_of_nobodys_is_not_used(moto: Moto) -> None:
    """Who can write the database could name his own key, which he allows everybody to use."""
    theirs = AwsKms(moto.second).wrap(KEY, CONTEXT)
    with pytest.raises(KeyNotFoundError, match="was not given"):
        AwsKms(moto.first).unwrap(theirs, CONTEXT)


def test_the_key_that_is_named_must_have_encrypted(moto: Moto) -> None:
    service = AwsKms(moto.first, former=[moto.second], timeout=SHORT)
    theirs = Wrapped.parse(AwsKms(moto.second, timeout=SHORT).wrap(KEY, CONTEXT))
    with pytest.raises(EncryptionError):
        service.unwrap(theirs._replace(kek_id=moto.first).to_bytes(), CONTEXT)


def test_with_an_arn_wrapping_and_unwrapping_are_one_call_each(moto: Moto, scripted: Scripted) -> None:
    scripted.fails("DisabledException")
    with pytest.raises(KeyNotFoundError):
        AwsKms(moto.first).wrap(KEY, CONTEXT)
    assert [request.headers["X-Amz-Target"] for request in scripted.server.requests] == ["TrentService.Encrypt"]


def test_each_call_tells_where_the_key_belongs_and_no_tenants_name(moto: Moto, scripted: Scripted) -> None:
    scripted.fails("DisabledException")
    with pytest.raises(KeyNotFoundError):
        AwsKms(moto.first).wrap(KEY, CONTEXT)
    sent = scripted.server.requests[0].json
    assert sent["KeyId"] == moto.first
    assert sent["EncryptionContext"]["socialvault:vault"] == CONTEXT.vault_id.hex()
    assert sent["EncryptionContext"]["socialvault:key"] == CONTEXT.key_id
    assert sent["EncryptionContext"]["socialvault:purpose"] == "vault-key"
    assert "acme" not in str(sent)
    assert all(sent["EncryptionContext"].values())


def test_without_credentials_the_operator_is_told(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(KeyServiceUnavailableError, match="operator must configure credentials"):
        AwsKms(moto.first).wrap(KEY, CONTEXT)


def test_without_a_region_the_operator_is_told(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    with pytest.raises(KeyServiceUnavailableError, match="region"):
        AwsKms("alias/first").wrap(KEY, CONTEXT)


@pytest.mark.parametrize("former", ["alias/old", "1234abcd", "arn:aws:kms:eu-west-1:111122223333:alias/old"])
def test_former_keys_are_arns(former: str) -> None:
    with pytest.raises(ConfigurationError, match="ARN"):
        AwsKms(ARN, former=[former])
