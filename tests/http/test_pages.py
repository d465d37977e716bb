"""The pages that a browser meets: whatever is put into them stays text, and nothing comes from elsewhere."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from socialvault.http.pages import deletion_page, error_page, page, resubmission_page
from socialvault.http.problems import HttpError

HOSTILE = "\"'><script>alert(1)</script><img src=https://evil.example/x onerror=alert(1)>&amp;{}%s"
AT = datetime(2026, 11, 24, 18, 5, 59, tzinfo=UTC)


class Read(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, answer):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(answer.body.decode())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self):
        return " ".join(self.texts)


def policy_of(answer):
    [policy] = [value for name, value in answer.headers if name == "Content-Security-Policy"]
    return dict(part.partition(" ")[::2] for part in policy.split("; "))


def an_error(detail="the flow took too long", code="state_expired", **more):
    return HttpError(400, code, detail, "reauthorize", **more)


ORDINARY = {
    "page": page("A title", "<p>x</p>", script="x()"),
    "resubmission": resubmission_page("/oauth/x/callback/resume", [("state", "s"), ("code", "c")]),
    "error": error_page(an_error(), "It failed", retry="/oauth/x/start"),
    "error without retry": error_page(an_error(), "It failed", retry=""),
    "deletion": deletion_page("Facebook", AT),
}
BAD_PAGES = {
    "resubmission": resubmission_page(HOSTILE, [(HOSTILE, HOSTILE), ("code", HOSTILE)]),
    "error": error_page(an_error(HOSTILE, HOSTILE), "It failed", retry=HOSTILE),
    "deletion": deletion_page(HOSTILE, AT),
    "title": page(HOSTILE, ""),
}
every_page = pytest.mark.parametrize("answer", ORDINARY.values(), ids=ORDINARY.keys())
every_hostile_page = pytest.mark.parametrize("answer", BAD_PAGES.values(), ids=BAD_PAGES.keys())


# --- what every page is ---------------------------------------------------------------------------


@every_page
def test_a_page_is_html_that_can_be_read_by_everybody(answer):
    assert answer.content_type == "text/html; charset=utf-8"
    assert answer.body.startswith(b"<!doctype html>")
    read = Read(answer)
    assert read.named("html") == [{"lang": "en"}]
    assert len(read.named("title")) == len(read.named("h1")) == len(read.named("main")) == 1
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.named("meta")


@every_page
def test_a_pages_policy_allows_its_own_style_and_script_and_nothing_else(answer):
    policy, read = policy_of(answer), Read(answer)
    [style] = read.named("style")
    source = f"'nonce-{style['nonce']}'"
    assert all(script["nonce"] == style["nonce"] for script in read.named("script"))
    assert len(style["nonce"]) >= 22
    form_action = policy.pop("form-action")
    assert policy == {
        "default-src": "'none'", "style-src": source, "script-src": source, "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }  # fmt: skip
    assert form_action == "'none'" or form_action.startswith("'self'")


def test_no_nonce_is_used_twice():
    pages = [resubmission_page("/x", []) for _ in range(20)]
    assert len({policy_of(answer)["script-src"] for answer in pages}) == 20


@every_page
@pytest.mark.parametrize("tag", ["link", "img", "iframe", "object", "embed", "base", "a", "video"])
def test_a_page_loads_nothing(answer, tag):
    assert Read(answer).named(tag) == []


@every_page
def test_a_page_names_no_address_and_has_no_handlers(answer):
    text = answer.body.decode()
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    for _, attrs in Read(answer).tags:
        assert not [name for name in attrs if name.startswith("on") or name in ("src", "href", "style")]


# --- hostile text ---------------------------------------------------------------------------------


@every_hostile_page
def test_hostile_text_stays_text(answer):
    read = Read(answer)
    assert read.named("img") == []
    assert b"<script>alert" not in answer.body
    assert b"<img" not in answer.body
    for _, attrs in read.tags:
        assert "onerror" not in attrs


def test_hostile_text_comes_back_as_it_was():
    [first, second] = Read(BAD_PAGES["resubmission"]).named("input")
    assert (first["name"], first["value"]) == (HOSTILE, HOSTILE)
    assert (second["name"], second["value"]) == ("code", HOSTILE)
    assert Read(BAD_PAGES["resubmission"]).named("form")[0]["action"] == HOSTILE
    assert HOSTILE in Read(BAD_PAGES["deletion"]).text
    assert Read(BAD_PAGES["title"]).texts[0] == HOSTILE


# --- each page ------------------------------------------------------------------------------------


def test_the_posted_callback_is_posted_again_by_itself_or_by_a_button():
    read = Read(ORDINARY["resubmission"])
    assert read.named("form") == [{"method": "post", "action": "/oauth/x/callback/resume"}]
    assert [(one["type"], one["name"], one["value"]) for one in read.named("input")] == [
        ("hidden", "state", "s"),
        ("hidden", "code", "c"),
    ]
    assert len(read.named("button")) == len(read.named("script")) == 1
    assert "document.forms[0].submit()" in read.text
    assert policy_of(ORDINARY["resubmission"])["form-action"] == "'self'"


def test_an_error_says_what_happened_and_what_to_tell_support():
    answer = ORDINARY["error"]
    assert answer.status == 400
    read = Read(answer)
    assert read.texts[0] == "It failed"
    assert "The flow took too long." in read.text
    assert "state_expired" in read.text
    assert {"role": "alert"} in read.named("p")
    assert read.named("script") == []


def test_an_error_offers_to_begin_again_where_that_helps():
    assert Read(ORDINARY["error"]).named("form") == [{"method": "post", "action": "/oauth/x/start"}]
    sources = policy_of(ORDINARY["error"])["form-action"].split()
    assert sources == ["'self'", "https:", "http://127.0.0.1:*", "http://localhost:*"]  # redirects count, too
    assert Read(ORDINARY["error without retry"]).named("form") == []
    assert Read(ORDINARY["error without retry"]).named("button") == []
    assert policy_of(ORDINARY["error without retry"])["form-action"] == "'none'"


def test_an_error_keeps_its_own_headers():
    error = an_error(headers=(("Retry-After", "7"),))
    assert ("Retry-After", "7") in error_page(error, "It failed", retry="").headers


@pytest.mark.parametrize(("detail", "shown"), [("it ended.", "It ended."), ("x", "X."), ("", "."), ("Ärger", "Ärger.")])
def test_a_detail_is_shown_as_a_sentence(detail, shown):
    answer = error_page(an_error(detail), "It failed", retry="")
    assert re.findall(r'<p role="alert">(.*?)</p>', answer.body.decode()) == [shown]


def test_a_deletion_is_told_with_its_platform_and_time():
    answer = ORDINARY["deletion"]
    assert answer.status == 200
    text = Read(answer).text
    assert "What this application held of your Facebook account was deleted at 2026-11-24 18:05 UTC." in text
    assert policy_of(answer)["form-action"] == "'none'"


def test_a_status_is_kept():
    assert page("x", "", status=404).status == 404
