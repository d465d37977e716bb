"""Bodies: JSON or a form, judged by one schema, and refused without repeating what they said."""

import json

import pytest

from socialvault.http.bodies import ReconnectBody, SelectionBody, StartBody
from socialvault.http.problems import HttpError, problem_response
from socialvault.http.reading import FORM, JSON, form_fields, media_type, only_value, pairs_of, read_body


@pytest.fixture
def read(make_request):
    def read(body, kind=JSON, schema=StartBody):
        headers = {} if kind is None else {"content-type": kind}
        return read_body(make_request(method="POST", body=body, headers=headers), schema)

    return read


@pytest.fixture
def refused(read):
    """Read what must be refused; return the refusal, and see to it that it is a document."""

    def refused(body, kind=JSON, schema=StartBody):
        with pytest.raises(HttpError) as raised:
            read(body, kind, schema)
        document = json.loads(problem_response(raised.value).body)
        assert "canary" not in json.dumps(document)
        assert raised.value.__context__ is None
        return raised.value

    return refused


def fields_of(error):
    return {one["field"] for one in error.extras["errors"]}


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [JSON, "application/json; charset=utf-8", "Application/JSON", " application/json "])
def test_json_is_read(read, kind):
    body = read(b'{"scopes": ["a", "b"], "return_to": "/settings", "connection_id": "con-1"}', kind)
    assert body == StartBody(scopes=["a", "b"], return_to="/settings", connection_id="con-1")


def test_json_may_be_null_where_a_field_may_be_left_out(read):
    assert read(b'{"scopes": null, "return_to": null}') == StartBody()


@pytest.mark.parametrize("kind", [FORM, f"{FORM}; charset=UTF-8", FORM.upper()])
def test_a_form_is_read(read, kind):
    body = read(b"scopes=a&scopes=b+c&return_to=%2Fsettings&connection_id=con-1", kind)
    assert body == StartBody(scopes=["a", "b", "c"], return_to="/settings", connection_id="con-1")


def test_the_empty_inputs_of_a_form_say_nothing(read):
    assert read(b"return_to=&connection_id=", FORM) == StartBody()


def test_a_form_without_any_of_a_list_is_an_empty_list_where_it_is_named(read):
    assert read(b"ids=", FORM, SelectionBody) == SelectionBody(ids=[])
    assert read(b"scopes=", FORM) == StartBody(scopes=[])


@pytest.mark.parametrize("kind", [None, "", JSON, FORM, "text/plain"])
def test_no_body_says_nothing(read, kind):
    assert read(b"", kind) == StartBody()


def test_no_body_is_not_enough_where_a_field_is_needed(refused):
    assert fields_of(refused(b"", JSON, SelectionBody)) == {"ids"}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [None, "", "text/plain", "multipart/form-data; boundary=x", "application/jsonx", "application/x-json", "a/b"],
)
def test_other_media_types_are_refused(refused, kind):
    error = refused(b'{"return_to": "/canary"}', kind)
    assert (error.status, error.code) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"canary", b"{'a': 1}", b"\xff\xfe\xfa", b'{"a":' * 30, b"[" * 30_000, b'{"return_to": "/canary"} x',
        b"9" * 10_000, b"\x00",
    ],
    ids=["open", "word", "quotes", "bytes", "open objects", "deep", "more", "huge number", "nul"],
)  # fmt: skip
def test_what_is_no_json_is_refused(refused, body):
    error = refused(body)
    assert (error.status, error.code) == (400, "invalid_request")


@pytest.mark.parametrize("body", [b"[]", b'"canary"', b"1", b"null", b"true", b"NaN", b"[[[[]]]]"])
def test_json_that_is_no_object_is_refused(refused, body):
    error = refused(body)
    assert (error.status, fields_of(error)) == (422, {"body"})


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"scopes": "canary"}, "scopes"),
        ({"scopes": [1]}, "scopes.0"),
        ({"scopes": ["a", ""]}, "scopes.1"),
        ({"scopes": ["canary with spaces"]}, "scopes.0"),
        ({"scopes": ['canary"']}, "scopes.0"),
        ({"scopes": ["canary\n"]}, "scopes.0"),
        ({"scopes": ["canary" * 100]}, "scopes.0"),
        ({"scopes": ["a"] * 201}, "scopes"),
        ({"scopes": ["canary" * 40] * 20}, "scopes"),
        ({"scopes": {"canary": 1}}, "scopes"),
        ({"return_to": "canary"}, "return_to"),
        ({"return_to": 1}, "return_to"),
        ({"return_to": "/" + "c" * 1024}, "return_to"),
        ({"return_to": "/canary\ud800"}, "return_to"),
        ({"connection_id": ""}, "connection_id"),
        ({"connection_id": "canary" * 100}, "connection_id"),
        ({"owner": "canary"}, "owner"),
        ({"Scopes": ["canary"]}, "Scopes"),
        ({"": "canary"}, "body"),
    ],
)
def test_fields_that_are_wrong_are_named_and_not_repeated(refused, said, field):
    error = refused(json.dumps(said).encode())
    assert (error.status, error.code, fields_of(error)) == (422, "invalid_fields", {field})


def test_a_name_that_is_no_text_is_refused_with_a_document(refused):
    error = refused(b'{"\\ud800": "canary"}')
    assert (error.status, fields_of(error)) == (422, {"body"})


def test_every_field_that_is_wrong_is_named_at_once(refused):
    assert fields_of(refused(b'{"scopes": 1, "return_to": 2, "other": 3}')) == {"scopes", "return_to", "other"}


def test_a_selection_has_an_end(refused, read):
    most = [f"page-{number}" for number in range(1000)]
    assert read(json.dumps({"ids": most}).encode(), JSON, SelectionBody).ids == most
    assert fields_of(refused(json.dumps({"ids": [*most, "one"]}).encode(), JSON, SelectionBody)) == {"ids"}


def test_a_reconnect_names_no_connection(refused):
    assert fields_of(refused(b"connection_id=canary", FORM, ReconnectBody)) == {"connection_id"}


def test_a_form_says_each_field_once(refused):
    error = refused(b"return_to=/canary&return_to=/canary2", FORM)
    assert (error.status, error.code) == (400, "invalid_request")
    assert "'return_to'" in error.detail


def test_the_name_of_a_repeated_field_is_cut(refused):
    name = "n" * 5000
    assert len(refused(f"{name}=1&{name}=2".encode(), FORM).detail) < 100


@pytest.mark.parametrize("body", [b"return_to=%FF", b"\xff=1", b"&".join([b"a=1"] * 65), b"a=" + b"x" * 17_000])
def test_a_form_that_cannot_be_read_is_refused(refused, body):
    assert (refused(body, FORM).status, refused(body, FORM).code) == (400, "invalid_request")


def test_unknown_fields_of_a_form_are_refused(refused):
    assert fields_of(refused(b"owner=canary", FORM)) == {"owner"}


# --- forms without a schema -----------------------------------------------------------------------


def test_the_fields_of_a_form_are_all_returned(make_request):
    request = make_request(body=b"a=1&a=2&b=&c=%C3%A4", headers={"content-type": FORM})
    assert form_fields(request) == [("a", "1"), ("a", "2"), ("b", ""), ("c", "ä")]


@pytest.mark.parametrize("kind", [None, JSON, "multipart/form-data"])
def test_a_form_of_another_media_type_is_none(make_request, kind):
    with pytest.raises(HttpError) as raised:
        form_fields(make_request(body=b"a=1", headers={} if kind is None else {"content-type": kind}))
    assert raised.value.status == 415


@pytest.mark.parametrize("encoded", ["a=%FF", b"\xff", "&".join(["a=1"] * 65)])
def test_parameters_that_cannot_be_read_are_refused_without_a_trace_of_them(encoded):
    with pytest.raises(HttpError) as raised:
        pairs_of(encoded)
    assert (raised.value.status, raised.value.__context__) == (400, None)


@pytest.mark.parametrize("pairs", [[], [("code", "")], [("code", "a"), ("code", "b")], [("Code", "a")]])
def test_what_must_be_said_once_is_said_once(pairs):
    with pytest.raises(HttpError) as raised:
        only_value(pairs, "code")
    assert (raised.value.status, raised.value.code, raised.value.detail) == (
        400, "invalid_request", "code must be given once",
    )  # fmt: skip


def test_other_parameters_are_no_concern():
    assert only_value([("a", "1"), ("code", "c"), ("a", "2")], "code") == "c"


def test_the_media_type_is_without_parameters_and_case(make_request):
    assert media_type(make_request(headers={"content-type": "Text/HTML ; charset=x"})) == "text/html"
    assert media_type(make_request()) == ""
