from __future__ import annotations

import json
from datetime import timedelta

import pytest

VAULTS = ["service:make_vault", "service:make_async_vault"]
ASK = ["--owner", "user-42", "--tenant", "acme"]


@pytest.fixture(params=["store", *VAULTS])
def source(request, service):
    """The two ways to name a vault."""
    return ["--store", service.url] if request.param == "store" else ["--vault", request.param]


@pytest.fixture(params=VAULTS)
def application(request, service):
    return ["--vault", request.param]


# --- list ----------------------------------------------------------------------------------------


def test_list_finds_connections_across_owners(invoke_service, service, source):
    ids = {service.connect(owner="user-1").id, service.connect(owner="user-2", user="grace").id}
    listed = json.loads(invoke_service("connections", "list", "--json", *source).stdout)
    assert {one["id"] for one in listed["connections"]} == ids
    assert {one["owner"] for one in listed["connections"]} == {"user-1", "user-2"}
    assert listed["next"] is None
    assert "scopes" not in listed["connections"][0]


@pytest.mark.parametrize(
    ("options", "owners"),
    [
        (["--owner", "user-1"], {"user-1"}),
        (["--tenant", "globex"], {"user-3"}),
        (["--provider", "facebook"], {"user-2"}),
        (["--status", "revoked"], {"user-2"}),
        (["--status", "active", "--tenant", "acme"], {"user-1"}),
    ],
    ids=lambda value: value[0][2:] if isinstance(value, list) else None,
)
def test_list_keeps_to_its_filters(invoke_service, service, options, owners):
    service.connect(owner="user-1")
    ended = service.connect("facebook", owner="user-2")
    service.connect(owner="user-3", tenant="globex")
    with service.make_vault() as vault:
        vault.disconnect(ended.id, owner="user-2", tenant="acme")
    listed = json.loads(invoke_service("connections", "list", "--json", "--store", service.url, *options).stdout)
    assert {one["owner"] for one in listed["connections"]} == owners


def test_list_goes_on_where_the_page_before_ended(invoke_service, service):
    ids = sorted(service.connect(owner=owner, user=owner).id for owner in ("ada", "grace", "katherine"))
    first = invoke_service("connections", "list", "--limit", 2, "--store", service.url)
    assert f"there are more; go on with --after {ids[1]}\n" in first.stderr
    assert ids[0] in first.stdout
    assert ids[2] not in first.stdout
    document = json.loads(invoke_service("connections", "list", "--limit", 2, "--json", "--store", service.url).stdout)
    assert document["next"] == ids[1]
    rest = invoke_service("connections", "list", "--limit", 2, "--after", ids[1], "--store", service.url)
    assert ids[2] in rest.stdout
    assert rest.stderr == ""


def test_list_takes_its_vault_from_the_environment(invoke_service, service):
    connection = service.connect()
    by_store = invoke_service("connections", "list", env={"SOCIALVAULT_STORE": service.url})
    by_vault = invoke_service("connections", "list", env={"SOCIALVAULT_VAULT": "service:make_vault"})
    assert connection.id in by_store.stdout
    assert connection.id in by_vault.stdout


def test_list_of_another_environment_variable_s_keys(invoke_service, service, monkeypatch):
    connection = service.connect()
    monkeypatch.delenv("SOCIALVAULT_KEYS")
    options = ["--store", service.url, "--keys-env", "OTHER_KEYS"]
    assert invoke_service("connections", "list", *options).exit_code == 78
    assert connection.id in invoke_service("connections", "list", *options, env={"OTHER_KEYS": service.key}).stdout


# --- show ----------------------------------------------------------------------------------------


def test_show_opens_what_is_for_display(invoke_service, service, source):
    connection = service.connect()
    shown = json.loads(invoke_service("connections", "show", connection.id, *ASK, "--json", *source).stdout)
    assert shown["name"] == "Ada Lovelace"
    assert shown["scopes"] == ["offline.access", "tweet.read", "users.read"]
    assert shown["expires_at"] == connection.expires_at.isoformat(timespec="seconds")
    assert shown.get("renewable") is (None if source[0] == "--store" else True)


def test_show_prints_a_table_without_empty_fields(invoke_service, service):
    connection = service.connect()
    lines = invoke_service("connections", "show", connection.id, *ASK, "--store", service.url).stdout.splitlines()
    fields = dict(line.split(maxsplit=1) for line in lines if len(line.split()) > 1)
    assert fields["status"].strip() == "active"
    assert fields["scopes"].strip() == "offline.access tweet.read users.read"
    assert "parent_id" not in fields


def test_show_can_not_be_steered_by_a_name(invoke_service, service, monkeypatch):
    monkeypatch.setattr("socialvault.sandbox.accounts.PEOPLE", {})
    connection = service.connect(user="\x1b]0;title\x07[red]ada[/red]")
    shown = invoke_service("connections", "show", connection.id, *ASK, "--store", service.url).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[Red]Ada[/Red]" in shown


@pytest.mark.parametrize("ask", [["--owner", "user-7", "--tenant", "acme"], ["--owner", "user-42"]])
def test_show_keeps_owners_and_tenants_apart(invoke_service, service, ask):
    connection = service.connect()
    ended = invoke_service("connections", "show", connection.id, *ask, "--store", service.url)
    assert ended.exit_code == 70
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: there is no connection")


# --- refresh -------------------------------------------------------------------------------------


def test_refresh_asks_the_provider_once(invoke_service, service, application):
    connection = service.connect()
    service.sandbox.clock.advance(timedelta(minutes=5))
    ended = invoke_service("connections", "refresh", connection.id, *ASK, "--json", *application)
    assert service.sandbox.log.count(provider="x", outcome="refreshed") == 1
    shown = json.loads(ended.stdout)
    assert shown["generation"] == 2
    assert shown["expires_at"] > connection.expires_at.isoformat(timespec="seconds")


def test_refresh_says_when_only_the_owner_can_help(invoke_service, service, application):
    connection = service.connect()
    service.sandbox.revoke_grant("x")
    ended = invoke_service("connections", "refresh", connection.id, *ASK, *application)
    assert ended.exit_code == 77
    assert ended.stderr.endswith("(reauthorize)\n")
    assert service.status(connection.id) == "reauthorization_required"


# --- disconnect ----------------------------------------------------------------------------------


def test_disconnect_revokes_at_the_provider(invoke_service, service, application):
    connection = service.connect()
    ended = invoke_service("connections", "disconnect", connection.id, *ASK, "--yes", *application)
    assert ended.exit_code == 0
    assert ended.stdout == f"{connection.id} at x: revoked\n"
    assert service.sandbox.live_tokens("x") == frozenset()
    assert service.status(connection.id) == "revoked"


def test_disconnect_tells_of_sub_accounts_too(invoke_service, service):
    connection = service.connect("facebook")
    with service.make_vault() as vault:
        [page, *_] = vault.sub_accounts(connection.id, owner="user-42", tenant="acme")
        [child] = vault.select_sub_accounts(connection.id, [page.id], owner="user-42", tenant="acme")
    options = [*ASK, "--yes", "--json", "--vault", "service:make_vault"]
    receipt = json.loads(invoke_service("connections", "disconnect", connection.id, *options).stdout)
    assert receipt["outcome"] == "revoked"
    assert [(one["connection_id"], one["outcome"]) for one in receipt["children"]] == [(child.id, "revoked")]
    assert service.sandbox.live_tokens("facebook") == frozenset()


@pytest.mark.parametrize("answer", ["n\n", "\n", ""], ids=["no", "default", "end_of_input"])
def test_disconnect_asks_first(invoke_service, service, answer):
    connection = service.connect()
    options = [*ASK, "--vault", "service:make_vault"]
    ended = invoke_service("connections", "disconnect", connection.id, *options, input=answer)
    assert ended.exit_code == 1
    assert "revoked" not in ended.output
    assert f"Disconnect {connection.id} of owner user-42?" in ended.stderr
    assert service.status(connection.id) == "active"
    assert service.sandbox.log.count(endpoint="revoke") == 0


def test_disconnect_goes_on_after_a_yes(invoke_service, service):
    connection = service.connect()
    options = [*ASK, "--vault", "service:make_vault"]
    assert invoke_service("connections", "disconnect", connection.id, *options, input="y\n").exit_code == 0
    assert service.status(connection.id) == "revoked"


def test_disconnect_that_does_not_reach_the_provider_is_to_be_retried(invoke_service, service):
    connection = service.connect()
    service.sandbox.fault("x", "revoke", status=503, times=None)
    options = [connection.id, *ASK, "--yes", "--vault", "service:make_vault"]
    ended = invoke_service("connections", "disconnect", *options)
    assert ended.exit_code == 75
    assert ended.stdout == f"{connection.id} at x: pending\n"
    assert "renew-due asks it again" in ended.stderr
    service.sandbox.clear_faults()
    assert invoke_service("connections", "disconnect", *options).exit_code == 0
    assert service.status(connection.id) == "revoked"


# --- which vault ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["refresh", "disconnect"])
def test_what_needs_providers_needs_the_application(invoke, command):
    ended = invoke("connections", command, "any", "--owner", "user-42")
    assert ended.exit_code == 78
    assert "--vault MODULE:ATTRIBUTE" in ended.stderr


def test_nothing_to_open_is_told(invoke):
    ended = invoke("connections", "list")
    assert ended.exit_code == 78
    assert ended.stderr == "error: which vault? give --vault MODULE:ATTRIBUTE, or --store URL (fix_configuration)\n"


# --- renew-due -----------------------------------------------------------------------------------


def test_renew_due_does_what_is_due_and_counts_it(invoke_service, service, application):
    connection = service.connect()
    assert json.loads(invoke_service("connections", "renew-due", "--json", *application).stdout)["due"] == 0
    service.sandbox.clock.advance(timedelta(hours=3))
    swept = json.loads(invoke_service("connections", "renew-due", "--json", *application).stdout)
    assert (swept["due"], swept["renewed"], swept["failed"]) == (1, 1, 0)
    assert service.sandbox.log.count(outcome="refreshed") == 1
    assert service.status(connection.id) == "active"


def test_renew_due_keeps_to_its_budget_and_shows_a_table(invoke_service, service):
    service.connect()
    service.sandbox.clock.advance(timedelta(hours=3))
    ended = invoke_service("connections", "renew-due", "--budget", 0, "--vault", "service:make_vault")
    assert ["deferred", "1"] in [line.split()[:2] for line in ended.stdout.splitlines()]
    assert service.sandbox.log.count(outcome="refreshed") == 0


def test_renew_due_needs_the_applications_providers(invoke):
    ended = invoke("connections", "renew-due")
    assert ended.exit_code != 0
    assert "--vault" in ended.stderr
