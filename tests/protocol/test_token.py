from __future__ import annotations

from datetime import timedelta

import pytest

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
