"""Requests and responses without a framework."""

import pytest

from socialvault.http.bodies import LivenessDocument
from socialvault.http.messages import Response, joined, json_response, redirect

# --- cookies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a=1; b=2", {"a": "1", "b": "2"}),
        ("a=1;b=2", {"a": "1", "b": "2"}),
        ("a=1; a=2", {"a": "1"}),
        ('a="1"', {"a": "1"}),
        ("a=b=c==", {"a": "b=c=="}),
        ("a=", {"a": ""}),
        ("=1", {"": "1"}),
        ("a", {}),
        ("a; b=2", {"b": "2"}),
        (";;; ;a=1;", {"a": "1"}),
        ("a=ä", {"a": "ä"}),
        ('a="', {"a": ""}),
        ("A=1; a=2", {"A": "1", "a": "2"}),
    ],
)
def test_cookies_are_read_whatever_the_header_looks_like(make_request, header, found):
    assert make_request(headers={"cookie": header}).cookies == found


def test_without_a_header_there_are_no_cookies(make_request):
    assert make_request().cookies == {}


# --- who asks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "page"),
    [
        ("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", True),
        ("text/html", True),
        ("application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_only_who_names_html_gets_a_page(make_request, accept, page):
    assert make_request(headers={"accept": accept}).wants_page is page


def test_who_says_nothing_is_a_program(make_request):
    assert make_request().wants_page is False


@pytest.mark.parametrize(
    ("name", "value", "ahead"),
    [
        ("sec-purpose", "prefetch", True),
        ("sec-purpose", "prefetch;prerender", True),
        ("sec-purpose", "prefetch;anonymous-client-ip", True),
        ("purpose", "prefetch", True),
        ("x-moz", "prefetch", True),
        ("x-purpose", "preview", True),
        ("purpose", "prerender", True),
        ("sec-purpose", "", False),
        ("purpose", "navigate", False),
        ("sec-fetch-mode", "prefetch", False),
    ],
)
def test_every_spelling_of_a_look_ahead_is_known(make_request, name, value, ahead):
    assert make_request(headers={name: value}).is_prefetch is ahead


# --- what is shown --------------------------------------------------------------------------------


def test_a_requests_repr_shows_no_code_no_cookie_and_no_body(make_request):
    request = make_request(
        method="POST", params={"platform": "x"}, query="code=canary", headers={"cookie": "a=canary"}, body=b"canary",
        native="canary",
    )  # fmt: skip
    assert "canary" not in repr(request)
    assert "POST" in repr(request)


def test_a_responses_repr_shows_no_body_and_no_header():
    assert "canary" not in repr(Response(200, b"canary", "text/html", (("Set-Cookie", "a=canary"),)))


# --- headers and answers --------------------------------------------------------------------------


def test_headers_are_joined_under_their_lower_case_names():
    pairs = [("X-Forwarded-For", "192.0.2.1"), ("Cookie", "a=1"), ("x-forwarded-for", "192.0.2.2"), ("cookie", "b=2")]
    assert joined(pairs) == {"x-forwarded-for": "192.0.2.1, 192.0.2.2", "cookie": "a=1; b=2"}


def test_cookies_of_several_headers_are_all_read(make_request):
    assert make_request(headers=joined([("Cookie", "a=1"), ("Cookie", "b=2; a=3")])).cookies == {"a": "1", "b": "2"}


def test_a_document_is_answered_as_json():
    answer = json_response(LivenessDocument(), status=503, headers=(("Retry-After", "5"),))
    assert (answer.status, answer.body, answer.content_type) == (503, b'{"status":"ok"}', "application/json")
    assert answer.headers == (("Retry-After", "5"),)


def test_a_redirect_is_a_303_with_its_other_headers():
    answer = redirect("/settings", headers=(("Set-Cookie", "a=1"),))
    assert (answer.status, answer.body) == (303, b"")
    assert answer.headers == (("Location", "/settings"), ("Set-Cookie", "a=1"))
