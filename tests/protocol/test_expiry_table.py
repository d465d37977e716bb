"""What ``expires_in`` may hold, and the deadline that each value stands for: exact, or unknown."""

from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socialvault.exceptions import MalformedResponseError
from socialvault.protocol import token
from socialvault.protocol.decoding import decode_document

TEN_YEARS = 3653 * 86_400

# --- as it is on the wire: JSON text -> seconds from the request, None for unknown -------------------

WIRE: dict[str, int | None] = {
    # integers
    "3600": 3600, "1": 1, "7200": 7200, "5184000": 5184000, "31536000": 31536000,
    "0": 0, "-0": 0, "-1": None, "-3600": None,
    f"{TEN_YEARS}": TEN_YEARS, f"{TEN_YEARS + 1}": None,
    "1763812800": None, "1763812800000": None,  # moments since 1970, in seconds and in milliseconds
    "1000000000000000000": None, "9" * 40: None, "-" + "9" * 39: None,
    # other numbers
    "3599.5": 3599, "3599.999": 3599, "3600.0": 3600, "0.5": 0, "0.0": 0, "-0.0": 0, "-0.5": None,
    "1e3": 1000, "3.6E+3": 3600, "36000e-1": 3600, "1e-9": 0, "1e12": None, "1e308": None,
    f"{TEN_YEARS}.5": TEN_YEARS, f"{TEN_YEARS + 1}.0": None,
    # texts
    '"3600"': 3600, '"1"': 1, '"0"': 0, '"007"': 7, '"3600 "': 3600, '" 3600"': 3600, '"3600\\n"': 3600,
    '"3599.5"': 3599, '"0.9"': 0, f'"{TEN_YEARS}"': TEN_YEARS, f'"{TEN_YEARS + 1}"': None,
    '"-1"': None, '"-0"': None, '"+3600"': None, '"1e3"': None, '"0x10"': None, '"3_600"': None, '"3,600"': None,
    '"3 600"': None, '".5"': None, '"5."': None, '"1.2.3"': None, '"3600s"': None, '"1h"': None,
    '""': None, '" "': None, '"never"': None, '"null"': None, '"true"': None, '"NaN"': None, '"Infinity"': None,
    '"\\uff13\\uff16\\uff10\\uff10"': None, '"\\u0663\\u0666"': None, '"\\u00b2"': None,  # digits elsewhere
    '"1000000000000"': None, f'"{"9" * 5000}"': None,
    '"2026-11-22T13:00:00Z"': None, '"Sun, 22 Nov 2026 13:00:00 GMT"': None,
    # what is no lifetime at all
    "null": None, "true": None, "false": None, "[]": None, "[3600]": None, "{}": None,
    '{"seconds": 3600}': None, "[[3600]]": None,
}  # fmt: skip
#: What is no JSON, or a number that nobody can hold: the answer as a whole is refused.
REFUSED = [
    "NaN", "Infinity", "-Infinity", "1e309", "-1e309", "9" * 41, "9" * 5000, "+3600", "0x10", "007", "3600s", ".5",
    "5.", "'3600'", "None", "3600,", '"\\ud800"',
]  # fmt: skip


def read(answer, expires_in):
    response = answer(f'{{"access_token": "at", "token_type": "Bearer", "expires_in": {expires_in}}}'.encode())
    return token.read_token(response, decode_document(response, provider="acme"), provider="acme")


@pytest.mark.parametrize(("text", "seconds"), WIRE.items(), ids=[text[:30] for text in WIRE])
def test_f_25_a_lifetime_is_a_deadline_or_unknown_and_costs_no_token(answer, now, text, seconds):
    fresh = read(answer, text)
    assert fresh.expires_at == (None if seconds is None else now + timedelta(seconds=seconds))
    assert fresh.access_token.reveal() == "at"


@pytest.mark.parametrize("text", REFUSED, ids=[text[:30] for text in REFUSED])
def test_f_24_what_no_json_reader_agrees_on_is_malformed(answer, text):
    with pytest.raises(MalformedResponseError) as caught:
        read(answer, text)
    assert caught.value.status == 200


def test_f_25_the_table_has_sixty_values():
    assert len(WIRE) >= 60


def test_f_25_a_lifetime_that_is_left_out_is_unknown(answer):
    response = answer({"access_token": "at"})
    assert token.read_token(response, decode_document(response, provider="acme"), provider="acme").expires_at is None


# --- as a hook may hand it over ---------------------------------------------------------------------

EXPIRIES = [
    # value, seconds from the request (None: unknown)
    (3600, 3600),
    (1, 1),
    (0, 0),
    (-1, None),
    (-3600, None),
    (7200, 7200),
    (86400, 86400),
    (5184000, 5184000),
    (31536000, 31536000),
    (TEN_YEARS, TEN_YEARS),
    (TEN_YEARS + 1, None),
    (10**12, None),
    (10**18, None),
    (10**39, None),
    (-(10**18), None),
    (1763812800, None),
    (1763812800000, None),
    ("3600", 3600),
    ("3599", 3599),
    ("1", 1),
    ("0", 0),
    ("00", 0),
    ("007", 7),
    (" 3600 ", 3600),
    ("3600\n", 3600),
    ("3599.5", 3599),
    ("3599.999", 3599),
    ("0.9", 0),
    ("0.0", 0),
    ("-1", None),
    ("-0", None),
    ("+3600", None),
    ("3_600", None),
    ("3,600", None),
    ("3 600", None),
    ("1e3", None),
    ("0x10", None),
    (".5", None),
    ("5.", None),
    ("1.2.3", None),
    ("", None),
    (" ", None),
    ("never", None),
    ("null", None),
    ("NaN", None),
    ("Infinity", None),
    ("1000000000000", None),
    ("9" * 5000, None),
    ("\uff13\uff16\uff10\uff10", None),
    ("2026-11-22T13:00:00Z", None),
    ("3600s", None),
    (3599.5, 3599),
    (3600.0, 3600),
    (0.5, 0),
    (0.0, 0),
    (-0.0, 0),
    (-0.5, None),
    (1e12, None),
    (1e308, None),
    (math.nan, None),
    (math.inf, None),
    (-math.inf, None),
    (True, None),
    (False, None),
    (None, None),
    ([], None),
    ([3600], None),
    ({}, None),
    ({"seconds": 3600}, None),
    (b"3600", None),
    (Decimal(3600), None),
]


@pytest.mark.parametrize(("value", "seconds"), EXPIRIES, ids=[repr(value)[:30] for value, _ in EXPIRIES])
def test_f_25_any_value_is_a_deadline_or_unknown(now, value, seconds):
    assert token.read_expiry(value, now) == (None if seconds is None else now + timedelta(seconds=seconds))


@given(st.integers(0, TEN_YEARS))
def test_f_25_a_number_and_its_digits_mean_the_same(now, seconds):
    deadline = now + timedelta(seconds=seconds)
    assert token.read_expiry(seconds, now) == token.read_expiry(str(seconds), now) == deadline
    assert token.read_expiry(float(seconds), now) == token.read_expiry(f"{seconds}.5", now) == deadline


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()))
def test_f_25_no_value_makes_it_raise_or_live_longer_than_ten_years(now, value):
    deadline = token.read_expiry(value, now)
    assert deadline is None or now <= deadline <= now + timedelta(seconds=TEN_YEARS)
