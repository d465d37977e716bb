"""``AzureKeyVault`` against a fake of Key Vault's HTTP surface; nothing here was held against the real service."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import pytest
from support.fake_azure_key_vault import BEARER, FakeCredential
from support.key_services import CONTEXT, KEY, SHORT, SHORTER
from support.loopback import Answer

from socialvault.exceptions import (
    ConfigurationError,
    EncryptionError,
    KeyNotFoundError,
    KeyServiceUnavailableError,
    TamperedError,
)
from socialvault.keys.azure_key_vault import AzureKeyVault
from socialvault.sandbox.contracts import RemoteKeyServiceContract

if TYPE_CHECKING:
    from support.fake_azure_key_vault import FakeKeyVault
    from support.relay import Relay


def key_service(fake: FakeKeyVault, name: str = "first", version: int = 0, **options: Any) -> AzureKeyVault:
    options = {"timeout": SHORT, **options}
    return AzureKeyVault(
        fake.key_id(name, version),
        FakeCredential(),
        connection_verify=str(fake.certificate),
        verify_challenge_resource=False,
        **options,
    )


class TestAzureKeyVault(RemoteKeyServiceContract):
    @pytest.fixture
    def open_service(self, key_vault: FakeKeyVault) -> Callable[[], AzureKeyVault]:
        return lambda: key_service(key_vault)

    @pytest.fixture
    def other(self, key_vault: FakeKeyVault) -> AzureKeyVault:
        return key_service(key_vault, "second")

    @pytest.fixture
    def successor(self, key_vault: FakeKeyVault) -> AzureKeyVault:
        return key_service(key_vault, "second", former=[key_vault.key_id("first")])

    @pytest.fixture
    def outage(self, key_vault_relay: Relay) -> Callable[[], AbstractContextManager[None]]:
        return key_vault_relay.refusing


@pytest.fixture
def service(key_vault: FakeKeyVault) -> AzureKeyVault:
    return key_service(key_vault)


def test_versions_of_the_key_are_keys_of_their_own(key_vault: FakeKeyVault, service: AzureKeyVault) -> None:
    old = service.wrap(KEY, CONTEXT)
    assert service.primary_id == key_vault.key_id("first", 1)
    key_vault.keys["first"].rotate()
    newer = key_service(key_vault)
    assert newer.primary_id == key_vault.key_id("first", 2)
    assert newer.unwrap(old, CONTEXT) == KEY
    assert service.unwrap(newer.wrap(KEY, CONTEXT), CONTEXT) == KEY
    service.wrap(KEY, CONTEXT)
    assert service.primary_id == key_vault.key_id("first", 1)


def test_a_version_that_is_named_wraps_what_is_new(key_vault: FakeKeyVault) -> None:
    key_vault.keys["first"].rotate()
    assert key_service(key_vault, version=1).primary_id == key_vault.key_id("first", 1)


def test_without_the_right_to_get_the_key_its_version_must_be_named(key_vault: FakeKeyVault) -> None:
    key_vault.readable = False
    named = key_service(key_vault, version=1)
    assert named.unwrap(named.wrap(KEY, CONTEXT), CONTEXT) == KEY
    with pytest.raises(KeyServiceUnavailableError, match="operator must allow to get the key, or name its version"):
        key_service(key_vault).wrap(KEY, CONTEXT)


def test_nothing_is_wrapped_under_a_key_that_was_disabled_meanwhile(
    key_vault: FakeKeyVault, service: AzureKeyVault
) -> None:
    wrapped = service.wrap(KEY, CONTEXT)  # the client library has the public key now
    key_vault.keys["first"].disabled = True
    with pytest.raises(KeyNotFoundError, match="KeyDisabled"):
        service.wrap(KEY, CONTEXT)
    with pytest.raises(KeyNotFoundError, match="KeyDisabled"):
        service.unwrap(wrapped, CONTEXT)


def test_a_key_of_another_vault_is_not_used(key_vault: FakeKeyVault, service: AzureKeyVault) -> None:
    """Who can write the database could name a vault of his own."""
    wrapped = service.wrap(KEY, CONTEXT)
    before = len(key_vault.server.requests)
    with pytest.raises(KeyNotFoundError, match="was not given"):
        service.unwrap(wrapped.replace(b"127.0.0.1", b"127.0.0.2"), CONTEXT)
    assert len(key_vault.server.requests) == before


def failure(status: int, code: str, inner: str = "") -> Answer:
    return Answer(status, {"error": {"code": code, "message": "the fake's message", "innererror": {"code": inner}}})


MEANINGS: dict[str, tuple[Answer, type[EncryptionError], str, int]] = {
    "missing": (failure(404, "KeyNotFound"), KeyNotFoundError, "missing, disabled", 1),
    "disabled": (failure(403, "Forbidden", "KeyDisabled"), KeyNotFoundError, "KeyDisabled", 1),
    "deleted": (failure(409, "Conflict", "ObjectIsDeletedButRecoverable"), KeyNotFoundError, "missing, disabled", 1),
    "altered": (failure(400, "BadParameter"), TamperedError, "altered, or moved", 1),
    "not allowed": (failure(403, "Forbidden", "ForbiddenByRbac"), KeyServiceUnavailableError, "operator must allow", 1),
    "not known": (failure(401, "Unauthorized"), KeyServiceUnavailableError, "operator must allow", 1),
    "throttled": (failure(429, "Throttled"), KeyServiceUnavailableError, "overloaded", 3),
    "internal": (failure(500, "InternalServerError"), KeyServiceUnavailableError, "overloaded", 3),
    "away": (failure(503, "ServiceUnavailable"), KeyServiceUnavailableError, "overloaded", 3),
    "proxy": (Answer(502, b"<html></html>"), KeyServiceUnavailableError, "overloaded", 3),
    "portal": (Answer(200, b"<html></html>"), KeyServiceUnavailableError, "can't be", 3),
    "a list": (Answer(200, []), KeyServiceUnavailableError, "can't be", 3),
    "empty": (Answer(200, {}), KeyServiceUnavailableError, "can't be", 3),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_each_failure_has_its_meaning(key_vault: FakeKeyVault, service: AzureKeyVault, name: str) -> None:
    wrapped = service.wrap(KEY, CONTEXT)
    key_vault.failing, kind, says, asked = MEANINGS[name]
    del key_vault.server.requests[:]
    with pytest.raises(kind, match=says) as caught:
        service.unwrap(wrapped, CONTEXT)
    assert type(caught.value) is kind
    assert "the fake's message" not in str(caught.value)
    assert len(key_vault.server.requests) == asked


def test_a_server_may_not_make_callers_wait_as_long_as_it_likes(
    key_vault: FakeKeyVault, service: AzureKeyVault
) -> None:
    wrapped = service.wrap(KEY, CONTEXT)
    key_vault.failing = Answer(429, {"error": {"code": "Throttled"}}, {"Retry-After": "3600"})
    began = time.monotonic()
    with pytest.raises(KeyServiceUnavailableError):
        service.unwrap(wrapped, CONTEXT)
    assert time.monotonic() - began < 10


def test_a_service_that_hangs_is_given_up_soon(key_vault: FakeKeyVault, key_vault_relay: Relay) -> None:
    service = key_service(key_vault, timeout=SHORTER)
    with key_vault_relay.hanging():
        began = time.monotonic()
        with pytest.raises(KeyServiceUnavailableError, match="can't be reached"):
            service.wrap(KEY, CONTEXT)
        assert time.monotonic() - began < 10
    assert service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT) == KEY


def test_a_server_that_claims_another_resource_gets_no_token(key_vault: FakeKeyVault) -> None:
    service = AzureKeyVault(
        key_vault.key_id("first"), FakeCredential(), connection_verify=str(key_vault.certificate), timeout=SHORT
    )
    del key_vault.server.requests[:]
    with pytest.raises(KeyServiceUnavailableError, match="operator"):
        service.wrap(KEY, CONTEXT)
    assert not any(BEARER in str(request.headers) for request in key_vault.server.requests)


@pytest.mark.parametrize(
    "key_id",
    ["", "first", "http://v.vault.azure.net/keys/first", "https://v.vault.azure.net/secrets/first",
     "https://v.vault.azure.net/keys/", "https://v.vault.azure.net/keys/first/1/2", "https:///keys/first"],
)  # fmt: skip
def test_keys_are_named_by_their_ids(key_id: str) -> None:
    with pytest.raises(ConfigurationError, match="a key is named"):
        AzureKeyVault(key_id, FakeCredential())
