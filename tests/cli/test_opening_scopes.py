"""Whose records one DEK seals is asked of the records: keys of a scope that was given up stay primary in it."""

from __future__ import annotations

import json

import pytest

from socialvault import Vault
from socialvault.cli import opening


@pytest.fixture
def owners(service):
    for number in range(3):
        service.connect(owner=f"user-{number}", user=f"user-{number}")
    return service


def job(invoke, service, name):
    ended = invoke("keys", name, "--json", "--store", service.url)
    assert ended.exit_code == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("sample", [1, 200])
def test_what_was_resealed_for_tenants_is_not_resealed_for_owners_again(invoke, owners, monkeypatch, sample):
    monkeypatch.setattr(opening, "_SAMPLE", sample)  # of more keys than are looked at
    with Vault(**owners.options(), dek_scope="tenant") as vault:
        assert vault.keys.reseal().records == 3
    assert job(invoke, owners, "reseal")["records"] == 0
    with Vault(**owners.options()) as vault:
        assert vault.keys.reseal().records == 3
    assert job(invoke, owners, "reseal")["records"] == 0


def test_both_kinds_in_use_are_for_the_application_to_decide(invoke, owners):
    with Vault(**owners.options(), dek_scope="tenant") as vault:
        vault.import_tokens("x", owner="user-9", tenant="acme", access_token="another", subject="9")
    ended = invoke("keys", "reseal", "--store", owners.url)
    assert ended.exit_code == 78
    assert "--vault" in ended.stderr


def test_what_was_wrapped_for_the_vault_is_not_wrapped_for_tenants_again(invoke, owners):
    with Vault(**owners.options(), vault_key_scope="tenant") as vault:
        assert vault.keys.rewrap().data_keys == 3
    assert job(invoke, owners, "rewrap")["data_keys"] == 0
    with Vault(**owners.options()) as vault:
        assert vault.keys.rewrap().data_keys == 3
    assert job(invoke, owners, "rewrap")["data_keys"] == 0
