"""Scopes, statuses and tokens: what the plain value objects do."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socialvault.crypto.envelope import Sealer, key_id_of
from socialvault.model.connection import Connection, Receipt, SubAccount, SubAccountGrant
from socialvault.model.events import Event
from socialvault.model.identity import Identity
from socialvault.model.keys import KeyContext, VaultRow
from socialvault.model.login import Completed, Login, LoginCookie
from socialvault.model.rows import ConnectionRow, StatusWrite, TokenWrite
from socialvault.model.scopes import ordered, parse_scopes
from socialvault.model.secret import Secret
from socialvault.model.state import StateRow
from socialvault.model.status import Status
from socialvault.model.token import AccessToken, TokenSet

# --- scopes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "scopes"),
    [
        ("email", {"email"}),
        ("email openid", {"email", "openid"}),
        ("email,openid", {"email", "openid"}),
        (" email ,\topenid\n, ", {"email", "openid"}),
        ("email email", {"email"}),
        ("", set()),
        (" , ", set()),
        (["email", "openid"], {"email", "openid"}),
        (("email",), {"email"}),
        (["email", ""], {"email"}),
        (["email openid", "a,b"], {"email", "openid", "a", "b"}),
        ([], set()),
        ("https://www.googleapis.com/auth/youtube.readonly", {"https://www.googleapis.com/auth/youtube.readonly"}),
        ("Email email", {"Email", "email"}),
    ],
)
def test_scopes_are_read_from_strings_and_lists(value: object, scopes: set[str]) -> None:
    assert parse_scopes(value) == scopes


@pytest.mark.parametrize("value", [None, 7, True, {"email": True}, ["email", None], [["email"]], b"email"])
def test_anything_else_says_nothing_about_scopes(value: object) -> None:
    assert parse_scopes(value) is None


@given(st.lists(st.text(st.characters(exclude_categories=()), max_size=10)))
def test_what_was_read_once_is_read_the_same_again(parts: list[str]) -> None:
    scopes = parse_scopes(parts)
    assert scopes is not None
    assert parse_scopes(" ".join(scopes)) == scopes
    assert parse_scopes(",".join(parts)) == scopes
    assert frozenset(" ".join(sorted(scopes)).split()) == scopes  # as a sealed record keeps them


def test_ordered_keeps_the_first_of_each() -> None:
    assert ordered(["b", "a", "b", "c", "a"]) == ("b", "a", "c")
    assert ordered(iter("")) == ()


# --- statuses -------------------------------------------------------------------------------------


def test_a_status_is_its_word_wherever_it_is_written() -> None:
    for status in Status:
        assert f"{status}" == str(status) == format(status) == status.value == status
        assert json.dumps({"status": status}) == f'{{"status": "{status.value}"}}'
        assert Status(status.value) is status


def test_live_connections_are_the_ones_an_owner_still_has() -> None:
    assert {status for status in Status if status.live} == {Status.ACTIVE, Status.REAUTHORIZATION_REQUIRED}


# --- tokens ---------------------------------------------------------------------------------------


def test_an_access_token_says_what_it_is_for() -> None:
    token = AccessToken(b"abc", b"email openid", 1_772_600_767_891_011, "connection-1", "x", 7)
    assert token.reveal() == "abc"
    assert token.scopes == {"email", "openid"}
    assert token.expires_at == datetime(2026, 3, 4, 5, 6, 7, 891011, UTC)
    assert (token.connection_id, token.provider, token.generation) == ("connection-1", "x", 7)
    assert repr(token).endswith("expires_at=2026-03-04 05:06:07.891011+00:00)")


def test_an_access_token_may_have_no_end_and_no_scopes() -> None:
    token = AccessToken(b"abc", b"", None, "connection-1", "x", 7)
    assert token.expires_at is None
    assert token.scopes == frozenset()
    assert repr(token).endswith("expires_at=None)")


@pytest.mark.parametrize("name", ["connection_id", "expires_at", "scopes", "generation", "provider", "new"])
def test_an_access_token_cannot_be_changed(name: str) -> None:
    token = AccessToken(b"abc", b"", None, "connection-1", "x", 7)
    with pytest.raises(AttributeError):
        setattr(token, name, "other")


def test_token_sets_share_no_extras() -> None:
    one, other = [TokenSet(Secret("a"), datetime.now(UTC)) for _ in range(2)]
    assert dict(one.extra) == {}
    with pytest.raises(TypeError):
        one.extra["x"] = "y"  # type: ignore[index]
    assert dict(other.extra) == {}


def test_token_sets_are_equal_by_value_and_their_secrets_in_constant_time() -> None:
    now = datetime.now(UTC)
    assert TokenSet(Secret("a"), now) == TokenSet(Secret("a"), now)
    assert TokenSet(Secret("a"), now) != TokenSet(Secret("b"), now)


# --- all of them ----------------------------------------------------------------------------------

VALUES: list[type[Any]] = [
    Completed, Connection, ConnectionRow, Event, Identity, KeyContext, Login, LoginCookie, Receipt, StateRow,
    StatusWrite, SubAccount, SubAccountGrant, TokenSet, TokenWrite, VaultRow,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_every_value_object_is_frozen_and_slotted(value: type[Any]) -> None:
    assert value.__dataclass_params__.frozen
    assert "__slots__" in vars(value)
    assert "__dict__" not in dir(value)
    assert [field.name for field in dataclasses.fields(value)]


def test_a_sealer_is_slotted_too() -> None:
    assert "__dict__" not in dir(Sealer)
    assert len(key_id_of(b"")) == 32
