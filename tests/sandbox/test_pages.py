"""The pages for people say that they are emulated, work without a script, and load nothing."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

import pytest


class Outline(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **attrs):
        return [found for name, found in self.tags if name == tag and attrs.items() <= found.items()]


@pytest.fixture
def page(app, http):
    return http.get(app.login_url())


def test_the_consent_page_says_that_it_is_emulated(app, page):
    outline = Outline(page.text)
    assert "emulated provider" in outline.text
    assert "This is not" in outline.text
    assert "Emulated" in page.text.split("</title>")[0]
    assert app.client_id in outline.text


def test_the_consent_page_lists_every_scope_with_a_box(app, page):
    boxes = Outline(page.text).all("input", type="checkbox", name="scope")
    asked = dict(parse_qsl(urlsplit(app.login_url()).query))["scope"]
    assert {box["value"] for box in boxes} == set(re.split("[ ,]", asked))
    assert len(boxes) == 3
    assert all("checked" in box for box in boxes)


def test_the_consent_page_is_accessible(page):
    outline = Outline(page.text)
    assert outline.all("html", lang="en")
    assert len(outline.all("h1")) == 1
    assert outline.all("main")
    assert outline.all("label", **{"for": "user"})
    assert outline.all("input", id="user", name="user", list="people")
    assert len(outline.all("fieldset")) == len(outline.all("legend")) >= 1
    assert [button["value"] for button in outline.all("button")] == ["allow", "deny"]
    labels = page.text.count("<label>")
    assert labels == len(outline.all("input", type="checkbox"))


def test_the_consent_page_loads_nothing_and_cannot_be_framed(page):
    outline = Outline(page.text)
    assert not [tag for tag, attrs in outline.tags if "src" in attrs or tag == "link"]
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"


def test_what_comes_from_the_request_is_escaped(app, http):
    attack = '"><script>alert(1)</script>'
    page = http.get(app.login_url(scope=attack))
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;" in page.text
    sandbox_error = http.get(app.login_url(redirect_uri=attack))
    assert sandbox_error.status_code == 400
    assert "<script>alert" not in sandbox_error.text


def test_the_form_post_page_works_without_its_script(oidc, http, sandbox):
    consent = Outline(http.get(oidc.login_url(response_mode="form_post")).text)
    request_id = consent.all("input", name="request")[0]["value"]
    form = {"request": request_id, "user": "grace", "decision": "allow", "scope": ["openid", "email"]}
    page = http.post(sandbox.url("oidc", "/consent"), data=form)
    outline = Outline(page.text)
    assert outline.all("form", method="post", action="https://app.example/callback")
    assert outline.all("button")
    [script] = outline.all("script")
    assert f"'nonce-{script['nonce']}'" in page.headers["content-security-policy"]
    assert sandbox.log[-1].user == "grace"


def test_an_error_page_speaks_up_and_redirects_nowhere(app, http):
    page = http.get(app.login_url(client_id="stranger"))
    assert page.status_code == 400
    assert Outline(page.text).all("p", role="alert")
    assert "location" not in page.headers


def test_the_index_lists_the_emulated_providers(http, sandbox):
    page = http.get(sandbox.base_url)
    assert page.status_code == 200
    for name in ("X", "LinkedIn", "Facebook", "OpenID provider"):
        assert name in page.text
    assert "Nothing here is real" in page.text
