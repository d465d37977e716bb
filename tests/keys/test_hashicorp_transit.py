"""``HashicorpTransit`` against a real OpenBao, and against scripted answers for what a healthy server does not say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import hvac
import pytest
from support.key_services import CONTEXT, KEY, SHORT, SHORTER
from support.loopback import Answer, Loopback
from support.openbao import ROOT_TOKEN

from socialvault.exceptions import ConfigurationError, KeyNotFoundError, KeyServiceUnavailableError, TamperedError
from socialvault.keys.hashicorp_transit import HashicorpTransit
from socialvault.sandbox.contracts import RemoteKeyServiceContract

if TYPE_CHECKING:
    from support.key_services import Bao

POLICY = """
path "transit/encrypt/{key}" {{ capabilities = ["update"] }}
path "transit/decrypt/{key}" {{ capabilities = ["update"] }}
"""


class TestHashicorpTransit(RemoteKeyServiceContract):
    @pytest.fixture
    def open_service(self, shared_bao: Bao, narrow_token: str) -> Callable[[], HashicorpTransit]:
        return lambda: HashicorpTransit(shared_bao.url, shared_bao.first, token=narrow_token, timeout=SHORT)

    @pytest.fixture
    def other(self, shared_bao: Bao) -> HashicorpTransit:
        return HashicorpTransit(shared_bao.url, shared_bao.second, token=ROOT_TOKEN, timeout=SHORT)

    @pytest.fixture
    def successor(self, shared_bao: Bao) -> HashicorpTransit:
        former = [shared_bao.first]
        return HashicorpTransit(shared_bao.url, shared_bao.second, token=ROOT_TOKEN, former=former, timeout=SHORT)

    @pytest.fixture
    def outage(self, shared_bao: Bao) -> Callable[[], AbstractContextManager[None]]:
        return shared_bao.relay.refusing


@pytest.fixture(scope="module")
def narrow_token(shared_bao: Bao) -> str:
    """What the documentation asks for, and no more."""
    return shared_bao.server.create_token(POLICY.format(key=shared_bao.first))


@pytest.fixture
def service(bao: Bao) -> HashicorpTransit:
    return HashicorpTransit(bao.url, bao.first, token=ROOT_TOKEN, timeout=SHORT)


def reopened(bao: Bao) -> HashicorpTransit:
    """The service as a process sees it that starts now."""
    return HashicorpTransit(bao.url, bao.first, token=ROOT_TOKEN, timeout=SHORT)


def test_versions_of_the_key_are_keys_of_their_own(bao: Bao, service: HashicorpTransit) -> None:
    old = service.wrap(KEY, CONTEXT)
    assert service.primary_id == f"transit/{bao.first}:v1"
    bao.server.api("POST", f"transit/keys/{bao.first}/rotate")
    newer = reopened(bao)
    assert newer.primary_id == f"transit/{bao.first}:v2"
    assert newer.unwrap(old, CONTEXT) == KEY
    assert service.unwrap(newer.wrap(KEY, CONTEXT), CONTEXT) == KEY


def test_a_process_keeps_to_the_version_it_started_with(bao: Bao, service: HashicorpTransit) -> None:
    assert service.primary_id.endswith(":v1")
    bao.server.api("POST", f"transit/keys/{bao.first}/rotate")
    wrapped = service.wrap(KEY, CONTEXT)
    assert service.primary_id.endswith(":v1")
    bao.server.api("POST", f"transit/keys/{bao.first}/config", {"min_decryption_version": 2})
    with pytest.raises(KeyNotFoundError):
        reopened(bao).unwrap(wrapped, CONTEXT)


def test_a_version_that_may_not_encrypt_any_more_is_left_behind(bao: Bao, service: HashicorpTransit) -> None:
    service.wrap(KEY, CONTEXT)
    bao.server.api("POST", f"transit/keys/{bao.first}/rotate")
    bao.server.api("POST", f"transit/keys/{bao.first}/config", {"min_encryption_version": 2})
    with pytest.raises(KeyNotFoundError):
        service.wrap(KEY, CONTEXT)
    assert service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT) == KEY
    assert service.primary_id.endswith(":v2")


def test_a_version_that_may_not_decrypt_any_more_is_not_found(bao: Bao, service: HashicorpTransit) -> None:
    wrapped = service.wrap(KEY, CONTEXT)
    bao.server.api("POST", f"transit/keys/{bao.first}/rotate")
    bao.server.api("POST", f"transit/keys/{bao.first}/config", {"min_decryption_version": 2})
    with pytest.raises(KeyNotFoundError, match=f"transit/{bao.first}"):
        service.unwrap(wrapped, CONTEXT)


def test_a_deleted_key_is_not_found(bao: Bao, service: HashicorpTransit) -> None:
    wrapped = service.wrap(KEY, CONTEXT)
    bao.server.api("POST", f"transit/keys/{bao.first}/config", {"deletion_allowed": True})
    bao.server.api("DELETE", f"transit/keys/{bao.first}")
    with pytest.raises(KeyNotFoundError):
        service.unwrap(wrapped, CONTEXT)


def test_a_mistyped_name_makes_no_key(bao: Bao) -> None:
    token = bao.server.create_token(POLICY.format(key="mistyped"))
    with pytest.raises(KeyServiceUnavailableError, match="operator must check the key's name"):
        HashicorpTransit(bao.url, "mistyped", token=token, timeout=SHORT).wrap(KEY, CONTEXT)
    assert "mistyped" not in bao.server.api("GET", "transit/keys?list=true")["data"]["keys"]


def test_a_mount_that_is_not_there_is_not_found(bao: Bao) -> None:
    with pytest.raises(KeyNotFoundError):
        HashicorpTransit(bao.url, bao.first, token=ROOT_TOKEN, mount="elsewhere", timeout=SHORT).wrap(KEY, CONTEXT)


def test_a_version_that_is_claimed_is_checked(service: HashicorpTransit) -> None:
    wrapped = service.wrap(KEY, CONTEXT)
    assert wrapped.count(b":v1") == 2
    with pytest.raises(TamperedError):
        service.unwrap(wrapped.replace(b":v1", b":v2", 1), CONTEXT)
    with pytest.raises((TamperedError, KeyNotFoundError)):
        service.unwrap(wrapped.replace(b":v1", b":v2"), CONTEXT)


@pytest.mark.parametrize("options", [{"type": "rsa-2048"}, {"derived": True}], ids=["RSA", "derived"])
def test_a_key_that_can_not_bind_is_refused(bao: Bao, options: dict[str, object]) -> None:
    name = f"{bao.first}-unfit"
    bao.server.create_key(name, **options)
    with pytest.raises(KeyServiceUnavailableError, match="operator must check that the key takes associated data"):
        HashicorpTransit(bao.url, name, token=ROOT_TOKEN, timeout=SHORT).wrap(KEY, CONTEXT)


@pytest.mark.parametrize("kind", ["chacha20-poly1305", "aes128-gcm96"])
def test_other_keys_that_bind_work(bao: Bao, kind: str) -> None:
    name = f"{bao.first}-{kind}"
    bao.server.create_key(name, type=kind)
    service = HashicorpTransit(bao.url, name, token=ROOT_TOKEN, timeout=SHORT)
    assert service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT) == KEY


def test_a_token_without_the_right_is_the_operators_business(bao: Bao) -> None:
    wrong = bao.server.create_token(POLICY.format(key="something-else"))
    with pytest.raises(KeyServiceUnavailableError, match=r"operator must .*give a valid token") as caught:
        HashicorpTransit(bao.url, bao.first, token=wrong, timeout=SHORT).wrap(KEY, CONTEXT)
    assert wrong not in str(caught.value)


def test_a_token_may_come_from_a_function_each_time(bao: Bao) -> None:
    tokens = iter([ROOT_TOKEN, "expired", ROOT_TOKEN])
    service = HashicorpTransit(bao.url, bao.first, token=lambda: next(tokens), timeout=SHORT)
    wrapped = service.wrap(KEY, CONTEXT)
    with pytest.raises(KeyServiceUnavailableError, match="token"):
        service.unwrap(wrapped, CONTEXT)
    assert service.unwrap(wrapped, CONTEXT) == KEY


def test_a_client_of_ones_own_is_used_as_it_is(bao: Bao) -> None:
    client = hvac.Client(url=bao.url, token=ROOT_TOKEN, timeout=2)
    service = HashicorpTransit(client, bao.first)
    assert service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT) == KEY
    client.adapter.close()


def test_a_mount_and_a_key_may_have_any_names(bao: Bao) -> None:
    bao.server.api("POST", "sys/mounts/team/transit", {"type": "transit"})
    try:
        bao.server.api("POST", "team/transit/keys/vault.v7-a", {})
        service = HashicorpTransit(bao.url, "vault.v7-a", token=ROOT_TOKEN, mount="team/transit", timeout=SHORT)
        assert service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT) == KEY
        assert service.primary_id == "team/transit/vault.v7-a:v1"
    finally:
        bao.server.api("DELETE", "sys/mounts/team/transit")


def test_a_namespace_is_part_of_the_id(bao: Bao) -> None:
    bao.server.api("POST", "sys/namespaces/acme", {})
    try:
        bao.server.api("POST", "acme/sys/mounts/transit", {"type": "transit"})
        bao.server.api("POST", f"acme/transit/keys/{bao.first}", {})
        theirs = HashicorpTransit(bao.url, bao.first, token=ROOT_TOKEN, namespace="acme", timeout=SHORT)
        ours = reopened(bao)
        wrapped = theirs.wrap(KEY, CONTEXT)
        assert theirs.primary_id == f"acme/transit/{bao.first}:v1"
        assert theirs.unwrap(wrapped, CONTEXT) == KEY
        with pytest.raises(KeyNotFoundError):
            ours.unwrap(wrapped, CONTEXT)
    finally:
        bao.server.api("DELETE", "sys/namespaces/acme")


def test_a_sealed_server_is_an_outage(scripted: Scripted) -> None:
    scripted.answer = Answer(503, {"errors": ["Vault is sealed"]}, {"Retry-After": "3600"})
    with pytest.raises(KeyServiceUnavailableError, match="can't be reached, or is overloaded"):
        scripted.service().wrap(KEY, CONTEXT)
    assert len(scripted.server.requests) == 3


class Scripted:
    """Answers every call alike."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.server = Loopback(lambda _: self.answer)

    def service(self) -> HashicorpTransit:
        return HashicorpTransit(f"http://127.0.0.1:{self.server.port}", "first", token=ROOT_TOKEN, timeout=SHORT)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.server.close()


BROKEN = {
    "rate limited": Answer(429, {"errors": ["too many"]}),
    "internal": Answer(500, {"errors": ["internal error"]}),
    "proxy": Answer(502, b"<html>bad gateway</html>", {"Content-Type": "text/html"}),
    "portal": Answer(200, b"<html>sign in</html>", {"Content-Type": "text/html"}),
    "empty": Answer(200, {}),
    "null": Answer(200, {"data": None}),
    "a list": Answer(200, []),
    "no content": Answer(204),
    "no version": Answer(200, {"data": {"ciphertext": "vault:zzz"}}),
    "no text": Answer(200, {"data": {"ciphertext": "vault:v1:\u00e9"}}),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=list(BROKEN))
def test_a_broken_answer_is_an_outage(scripted: Scripted, answer: Answer) -> None:
    scripted.answer = answer
    with pytest.raises(KeyServiceUnavailableError):
        scripted.service().wrap(KEY, CONTEXT)


def test_no_redirect_is_followed_since_the_token_would_go_along(scripted: Scripted) -> None:
    elsewhere = Loopback(lambda _: Answer(200, {"data": {"ciphertext": "vault:v1:AAAA"}}))
    scripted.answer = Answer(307, b"", {"Location": f"http://127.0.0.1:{elsewhere.port}/v1/transit/encrypt/first"})
    with pytest.raises(KeyServiceUnavailableError):
        scripted.service().wrap(KEY, CONTEXT)
    assert elsewhere.requests == []
    elsewhere.close()


def test_a_server_that_hangs_is_given_up_soon(bao: Bao) -> None:
    service = HashicorpTransit(bao.url, bao.first, token=ROOT_TOKEN, timeout=SHORTER)
    with bao.relay.hanging():
        began = time.monotonic()
        with pytest.raises(KeyServiceUnavailableError, match="can't be reached"):
            service.wrap(KEY, CONTEXT)
        assert time.monotonic() - began < 10
    assert service.unwrap(service.wrap(KEY, CONTEXT), CONTEXT) == KEY


@pytest.mark.parametrize("url", ["http://vault.example:8200", "vault.example", "ftp://127.0.0.1", "", "http://"])
def test_plain_http_is_for_this_machine(url: str) -> None:
    with pytest.raises(ConfigurationError, match="https"):
        HashicorpTransit(url, "first", token=ROOT_TOKEN)


@pytest.mark.parametrize(("key", "mount"), [("", "transit"), ("first", "")])
def test_key_and_mount_are_named(key: str, mount: str) -> None:
    with pytest.raises(ConfigurationError, match="named"):
        HashicorpTransit("https://vault.example", key, token=ROOT_TOKEN, mount=mount)
