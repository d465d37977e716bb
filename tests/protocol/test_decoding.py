from __future__ import annotations

import copy
import json
import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from socialvault.exceptions import MalformedResponseError, ProviderUnavailableError, RateLimitedError
from socialvault.protocol.decoding import Document, decode_document, decode_optional, parse_object

UNREADABLE = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "html": b"<!doctype html><title>Sign in</title>",
    "truncated": b'{"access_token":"a"',
    "trailing": b'{"access_token":"a"}x',
    "two_objects": b'{"a":1}{"b":2}',
    "single_quotes": b"{'access_token':'a'}",
    "utf8_bom": b"\xef\xbb\xbf" + b'{"access_token":"a"}',
    "utf16": '{"access_token":"a"}'.encode("utf-16"),
    "utf32": '{"access_token":"a"}'.encode("utf-32-le"),
    "latin_1": b'{"name":"Ren\xe9"}',
    "overlong_utf8": b'{"name":"\xc0\xaf"}',
    "raw_control_character": b'{"name":"a\nb"}',
    "form": b"access_token=a&token_type=bearer",
}

NASTY_JSON = {
    "nan": b'{"expires_in":NaN}',
    "infinity": b'{"expires_in":Infinity}',
    "minus_infinity": b'{"expires_in":-Infinity}',
    "overflowing_float": b'{"expires_in":1e999}',
    "duplicate_keys": b'{"access_token":"a","access_token":"b"}',
    "duplicate_keys_deep": b'{"data":[{"id":"1","id":"2"}]}',
    "duplicate_keys_by_escape": b'{"id":"1","\\u0069d":"2"}',
    "depth_33": b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
    "depth_1e5": b'{"a":' + b"[" * 100_000,
    "depth_1e5_objects": b'{"a":' * 100_000,
    "int_of_5000_digits": b'{"expires_in":' + b"9" * 5000 + b"}",
    "int_of_41_digits": b'{"id":' + b"9" * 41 + b"}",
    "lone_surrogate": b'{"name":"\\ud800"}',
    "lone_surrogate_in_a_name": b'{"\\udfff":1}',
    "lone_surrogate_deep": b'{"data":[{"name":"x\\udc00"}]}',
    "list_on_top": b"[]",
    "null_on_top": b"null",
    "string_on_top": b'"access_token"',
    "number_on_top": b"42",
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
def test_f_21_unreadable_body_is_malformed(answer, body):
    with pytest.raises(MalformedResponseError) as caught:
        decode_document(answer(body), provider="acme")
    assert (caught.value.provider, caught.value.status) == ("acme", 200)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("body", NASTY_JSON.values(), ids=NASTY_JSON)
def test_f_24_what_the_standard_library_lets_pass_is_malformed(answer, body):
    with pytest.raises(MalformedResponseError) as caught:
        decode_document(answer(body), provider="acme")
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "content_type",
    ["text/html", "text/plain", "application/xml", "application/x-www-form-urlencoded", "image/png", "json"],
)
def test_f_21_wrong_content_type_is_malformed(answer, content_type):
    with pytest.raises(MalformedResponseError, match="content type"):
        decode_document(answer({"a": 1}, content_type=content_type), provider="acme")


@pytest.mark.parametrize("charset", ["iso-8859-1", '"latin1"', "utf-16", "UTF-7"])
def test_f_21_another_charset_is_malformed(answer, charset):
    with pytest.raises(MalformedResponseError, match="charset"):
        decode_document(answer({"a": 1}, content_type=f"application/json; charset={charset}"), provider="acme")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; Charset=UTF-8",
        'application/json;charset="utf-8"',
        "application/problem+json",
        "application/jwk-set+json",
        "text/javascript; charset=UTF-8",
        "",
    ],
)
def test_json_is_read_under_its_names(answer, content_type):
    assert decode_document(answer({"a": 1}, content_type=content_type), provider="acme").value("a") == 1


def test_a_refusal_names_the_rule_that_was_broken(answer):
    for body, rule in ((b"{", "is no JSON"), (b'{"a":NaN}', "holds a number that is not finite"), (b"", "is empty")):
        with pytest.raises(MalformedResponseError) as caught:
            decode_document(answer(body), provider="acme")
        assert str(caught.value) == f"acme: the answer {rule}"


def test_f_24_the_limits_themselves_are_accepted(answer):
    deep = b'{"a":' + b"[" * 31 + b"]" * 31 + b',"n":' + b"9" * 40 + b"}"
    assert decode_document(answer(deep), provider="acme").value("n") == int("9" * 40)


def test_f_24_a_number_as_long_as_the_largest_answer_costs_little():
    started = time.thread_time()
    parse_object(b'{"a":' + b"1" * 262_000 + b".5}")
    parse_object(b'{"a":' + b"[" * 262_000 + b"}")
    parse_object(b'{"a":[' + b"{}," * 40_000 + b"{}]}")
    assert time.thread_time() - started < 1.0


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, RateLimitedError),
        (500, ProviderUnavailableError),
        (503, ProviderUnavailableError),
        (403, MalformedResponseError),
    ],
)
def test_an_unreadable_body_is_judged_by_its_status(answer, status, error):
    with pytest.raises(error) as caught:
        decode_document(answer(b"<html>", status, content_type="text/html", retry_after="30"), provider="acme")
    assert type(caught.value) is error
    assert caught.value.status == status
    if status != 403:
        assert caught.value.retry_after.total_seconds() == 30


# --- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded; charset=utf-8", "text/plain"])
def test_f_21_a_declared_form_is_read(answer, content_type):
    response = answer(b"access_token=a%2Bb&scope=repo%2Cuser&empty=", content_type=content_type)
    document = decode_document(response, provider="github", form_encoded=True)
    assert document.text("access_token") == "a+b"
    assert document.text("scope") == "repo,user"
    assert document.text("empty") == ""


def test_a_provider_that_may_answer_forms_may_answer_json(answer):
    assert decode_document(answer({"a": "b"}), provider="github", form_encoded=True).text("a") == "b"
    assert decode_document(answer({"a": "b"}, content_type=""), provider="x", form_encoded=True).text("a") == "b"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"access_token",
        b"a=1&a=2",
        b"a=%ff",
        "a=é".encode(),
        b"&".join(b"f%d=1" % n for n in range(101)),
        b"<html>",
    ],
    ids=["empty", "no_value", "repeated", "no_utf8", "no_ascii", "many", "html"],
)
def test_f_21_a_broken_form_is_malformed(answer, body):
    with pytest.raises(MalformedResponseError):
        decode_document(
            answer(body, content_type="application/x-www-form-urlencoded"), provider="github", form_encoded=True
        )


# --- error bodies ---------------------------------------------------------------------------------


def test_an_optional_document_is_none_where_it_cannot_be_read(answer):
    assert decode_optional(answer(b"<html>", 502), "acme") is None
    document = decode_optional(answer({"error": "invalid_grant"}, 400), "acme")
    assert document is not None
    assert document.text("error") == "invalid_grant"


# --- the document ---------------------------------------------------------------------------------

FIELDS = {
    "data": {"id": 7, "name": "Ada", "list": [{"id": "a"}, 3, {"id": "b"}], "empty": ""},
    "null": None,
    "yes": True,
    "float": 1.5,
    "https://claims.example/tier": "gold",
    "items": [],
}


def test_paths_lead_through_objects_and_lists():
    document = Document(FIELDS)
    assert document.text("data.name") == "Ada"
    assert document.text("data.list.0.id") == "a"
    assert document.text("data.list.2.id") == "b"
    assert document.value("data.list.1") == 3
    assert document.text("https://claims.example/tier") == "gold"


@pytest.mark.parametrize(
    "path", ["nothing", "data.nothing", "data.list.3", "data.list.-1", "data.list.x", "data.name.x", "null.x", "", "."]
)
def test_a_path_that_leads_nowhere_is_none(path):
    document = Document(FIELDS)
    assert document.value(path) is None
    assert document.text(path) is None
    assert document.identifier(path) is None
    assert document.secret(path) is None
    assert document.document(path) is None
    assert document.documents(path) == ()
    assert not document.has(path)


def test_text_never_turns_a_number_into_a_string_and_an_identifier_does():
    document = Document(FIELDS)
    assert document.text("data.id") is None
    assert document.identifier("data.id") == "7"
    assert document.identifier("data.name") == "Ada"
    assert document.identifier("data.empty") is None
    assert document.identifier("yes") is None
    assert document.identifier("float") is None


def test_null_is_not_there_and_an_empty_string_is():
    document = Document(FIELDS)
    assert not document.has("null")
    assert document.has("data.empty")
    assert document.text("data.empty") == ""


def test_documents_are_the_objects_of_a_list():
    document = Document(FIELDS, provider="acme", status=200)
    assert [child.text("id") for child in document.documents("data.list")] == ["a", "b"]
    child = document.document("data")
    assert child is not None
    assert child.names == ("id", "name", "list", "empty")
    assert document.document("items") is None
    assert document.documents("data") == ()


def test_a_child_names_the_same_provider_in_its_errors():
    child = Document({"data": {"token": 5}}, provider="acme", status=201).document("data")
    assert child is not None
    with pytest.raises(MalformedResponseError) as caught:
        child.secret("token")
    assert (caught.value.provider, caught.value.status) == ("acme", 201)


def test_its_repr_shows_field_names_alone_and_only_plausible_ones():
    document = Document({"access_token": "SECRET", "n": 1, "gho_16C7e42F292c6912E7710c838347Ae178B4a!": 1, "x" * 50: 2})
    assert repr(document) == "Document(access_token, n, ?, ?)"


def test_nothing_serialises_a_document_by_accident():
    document = Document({"access_token": "SECRET"})
    assert not isinstance(document, dict)
    assert not hasattr(document, "keys")
    with pytest.raises(TypeError):
        json.dumps(document)
    with pytest.raises(TypeError):
        dict(document)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        pickle.dumps(document)
    with pytest.raises(TypeError):
        copy.deepcopy(document)


# --- secrets --------------------------------------------------------------------------------------

BAD_TOKENS = {
    "newline": "abc\r\nX-Injected: 1",
    "trailing_newline": "abc\n",
    "space": "abc def",
    "tab": "abc\tdef",
    "nul": "abc\0",
    "delete": "abc\x7f",
    "non_ascii": "abcé",
    "fullwidth_digit": "\uff11\uff12\uff13",
    "one_mebibyte": "a" * 1024 * 1024,
    "one_too_many": "a" * (64 * 1024 + 1),
    "integer": 12345,
    "boolean": True,
    "list": ["abc"],
    "object": {"value": "abc"},
    "float": 1.5,
    "false": False,
    "zero": 0,
}


@pytest.mark.parametrize("value", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_f_26_a_token_that_no_header_can_carry_is_malformed(value):
    with pytest.raises(MalformedResponseError, match=r"^acme: access_token ") as caught:
        Document({"access_token": value}, provider="acme", status=200).secret("access_token")
    assert caught.value.__context__ is None


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_f_26_every_visible_ascii_token_survives(token):
    secret = Document({"token": token}).secret("token")
    assert secret is not None
    assert secret.reveal() == token


def test_f_26_the_longest_token_survives():
    secret = Document({"token": "a" * 64 * 1024}).secret("token")
    assert secret is not None
    assert len(secret.reveal()) == 64 * 1024


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_secret_is_none(value):
    assert Document({"token": value}).secret("token") is None


# --- properties -----------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values, max_size=6))
def test_what_json_can_say_comes_back_as_it_was(fields):
    parsed = parse_object(json.dumps(fields).encode())
    assert parsed == fields


@given(st.binary(max_size=300))
def test_no_bytes_make_the_parser_raise(data):
    assert isinstance(parse_object(data), (dict, str))
