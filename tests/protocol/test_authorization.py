from __future__ import annotations

import time
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socialvault.exceptions import ConfigurationError, IssuerMismatchError, StateMismatchError
from socialvault.model.secret import Secret
from socialvault.protocol.authorization import (
    AuthorizationResponse,
    allowed_return_to,
    check_issuer,
    check_return_to_pattern,
    parse_parameters,
    parse_response,
)

GOOD = [("state", "st4te"), ("code", "c0de")]


class QueryDict(dict):
    """As Django's: a dict whose own items show the last value only."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self._lists = {}
        for name, value in pairs:
            self._lists.setdefault(name, []).append(value)

    def lists(self):
        return iter(self._lists.items())


class QueryParams(dict):
    """As Starlette's: a mapping whose own items show the last value only."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self._pairs = pairs

    def multi_items(self):
        return list(self._pairs)


class Pairs:
    """Something that only shows what it holds when it is iterated."""

    def __init__(self, pairs):
        self._pairs = pairs

    def __iter__(self):
        return iter(self._pairs)


CARRIERS = {
    "query_string": urlencode,
    "query_string_with_question_mark": lambda pairs: "?" + urlencode(pairs),
    "bytes": lambda pairs: urlencode(pairs).encode(),
    "pairs": list,
    "tuple_of_lists": lambda pairs: tuple([name, value] for name, value in pairs),
    "generator": lambda pairs: (pair for pair in pairs),
    "starlette": QueryParams,
    "django": QueryDict,
    "iterable": Pairs,
    "mapping_of_lists": lambda pairs: {name: [v for n, v in pairs if n == name] for name, _ in pairs},
}


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
def test_a_response_is_read_from_whatever_a_framework_holds_it_in(carrier):
    response = parse_response(carrier([*GOOD, ("iss", "https://as.example"), ("scope", "a b")]))
    assert response == AuthorizationResponse(Secret("st4te"), Secret("c0de"), "", "https://as.example")


def test_o_10_the_real_starlette_is_read_with_its_repetitions():
    datastructures = pytest.importorskip("starlette.datastructures")
    for carrier in (datastructures.QueryParams, datastructures.FormData):
        assert parse_response(carrier(GOOD)).code == Secret("c0de")
        with pytest.raises(StateMismatchError, match="repeats"):
            parse_response(carrier([*GOOD, ("state", "x")]))


def test_a_plain_mapping_is_read_too():
    assert parse_response(dict(GOOD)).code == Secret("c0de")


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
@pytest.mark.parametrize("name", ["state", "code", "iss", "error"])
def test_o_10_a_repeated_parameter_is_refused_in_every_carrier(carrier, name):
    pairs = [*GOOD, (name, "a")] if name in dict(GOOD) else [*GOOD, (name, "a"), (name, "a")]
    with pytest.raises(StateMismatchError, match=f"repeats {name}"):
        parse_response(carrier(pairs))


MALFORMED = {
    "state_missing": [("code", "c")],
    "state_empty": [("state", ""), ("code", "c")],
    "state_duplicated": [("state", "a"), ("state", "b"), ("code", "c")],
    "state_with_other_case": [("State", "a"), ("code", "c")],
    "state_control_character": [("state", "a\n"), ("code", "c")],
    "state_not_ascii": [("state", "é"), ("code", "c")],
    "state_surrogate": [("state", "\ud800"), ("code", "c")],
    "state_too_long": [("state", "a" * 513), ("code", "c")],
    "code_empty": [("state", "a"), ("code", "")],
    "code_too_long": [("state", "a"), ("code", "c" * 4097)],
    "code_control_character": [("state", "a"), ("code", "c\r\nd")],
    "iss_empty": [*GOOD, ("iss", "")],
    "iss_not_ascii": [*GOOD, ("iss", "https://\u0430s.example")],
    "iss_too_long": [*GOOD, ("iss", "https://" + "a" * 2048)],
    "error_empty": [("state", "a"), ("error", "")],
    "error_too_long": [("state", "a"), ("error", "e" * 1025)],
}


@pytest.mark.parametrize("pairs", MALFORMED.values(), ids=MALFORMED)
def test_o_02_a_malformed_callback_is_refused(pairs):
    with pytest.raises(StateMismatchError) as caught:
        parse_response(pairs)
    assert caught.value.__context__ is None
    assert caught.value.return_to is None


def test_o_11_code_and_error_together_are_refused():
    with pytest.raises(StateMismatchError, match="either"):
        parse_response([*GOOD, ("error", "access_denied")])


def test_o_11_neither_code_nor_error_is_refused():
    with pytest.raises(StateMismatchError, match="either"):
        parse_response([("state", "st4te")])


def test_an_error_response_has_no_code():
    response = parse_response("state=s&error=access_denied&error_description=no&error_uri=https%3A%2F%2Fx")
    assert response == AuthorizationResponse(Secret("s"), None, "access_denied", None)


def test_r_20_an_error_is_made_printable():
    response = parse_response([("state", "s"), ("error", "a\r\nb" + "c" * 500)])
    assert response.error == "a??b" + "c" * 196


def test_o_08_an_access_token_in_the_callback_is_ignored():
    response = parse_response([*GOOD, ("access_token", "stolen"), ("id_token", "x"), ("token_type", "bearer")])
    assert response == AuthorizationResponse(Secret("st4te"), Secret("c0de"), "", None)
    with pytest.raises(StateMismatchError):
        parse_response([("state", "s"), ("access_token", "stolen")])


@pytest.mark.parametrize(
    "params",
    [
        None,
        42,
        object(),
        ["state"],
        [("state", "s", "x")],
        [("state", 1), ("code", "c")],
        [("state", b"s"), ("code", "c")],
        [(1, "s")],
        {"state": ["s"], "code": None},
        {"state": ["s"], "code": [["c"]]},
        b"state=\xff&code=c",
        "state=%ff&code=c",
        "",
        b"",
        [],
        {},
    ],
    ids=repr,
)
def test_o_02_what_is_no_text_is_refused(params):
    with pytest.raises(StateMismatchError) as caught:
        parse_response(params)
    assert caught.value.__context__ is None


OVERSIZE = {
    "one_value": "state=s&code=" + "c" * 1_000_000,
    "one_value_in_bytes": b"state=s&code=" + b"c" * 1_000_000,
    "unknown_parameter": "state=s&code=c&error_description=" + "d" * 1_000_000,
    "many_parameters": "state=s&code=c" + "&a=b" * 250_000,
    "many_percents": "state=s&code=" + "%41" * 333_000,
    "only_ampersands": "&" * 1_000_000,
    "only_equals": "=" * 1_000_000,
    "pairs": [*GOOD, ("x", "d" * 1_000_000)],
    "many_pairs": [*GOOD, *[("a", "b")] * 250_000],
    "endless_pairs": (("a", "b") for _ in iter(int, 1)),
    "deep_list": {"state": "s", "code": ["c"] * 1_000_000},
    "encoded_within_the_query_limit": "state=s&code=c&x=" + "d" * 40_000,
}


@pytest.mark.parametrize("params", OVERSIZE.values(), ids=OVERSIZE)
def test_r_29_a_megabyte_of_callback_is_refused_within_100_ms(params):
    started = time.thread_time()
    with pytest.raises(StateMismatchError):
        parse_response(params)
    assert time.thread_time() - started < 0.1


def test_the_longest_values_are_accepted():
    state, code = "s" * 512, "c" * 4096
    response = parse_response({"state": state, "code": code, "iss": "i" * 2048})
    assert response.state == Secret(state)
    assert response.code == Secret(code)


vschars = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=80)


@given(
    state=vschars, code=vschars, extra=st.dictionaries(st.sampled_from(["scope", "user", "hd"]), st.text(max_size=20))
)
def test_every_state_and_code_survive_the_query(state, code, extra):
    printable = {name: value.encode("utf-8", "replace").decode() for name, value in extra.items()}
    response = parse_response(urlencode({"state": state, "code": code, **printable}))
    assert response.state == Secret(state)
    assert response.code == Secret(code)


@given(st.text(max_size=400) | st.binary(max_size=400))
def test_any_query_is_read_or_refused(query):
    try:
        response = parse_response(query)
    except StateMismatchError:
        return
    assert (response.code is None) == bool(response.error)


def test_parameters_keep_their_order_and_repetitions():
    assert parse_parameters("?b=2&a=1&b=3&c=") == [("b", "2"), ("a", "1"), ("b", "3"), ("c", "")]


def test_unreadable_parameters_are_refused():
    with pytest.raises(StateMismatchError):
        parse_parameters(3)


# --- the issuer -----------------------------------------------------------------------------------

ISSUER = "https://as.example"


def response_from(issuer, *, error=""):
    return AuthorizationResponse(Secret("s"), None if error else Secret("c"), error, issuer)


@pytest.mark.parametrize("error", ["", "access_denied"])
@pytest.mark.parametrize("promised", [True, False])
def test_o_05_the_right_issuer_passes(error, promised):
    check_issuer(response_from(ISSUER, error=error), expected=ISSUER, promised=promised)


@pytest.mark.parametrize("error", ["", "access_denied"])
@pytest.mark.parametrize("promised", [True, False])
@pytest.mark.parametrize(
    "issuer",
    [
        "https://evil.example",
        "https://as.example/",
        "https://AS.example",
        "https://as.example:443",
        "http://as.example",
        "https://as.exampl",
        "https://as.example.evil",
        " https://as.example",
    ],
)
def test_o_05_another_issuer_is_a_mix_up_on_error_responses_too(issuer, promised, error):
    with pytest.raises(IssuerMismatchError):
        check_issuer(response_from(issuer, error=error), expected=ISSUER, promised=promised)


@pytest.mark.parametrize("error", ["", "access_denied"])
@pytest.mark.parametrize("expected", [ISSUER, ""])
def test_o_05_a_promised_issuer_that_is_missing_is_a_mix_up(error, expected):
    with pytest.raises(IssuerMismatchError):
        check_issuer(response_from(None, error=error), expected=expected, promised=True)


def test_o_05_an_issuer_that_nobody_promised_may_be_missing():
    check_issuer(response_from(None), expected=ISSUER, promised=False)


def test_o_05_a_server_without_issuer_may_send_any():
    check_issuer(response_from("https://whatever.example"), expected="", promised=False)


# --- where to afterwards --------------------------------------------------------------------------

ANYWHERE = ["/*", "/"]
PAYLOADS = [
    "//e", "/\\e", "\\\\e", "///e", "/\t/e", "/\n/e", "\x01//e", " //e", "/%5ce", "https:e", "https:///e",
    "javascript:", "a@e", "%0d%0a", "//evil.example/", "/\\evil.example", "\\/evil.example", "/\\/evil.example",
    "//evil.example\\@app", "https://evil.example", "HTTPS://evil.example", "//%65vil.example", "/%2f/evil.example",
    "/%2e%2e/x", "/..", "/../x", "/a/../x", "/./x", "/a/..", "/a//b", "/a/\r\nSet-Cookie: a=b", "/a\n", "/a ", " /a",
    "/a\x00", "/a\u2028", "/é", "/\uff0fevil", "/a;b", "/a:b", "/a@b", "/a#b", "/a?next=//evil:1", "/a?b=%0a",
    "/a?b=c d", "/a?b?c", "", "a", "evil.example", "data:text/html,x", "javascript:alert(1)", "mailto:a@b", ".", "..",
    "?", "#", "/a?\\", "/" + "a" * 1024,
]  # fmt: skip


@pytest.mark.parametrize("path", PAYLOADS, ids=[ascii(path)[:40] for path in PAYLOADS])
def test_o_44_no_path_leads_away(path):
    assert not allowed_return_to(path, ANYWHERE)


@pytest.mark.parametrize("path", PAYLOADS[:-1], ids=[ascii(path)[:40] for path in PAYLOADS[:-1]])
def test_o_44_no_such_pattern_is_accepted_either(path):
    with pytest.raises(ConfigurationError):
        check_return_to_pattern(path)
    assert not allowed_return_to(path, [path, path + "/*"])


@given(st.text(max_size=40).map("/".__add__) | st.text("/\\.%@:?#ab \t\n", max_size=12))
def test_o_44_what_is_allowed_stays_on_this_host(path):
    if allowed_return_to(path, ANYWHERE):
        assert path[0] == "/"
        assert path[1:2] not in ("/", "\\")
        assert path.isascii()
        assert path.isprintable()
        assert not set(path) & set("\\%@:#; ")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/settings", True),
        ("/settings/", False),
        ("/settings/x", False),
        ("/settingsx", False),
        ("/Settings", False),
        ("/settings?tab=accounts&page=2", True),
        ("/dashboard/", True),
        ("/dashboard/a/b-c_d.e~f", True),
        ("/dashboard/...", True),
        ("/dashboard", False),
        ("/dashboardx", False),
        ("/dashboard/../settings/x", False),
        ("/dashboard/?a=1", True),
        ("/", False),
    ],
)
def test_a_path_is_allowed_by_a_pattern_or_not_at_all(path, allowed):
    assert allowed_return_to(path, ["/settings", "/dashboard/*"]) is allowed


def test_nothing_is_allowed_without_patterns():
    assert not allowed_return_to("/", [])


@pytest.mark.parametrize("pattern", ["/", "/settings", "/settings/", "/dashboard/*", "/*", "/a/b.c"])
def test_a_sensible_pattern_is_accepted(pattern):
    check_return_to_pattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["*", "/a*", "/*/b", "/a/**", "/a?b=c", "//*", "https://app.example/*", "/a/*/", "settings"]
)
def test_a_pattern_that_promises_more_is_refused(pattern):
    with pytest.raises(ConfigurationError):
        check_return_to_pattern(pattern)
