from __future__ import annotations

import math
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socialvault.exceptions import MalformedResponseError, ReauthorizationRequiredError
from socialvault.model.secret import Secret
from socialvault.model.token import TokenSet
from socialvault.protocol import token
from socialvault.protocol.decoding import decode_document


def read(answer, **fields):
    response = answer({"access_token": "at", "token_type": "Bearer", **fields})
    return token.read_token(response, decode_document(response, provider="acme"), provider="acme")


# --- forms ----------------------------------------------------------------------------------------


def test_o_06_the_code_is_exchanged_with_its_verifier():
    form = token.code_form(Secret("c"), "https://app.example/cb", Secret("v"))
    assert form == {
        "grant_type": "authorization_code",
        "code": "c",
        "redirect_uri": "https://app.example/cb",
        "code_verifier": "v",
    }


def test_a_flow_without_pkce_sends_no_verifier():
    assert "code_verifier" not in token.code_form(Secret("c"), "https://app.example/cb", None)


def test_a_refresh_presents_the_refresh_token(now):
    stored = TokenSet(Secret("at"), now, refresh_token=Secret("rt"))
    assert token.refresh_form(stored) == {"grant_type": "refresh_token", "refresh_token": "rt"}


@pytest.mark.parametrize("refresh_token", [None, Secret("")])
def test_without_a_refresh_token_only_the_owner_can_help(now, refresh_token):
    with pytest.raises(ReauthorizationRequiredError) as caught:
        token.refresh_form(TokenSet(Secret("at"), now, refresh_token=refresh_token))
    assert caught.value.reason == "no_refresh_token"


# --- the answer -----------------------------------------------------------------------------------


def test_a_full_answer_is_read(answer, now):
    fresh = read(
        answer, expires_in=3600, refresh_token="rt", scope="a b", id_token="h.c.s", refresh_token_expires_in=86400
    )
    assert fresh.access_token.reveal() == "at"
    assert fresh.refresh_token is not None
    assert fresh.refresh_token.reveal() == "rt"
    assert fresh.id_token is not None
    assert fresh.id_token.reveal() == "h.c.s"
    assert fresh.scopes == {"a", "b"}
    assert fresh.obtained_at == now
    assert fresh.expires_at == now + timedelta(hours=1)
    assert fresh.refresh_expires_at == now + timedelta(days=1)


@pytest.mark.parametrize("token_type", ["Bearer", "bearer", "BEARER", "bEaReR", None])
def test_o_35_token_type_is_case_insensitive(answer, token_type):
    assert read(answer, token_type=token_type).access_token.reveal() == "at"


def test_o_35_a_missing_token_type_is_tolerated(answer):
    response = answer({"access_token": "at"})
    document = decode_document(response, provider="acme")
    assert token.read_token(response, document, provider="acme").access_token.reveal() == "at"


@pytest.mark.parametrize("token_type", ["mac", "DPoP", "N_A", "", "bearer ", "Bearer,DPoP", 1, True, ["Bearer"], {}])
def test_o_35_an_unknown_token_type_is_malformed(answer, token_type):
    with pytest.raises(MalformedResponseError, match="token_type"):
        read(answer, token_type=token_type)


def test_o_35_a_missing_expiry_and_scope_are_tolerated(answer):
    fresh = read(answer)
    assert fresh.expires_at is None
    assert fresh.scopes is None


@pytest.mark.parametrize("access_token", [None, ""])
def test_an_answer_without_access_token_is_malformed(answer, access_token):
    with pytest.raises(MalformedResponseError, match="access_token") as caught:
        read(answer, access_token=access_token)
    assert (caught.value.provider, caught.value.status) == ("acme", 200)


@pytest.mark.parametrize("field", ["access_token", "refresh_token", "id_token"])
@pytest.mark.parametrize("value", ["a\nb", "é", "a" * (64 * 1024 + 1), 7, ["x"]])
def test_f_26_every_token_of_the_answer_is_checked(answer, field, value):
    with pytest.raises(MalformedResponseError, match=field):
        read(answer, **{field: value})


@pytest.mark.parametrize("refresh_token", [None, ""])
def test_f_16_an_empty_refresh_token_is_none(answer, refresh_token):
    assert read(answer, refresh_token=refresh_token).refresh_token is None


@pytest.mark.parametrize(
    ("scope", "granted"),
    [
        ("a b", {"a", "b"}),
        ("a,b", {"a", "b"}),
        (["a", "b"], {"a", "b"}),
        ("a", {"a"}),
        (None, None),
        (5, None),
        ("", set()),
    ],
)
def test_o_36_the_scopes_are_those_granted_however_they_are_written(answer, scope, granted):
    assert read(answer, scope=scope).scopes == granted


@pytest.mark.parametrize("field", ["refresh_token_expires_in", "refresh_expires_in"])
@pytest.mark.parametrize(("value", "seconds"), [(86400, 86400), ("86400", 86400), (0, None), ("0", None), (-1, None)])
def test_a_refresh_tokens_deadline_is_read_and_zero_means_never(answer, now, field, value, seconds):
    expected = None if seconds is None else now + timedelta(seconds=seconds)
    assert read(answer, **{field: value}).refresh_expires_at == expected


# --- expiry ---------------------------------------------------------------------------------------

TEN_YEARS = 3653 * 86_400
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
def test_f_25_an_expiry_is_a_deadline_or_unknown(now, value, seconds):
    assert token.read_expiry(value, now) == (None if seconds is None else now + timedelta(seconds=seconds))


def test_f_25_the_table_has_sixty_values():
    assert len(EXPIRIES) >= 60


@given(st.integers(0, TEN_YEARS))
def test_f_25_a_number_and_its_digits_mean_the_same(now, seconds):
    deadline = now + timedelta(seconds=seconds)
    assert token.read_expiry(seconds, now) == token.read_expiry(str(seconds), now) == deadline
    assert token.read_expiry(float(seconds), now) == token.read_expiry(f"{seconds}.5", now) == deadline


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()))
def test_f_25_no_value_makes_it_raise_or_live_longer_than_ten_years(now, value):
    deadline = token.read_expiry(value, now)
    assert deadline is None or now <= deadline <= now + timedelta(seconds=TEN_YEARS)


def test_f_25_an_unusable_expiry_costs_no_token(answer):
    for value in (-1, "never", True, 10**30, None, 1e300):
        fresh = read(answer, expires_in=value)
        assert fresh.expires_at is None
        assert fresh.access_token.reveal() == "at"


def test_f_25_zero_has_expired_already(answer, now):
    assert read(answer, expires_in=0).expires_at == now


# --- what a renewal keeps -------------------------------------------------------------------------


@pytest.fixture
def stored(now):
    return TokenSet(
        access_token=Secret("at1"),
        obtained_at=now - timedelta(days=1),
        refresh_token=Secret("rt1"),
        id_token=Secret("id1"),
        scopes=frozenset({"a", "b"}),
        expires_at=now - timedelta(hours=1),
        refresh_expires_at=now + timedelta(days=30),
        data_access_expires_at=now + timedelta(days=60),
        extra={"page": "1", "shop": "x"},
    )


def test_f_16_what_the_answer_leaves_out_is_kept(now, stored):
    merged = token.merge(stored, TokenSet(Secret("at2"), now))
    assert merged.access_token.reveal() == "at2"
    assert merged.refresh_token == stored.refresh_token
    assert merged.id_token == stored.id_token
    assert merged.scopes == stored.scopes
    assert merged.refresh_expires_at == stored.refresh_expires_at
    assert merged.data_access_expires_at == stored.data_access_expires_at
    assert merged.extra == stored.extra
    assert merged.obtained_at == now


def test_f_16_an_empty_value_overwrites_nothing(now, stored):
    fresh = TokenSet(
        Secret("at2"),
        now,
        refresh_token=Secret(""),
        id_token=Secret(""),
        scopes=frozenset(),
        extra={"page": "", "n": "2"},
    )
    merged = token.merge(stored, fresh)
    assert merged.refresh_token == stored.refresh_token
    assert merged.id_token == stored.id_token
    assert merged.scopes == stored.scopes
    assert merged.extra == {"page": "1", "shop": "x", "n": "2"}


def test_the_access_tokens_expiry_is_always_the_answers(now, stored):
    assert token.merge(stored, TokenSet(Secret("at2"), now)).expires_at is None
    later = now + timedelta(hours=1)
    assert token.merge(stored, TokenSet(Secret("at2"), now, expires_at=later)).expires_at == later


def test_what_the_answer_brings_replaces_what_was_stored(now, stored):
    fresh = TokenSet(
        access_token=Secret("at2"),
        obtained_at=now,
        refresh_token=Secret("rt2"),
        id_token=Secret("id2"),
        scopes=frozenset({"a"}),
        expires_at=now + timedelta(hours=1),
        refresh_expires_at=now + timedelta(days=5),
        data_access_expires_at=now + timedelta(days=6),
        extra={"page": "2", "shop": "y"},
    )
    assert token.merge(stored, fresh) == fresh


def test_a_rotated_refresh_token_without_deadline_inherits_the_stored_one(now, stored):
    merged = token.merge(stored, TokenSet(Secret("at2"), now, refresh_token=Secret("rt2")))
    assert merged.refresh_token == Secret("rt2")
    assert merged.refresh_expires_at == stored.refresh_expires_at
