from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl

import pytest

from socialvault.exceptions import ClientRejectedError, MalformedResponseError, ProviderUnavailableError
from socialvault.model.secret import Secret
from socialvault.protocol.client_auth import ClientCredentials
from socialvault.protocol.introspection import Introspection, introspection_request, read_introspection

CREDENTIALS = ClientCredentials("id", Secret("s"), "client_secret_post")


def test_the_question_names_the_token_and_its_kind():
    request = introspection_request("https://as.example/i", Secret("at"), CREDENTIALS, hint="access_token")
    assert dict(parse_qsl(request.body.decode())) == {
        "token": "at",
        "token_type_hint": "access_token",
        "client_id": "id",
        "client_secret": "s",
    }


def test_an_active_token_is_described(answer):
    body = {"active": True, "scope": "a b", "client_id": "id", "sub": "7", "exp": 1_800_000_000, "token_type": "Bearer"}
    assert read_introspection(answer(body), provider="acme") == Introspection(
        active=True,
        scopes=frozenset({"a", "b"}),
        client_id="id",
        subject="7",
        expires_at=datetime.fromtimestamp(1_800_000_000, UTC),
        token_type="Bearer",
    )


def test_an_active_token_may_be_described_by_nothing_else(answer):
    assert read_introspection(answer({"active": True}), provider="acme") == Introspection(active=True)


def test_nothing_is_believed_about_an_inactive_token(answer):
    body = {"active": False, "scope": "a", "sub": "7", "exp": 1_800_000_000}
    assert read_introspection(answer(body), provider="acme") == Introspection(active=False)


@pytest.mark.parametrize("exp", [True, "1800000000", -1, 253_402_300_800, 10**30, [1], 1e300])
def test_an_odd_expiry_is_unknown(answer, exp):
    assert read_introspection(answer({"active": True, "exp": exp}), provider="acme").expires_at is None


@pytest.mark.parametrize("body", [{}, {"active": "true"}, {"active": 1}, {"active": None}])
def test_without_a_boolean_active_the_answer_is_malformed(answer, body):
    with pytest.raises(MalformedResponseError, match="active"):
        read_introspection(answer(body), provider="acme")


def test_a_refusal_has_its_branch(answer):
    with pytest.raises(ClientRejectedError):
        read_introspection(answer({"error": "invalid_client"}, 401), provider="acme")
    with pytest.raises(ProviderUnavailableError):
        read_introspection(answer({"active": True}, 503), provider="acme")
    with pytest.raises(ProviderUnavailableError):
        read_introspection(answer({"error": "odd"}), provider="acme", error_map={"odd": "unavailable"})
