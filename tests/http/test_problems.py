"""Every error has a status, and a document that shows what its caller may know."""

import inspect
import json
import re
from datetime import timedelta
from http import HTTPStatus

import pytest

from socialvault import exceptions
from socialvault.exceptions import (
    ConfigurationError,
    MissingScopesError,
    OutcomeUnknownError,
    ProviderUnavailableError,
    RateLimitedError,
    ReauthorizationRequiredError,
    RefreshBusyError,
    SocialVaultError,
)
from socialvault.http.problems import HttpError, code_of, http_error, log_failure, problem_response, status_of

CLASSES = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, SocialVaultError)]
MESSAGE = "canary of the message"

#: What each class is answered with.
EXPECTED = {
    "SocialVaultError": (500, "social_vault"),
    "ConfigurationError": (500, "configuration"),
    "AuthorizationError": (400, "authorization"),
    "AuthorizationDeniedError": (403, "authorization_denied"),
    "StateMismatchError": (400, "state_mismatch"),
    "StateExpiredError": (400, "state_expired"),
    "OwnerMismatchError": (403, "owner_mismatch"),
    "IssuerMismatchError": (400, "issuer_mismatch"),
    "AlreadyConnectedError": (409, "already_connected"),
    "AccountMismatchError": (409, "account_mismatch"),
    "ProviderError": (502, "provider"),
    "ReauthorizationRequiredError": (409, "reauthorization_required"),
    "ClientRejectedError": (502, "client_rejected"),
    "RateLimitedError": (503, "rate_limited"),
    "ProviderUnavailableError": (503, "provider_unavailable"),
    "MalformedResponseError": (502, "malformed_response"),
    "MissingScopesError": (403, "missing_scopes"),
    "TransportError": (502, "transport"),
    "RefreshError": (503, "refresh"),
    "RefreshBusyError": (503, "refresh_busy"),
    "OutcomeUnknownError": (503, "outcome_unknown"),
    "TokenAtRiskError": (500, "token_at_risk"),
    "StoreError": (500, "store"),
    "ConnectionNotFoundError": (404, "connection_not_found"),
    "GenerationConflictError": (409, "generation_conflict"),
    "StoreUnavailableError": (503, "store_unavailable"),
    "EncryptionError": (500, "encryption"),
    "MalformedEnvelopeError": (500, "malformed_envelope"),
    "KeyNotFoundError": (500, "key_not_found"),
    "WrongKeyError": (500, "wrong_key"),
    "TamperedError": (500, "tampered"),
    "KeyServiceUnavailableError": (503, "key_service_unavailable"),
}
VALUES = {"missing": ["b", "a"], "required": ["c", "b", "a"], "request_sent": True, "retry_after": timedelta(seconds=7)}

every_class = pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)


def build(kind, message=MESSAGE, **more):
    parameters = inspect.signature(kind.__init__).parameters.values()
    required = {p.name: VALUES[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
    return kind(message, **{**required, **more})


def document_of(problem):
    answer = problem_response(http_error(problem))
    assert answer.content_type == "application/problem+json"
    return answer, json.loads(answer.body)


def test_the_table_names_every_class():
    assert EXPECTED.keys() == {kind.__name__ for kind in CLASSES}


@every_class
def test_every_error_has_its_status_and_code(kind):
    problem = build(kind)
    assert (status_of(problem), code_of(problem)) == EXPECTED[kind.__name__]


@every_class
def test_every_error_is_a_document(kind):
    status, code = EXPECTED[kind.__name__]
    answer, document = document_of(build(kind))
    assert answer.status == document["status"] == status
    assert (document["type"], document["code"]) == (f"urn:socialvault:problem:{code}", code)
    assert document["title"] == HTTPStatus(status).phrase
    assert document["action"] == kind.action
    assert document["detail"]
    assert None not in document.values()


@every_class
def test_a_message_is_shown_only_where_the_caller_can_do_something_about_it(kind):
    answer, document = document_of(build(kind))
    if answer.status < 500:
        assert document["detail"] == MESSAGE
    else:
        assert b"canary" not in answer.body
        assert document["detail"] == inspect.getdoc(kind).partition("\n")[0]


@every_class
def test_503_and_nothing_else_says_when_to_try_again(kind):
    answer, document = document_of(build(kind))
    retry_after = dict(answer.headers).get("Retry-After")
    if answer.status == 503:
        assert retry_after == str(document["retry_after_seconds"])
    else:
        assert retry_after is None
        assert "retry_after_seconds" not in document


@pytest.mark.parametrize(
    ("problem", "seconds"),
    [
        (RateLimitedError("x", retry_after=timedelta(seconds=30)), "30"),
        (RateLimitedError("x", retry_after=timedelta(milliseconds=1)), "1"),
        (RateLimitedError("x", retry_after=timedelta(seconds=1, milliseconds=1)), "2"),
        (RateLimitedError("x", retry_after=timedelta(seconds=-5)), "1"),
        (RateLimitedError("x", retry_after=timedelta(0)), "1"),
        (RateLimitedError("x"), "5"),
        (ProviderUnavailableError("x", retry_after=timedelta(minutes=2)), "120"),
        (RefreshBusyError("x", retry_after=timedelta(seconds=3)), "3"),
        (OutcomeUnknownError("x"), "5"),
    ],
)
def test_retry_after_is_whole_seconds_rounded_up_and_never_none(problem, seconds):
    assert dict(http_error(problem).headers) == {"Retry-After": seconds}


def test_missing_scopes_are_listed_with_everything_to_ask_for():
    _, document = document_of(build(MissingScopesError))
    assert (document["missing"], document["required"]) == (["a", "b"], ["a", "b", "c"])


def test_a_dead_grant_says_why():
    _, document = document_of(ReauthorizationRequiredError("gone", reason="app_removed"))
    assert (document["status"], document["reason"], document["action"]) == (409, "app_removed", "reauthorize")


def test_an_argument_of_the_caller_is_a_field_that_is_wrong():
    answer, document = document_of(ConfigurationError("scopes must be strings", argument="scopes"))
    assert (answer.status, document["code"]) == (422, "invalid_fields")
    assert document["errors"] == [{"field": "scopes", "message": "scopes must be strings"}]


def test_a_setting_that_is_wrong_is_not_shown_to_callers():
    answer, document = document_of(ConfigurationError("client_secret of canary is missing"))
    assert (answer.status, document["code"], document["action"]) == (500, "configuration", "fix_configuration")
    assert b"canary" not in answer.body


def test_an_error_that_this_table_does_not_know_is_answered_as_its_ancestor():
    class DiskFullError(exceptions.StoreUnavailableError):
        """The disk is full."""

    answer, document = document_of(DiskFullError(MESSAGE))
    assert (answer.status, document["code"], document["detail"]) == (503, "disk_full", "The disk is full.")


def test_an_error_without_a_docstring_is_answered_all_the_same():
    class QuietError(exceptions.SocialVaultError):
        pass

    QuietError.__doc__ = None
    answer, document = document_of(QuietError(MESSAGE))
    assert (answer.status, document["code"], document["detail"]) == (500, "quiet", "")


def test_codes_are_fit_for_programs():
    codes = [code_of(build(kind)) for kind in CLASSES]
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)
    assert len(set(codes)) == len(codes)


def test_the_routes_own_refusals_keep_their_extras_and_headers():
    error = HttpError(429, "too_many_requests", "wait", "retry", {"retry_after_seconds": 9}, (("Retry-After", "9"),))
    answer = problem_response(error)
    assert (answer.status, answer.headers) == (429, (("Retry-After", "9"),))
    assert json.loads(answer.body)["retry_after_seconds"] == 9


@every_class
def test_only_what_an_operator_should_know_of_is_logged_with_its_message(kind, caplog):
    log_failure("GET /oauth/platforms", build(kind))
    expected = [f"GET /oauth/platforms: {kind.__name__}: {MESSAGE}"] if EXPECTED[kind.__name__][0] >= 500 else []
    assert [record.getMessage() for record in caplog.records] == expected
