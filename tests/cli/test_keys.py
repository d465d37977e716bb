"""``socialvault keys``: the rotations of the how-to page, command by command."""

from __future__ import annotations

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from cli.conftest import MAIN, OWNER, TENANT

from socialvault import LocalKeyring


@pytest.fixture
def told(invoke_service, service):
    """Run a command of ``keys`` on the service's store and read its JSON."""

    def run(name, *arguments, code=0):
        ended = invoke_service("keys", name, *arguments, "--json", "--store", service.url)
        assert ended.exit_code == code, ended.output
        return json.loads(ended.stdout)

    return run


def listed(told, level, *arguments):
    return [key for key in told("status", *arguments)["keys"] if key["level"] == level]


def test_a_kek_is_replaced_as_the_page_says(invoke_service, service, told, monkeypatch):
    connection = service.connect()
    old, new = service.key, LocalKeyring.generate()
    [first] = listed(told, "kek")
    assert (first["state"], first["uses"], first["safe_to_retire"], first["at_hand"]) == ("primary", 1, False, True)
    monkeypatch.setenv("SOCIALVAULT_KEYS", f"{new},{old}")
    added = told("add", "kek")
    assert (added["level"], added["state"]) == ("kek", "pre_active")
    assert told("promote", added["key_id"])["state"] == "primary"
    refused = invoke_service("keys", "retire", first["key_id"], "--store", service.url)
    assert refused.exit_code == 78
    assert "1 rows need it" in refused.stderr
    assert told("rewrap") == {"vault_keys": 1, "data_keys": 0, "records": 0, "refused": 0, "bad": []}
    assert told("retire", first["key_id"][:12])["state"] == "retired"
    service.key = new
    monkeypatch.setenv("SOCIALVAULT_KEYS", new)
    shown = invoke_service("keys", "status", "--store", service.url).stdout
    assert first["key_id"] in shown
    assert "retired" in shown
    with service.make_vault() as vault:
        assert vault.token(connection.id, owner=OWNER, tenant=TENANT).reveal() in service.sandbox.issued_tokens()


def test_a_vault_key_is_replaced_and_reinstated(invoke_service, service, told):
    service.connect()
    [first] = listed(told, "vault")
    added = told("add", "vault")
    shown = invoke_service("keys", "promote", added["key_id"], "--store", service.url)
    assert (shown.exit_code, added["key_id"] in shown.stdout, "primary" in shown.stdout) == (0, True, True)
    [former] = [key for key in listed(told, "vault") if key["key_id"] == first["key_id"]]
    assert (former["state"], former["safe_to_retire"]) == ("decrypt_only", False)
    moved = invoke_service("keys", "rewrap", "--store", service.url)
    assert re.search(rf"data keys\W+{former['uses'] - 1}\b", moved.stdout)
    [former] = [key for key in listed(told, "vault") if key["key_id"] == first["key_id"]]
    assert (former["uses"], former["safe_to_retire"]) == (0, True)
    assert told("retire", first["key_id"])["state"] == "retired"
    assert told("reinstate", first["key_id"])["state"] == "decrypt_only"


def test_an_owners_data_key_is_replaced(service, told):
    service.connect()
    service.connect(owner="user-7", user="grace")
    [first] = listed(told, "data", "--tenant", TENANT, "--limit", "1")
    [second] = listed(told, "data", "--tenant", TENANT, "--after", first["key_id"])
    mine = first if first["owner"] == OWNER else second
    added = told("add", "data", "--tenant", TENANT, "--owner", OWNER)
    told("promote", added["key_id"])
    assert told("reseal", "--tenant", "globex")["records"] == 0
    assert told("reseal", "--tenant", TENANT, "--rate", "100")["records"] == 1
    assert told("retire", mine["key_id"])["state"] == "retired"
    states = {key["key_id"]: key["state"] for key in listed(told, "data", "--tenant", TENANT)}
    assert states[added["key_id"]] == "primary"
    assert states[mine["key_id"]] == "retired"


def test_a_key_that_is_not_there_is_the_callers_mistake(invoke_service, service):
    service.connect()
    ended = invoke_service("keys", "promote", "beef", "--store", service.url)
    assert ended.exit_code == 78
    assert "beef" in ended.stderr


def test_what_does_not_open_is_listed_and_ends_with_the_code_of_a_report(invoke_service, service, told):
    broken, well = service.connect(), service.connect(owner="user-7", user="grace")
    with closing(sqlite3.connect(service.database)) as database, database:
        [(envelope,)] = database.execute("SELECT envelope FROM connections WHERE id = ?", (broken.id,))
        damaged = envelope[:-1] + bytes([envelope[-1] ^ 1])
        database.execute("UPDATE connections SET envelope = ? WHERE id = ?", (damaged, broken.id))
    for owner in (OWNER, "user-7"):
        told("promote", told("add", "data", "--tenant", TENANT, "--owner", owner)["key_id"])
    ended = invoke_service("keys", "reseal", "--store", service.url)
    assert ended.exit_code == 70
    assert f"token {broken.id} of tenant '{TENANT}': TamperedError" in ended.stderr
    assert well.id not in ended.output
    again = told("reseal", code=70)
    assert (again["records"], again["refused"], [bad["id"] for bad in again["bad"]]) == (0, 1, [broken.id])


def test_on_a_terminal_a_bar_says_how_far_it_is(service, told):
    service.connect()
    told("promote", told("add", "vault")["key_id"])
    ours, theirs = pty.openpty()
    ended = subprocess.run(
        [sys.executable, "-c", MAIN, "keys", "rewrap", "--store", service.url],
        stdout=subprocess.PIPE, stderr=theirs, stdin=subprocess.DEVNULL, timeout=60, check=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b"".join(iter(lambda: read(ours), b"")).decode()
    os.close(ours)
    assert "data keys" in shown
    assert "left:" in shown
    assert "left:" not in ended.stdout.decode()


def read(terminal):
    """Read what is left in a terminal that nobody writes to any more; a piece at a time."""
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so at the end
        return b""
