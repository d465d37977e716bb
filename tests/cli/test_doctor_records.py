"""C-20, F-31: ``doctor --records`` lists what does not open, and says that the rest does."""

from __future__ import annotations

import json
import sqlite3

from socialvault import LocalKeyring


def examine(invoke, *options):
    ended = invoke("doctor", "--json", *options)
    return ended.exit_code, json.loads(ended.stdout)["findings"]


def change(service, sql):
    with sqlite3.connect(service.database) as opened:
        opened.execute(sql)


def about_records(findings):
    return {
        finding["about"]: finding for finding in findings if finding["about"].startswith(("records", "token", "data"))
    }


def test_records_are_only_opened_where_that_is_asked_for(invoke_service, service):
    service.connect()
    _, findings = examine(invoke_service, "--store", service.url)
    assert about_records(findings) == {}
    for how in (("--store", service.url), ("--vault", "service:make_vault"), ("--vault", "service:make_async_vault")):
        code, findings = examine(invoke_service, "--records", *how)
        found = about_records(findings)["records"]
        assert (code, found["level"]) == (0, "ok")
        assert found["found"] == "all open: 1 vault key, 1 canary, 2 data key, 1 token"


def test_rows_whose_key_is_gone_are_listed_and_other_tenants_go_on(invoke_service, service):
    lost = service.connect(user="ada", tenant="acme")
    kept = service.connect(user="grace", tenant="other")
    change(service, "DELETE FROM data_keys WHERE tenant = 'acme'")
    code, findings = examine(invoke_service, "--store", service.url, "--records")
    found = about_records(findings)
    assert code == 1
    assert found["records"]["found"].startswith("1 don't open; these do: ")
    about = found[f"token {lost.id}"]
    assert about["level"] == "wrong"
    assert about["action"] == "fix_configuration"
    assert "KeyNotFoundError under key" in about["found"]
    assert about["found"].endswith(", provider x, owner user-42, tenant acme")
    assert kept.id not in json.dumps(findings)
    with service.make_vault() as vault:
        assert vault.token(kept.id, owner=kept.owner, tenant="other").generation == 1


def test_a_tampered_record_is_for_a_person_to_look_at(invoke_service, service):
    made = service.connect()
    change(service, "UPDATE connections SET generation = 7")
    code, findings = examine(invoke_service, "--store", service.url, "--records")
    about = about_records(findings)[f"token {made.id}"]
    assert (code, about["action"], about["found"].split()[0]) == (1, "report", "TamperedError")


def test_wrong_keys_are_one_finding_about_each_key(invoke_service, service, monkeypatch):
    service.connect()
    monkeypatch.setenv("SOCIALVAULT_KEYS", LocalKeyring.generate())
    code, findings = examine(invoke_service, "--store", service.url, "--records")
    assert code == 1
    assert about_records(findings)["records"]["level"] == "wrong"
