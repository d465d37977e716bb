from __future__ import annotations

import base64
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from socialvault.cli.demo.judging import Answers, count, judge_renewals, tally, told
from socialvault.cli.demo.sealed import find_row, hits, spellings
from socialvault.sandbox import LogEntry

AT = datetime(2026, 11, 22, tzinfo=UTC)
RENEWED = LogEntry(AT, "x", "token", "refreshed", 200, grant_type="refresh_token", issued=("new", "refresh"))
READ = LogEntry(AT, "x", "userinfo", "answered", 200)
EXPECTED = {"linkedin": 0, "x": 1}
SERVED = {"linkedin": Answers(("old",) * 3), "x": Answers(("new",) * 3)}


def judge(entries, answers=SERVED, expected=EXPECTED):
    return judge_renewals(entries, answers, expected, callers=3, who="threads")


def test_one_request_whose_token_everybody_got_keeps_the_promise():
    finding = judge([RENEWED, READ])
    assert finding.held
    assert finding.happened == "3 threads asked at once at each provider; all got their provider's one token"
    assert finding.log == "token requests: linkedin 0, x 1"


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [RENEWED, RENEWED],
        [RENEWED, replace(RENEWED, outcome="reuse_detected", status=400, issued=())],
        [RENEWED, replace(RENEWED, provider="linkedin")],
        [replace(RENEWED, issued=("another", "refresh"))],
        [replace(RENEWED, endpoint="revoke")],
    ],
    ids=["none", "two", "reuse", "one_too_many_elsewhere", "another_token", "another_endpoint"],
)
def test_a_log_that_says_otherwise_breaks_the_promise(entries):
    assert not judge(entries).held


@pytest.mark.parametrize(
    "x",
    [
        Answers(("new", "new")),
        Answers(("new", "new", "newer")),
        Answers(("old", "old", "old")),
        Answers(("new", "new"), ("ReauthorizationRequiredError",)),
        Answers((), ("OutcomeUnknownError",) * 3),
    ],
    ids=["one_missing", "two_tokens", "the_old_one", "one_error", "all_errors"],
)
def test_callers_who_did_not_get_the_token_break_the_promise(x):
    assert not judge([RENEWED], {**SERVED, "x": x}).held


def test_what_callers_got_is_told_when_they_did_not_get_it():
    answers = {**SERVED, "x": Answers(("new",), ("OutcomeUnknownError",) * 2)}
    assert judge([RENEWED], answers).happened.endswith("4 got a token, 2 an error")


def test_log_entries_are_counted_by_their_fields():
    entries = [RENEWED, READ, replace(READ, provider="facebook")]
    assert count(entries, endpoint="userinfo") == 2
    assert count(entries, endpoint="userinfo", provider="x") == 1
    assert tally(iter(entries), ("x", "linkedin"), endpoint="userinfo") == {"x": 1, "linkedin": 0}
    assert told({"x": 1, "linkedin": 0}) == "x 1, linkedin 0"


# --- searching files -----------------------------------------------------------------------------

SECRET = "x-at-g1-1-0123456789abcdef?/+&"
WAYS = {
    "raw": lambda secret: secret,
    "url": lambda secret: quote(secret, safe=""),
    "hex": lambda secret: secret.encode().hex(),
    "HEX": lambda secret: secret.encode().hex().upper(),
    **{
        f"base64_{shift}_{encode.__name__}": lambda secret, shift=shift, encode=encode: encode(
            b"?" * shift + secret.encode() + b"tail"
        ).decode()
        for shift in range(4)
        for encode in (base64.b64encode, base64.urlsafe_b64encode)
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_found_however_it_is_spelled(tmp_path, way):
    file = tmp_path / "vault.db-wal"
    file.write_bytes(b"\0before" + WAYS[way](SECRET).encode() + b"\0after")
    assert hits([SECRET], [file]) == 1
    assert hits([SECRET.replace("0123", "3210")], [file]) == 0


def test_every_place_counts(tmp_path):
    (tmp_path / "one").write_text(SECRET + SECRET)
    (tmp_path / "two").write_text(SECRET.encode().hex())
    assert hits([SECRET], [tmp_path / "one", tmp_path / "two"]) == 3


@pytest.mark.parametrize("length", range(8, 20))
def test_spellings_are_long_enough_to_mean_something(length):
    assert min(map(len, spellings("s" * length))) >= length


# --- a stored row --------------------------------------------------------------------------------


def test_a_row_is_shown_as_it_lies_in_the_file(service):
    from socialvault.stores.sqlite import SQLiteStore

    connection = service.connect()
    store = SQLiteStore(service.database)
    row = store.get(connection.id, "acme", "user-42")
    store.close()
    found = find_row(row, service.folder.glob("vault.db*"))  # the log, too: it may not be written back yet
    content = (service.folder / found.file).read_bytes()
    assert content[found.offset :].startswith(row.envelope)
    assert found.size_bytes == len(row.envelope)
    parts = {field.name: field for field in found.fields}
    assert parts["magic"].hex == b"SV".hex()
    assert parts["key id, a commitment to the key"].hex.replace(" ", "") == row.key_id
    assert bytes.fromhex("".join(field.hex for field in found.fields)) == row.envelope[:80]
    assert found.columns["owner"] == "user-42"


def test_a_row_that_is_not_in_the_files_is_not_shown(service, tmp_path):
    from socialvault.stores.sqlite import SQLiteStore

    connection = service.connect()
    store = SQLiteStore(service.database)
    row = store.get(connection.id, "acme", "user-42")
    store.close()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(row.envelope[:-1])
    assert find_row(row, [elsewhere]) is None
