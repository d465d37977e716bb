"""What goes out as JSON: every field of the contract, times in UTC, lists in order."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from socialvault.http import bodies
from socialvault.model.connection import Connection, Receipt, SubAccount
from socialvault.model.login import Completed, Login, LoginCookie
from socialvault.model.status import Status
from socialvault.vault.health import Check, Health

AT = datetime(2026, 11, 24, 18, 5, 59, tzinfo=UTC)


def a_connection(**changes):
    values = {
        "id": "con-1", "provider": "x", "subject": "s-1", "owner": "owner-canary", "tenant": "tenant-canary",
        "parent_id": "", "kind": "", "name": "Ada", "username": "ada", "picture_url": "", "status": Status.ACTIVE,
        "reason": "", "scopes": frozenset({"b", "a"}), "expires_at": AT, "dies_at": None, "renewable": True,
        "created_at": AT, "updated_at": AT, "client_id": "client-canary", "issuer": "issuer-canary", "generation": 7,
    }  # fmt: skip
    return Connection(**{**values, **changes})


def shown(document):
    return json.loads(document.model_dump_json())


def test_a_connection_names_no_owner_no_tenant_and_no_application():
    found = shown(bodies.ConnectionDocument.of(a_connection()))
    assert "canary" not in json.dumps(found)
    assert (found["scopes"], found["status"]) == (["a", "b"], "active")
    assert (found["expires_at"], found["dies_at"]) == ("2026-11-24T18:05:59Z", None)


@pytest.mark.parametrize("status", Status)
def test_every_status_can_be_shown(status):
    assert shown(bodies.ConnectionDocument.of(a_connection(status=status)))["status"] == status.value


def test_a_started_flow_has_an_address_and_an_end():
    cookie = LoginCookie(name="n", value="cookie-canary", path="/", max_age_seconds=1, secure=True)
    found = shown(bodies.StartedDocument.of(Login("https://x.example/authorize", AT, cookie)))
    assert found == {"url": "https://x.example/authorize", "expires_at": "2026-11-24T18:05:59Z"}


def test_a_finished_flow_lists_what_is_missing_in_order():
    found = shown(bodies.CompletedDocument.of(Completed(a_connection(), "/settings", frozenset({"z", "y"}))))
    assert (found["missing_scopes"], found["return_to"], found["duplicate"]) == (["y", "z"], "/settings", False)


def test_a_receipt_shows_its_children():
    child = Receipt("con-2", "x", "kept_for_sibling", AT)
    found = shown(bodies.ReceiptDocument.of(Receipt("con-1", "x", "revoked", AT, (child,))))
    assert [one["connection_id"] for one in found["children"]] == ["con-2"]
    assert found["children"][0]["children"] == []


def test_a_sub_account_shows_its_roles():
    account = SubAccount(id="p-1", name="Page", kind="page", granted=True, roles=("EDIT",), connection_id="")
    [found] = shown(bodies.SubAccountsDocument.of([account]))["sub_accounts"]
    assert found == {
        "id": "p-1", "name": "Page", "kind": "page", "granted": True, "roles": ["EDIT"], "connection_id": "",
    }  # fmt: skip


def test_a_check_shows_no_reason():
    found = shown(bodies.ReadinessDocument.of(Health((Check("store", "canary", "fail"), Check("escrow", state="off")))))
    assert found == {
        "status": "unavailable",
        "checks": [{"name": "store", "status": "fail"}, {"name": "escrow", "status": "off"}],
    }


def test_documents_and_bodies_show_no_input_where_they_refuse_it():
    for build in (lambda: bodies.StartBody(scopes="canary"), lambda: bodies.LivenessDocument(status="canary")):
        with pytest.raises(ValidationError) as raised:
            build()
        assert "canary" not in str(raised.value)
