from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socialvault.exceptions import (
    AccountMismatchError,
    ClientRejectedError,
    ConfigurationError,
    IssuerMismatchError,
    MalformedResponseError,
    ProviderError,
    ProviderUnavailableError,
    RateLimitedError,
    ReauthorizationRequiredError,
    RefreshBusyError,
    SocialVaultError,
    StoreUnavailableError,
    TransportError,
)
from socialvault.protocol import errors
from socialvault.protocol.decoding import Document, decode_optional

MAP: dict[str, errors.ErrorKind] = {
    "dead": "reauthorize",
    "busy": "unavailable",
    "status:403": "rate_limited",
    "190:463": "reauthorize",
}


def read(answer, body, status=400, error_map=MAP, **headers):
    response = answer(body, status, **headers)
    return errors.read_error(response, decode_optional(response, "acme"), provider="acme", error_map=error_map)


BRANCHES = [
    # status, body, branch
    (400, {"error": "invalid_grant"}, ReauthorizationRequiredError),
    (200, {"error": "invalid_grant"}, ReauthorizationRequiredError),
    (401, {"error": "invalid_grant"}, ReauthorizationRequiredError),
    (400, {"error": "invalid_client"}, ClientRejectedError),
    (401, {"error": "invalid_client"}, ClientRejectedError),
    (200, {"error": "invalid_client"}, ClientRejectedError),
    (400, {"error": "unauthorized_client"}, ClientRejectedError),
    (401, {"error": "something_else"}, ProviderError),
    (401, {"message": "no"}, ProviderError),
    (400, {"error": "invalid_request"}, ProviderError),
    (400, {"error": "invalid_scope"}, ProviderError),
    (400, {"error": "unsupported_grant_type"}, ProviderError),
    (400, {"error": "temporarily_unavailable"}, ProviderUnavailableError),
    (400, {"error": "server_error"}, ProviderUnavailableError),
    (200, {"error": "server_error"}, ProviderUnavailableError),
    (400, {"error": "slow_down"}, RateLimitedError),
    (429, {"error": "invalid_grant"}, RateLimitedError),
    (429, b"<html>", RateLimitedError),
    (429, {}, RateLimitedError),
    (500, {"error": "invalid_grant"}, ProviderUnavailableError),
    (500, {"error": "invalid_client"}, ProviderUnavailableError),
    (502, b"<html>", ProviderUnavailableError),
    (503, b"", ProviderUnavailableError),
    (504, {}, ProviderUnavailableError),
    (599, {"error": "invalid_grant"}, ProviderUnavailableError),
    (301, {"error": "invalid_grant"}, MalformedResponseError),
    (302, b"", MalformedResponseError),
    (307, {}, MalformedResponseError),
    (308, b"<html>", MalformedResponseError),
    (400, b"<html>", MalformedResponseError),
    (400, b"", MalformedResponseError),
    (401, b"", MalformedResponseError),
    (404, b"not found", MalformedResponseError),
    (200, b"<html>", MalformedResponseError),
    (200, {"ok": False}, ProviderError),
    (404, {}, ProviderError),
    (418, {"error": {"nested": True}}, ProviderError),
    (400, {"error": 17}, ProviderError),
    (400, {"error": None}, ProviderError),
    (408, {"error": "invalid_grant"}, ProviderUnavailableError),
    (408, b"", ProviderUnavailableError),
    (425, {"error": "dead"}, ProviderUnavailableError),
    # what servers say in the standard's place
    (200, {"error": "bad_refresh_token"}, ReauthorizationRequiredError),
    (200, {"error": "bad_verification_code"}, ReauthorizationRequiredError),
    (200, {"error": "incorrect_client_credentials"}, ClientRejectedError),
    (200, {"ok": False, "error": "invalid_refresh_token"}, ReauthorizationRequiredError),
    (200, {"ok": False, "error": "bad_client_secret"}, ClientRejectedError),
    (200, {"ok": False, "error": "invalid_client_id"}, ClientRejectedError),
    (200, {"ok": False, "error": "ratelimited"}, RateLimitedError),
    (200, {"ok": False, "error": "token_expired"}, ProviderError),  # it may be about an access token
    (400, {"status": "BAD_REFRESH_TOKEN"}, ReauthorizationRequiredError),
    (400, {"code": 400, "error_code": "refresh_token_not_found"}, ReauthorizationRequiredError),
    (400, {"code": 400, "error_code": "refresh_token_already_used"}, ReauthorizationRequiredError),
    (400, {"error": "interaction_required"}, ReauthorizationRequiredError),
    (503, {"error": "bad_refresh_token"}, ProviderUnavailableError),
    # where a code may be
    (400, {"error": "invalid_request", "error_code": "invalid_grant"}, ReauthorizationRequiredError),
    (400, {"error": "invalid_client", "code": "invalid_grant"}, ClientRejectedError),
    (400, {"errorCode": "invalid_client"}, ClientRejectedError),
    (400, {"error_type": "invalid_client"}, ClientRejectedError),
    (400, {"code": "invalid_client"}, ClientRejectedError),
    (400, {"type": "https://acme.example/problems/dead"}, ReauthorizationRequiredError),
    (400, {"type": "https://acme.example/problems/dead/"}, ReauthorizationRequiredError),
    (400, {"type": "dead"}, ReauthorizationRequiredError),
    (400, {"type": "https://acme.example/dead/problems"}, ProviderError),
    (400, {"type": "about:blank", "title": "invalid_grant", "detail": "dead"}, ProviderError),
    (400, {"type": ["dead"], "status": 400, "code": 190}, ProviderError),
    (400, {"message": "invalid_grant", "error_description": "invalid_grant"}, ProviderError),
    # the provider's map
    (400, {"error": "dead"}, ReauthorizationRequiredError),
    (200, {"error": "dead"}, ReauthorizationRequiredError),
    (400, {"error": "busy"}, ProviderUnavailableError),
    (403, {"error": "whatever"}, RateLimitedError),
    (403, {"error": "dead"}, ReauthorizationRequiredError),
    (403, b"<html>", RateLimitedError),
    (503, {"error": "dead"}, ProviderUnavailableError),
    (429, {"error": "dead"}, RateLimitedError),
    (429, {"error": "busy"}, ProviderUnavailableError),
]


@pytest.mark.parametrize(("status", "body", "branch"), BRANCHES)
def test_an_error_answer_has_one_branch(answer, status, body, branch):
    error = read(answer, body, status)
    assert type(error) is branch
    assert (error.provider, error.status) == ("acme", status)


@given(
    status=st.sampled_from([429, *range(500, 600)]),
    code=st.sampled_from(["invalid_grant", "invalid_client", "unauthorized_client", "dead", "x"]),
)
def test_trouble_at_the_provider_is_never_terminal(answer, status, code):
    error = read(answer, {"error": code}, status)
    assert error.action == "retry"


def test_a_dead_grant_says_why(answer):
    error = read(answer, {"error": "invalid_grant"})
    assert isinstance(error, ReauthorizationRequiredError)
    assert (error.reason, error.error) == ("invalid_grant", "invalid_grant")


def test_a_hook_can_compose_its_own_codes(answer):
    response = answer({"error": {"code": 190, "error_subcode": 463, "message": "SECRET"}}, 400)
    document = decode_optional(response, "acme")
    error = errors.read_error(response, document, provider="acme", error_map=MAP, codes=("190:463", "190"))
    assert isinstance(error, ReauthorizationRequiredError)
    assert error.error == "190:463"
    assert "SECRET" not in str(error)
    other = errors.read_error(response, document, provider="acme", error_map=MAP, codes=("190:1", "190"))
    assert type(other) is ProviderError


def test_a_structured_error_shows_its_code(answer):
    assert read(answer, {"error": {"code": 190}}).error == "190"


@pytest.mark.parametrize("kind", ["reauthorize", "client", "rate_limited", "unavailable", "other"])
def test_a_built_error_carries_what_the_answer_said(answer, kind):
    error = errors.build_error(kind, answer({}, 400, retry_after="7"), provider="acme", error="E\n1", reason="expired")
    assert (error.provider, error.status, error.error) == ("acme", 400, "E?1")
    assert error.retry_after == timedelta(seconds=7)
    if isinstance(error, ReauthorizationRequiredError):
        assert error.reason == "expired"


def test_a_built_error_without_a_code_has_none(answer):
    assert errors.build_error("other", answer({}, 400), provider="acme").error is None


@pytest.mark.parametrize(
    ("status", "challenge", "branch"),
    [
        (401, "Basic", ClientRejectedError),
        (401, 'basic realm="token"', ClientRejectedError),
        (401, 'Bearer realm="api", Basic realm="token"', ClientRejectedError),
        (401, 'Bearer realm="api",Basic', ClientRejectedError),
        (401, "Bearer", ProviderError),
        (401, 'Bearer realm="basic"', ProviderError),
        (401, 'OAuth "Facebook Platform" "invalid_token"', ProviderError),
        (401, "Basics", ProviderError),
        (401, "", ProviderError),
        (400, "Basic", ProviderError),
        (403, "Basic", ProviderError),
        (503, "Basic", ProviderUnavailableError),
    ],
)
@pytest.mark.parametrize("body", [{}, {"error": "something_else"}, {"message": "no"}], ids=str)
def test_f_19_a_401_that_asks_for_basic_authentication_is_about_the_client(answer, status, challenge, branch, body):
    assert type(read(answer, body, status, {}, www_authenticate=challenge)) is branch


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]"])
def test_f_19_but_not_where_nobody_can_read_who_asks(answer, body):
    assert type(read(answer, body, 401, www_authenticate="Basic")) is MalformedResponseError


def test_a_dead_grant_is_dead_whatever_the_401_asks_for(answer):
    error = read(answer, {"error": "invalid_grant"}, 401, www_authenticate="Basic")
    assert type(error) is ReauthorizationRequiredError


# --- what may have happened at the provider --------------------------------------------------------


def error_with(branch, status):
    return branch("text", provider="acme", status=status)


COMMITTED = [
    # error, whether the token that was presented may be spent
    (TransportError("gone", request_sent=True), True),
    (TransportError("never there", request_sent=False), False),
    (error_with(ProviderUnavailableError, 500), True),
    (error_with(ProviderUnavailableError, 503), True),
    (error_with(RateLimitedError, 503), True),  # by an error map
    (error_with(ProviderError, 500), True),
    (error_with(MalformedResponseError, 200), True),
    (error_with(MalformedResponseError, 201), True),
    (error_with(MalformedResponseError, 204), True),
    (error_with(MalformedResponseError, 500), True),
    (error_with(MalformedResponseError, None), True),  # a hook that does not say where it choked
    (error_with(MalformedResponseError, 302), False),
    (error_with(MalformedResponseError, 400), False),
    (error_with(MalformedResponseError, 403), False),
    (error_with(ProviderUnavailableError, 400), False),
    (error_with(ProviderUnavailableError, 408), False),
    (error_with(ProviderUnavailableError, None), False),
    (error_with(RateLimitedError, 429), False),
    (error_with(ReauthorizationRequiredError, 400), False),
    (error_with(ReauthorizationRequiredError, 200), False),
    (error_with(ReauthorizationRequiredError, None), False),
    (error_with(ClientRejectedError, 401), False),
    (error_with(ProviderError, 400), False),
    (error_with(ProviderError, 200), False),
    (AccountMismatchError("another"), True),
    (IssuerMismatchError("another"), True),
    (ConfigurationError("never sent"), False),
    (StoreUnavailableError("not the provider"), False),
    (RefreshBusyError("not the provider", retry_after=timedelta(1)), False),
    (SocialVaultError("who knows"), False),
]


@pytest.mark.parametrize(("error", "committed"), COMMITTED, ids=lambda part: repr(part)[:40])
def test_f_20_an_answer_says_whether_the_token_may_be_spent(error, committed):
    assert errors.may_have_committed(error) is committed


@given(status=st.integers(100, 599), body=st.sampled_from([b"", b"<html>", b"{}", b'{"error":"invalid_grant"}']))
def test_f_20_only_what_says_nothing_clear_leaves_a_token_in_doubt(answer, status, body):
    error = read(answer, body, status, {})
    unclear = status >= 500 or (200 <= status < 300 and type(error) is MalformedResponseError)
    assert errors.may_have_committed(error) is unclear


# --- untrusted text -------------------------------------------------------------------------------

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "crlf": "x\r\nSet-Cookie: a=b",
    "one_megabyte": "A" * 1_000_000,
    "escape_codes": "\x1b[2J\x1b]0;owned\x07",
    "bidi": "\u202egnp.exe\u2066",
    "line_separator": "a\u2028b\u2029c\x85d",
    "surrogate": "\ud800",
    "nul": "a\0b",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_o_12_r_20_hostile_text_is_short_and_printable(text):
    shown = errors.printable(text)
    assert len(shown) <= 200
    assert shown.isprintable()
    shown.encode("utf-8")


@pytest.mark.parametrize("text", [text for name, text in HOSTILE.items() if name != "surrogate"])
def test_o_12_r_20_a_description_is_in_no_message_and_a_code_is_made_printable(answer, text):
    error = read(
        answer, {"error": text, "error_description": "DESCRIPTION" + text, "error_uri": "https://evil.example"}
    )
    assert "DESCRIPTION" not in str(error)
    assert "evil" not in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 300
    assert error.error == errors.printable(text)


@given(st.text())
def test_o_12_any_text_becomes_printable(text):
    shown = errors.printable(text)
    assert shown.isprintable()
    assert len(shown) == min(len(text), 200)


# --- waiting --------------------------------------------------------------------------------------

WAITS = [
    ("0", 0),
    ("1", 1),
    ("0000000000120", 120),
    ("120", 120),
    (" 120 ", 120),
    ("86400", 86400),
    ("99999", 86400),
    ("86401", 86400),
    ("9" * 5000, 86400),
    ("-1", 0),
    ("-" + "9" * 5000, 0),
    ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
    ("Sun, 22 Nov 2026 11:00:00 GMT", 0),
    ("Mon, 23 Nov 2026 12:00:00 GMT", 86400),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
    ("Sat, 01 Jan 0001 00:00:00 GMT", 0),
    ("", None),
    ("soon", None),
    ("1.5", None),
    ("\uff11\uff12", None),
    ("Sun, 32 Nov 2026 12:00:30 GMT", None),
    ("Sun, 22 Foo 2026 12:00:30 GMT", None),
    ("Sun, 22 Nov 2026 12:00:30 +0100", None),
    ("Sun, 22 Nov 0000 12:00:30 GMT", None),
    ("2026-11-22T12:00:30Z", None),
]


@pytest.mark.parametrize(("value", "seconds"), WAITS)
def test_a_wait_is_bounded_to_a_day(now, value, seconds):
    wait = errors.retry_after({"retry-after": value}, now)
    assert wait == (None if seconds is None else timedelta(seconds=seconds))


def test_no_header_is_no_wait(now):
    assert errors.retry_after({}, now) is None


@given(st.text(max_size=60))
def test_no_header_makes_it_raise(now, value):
    wait = errors.retry_after({"retry-after": value}, now)
    assert wait is None or timedelta(0) <= wait <= timedelta(days=1)


def test_the_error_map_is_optional(answer):
    error = errors.read_error(answer({}, 400), Document({"error": "dead"}), provider="acme")
    assert type(error) is ProviderError
