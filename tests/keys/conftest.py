"""The servers that key services talk to here: one each for the whole run, behind a relay that can cut it off."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from support.fake_azure_key_vault import FakeKeyVault
from support.fake_gcp_kms import FakeGcpKms
from support.key_services import Bao, Moto
from support.relay import Relay

if TYPE_CHECKING:
    from support.openbao import OpenBao


@pytest.fixture(scope="session", autouse=True)
def service_descriptions() -> Iterator[None]:
    """Read boto's descriptions of services once, and not for each of the many clients: that is half of their cost."""
    from botocore.loaders import JSONFileLoader

    load = cache(JSONFileLoader().load_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", lambda _self, path: load(path))
        yield


@pytest.fixture(scope="session")
def moto_server() -> Iterator[Any]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto_keys(moto_server: Any) -> Iterator[Moto]:
    import boto3

    port = moto_server.get_host_and_port()[1]
    client = boto3.client(
        "kms",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="aws-secret-canary",
    )
    first, second = (client.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    client.create_alias(AliasName="alias/first", TargetKeyId=first)
    relay = Relay(port)
    yield Moto(relay, first, second)
    client.close()
    relay.close()


@pytest.fixture
def moto(moto_keys: Moto, monkeypatch: pytest.MonkeyPatch) -> Moto:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret-canary")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{moto_keys.relay.port}")
    return moto_keys


@pytest.fixture(scope="session")
def bao_relay(openbao: OpenBao) -> Iterator[Relay]:
    relay = Relay(int(openbao.url.rpartition(":")[2]))
    yield relay
    relay.close()


def _bao(openbao: OpenBao, relay: Relay) -> Bao:
    names = [f"key-{secrets.token_hex(6)}" for _ in range(2)]
    for name in names:
        openbao.create_key(name)
    return Bao(openbao, relay, *names)


@pytest.fixture
def bao(openbao: OpenBao, bao_relay: Relay) -> Bao:
    return _bao(openbao, bao_relay)


@pytest.fixture(scope="module")
def shared_bao(openbao: OpenBao, bao_relay: Relay) -> Bao:
    """For tests that leave the keys alone."""
    return _bao(openbao, bao_relay)


@pytest.fixture
def gcp() -> Iterator[FakeGcpKms]:
    fake = FakeGcpKms()
    yield fake
    fake.server.close()


@pytest.fixture
def gcp_relay(gcp: FakeGcpKms) -> Iterator[Relay]:
    relay = Relay(gcp.server.port)
    yield relay
    relay.close()


@pytest.fixture(scope="session")
def key_vault_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeKeyVault, Relay]]:
    fake = FakeKeyVault(tmp_path_factory.mktemp("key-vault"))
    relay = Relay(fake.port)
    fake.port = relay.port
    yield fake, relay
    relay.close()
    fake.server.close()


@pytest.fixture
def key_vault(key_vault_server: tuple[FakeKeyVault, Relay]) -> Iterator[FakeKeyVault]:
    fake, _ = key_vault_server
    yield fake
    fake.failing, fake.readable = None, True
    for key in fake.keys.values():
        key.disabled = False
        del key.versions[1:]


@pytest.fixture
def key_vault_relay(key_vault_server: tuple[FakeKeyVault, Relay]) -> Relay:
    return key_vault_server[1]
